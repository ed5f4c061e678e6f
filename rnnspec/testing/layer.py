"""The contract as a pytest test: one test id per rule, the cases shared between them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch

from rnnspec.api import run_check
from rnnspec.api.layer import LayerTarget
from rnnspec.contract.clauses import Level
from rnnspec.errors import CannotCheck, DeviceError
from rnnspec.options import CheckOptions, RunOptions, show_options
from rnnspec.report.console import format_failure
from rnnspec.report.data import FaultSummary, Report, Result, Verdict
from rnnspec.rulekit.selection import AnyRule, select_in_force, select_parts
from rnnspec.rules.catalogue import select_layer_rules

Test = TypeVar("Test", bound=Callable[..., Any])
OptionsT = TypeVar("OptionsT", bound=RunOptions)


@dataclass
class Run(Generic[OptionsT]):
    """One check whose report the tests of all its rules share.

    `check` runs it when the first of the tests asks. If pytest stops at the first failing test, the
    run stops at the first violation.
    """

    target: str | Callable[..., Any]
    options: OptionsT
    check: Callable[[Any, OptionsT], Report]
    stops_early: bool = False
    _report: Report | None = field(default=None, repr=False)

    @property
    def report(self) -> Report:
        """The report, from one run in this process."""
        if self._report is None:
            early = self.options.fail_fast or self.stops_early
            self._report = self.check(self.target, replace(self.options, fail_fast=early))
        return self._report


@dataclass(frozen=True)
class RuleTest:
    """What a test is given: one rule of a run."""

    rule: AnyRule
    run: Run[Any]

    @property
    def result(self) -> Result:
        """What the rule said over the run."""
        return self.run.report.result(self.rule.id)

    @property
    def fault(self) -> FaultSummary | None:
        """The fault that the rule names, if it names one."""
        faults = self.run.report.faults
        return next((fault for fault in faults if fault.rule == self.rule.id), None)

    def check(self) -> None:
        """Fail the test if the rule is broken or was not reached; skip it if it does not apply.

        A rule that fails, or could not be checked, only because of another fault is skipped too.
        A broken SHOULD fails only if the run is strict, and a NOTE never does. If torch does not
        have the device, the test is skipped with that reason; if nothing can be checked for another
        reason, it fails with that.
        """
        import pytest

        try:
            result = self.result
        except DeviceError as error:
            pytest.skip(str(error))
        except CannotCheck as error:
            pytest.fail(str(error), pytrace=False)
        if result.verdict is Verdict.NOT_APPLICABLE:
            pytest.skip(f"{result.rule}: {result.message}")
        if result.caused_by is not None:
            pytest.skip(f"caused by {result.caused_by}")
        if result.verdict is Verdict.UNREACHED and self.run.report.stopped:
            pytest.skip(
                f"the run stopped at the first fault, before {result.rule} was judged enough"
            )
        is_unscored = result.is_broken and not result.is_scored
        if result.verdict is not Verdict.PASS and (result.level is Level.NOTE or is_unscored):
            pytest.skip(f"{result.rule} ({result.level}, not scored): {result.message}")
        if result.verdict is not Verdict.PASS:
            pytest.fail(format_failure(result, self.fault), pytrace=False)


@show_options(CheckOptions, profile="quick")
def conformance(target: LayerTarget, **options: Any) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the rules of the contract; its argument `rule` has `check()`.

    The options are those of `rnnspec.CheckOptions`, with the quick profile by default. All rules
    share one run in a process. If nothing can be checked, each test fails with the reason when it
    runs; a device that torch does not have here skips it.
    """
    chosen = CheckOptions.from_keywords("conformance", options, profile="quick")
    run = Run(target, chosen, run_check)
    selected = select_parts(select_layer_rules(chosen.rules), chosen.parts)
    rules = select_in_force(selected, torch.__version__)
    return parametrize_rules(run, rules)


def parametrize_rules(run: Run[Any], rules: Sequence[AnyRule]) -> Callable[[Test], Test]:
    """Parametrize a pytest test over rules that share a run, one test id per rule."""
    import pytest

    tests = [pytest.param(RuleTest(rule, run), id=rule.id) for rule in rules]
    parametrize = pytest.mark.parametrize("rule", tests)
    return lambda test: parametrize(_let_stop_early(run, test))


def _let_stop_early(run: Run[Any], test: Test) -> Test:
    """Return the test, which also asks pytest whether it stops at the first failing test."""
    signature = inspect.signature(test)
    takes_request = "request" in signature.parameters

    @functools.wraps(test)
    def ask_and_test(*args: Any, request: Any, **given: Any) -> None:
        run.stops_early = request.config.getoption("maxfail") == 1
        known = {"request": request} if takes_request else {}
        test(*args, **given, **known)

    if not takes_request:
        request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY)
        own = list(signature.parameters.values())
        signature = signature.replace(parameters=[*own, request])
    ask_and_test.__signature__ = signature  # type: ignore[attr-defined]
    return ask_and_test  # type: ignore[return-value]
