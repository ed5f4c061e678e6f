"""A rule and its program agree: the program fails for the planted bugs for which the rule fails.

A program repeats the check of the rule on other numbers and after other calls. So it proves nothing
about a layer that breaks a presupposed rule, or whose results depend on earlier calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.cases.axes import (
    AXIS,
    Distribution,
    DType,
    Feature,
    Float32Precision,
    ModuleUses,
    ParameterUpdates,
)
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import has_wide_dtype
from rnnspec.cases.drawing import make_pool_case
from rnnspec.cases.plan import PROFILES, Scope
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.contract.kinds import KINDS, RNN
from rnnspec.engine.outcome import Finding, FindingKind, check_case
from rnnspec.observe.observation import Observation
from rnnspec.report.execution import is_failing_program
from rnnspec.report.program import (
    MORE_SEEDS,
    choose_entries,
    find_program,
    find_reference,
    list_cases_of_program,
    write_program,
)
from rnnspec.rulekit.facts import find_broken_facts
from rnnspec.rulekit.rule import REPEATED_CALLS, Theme
from rnnspec.rulekit.selection import AnyRule, select_in_force
from rnnspec.rules.catalogue import find_layer_rule, list_layer_rules
from rnnspec.selftest.bank import find_named_rule
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from rnnspec.suites.planning import LayerPlan
from tests.rules.checking import make_case

FEW, MANY = 3, 40
"""The cases on which a rule checks each bug, and on which a disagreement is looked into."""
SEEDS = range(4)
"""Seeds of the runs whose cases are searched for a fault: with one seed, a rule that is checked in
few cases may have none with an initial state."""
BY_ALL_PROGRAMS = (*REPEATED_CALLS, "parameters.loaded", "shapes.dtype")
"""The rules that every program relies on: it loads the weights, calls the layer repeatedly, and
compares results with those of torch, dtypes included."""
IN_16_BITS = ("*.half-precision", "*.float32-sums")
"""Patterns of the rules that programs in 16 bits rely on: their tolerance is for sums in float32,
and smaller than the bound that holds for any order and rounding.
"""
ALLOWED_BY_PROGRAMS = 2.0
"""The error, in units of what rounding can explain, that no program shows: it compares the layer
with that of torch, whose error may be as large.
"""
LONG = {
    Theme.DROPOUT: 7,
    Theme.GRADIENTS: 8,
    Theme.MODULES: 1,
    Theme.GATES: 1,
    Theme.RECURRENCE: 1,
}
"""The themes whose comparison takes more than half a minute for some kind, with the most minutes of
CPU; the others take 20 s at most, and all themes of a kind together 1 to 20 minutes.
"""
OTHER_NAMES = "OtherNames"
"""What a correct layer is called here whose parameters have other names."""
Layer = Callable[..., nn.Module]


@lru_cache(maxsize=6)
def list_rules(kind: str) -> tuple[AnyRule, ...]:
    return select_in_force(list_layer_rules(), kind=kind)


@lru_cache(maxsize=6)
def list_cases(kind: str, seed: int = 0) -> list[Case]:
    """Return the cases of a quick run with sizes of the pool, the smallest first."""
    scope = Scope(frozenset({Feature.TF32}), (), kind)
    plan = LayerPlan(PROFILES["quick"], seed, scope, (), list_rules(kind), lambda case: case)
    drawn = (make_pool_case(row, number) for number, row in enumerate(plan.rows))
    cases = [plan.accept(number, case) for number, case in enumerate(drawn)]
    return sorted(cases, key=lambda case: case.steps * case.batch * case.config.num_layers)


@dataclass(frozen=True)
class Comparison:
    """The comparison of rules with their programs on some layers.

    kind    the kind of the layers
    layers  the layers by name
    """

    kind: str
    layers: Mapping[str, Layer]

    def list_disagreements(self, rules: Iterable[AnyRule]) -> Iterator[tuple[str, str, str]]:
        """Yield the rule, the layer and the difference wherever a rule and its program disagree.

        A rule that fails because of what it presupposes needs no program: another rule has one.
        """
        for rule in rules:
            failing = {name: self.simplify(rule, name) for name in self.layers}
            programs = {
                name: self.find_program(name, finding)
                for name, finding in failing.items()
                if finding and can_be_shown(finding)
            }
            for name, program in programs.items():
                finding = failing[name]
                if (
                    program is None
                    and finding
                    and self.is_sound(name, finding.case, list_relied_on(rule, finding.case))
                ):
                    yield rule.id, name, f"no program shows it: {finding.message}"
            passing = [name for name, finding in failing.items() if finding is None]
            different = {
                (program[0].case, program[0].snippet): (found_by, program)
                for found_by, program in programs.items()
                if program is not None
            }
            for found_by, program in different.values():
                for name in passing:
                    if self.is_accused(rule, name, *program):
                        yield rule.id, name, f"the program of {found_by} fails"

    def is_accused(self, rule: AnyRule, name: str, finding: Finding[Case], seed: Any) -> bool:
        """Return whether a program of a rule fails for a layer that the rule finds nothing wrong
        with, although the layer does what both rely on.
        """
        shown_as_well = list_shown_as_well(rule, finding.case)
        relied_on = list_relied_on(rule, finding.case) | shown_as_well
        return (
            not any(self.find(each, name, FEW) for each in shown_as_well)
            and self.is_failing(name, finding, seed)
            and all(
                check(rule, self.layers[name], case) is None and self.has_facts(rule, name, case)
                for case in {finding.case, widen(finding.case)}
                if rule.when(case)
            )
            and self.is_sound(name, finding.case, relied_on)
            and not self.find(rule, name, MANY)
        )

    def has_facts(self, rule: AnyRule, name: str, case: Case) -> bool:
        """Return whether the facts that a rule presupposes are true of a layer in a case."""
        observation = Observation(make_subject(self.layers[name], self.kind), case)
        broken = find_broken_facts(observation, with_gradients=True)
        return not any(fact in rule.presupposes for fact in broken)

    def find(self, rule: AnyRule, name: str, most: int, seed: int = 0) -> Finding[Case] | None:
        """Return the findings of a rule on a layer in its smallest cases."""
        for case in [each for each in list_cases(self.kind, seed) if rule.when(each)][:most]:
            outcome = check(rule, self.layers[name], case)
            if isinstance(outcome, Finding):
                return outcome
        return None

    def simplify(self, rule: AnyRule, name: str) -> Finding[Case] | None:
        """Return what a rule reports for a layer in a case with plain numbers in float64, without
        dropout and earlier use, if it does: so the programs of reports are written.
        """
        found = (self.find(rule, name, MANY, seed) for seed in SEEDS)
        finding = next(filter(None, found), None)
        for field in ("prior_use", "dtype", "dropout", "distribution"):
            if finding is not None:
                case = LayerCaseSpace().change_field(finding.case, field, AXIS[field].simplest)
                if case is not None and rule.when(case):
                    simpler = check(rule, self.layers[name], case)
                    finding = simpler if isinstance(simpler, Finding) else finding
        return finding

    def find_program(self, name: str, finding: Finding[Case]) -> tuple[Finding[Case], Any] | None:
        """Return the finding and what is added to the seed, so that a program of the rule fails for
        the layer and passes for torch's. Return None if there is none.
        """
        standard = find_reference(finding.case.config.kind_data)
        for case in list_cases_of_program(finding.case):
            for seed in (*MORE_SEEDS, None):
                tried = replace(finding, case=case)
                source = write_program(standard, tried, seed=seed)
                if self.is_failing(name, tried, seed) and not is_failing_program(source, standard):
                    return tried, seed
        return None

    def is_failing(self, name: str, finding: Finding[Case], seed: Any) -> bool:
        """Return whether the program of a finding fails for a layer."""
        target = resolve_target(self.layers[name])
        entries = choose_entries(target, finding.case, None, "cpu")
        source = write_program(target, finding, seed=seed, entries=entries)
        return is_failing_program(source, target)

    def is_sound(self, name: str, case: Case, relied_on: Iterable[AnyRule]) -> bool:
        """Return whether a layer fulfils the assumptions of a rule and its programs.

        The numbers of a program are others than those of the case: plain, but with larger weights.
        A layer that is wrong in float64 is so in 16 bits, where the rounding bound may hide it.
        """
        fresh = case.make_fresh()
        others = [
            fresh.replace(distribution=distribution, seed=case.seed + number)
            for distribution in (Distribution.PLAIN, Distribution.LARGE)
            for number in range(FEW)
        ]
        for each in {fresh, *others, *map(widen, others)}:
            observation = Observation(make_subject(self.layers[name], self.kind), each)
            if find_broken_facts(observation, with_gradients=True):
                return False
        return not any(self.find(each, name, MANY) for each in relied_on)


def list_relied_on(rule: AnyRule, case: Case) -> set[AnyRule]:
    """Return the rules that a rule and its program of a case rely on."""
    return {
        each
        for each in list_rules(case.config.kind)
        if each is not rule
        and (
            each.id in BY_ALL_PROGRAMS
            or rule.presupposes_rule(each.id)
            or (not has_wide_dtype(case) and any(fnmatchcase(each.id, one) for one in IN_16_BITS))
        )
    }


def list_shown_as_well(rule: AnyRule, case: Case) -> set[AnyRule]:
    """Return the rules whose bugs a program shows as well.

    Where dropout is random, programs compare distributions, which depend on all that dropout does.
    """
    if not (rule.theme is Theme.DROPOUT and case.is_random):
        return set()
    return {each for each in list_rules(case.config.kind) if each.theme is rule.theme} - {rule}


def widen(case: Case) -> Case:
    """Return a case in float64."""
    return case.replace(dtype=DType.FLOAT64, float32_precision=Float32Precision.IEEE)


def can_be_shown(finding: Finding[Case]) -> bool:
    """Return whether a program can show a finding: something is wrong, and by enough."""
    is_small = finding.difference and finding.difference.excess <= ALLOWED_BY_PROGRAMS
    return finding.kind is FindingKind.VIOLATION and not is_small


@cache
def make_subject(layer: Layer, kind: str) -> TorchSubject:
    return TorchSubject(resolve_target(layer), kind=kind)


@lru_cache(maxsize=100_000)
def check(rule: AnyRule, layer: Layer, case: Case) -> Any:
    with restore_settings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return check_case(rule, Observation(make_subject(layer, case.config.kind), case), 0)


def list_bugs(kind: str, theme: Theme) -> dict[str, Layer]:
    """Return the planted bugs of a kind that a rule of a theme sees, by name."""
    bugs = find_bank(kind).bugs
    return {
        name: bug
        for name, bug in bugs.items()
        if find_layer_rule(find_named_rule(bug)).theme is theme
    }


def put_inside(layer: Layer) -> Layer:
    """Return a class of layers that work as the given ones, and whose parameters have other names
    in the documented order.
    """

    class Outside(nn.Module):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__()
            self.inside = layer(*arguments, **options)

        def forward(self, *given: Any, **named: Any) -> Any:
            return self.inside(*given, **named)

    return Outside


def reverse_parameters(layer: Layer) -> Layer:
    """Return a function that builds a layer with its parameters in the reverse order."""

    def build(*arguments: Any, **options: Any) -> nn.Module:
        built = layer(*arguments, **options)
        built._parameters = dict(reversed(built._parameters.items()))
        return built

    return build


def list_correct_layers(kind: str) -> dict[str, Layer]:
    """Return correct layers whose parameters have other names, or another order."""
    standard = require_documented(KINDS[kind])
    return {OTHER_NAMES: put_inside(standard), "OtherOrder": reverse_parameters(standard)}


def mark_theme(theme: Theme) -> Any:
    """Return a theme as a parameter of a slow test, with a mark that says if it takes minutes."""
    marks = pytest.mark.slow(minutes=LONG[theme]) if theme in LONG else pytest.mark.slow
    return pytest.param(theme, marks=marks, id=str(theme))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theme", [mark_theme(each) for each in Theme if not each.is_about_models])
def test_rules_and_programs_agree_on_the_bugs_of_their_theme(kind: str, theme: Theme) -> None:
    rules = [rule for rule in list_rules(kind) if rule.theme is theme]
    layers = list_correct_layers(kind) | list_bugs(kind, theme)
    assert list(Comparison(kind, layers).list_disagreements(rules)) == []


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "rule", "bug"),
    [
        ("rnn", "gradients.weights", "WeightGradientsDoubled"),
        ("rnn", "gradients.frozen", "FrozenStopsAll"),
        ("rnn", "gradients.summed-loss", "SummedLossReadOnce"),
        ("rnn", "dropout.backward", "GradientNotDropped"),
        ("rnn", "nonlinearity.relu-slope-at-zero", "ReluSlopeHalfAtZero"),
        ("lstm-cell", "gradients.float32-sums", "OutputGateGradientHalved"),
        ("rnn", "gradients.across-calls", "CarriedStateDetached"),
        ("rnn", "gradients.detached-state", "LastStateKept"),
        ("lstm", "gradients.second-order", "SecondOrderIncomplete"),
        ("rnn", "modules.tied-parameters", "TieWithinCut"),
        ("rnn", "modules.parametrized", "ParametrizationIgnored"),
        ("rnn", "modules.shared-parameters", "TiesCutByConversion"),
        ("rnn", "modules.weight-norm", "AttributeKept"),
    ],
)
def test_a_program_finds_parameters_with_other_names_and_in_another_order(
    kind: str, rule: str, bug: str
) -> None:
    wrong = find_bank(kind).bugs[bug]
    layers = list_correct_layers(kind) | {
        "wrong": wrong,
        "wrong with other names": put_inside(wrong),
    }
    comparison = Comparison(kind, layers)
    for name in ("wrong", "wrong with other names"):
        checked = find_layer_rule(rule)
        finding = comparison.simplify(checked, name) or comparison.find(checked, name, MANY)
        assert finding is not None
        program = comparison.find_program(name, finding)
        assert program is not None
        failing = [each for each in layers if comparison.is_failing(each, *program)]
        assert failing == ["wrong", "wrong with other names"]


@pytest.mark.parametrize(
    ("rule", "bug", "is_shown"),
    [
        ("modules.extra-entries", "ExtraEntriesSwallowed", True),
    ],
)
def test_a_program_is_shown_only_if_it_finds_parameters_with_other_names(
    rule: str, bug: str, *, is_shown: bool
) -> None:
    wrong = find_bank(RNN.name).bugs[bug]
    comparison = Comparison(RNN.name, {"wrong": wrong, "renamed": put_inside(wrong)})
    for name, layer in comparison.layers.items():
        finding = comparison.simplify(find_layer_rule(rule), name)
        assert finding is not None
        found = find_program(resolve_target(layer), finding)
        assert bool(found.source) == (is_shown or name == "wrong")


def test_a_program_changes_the_attribute_if_that_stops_the_layer() -> None:
    comparison = Comparison(RNN.name, {"bug": find_bank(RNN.name).bugs["MaskOfIntegers"]})
    finding = comparison.simplify(find_layer_rule("dropout.attribute-changed"), "bug")
    assert finding is not None
    assert finding.kind is FindingKind.SUBJECT_ERROR
    assert find_program(resolve_target(comparison.layers["bug"]), finding).source is not None


class NeedsEntryInside(nn.RNN):
    """A layer that has, and wants, an entry of the state_dict if it is inside another module."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if prefix:
            destination[f"{prefix}inside"] = torch.ones(1)

    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        _, _, missing, unexpected, _ = others
        super()._load_from_state_dict(state, prefix, *others)
        name = f"{prefix}inside"
        if prefix and name not in state:
            missing.append(name)
        elif name in unexpected:
            unexpected.remove(name)


