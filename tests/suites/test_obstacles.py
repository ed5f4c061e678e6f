"""Test that a missing feature skips its rules with a reason, and other rules have enough cases."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import AXES, Feature
from rnnspec.cases.drawing import make_pool_case
from rnnspec.cases.plan import PROFILES, Scope
from rnnspec.contract.kinds import KINDS, LSTM, LSTM_CELL, RNN
from rnnspec.engine.outcome import Finding, check_case
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.rulekit.selection import select_in_force
from rnnspec.rules.catalogue import find_layer_rule, list_layer_rules
from rnnspec.subjects.documented import require_documented
from rnnspec.suites.obstacles import find_obstacle, limit_domains, list_restrictions
from rnnspec.suites.planning import LayerPlan

SINGLE = [(each,) for each in Feature]
PAIRS = list(itertools.combinations(Feature, 2))
QUICK = PROFILES["quick"]


def assert_reached_or_explained(kind: str, lacking: Collection[Feature]) -> None:
    """Fail if a rule has too few cases and no reason, or a reason although it has cases."""
    reasons = {each: f"lacks {each}" for each in lacking}
    scope = Scope(frozenset(lacking), (), kind)
    within = limit_domains(scope, list_restrictions(scope, reasons))
    assert within == {axis.name: scope.list_values(axis) for axis in AXES}
    rules = select_in_force(list_layer_rules(), kind=kind)
    plan = LayerPlan(QUICK, 0, scope, (), rules, lambda case: case)
    # Sizes that nobody planned stand for those that Hypothesis draws.
    drawn = [make_pool_case(row, number + 2) for number, row in enumerate(plan.rows)]
    cases = [plan.accept(number, case) for number, case in enumerate(drawn)]
    for rule in rules:
        if not rule.needs.isdisjoint(lacking):
            continue
        obstacle, reached = find_obstacle(rule, scope, reasons), sum(map(rule.when, cases))
        if obstacle:
            assert reached == 0, (rule.id, lacking, obstacle)
            assert "lacks" in obstacle or "no argument" in obstacle, (rule.id, obstacle)
        else:
            assert reached >= QUICK.planned, (rule.id, lacking)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", [LSTM.name, LSTM_CELL.name])
def test_without_initial_states_every_rule_is_reached_or_explained(kind: str) -> None:
    assert_reached_or_explained(kind, [Feature.STATE])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lacking", [*SINGLE, *PAIRS], ids=lambda each: "-".join(map(str, each)))
def test_without_features_every_rule_is_reached_or_explained(
    kind: str, lacking: tuple[Feature, ...]
) -> None:
    assert_reached_or_explained(kind, lacking)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("name", "kind", "lacking", "expected"),
    [
        ("cell-state.initial", "lstm", [Feature.STATE], "lacks state"),
        ("gradients.c-0", "lstm", [Feature.STATE], "lacks state"),
        ("gradients.c-0", "lstm-cell", [Feature.STATE, Feature.BIAS], "lacks state"),
        ("gradients.c-0", "lstm", [Feature.BIAS], ""),
        ("stacking.reads-both-directions", "gru", [Feature.NUM_LAYERS], "lacks num_layers"),
        # Exact values need relu, or a memory that is given from outside.
        (
            "recurrence.exact",
            "lstm",
            [Feature.STATE],
            "nn.LSTM has no argument nonlinearity and lacks state",
        ),
        ("recurrence.exact", "gru", [], ""),
        # Each of two lacking features suffices: one is named.
        ("gradients.h-0", "rnn", [Feature.FLOAT64, Feature.FLOAT32, Feature.STATE], "lacks state"),
    ],
)
def test_the_reason_names_the_missing_feature(
    name: str, kind: str, lacking: Collection[Feature], expected: str
) -> None:
    reasons = {each: f"lacks {each}" for each in lacking}
    scope = Scope(frozenset(lacking), (), kind)
    assert find_obstacle(find_layer_rule(name), scope, reasons) == expected


def test_an_axis_that_the_user_has_fixed_is_a_reason() -> None:
    scope = Scope(pinned=(("num_layers", 1),))
    obstacle = find_obstacle(find_layer_rule("states.routing"), scope, {})
    assert obstacle == "num_layers is 1 in this run"


def test_a_layer_without_initial_states_conforms() -> None:
    report = rnnspec.check(
        torch.nn.LSTM,
        kind="lstm",
        profile="quick",
        cases=30,
        without=["state"],
        rules=["cell-state.initial", "gradients.c-0", "shapes.returns-pair"],
    )
    assert report.verdict is RunVerdict.CONFORMS
    verdicts = {each.rule: (each.verdict, each.message) for each in report.results}
    assert verdicts == {
        "cell-state.initial": (Verdict.NOT_APPLICABLE, "excluded by --without state"),
        "gradients.c-0": (Verdict.NOT_APPLICABLE, "excluded by --without state"),
        "shapes.returns-pair": (Verdict.PASS, ""),
    }


def make_lacking(kind: str, feature: Feature) -> type[torch.nn.Module]:
    """Return torch's layer without the argument that is a feature, if the feature is one."""
    whole = require_documented(KINDS[kind])

    def forward(self: torch.nn.Module, input: Any) -> Any:
        return whole.forward(self, input)

    def build(self: torch.nn.Module, *arguments: Any, **options: Any) -> None:
        if feature.text in options:
            raise TypeError(f"got an unexpected keyword argument {feature.text!r}")
        whole.__init__(self, *arguments, **options)

    changed = {"forward": forward} if feature is Feature.STATE else {"__init__": build}
    return type("Lacking", (whole,), changed)


def test_no_rule_passes_none_to_a_layer_that_takes_no_state() -> None:
    report = rnnspec.check(
        make_lacking(RNN.name, Feature.STATE),
        profile="quick",
        cases=5,
        without=["state"],
        rules=["states.none", "states.absent-is-zero"],
    )
    verdicts = {each.rule: each.verdict for each in report.results}
    assert verdicts["states.none"] is Verdict.NOT_APPLICABLE
    assert Verdict.FAIL not in verdicts.values()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feature", Feature, ids=str)
def test_rules_use_no_feature_that_is_lacking(kind: str, feature: Feature) -> None:
    target = make_lacking(kind, feature)
    options = CheckOptions(profile="quick", kind=kind, without=(feature.text,))
    suite = prepare_suite(target, options)
    drawn = [make_pool_case(row, number) for number, row in enumerate(suite.plan.rows)]
    cases = [suite.plan.accept(number, case) for number, case in enumerate(drawn)]
    for rule in suite.rules:
        if rule.needs.isdisjoint(suite.unsupported):
            for case in [each for each in cases if rule.when(each)][:2]:
                assert not isinstance(check_case(rule, suite.observe(case), 0), Finding), rule.id


def test_the_plan_does_not_depend_on_which_rules_are_checked() -> None:
    whole = prepare_suite(torch.nn.RNN, CheckOptions(profile="quick"))
    some = prepare_suite(torch.nn.RNN, CheckOptions(profile="quick", rules=("modules.*",)))
    assert list(whole.draw_cases(30, 50)) == list(some.draw_cases(30, 50))
