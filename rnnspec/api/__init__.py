"""The checks as Python functions."""

from rnnspec.api.layer import check, prepare_check, prepare_suite, run_check, run_undisturbed
from rnnspec.api.model import check_model, prepare_model_suite, run_model_check

__all__ = [
    "check",
    "check_model",
    "prepare_check",
    "prepare_model_suite",
    "prepare_suite",
    "run_check",
    "run_model_check",
    "run_undisturbed",
]