class HasBuffer(nn.RNN):
    """A layer with an entry of the state_dict besides its parameters."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("calls", torch.zeros(1))


class AssignsNothing(nn.RNN):
    """A layer that ignores the entries that it is asked to assign."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        return None if assign else super().load_state_dict(state, strict)


NESTED = make_case(prior_use=ModuleUses.NESTED, batch=2, steps=2)


def test_a_layer_that_needs_more_inside_a_module_breaks_the_rule_about_it() -> None:
    rule = find_layer_rule("modules.nested")
    finding = check(rule, NeedsEntryInside, NESTED)
    assert isinstance(finding, Finding)
    assert "inside" in finding.message
    comparison = Comparison(RNN.name, {"NeedsEntryInside": NeedsEntryInside})
    assert comparison.find_program("NeedsEntryInside", finding) is not None


def test_an_entry_that_the_layer_always_has_does_not_concern_other_rules() -> None:
    bugs = {name: find_bank(RNN.name).bugs[name] for name in ("PrefixIgnored", "BatchSizeBaked")}
    comparison = Comparison(RNN.name, {"HasBuffer": HasBuffer, **bugs})
    rules = [find_layer_rule(name) for name in ("modules.nested", "modules.second-call")]
    assert list(comparison.list_disagreements(rules)) == []
    assert check(rules[0], HasBuffer, NESTED) is None


