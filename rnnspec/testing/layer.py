"""Check the contract of a layer as a pytest test, with a test id for each rule and a common run."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

import torch

from rnnspec.adapters.adapter import Adapter
from rnnspec.api.layer import LayerTarget, prepare_check
from rnnspec.api.replay import read_case
from rnnspec.contract.clauses import Level
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.declared.files import read_target
from rnnspec.errors import DeviceError, RnnspecError
from rnnspec.inference.infer import infer_adapter
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.options import AUTOMATIC, CheckOptions, ignore_clock, show_options
from rnnspec.report.console import format_failure
from rnnspec.report.data import FaultSummary, Result, Verdict
from rnnspec.rulekit.selection import AnyRule, select_in_force, select_parts
from rnnspec.rules.catalogue import select_layer_rules
from rnnspec.subjects.devices import lacks_device
from rnnspec.subjects.kind import guess_kind
from rnnspec.subjects.target import resolve_target
from rnnspec.testing.checking import Isolation
from rnnspec.testing.run import Run
from rnnspec.testing.session import REMARK, describe_outcome, describe_session

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class RuleTest:
    """The `rule` argument of your test: a rule of a run. Call `check()`, or read `result`."""

    rule: AnyRule
    run: Run[Any]

    @property
    def result(self) -> Result:
        """The result of the rule over the whole run, for your own assertions instead of `check()`.

        Reading it starts the run if necessary. Raises CannotCheck if nothing can be checked.
        """
        self.run.asked.add(self.rule.id)
        return self.run.report.result(self.rule.id)

    @property
    def fault(self) -> FaultSummary | None:
        """The fault that the report names by this rule, with its likely cause, or None."""
        faults = self.run.report.faults
        return next((fault for fault in faults if fault.rule == self.rule.id), None)

    def _find_result(self) -> Result | RnnspecError:
        """Return the result, or the error that prevented the check."""
        try:
            return self.result
        except RnnspecError as error:
            return error

    def check(self) -> None:
        """Fail your test if the rule fails or was not reached; skip it if the rule does not apply.

        Your test is also skipped if the rule fails, or could not be checked, only because of a
        fault that another rule names. If you did not select the test of that other rule, the first
        test that fails because of the fault reports it.

        A SHOULD rule fails your test only if you pass `strict=True`, and a NOTE rule only if you
        pass `strict_accuracy=True`. If torch does not have the device, the test is skipped with
        that reason. If nothing can be checked for any other reason, the first test fails with that
        reason and the others are skipped.
        """
        import pytest

        result = self._find_result()
        if isinstance(result, RnnspecError):
            self._report_refusal(result)
        if result.verdict is Verdict.NOT_APPLICABLE:
            pytest.skip(f"{result.rule}: {result.message}")
        if result.verdict is Verdict.KNOWN:
            pytest.xfail(result.message)
        if unreported := self.run.find_unreported(result.rule):
            self._fail_for_other(unreported)
        if result.caused_by is not None:
            pytest.skip(f"caused by {result.caused_by}")
        if result.verdict is Verdict.UNREACHED and self.run.report.stopped:
            why = "at the first fault" if self.run.session.stops_early else "early"
            pytest.skip(f"the run stopped {why}, before {result.rule} was checked enough")
        is_unscored = result.is_broken and not result.is_scored
        is_remark = result.level is Level.NOTE and not result.is_broken
        if result.verdict is not Verdict.PASS and (is_remark or is_unscored):
            pytest.skip(f"{result.rule} ({result.level}, not scored): {result.message}")
        if result.verdict is not Verdict.PASS:
            pytest.fail(format_failure(result, self.fault), pytrace=False)

    def _report_refusal(self, error: RnnspecError) -> NoReturn:
        """Skip the test, or fail it if no other test has reported why nothing can be checked."""
        import pytest

        if isinstance(error, DeviceError):
            pytest.skip(str(error))
        self.run.refused = self.run.refused or self.rule.id
        if self.run.refused != self.rule.id:
            pytest.skip(f"nothing can be checked, see the test of {self.run.refused}")
        pytest.fail(str(error), pytrace=False)

    def _fail_for_other(self, rule: str) -> None:
        """Fail the test with the fault of another rule, if that rule is scored."""
        import pytest

        report = self.run.report
        root = report.result(rule)
        if root.is_scored:
            fault = next((fault for fault in report.faults if fault.rule == rule), None)
            said = format_failure(root, fault)
            pytest.fail(f"caused by {rule}, which is not selected:\n\n{said}", pytrace=False)


def list_selected(items: Sequence[Any], run: Run[Any]) -> tuple[str, ...]:
    """Return the ids of the rules of a run that have a test among these items."""
    found = []
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        rule_test = getattr(item, "rule_test", None) or parameters.get("rule")
        if isinstance(rule_test, RuleTest) and rule_test.run is run:
            found.append(rule_test.rule.id)
    return tuple(found)


@show_options(CheckOptions, profile="quick")
def conformance(
    target: LayerTarget,
    *,
    isolate: bool | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    memory: int | None = None,
    **options: Any,
) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the rules of the contract; its argument `rule` has `check()`.

    The options are the fields of `rnnspec.CheckOptions`; the default profile is quick. All rules
    share one run. Your test fails if it never uses the result of its rule, so call `rule.check()`
    or read `rule.result`.

    The list of tests is made before your target is built. If you do not pass `kind`, rnnspec
    assumes an nn.RNN unless the target is another layer of torch or derived from one. If nothing
    can be checked, the first test fails with the reason and the others are skipped. If the machine
    lacks the device that you chose (CUDA or another device of torch), there is a single test, and
    it is skipped.

    Your target runs in a worker process, so a crash or a hang is a failed test and not the end of
    the session. Each call may take `timeout` seconds and allocate `memory` MiB. Use `isolate=False`
    to run the target in pytest's own process. If neither you nor the declaration of an adapter sets
    `isolate`, rnnspec also uses pytest's own process under --pdb and --trace, while coverage is
    measured, and when a worker cannot import the target.
    """
    refuse_test(target, options, "conformance(Layer)")
    target, options = read_target(target, options)
    chosen = ignore_clock(CheckOptions.from_keywords("conformance", options, profile="quick"))
    chosen = choose_kind(target, chosen)
    if isolate is None and isinstance(target, Adapter):
        isolate = target.isolate
    run = Run(target, chosen, prepare_check, Isolation(isolate, timeout, memory))
    return parametrize_rules(run, list_tested_rules(chosen))


