"""The contract of a model as a pytest test: one id a rule, the cases shared between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rnnspec.api.model import check_model
from rnnspec.models.registry import select_model_rules
from rnnspec.report.data import Report
from rnnspec.testing.layer import RuleTest, Run, Test


@dataclass
class ModelRun(Run):
    """One check of a model whose report the tests of all its rules share."""

    @property
    def report(self) -> Report:
        """The report, from one run in this process."""
        if self._report is None:
            self._report = check_model(self.target, **self.options)
        return self._report


def model_conformance(
    target: str | Callable[..., Any],
    *,
    readout: str | None = None,
    vocabulary: int | None = None,
    features: int | None = None,
    batch_first: bool = True,
    padding: int | None = None,
    profile: str = "quick",
    seed: int = 0,
    device: str = "cpu",
    rules: Sequence[str] | None = None,
    strict: bool = False,
    arguments: dict[str, Any] | None = None,
) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the rules of a model; its argument `rule` has `check()`. Options as in `rnnspec.check_model`."""
    import pytest

    options = {name: value for name, value in locals().items() if name not in ("pytest", "target")}
    shared = ModelRun(target, options)
    return pytest.mark.parametrize(
        "rule",
        [pytest.param(RuleTest(rule, shared), id=rule.id) for rule in select_model_rules(rules)],
    )
