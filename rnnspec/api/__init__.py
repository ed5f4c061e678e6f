"""The checks as Python calls."""

from rnnspec.api.layer import check, prepare, undisturbed_run
from rnnspec.api.model import ModelReport, check_model, prepare_model

__all__ = ["ModelReport", "check", "check_model", "prepare", "prepare_model", "undisturbed_run"]
