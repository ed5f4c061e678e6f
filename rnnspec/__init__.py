"""Check recurrent layers against the documented contract of `torch.nn.RNN` and its relatives.

Call `check` with your layer, `check_model` with your model, and `compare` with your kernel and the
model that it replaces. In your test suite, use the decorators `conformance`, `model_conformance`
and `comparison`. If your layer has other names, layouts or states, declare them with
`rnnspec.adapt`. For your own tests, use the functions in `rnnspec.strategies` and `rnnspec.shapes`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rnnspec._version import __version__

if TYPE_CHECKING:
    from rnnspec import adapt, shapes, strategies
    from rnnspec.api import check, check_model
    from rnnspec.api.accuracy import accuracy
    from rnnspec.api.compare import compare
    from rnnspec.cases.values import draw_values
    from rnnspec.comparing.report import ComparisonReport
    from rnnspec.contract.config import Config
    from rnnspec.errors import CannotCheck, RnnspecError, ViolationsFound
    from rnnspec.measuring.accuracy import Accuracy
    from rnnspec.options import AccuracyOptions, CheckOptions, CompareOptions, ModelOptions
    from rnnspec.report.data import Report, Result, RunVerdict, Verdict
    from rnnspec.report.model import ModelReport
    from rnnspec.testing.comparison import comparison
    from rnnspec.testing.layer import RuleTest, conformance
    from rnnspec.testing.model import model_conformance

__all__ = [
    "Accuracy",
    "AccuracyOptions",
    "CannotCheck",
    "CheckOptions",
    "CompareOptions",
    "ComparisonReport",
    "Config",
    "ModelOptions",
    "ModelReport",
    "Report",
    "Result",
    "RnnspecError",
    "RuleTest",
    "RunVerdict",
    "Verdict",
    "ViolationsFound",
    "__version__",
    "accuracy",
    "adapt",
    "check",
    "check_model",
    "compare",
    "comparison",
    "conformance",
    "draw_values",
    "model_conformance",
    "shapes",
    "strategies",
]

PLACES = {
    "Accuracy": "measuring.accuracy",
    "AccuracyOptions": "options",
    "CheckOptions": "options",
    "CompareOptions": "options",
    "ComparisonReport": "comparing.report",
    "ModelOptions": "options",
    "RunVerdict": "report.data",
    "Verdict": "report.data",
    "CannotCheck": "errors",
    "Config": "contract.config",
    "Report": "report.data",
    "Result": "report.data",
    "RnnspecError": "errors",
    "ViolationsFound": "errors",
    "ModelReport": "report.model",
    "accuracy": "api.accuracy",
    "check": "api.layer",
    "check_model": "api.model",
    "compare": "api.compare",
    "comparison": "testing.comparison",
    "model_conformance": "testing.model",
    "RuleTest": "testing.layer",
    "conformance": "testing.layer",
    "draw_values": "cases.values",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so `import rnnspec` loads neither torch nor Hypothesis.

    Raises AttributeError for a name that is not public.
    """
    if name in PLACES:
        return getattr(importlib.import_module(f"rnnspec.{PLACES[name]}"), name)
    if name in ("adapt", "shapes", "strategies"):
        return importlib.import_module(f"rnnspec.{name}")
    raise AttributeError(f"module 'rnnspec' has no attribute {name!r}")
