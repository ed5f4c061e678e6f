"""The contract as a pytest test: one id a rule, the cases shared between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from rnnspec.api import check
from rnnspec.errors import CannotCheck, DeviceError
from rnnspec.report.console import format_failure
from rnnspec.report.data import Report, Result
from rnnspec.rulekit.rule import Rule
from rnnspec.rules.catalogue import select_in_force, select_layer_rules

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass
class Run:
    """One check whose report the tests of all its rules share; it runs when the first of them asks."""

    target: str | Callable[..., Any]
    options: dict[str, Any]
    _report: Report | None = field(default=None, repr=False)

    @property
    def report(self) -> Report:
        """The report, from one run in this process."""
        if self._report is None:
            self._report = check(self.target, **self.options)
        return self._report


@dataclass(frozen=True)
class RuleTest:
    """What a test is given: one rule of a run."""

    rule: Rule
    run: Run

    @property
    def result(self) -> Result:
        """What the rule said over the run."""
        return self.run.report.result(self.rule.id)

    def check(self) -> None:
        """Fail the test where the rule is broken or was not reached, skip it where it does not apply.

        A broken SHOULD fails only where the run is strict, and a NOTE never. Where torch does not have the device here, the test is
        skipped with that as the reason; where nothing can be judged for another reason, it fails with that.
        """
        import pytest

        try:
            result = self.result
        except DeviceError as error:
            pytest.skip(str(error))
        except CannotCheck as error:
            pytest.fail(str(error), pytrace=False)
        if result.verdict == "not-applicable":
            pytest.skip(f"{result.rule}: {result.message}")
        if result.verdict != "pass" and (result.level == "NOTE" or self._unscored(result)):
            pytest.skip(f"{result.rule} ({result.level}, not scored): {result.message}")
        if result.verdict != "pass":
            pytest.fail(format_failure(result), pytrace=False)

    def _unscored(self, result: Result) -> bool:
        return result.verdict == "fail" and result not in self.run.report.violations


def conformance(
    target: str | Callable[..., Any],
    *,
    kind: str = "rnn",
    profile: str = "quick",
    seed: int = 0,
    device: str = "cpu",
    rules: Sequence[str] | None = None,
    cases: int | None = None,
    dtype: str | None = None,
    strict: bool = False,
    arguments: dict[str, Any] | None = None,
    without: Sequence[str] = (),
) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the rules of the contract; its argument `rule` has `check()`.

    The run is shared by all rules in a process. Options as in `rnnspec.check`; where nothing can be judged, each test fails with the
    reason when it runs, and a device that torch does not have here skips it.
    """
    import pytest

    options = {name: value for name, value in locals().items() if name not in ("pytest", "target")}
    run = Run(target, options)
    tests = [
        pytest.param(RuleTest(rule, run), id=rule.id)
        for rule in select_in_force(select_layer_rules(rules), torch.__version__)
    ]
    return pytest.mark.parametrize("rule", tests)