def test_a_program_assigns_the_entries_as_the_rule_does() -> None:
    rule = find_layer_rule("modules.load-state-dict")
    near = make_case(prior_use=ParameterUpdates.RELOADED, seed=1, batch=2, steps=2)
    finding = check(rule, AssignsNothing, near)
    assert isinstance(finding, Finding)
    comparison = Comparison(RNN.name, {"AssignsNothing": AssignsNothing})
    assert comparison.find_program("AssignsNothing", finding) == (finding, 0)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "rule", "names"),
    [
        pytest.param("lstm", "modes.no-grad", ["NoGradStillRecords"], id="pair of states"),
        pytest.param("lstm", "gradients.exact-zeros", ["FutureHasGradient"], id="packed"),
        pytest.param("rnn-cell", "gradients.exact-zeros", ["FutureHasGradient"], id="cell"),
        pytest.param("gru-cell", "samples.many-rows", ["NeighbourLeaks"], id="given states"),
        pytest.param(
            "lstm-cell",
            "gradients.second-order",
            ["GivenStateCut", "FrozenStopsAll"],
            id="in float64",
        ),
        pytest.param(
            "lstm-cell",
            "gradients.float32-sums",
            ["OutputGateGradientHalved", "SecondBackwardFails"],
            id="a few roundoffs",
        ),
        pytest.param("gru", "errors.leave-no-trace", ["LayoutLostOnError"], id="next call"),
        pytest.param(
            "rnn-cell",
            "errors.leave-no-trace",
            ["RefusedCallLeavesMark"],
            id="initial state of the next call",
        ),
        pytest.param(
            "rnn",
            "gradients.float32-sums",
            ["GivenStateCut", "SummedLossReadOnce"],
            id="contiguous gradients of results",
        ),
        pytest.param(
            "rnn",
            "gradients.detached-state",
            ["FinalStateCut", "FrozenStopsAll"],
            id="not in 16 bits, where the slope of relu depends on rounding",
        ),
        pytest.param(
            "rnn-cell",
            "parameters.shapes",
            ["InputWeightTransposed", "LayerNames"],
            id="other names",
        ),
        pytest.param(
            "rnn",
            "side-effects.deterministic",
            ["WeightsDropped", "PackedDataRounded"],
            id="arguments that a call changes",
        ),
    ],
)
def test_a_program_shows_the_first_fault_and_no_other(
    kind: str, rule: str, names: list[str]
) -> None:
    layers = {name: find_bank(kind).bugs[name] for name in names}
    comparison = Comparison(kind, layers)
    finding = comparison.simplify(find_layer_rule(rule), names[0])
    assert finding is not None
    program = comparison.find_program(names[0], finding)
    assert program is not None
    assert [name for name in names if comparison.is_failing(name, *program)] == names[:1]