def refuse_test(target: object, options: Mapping[str, Any], call: str) -> None:
    """Raise TypeError if a decorator was applied to a test without naming a target.

    Any function with a required argument `rule` counts as a test, provided that no option is given.
    `call` is the correct spelling, for the message.
    """
    if inspect.isfunction(target) and not options:
        rule = inspect.signature(target).parameters.get("rule")
        if rule is not None and rule.default is inspect.Parameter.empty:
            raise TypeError(f"name the target: @rnnspec.{call}")


def choose_kind(target: LayerTarget, options: CheckOptions) -> CheckOptions:
    """Return options with a definite kind, so that the rules are known before the check.

    The layer is built only if its adapter has to be inferred. Raises CannotCheck.
    """
    if options.kind != AUTOMATIC:
        return options
    if isinstance(target, Adapter):
        return replace(options, kind=target.kind.name)
    if not options.adapt:
        return replace(options, kind=guess_kind(target))
    return replace(options, kind=infer_adapter(resolve_target(target)).declaration.kind)


def list_tested_rules(options: CheckOptions) -> tuple[AnyRule, ...]:
    """Return the rules that these options select."""
    selected = select_parts(select_layer_rules(options.rules), options.parts)
    kind = options.kind if options.kind in KINDS else UNGATED.name
    return select_in_force(selected, torch.__version__, kind)


def list_tests(
    run: Run[Any], rules: Sequence[AnyRule]
) -> Iterator[tuple[str, AnyRule, tuple[Any, ...]]]:
    """Yield the name, the rule and the marks of each test of a run.

    If the machine lacks the device, yield a single skipped test: a hundred tests skipped for the
    same reason would hide the tests that are skipped for other reasons.
    """
    import pytest

    device = run.chosen.device
    if rules and lacks_device(device):
        reason = f"this machine has no device {device!r}"
        yield f"no-{device}", rules[0], (pytest.mark.skip(reason=reason),)
    else:
        yield from ((rule.id, rule, ()) for rule in rules)


def parametrize_rules(run: Run[Any], rules: Sequence[AnyRule]) -> Callable[[Test], Test]:
    """Parametrize a pytest test over rules that share a run; each rule has a test id."""
    import pytest

    tests = [
        pytest.param(RuleTest(rule, run), id=name, marks=marks)
        for name, rule, marks in list_tests(run, rules)
    ]
    parametrize = pytest.mark.parametrize("rule", tests)
    return lambda test: parametrize(_report_session(run, test))


_DECORATED: Counter[str] = Counter()
"""Number of decorated tests by name, because a loop can decorate the same function repeatedly."""


def _report_session(run: Run[Any], test: Test) -> Test:
    """Wrap a test so that it passes the facts about its pytest session to the run."""
    name = f"{test.__module__}.{test.__qualname__}"
    _DECORATED[name] += 1
    run.test = f"{name} {_DECORATED[name]}"
    signature = inspect.signature(test)
    takes_request = "request" in signature.parameters

    @functools.wraps(test)
    def report_and_test(*args: Any, request: Any, **given: Any) -> None:
        run.session = describe_session(request, run.test)
        if run.selected is None:
            run.selected = list_selected(request.session.items, run)
        known = {"request": request} if takes_request else {}
        try:
            test(*args, **given, **known)
            _refuse_unasked(given.get("rule"))
        finally:
            note_outcome(request.node, given.get("rule"))
            _show_remarks(run, request.node)
            run.asked.clear()

    if not takes_request:
        request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY)
        own = list(signature.parameters.values())
        signature = signature.replace(parameters=[*own, request])
    report_and_test.__signature__ = signature  # type: ignore[attr-defined]
    return report_and_test  # type: ignore[return-value]


def _refuse_unasked(rule_test: Any) -> None:
    """Fail a test that passed without using the result of its rule."""
    import pytest

    if isinstance(rule_test, RuleTest) and rule_test.rule.id not in rule_test.run.asked:
        pytest.fail("call rule.check(); without it, nothing is checked", pytrace=False)


def note_outcome(item: Any, rule_test: Any) -> None:
    """Store the outcome of a rule on the pytest item, so that its failing case can be kept."""
    if not isinstance(rule_test, RuleTest) or not rule_test.run.is_done:
        return
    result, report = rule_test.result, rule_test.run.report
    if report.kind not in KINDS:
        return
    from rnnspec.testing.stash import OUTCOME

    is_fault = result.verdict is Verdict.FAIL and result.caused_by is None
    case = read_case(result.as_dict()).as_dict() if is_fault and result.counterexample else None
    item.stash[OUTCOME] = describe_outcome(rule_test.run.test, result.rule, case)


def _show_remarks(run: Run[Any], item: Any) -> None:
    """Attach the remarks of a run to a test, for the summary at the end of the session."""
    name = item.nodeid.partition("[")[0]
    item.user_properties.extend((REMARK, f"{name}: {remark}") for remark in run.remarks)
    run.remarks = ()
