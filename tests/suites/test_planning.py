"""The plan of a check: every rule is checked in the number of cases that the profile states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rnnspec.api import prepare_suite
from rnnspec.cases.axes import AXIS, Distribution, DType, Feature, Layout
from rnnspec.cases.axes.dtype import HALF_DTYPES
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import Condition, has_size_at_least, is_packed, one_in
from rnnspec.cases.drawing import make_pool_case
from rnnspec.cases.opening import list_opening_cases
from rnnspec.cases.plan import PROFILES, Profile, Scope, list_real_rows, plan_rows
from rnnspec.cases.sizes import LONGEST, REAL_SIZES, USUAL_SIZES
from rnnspec.contract.kinds import KINDS, RNN
from rnnspec.observe.observation import Observation
from rnnspec.options import CheckOptions
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.selection import AnyRule, select_in_force
from rnnspec.rules.catalogue import find_layer_rule, list_layer_rules
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.subject import TorchSubject
from rnnspec.suites.obstacles import find_obstacle
from rnnspec.suites.planning import LayerPlan

QUICK = PROFILES["quick"]
LSTM_LAYER = require_documented(KINDS["lstm"])
WITHOUT_TF32 = {Feature.TF32: "it needs CUDA"}


def make_plan(kind: str, seed: int, *rules: AnyRule, profile: Profile = QUICK) -> LayerPlan:
    scope = Scope(frozenset(WITHOUT_TF32), (), kind)
    opening = tuple(list_opening_cases(scope, seed))
    chosen = rules or select_in_force(list_layer_rules(), kind=kind)
    return LayerPlan(profile, seed, scope, opening, tuple(chosen), lambda case: case)


def make_rule(when: Condition[Case]) -> Rule[Case, Observation]:
    return replace(find_layer_rule("shapes.returns-pair"), when=when)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("profile", "seeds"),
    [
        ("quick", range(1)),
        pytest.param("quick", range(1, 25), marks=pytest.mark.slow),
        pytest.param("default", range(3), marks=pytest.mark.slow),
    ],
)
def test_every_rule_gets_the_cases_that_the_profile_states(
    kind: str, profile: str, seeds: range
) -> None:
    target = require_documented(KINDS[kind])
    for seed in seeds:
        suite = prepare_suite(target, CheckOptions(profile=profile, kind=kind, seed=seed))
        cases = [case for _, case in suite.draw_cases(0, None)]
        for rule in suite.rules:
            if rule.needs.isdisjoint(suite.unsupported):
                is_reached = sum(map(rule.when, cases)) >= suite.profile.planned
                assert is_reached or suite.find_obstacle(rule), (rule.id, seed)


def test_suites_share_a_plan_only_if_all_that_it_depends_on_is_equal() -> None:
    suite = prepare_suite(LSTM_LAYER, CheckOptions(profile="quick"))
    again = prepare_suite(LSTM_LAYER, CheckOptions(profile="quick", rules=("shapes.*",)))
    assert again.plan is suite.plan
    assert isinstance(suite.subject, TorchSubject)
    others = [
        replace(suite, profile=replace(QUICK, planned=2)),
        replace(suite, profile=replace(QUICK, real_sizes=(LONGEST,))),
        replace(suite, seed=1),
        replace(suite, pinned=(("dtype", DType.FLOAT64),)),
        prepare_suite(require_documented(KINDS["gru"]), CheckOptions(profile="quick")),
        *(
            replace(suite, subject=replace(suite.subject, fixed={name: value}))
            for name, value in (("dropout", 0.3), ("dropout", 0.4), ("proj_size", 2))
        ),
    ]
    assert len({id(each.plan) for each in (suite, *others)}) == 1 + len(others)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", ["quick", pytest.param("default", marks=pytest.mark.slow)])
def test_the_fewest_cases_still_reach_every_rule(kind: str, profile: str) -> None:
    options = CheckOptions(profile=profile, kind=kind, sizes="pool")
    whole = prepare_suite(require_documented(KINDS[kind]), options)
    fewest = replace(whole, is_reduced=True)
    cases = [case for _, case in fewest.draw_cases(0, None)]
    assert fewest.size == len(cases) < whole.size / 4
    assert list(fewest.draw_cases(2, 4)) == [(2, cases[2]), (3, cases[3])]
    every = [case for _, case in whole.draw_cases(0, None)]
    for rule in whole.rules:
        if rule.needs.isdisjoint(whole.unsupported):
            wanted = min(whole.profile.minimum, sum(map(rule.when, every)))
            assert sum(map(rule.when, cases)) >= wanted, rule.id
            for situation in rule.spans:
                is_drawn = any(map(rule.when & situation, every))
                assert any(map(rule.when & situation, cases)) is is_drawn, situation.text


@pytest.mark.parametrize("name", PROFILES)
def test_the_stated_number_is_more_than_a_rule_needs_to_pass(name: str) -> None:
    assert PROFILES[name].planned >= max(5, 3 * PROFILES[name].minimum)


def test_the_plan_changes_few_cases() -> None:
    scope = Scope(frozenset(WITHOUT_TF32))
    plan, rows, real = (
        make_plan("rnn", 0),
        plan_rows(QUICK, 0, scope),
        list_real_rows(QUICK, scope, 0),
    )
    assert plan.rows[: len(rows)] == rows
    assert plan.rows[-len(real) :] == real
    assert len(plan.rows) <= 1.02 * len(rows) + len(real)
    drawn = [make_pool_case(row, 3).replace(seed=1) for row in rows]
    accepted = [plan.accept(number, case) for number, case in enumerate(drawn)]
    same = [
        one.replace(seed=0) == other.replace(seed=0)
        for one, other in zip(drawn, accepted, strict=True)
    ]
    assert sum(same) > 0.6 * len(rows)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "when",
    [
        one_in(59),
        is_packed & one_in(59, 2),
        has_size_at_least("steps", 20) & ~has_size_at_least("batch", 2) & one_in(31),
        # No row and no size of the pool has this, so cases are added.
        is_packed & Condition("seven samples", lambda case: case.steps == 1 and case.batch == 33),
    ],
    ids=lambda each: each.text,
)
def test_a_rule_that_few_cases_suit_gets_as_many(when: Condition[Case]) -> None:
    plan = make_plan(RNN.name, 4, make_rule(when))
    for distance in (0, 5):
        drawn = (make_pool_case(row, number + distance) for number, row in enumerate(plan.rows))
        cases = [plan.accept(number, case) for number, case in enumerate(drawn)]
        assert sum(map(when, [*plan.opening, *cases])) >= QUICK.planned


def test_a_rule_that_no_case_suits_gets_none_and_a_reason() -> None:
    rule = make_rule(Condition("something impossible", lambda case: False))
    assert make_plan(RNN.name, 0, rule).rows == make_plan(RNN.name, 0, make_rule(is_packed)).rows
    obstacle = find_obstacle(rule, Scope(), {})
    assert obstacle == "no case of nn.RNN has this: something impossible"


def test_sizes_that_suit_the_rules_are_kept() -> None:
    when = has_size_at_least("batch", 2)
    plan = make_plan(RNN.name, 0, make_rule(when))
    drawn = [make_pool_case(row, 1) for row in plan.rows]
    kept = [plan.accept(number, case).size("batch") for number, case in enumerate(drawn)]
    assert kept == [case.size("batch") for case in drawn]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_for_real_sizes_have_every_size_layout_and_kind_of_numbers(kind: str) -> None:
    rows = list_real_rows(PROFILES["thorough"], Scope(kind=kind), 3)
    new = [each for each in rows if each.row["distribution"] is Distribution.NEW]
    single = [each for each in new if each.row["num_layers"] == 1]
    wide = [each for each in single if each.row["dtype"] is DType.FLOAT32]
    assert all(sizes in [each.sizes for each in wide] for sizes in (*REAL_SIZES, LONGEST))
    layouts = {each.row["layout"] for each in wide}
    assert layouts == set(Scope(kind=kind).list_values(AXIS["layout"]))
    usual = USUAL_SIZES["hidden_size"]
    others = [each for each in wide if each.sizes and each.sizes["hidden_size"] != usual]
    assert {each.row["layout"] for each in others} == {Layout.BATCHED}
    wide_units = [each for each in others if each.sizes and each.sizes["hidden_size"] >= 512]
    for name in ("nonlinearity", "mode", "initial_state"):
        values = Scope(kind=kind).list_values(AXIS[name])
        assert {each.row[name] for each in wide_units} == set(values)
    assert {each.row["dtype"] for each in single if each.row["dtype"].is_half} == {*HALF_DTYPES}
    assert any(each.row["distribution"].is_exact for each in rows)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not KINDS[kind].is_cell])
def test_a_quick_run_has_long_sequences_in_both_directions_and_many_samples_with_many_units(
    kind: str,
) -> None:
    rows = list_real_rows(QUICK, Scope(kind=kind), 5)
    long = [each for each in rows if each.sizes and each.sizes["steps"] >= 512]
    assert long
    assert all(each.row["bidirectional"] for each in long)
    assert any(
        each.sizes and each.sizes["batch"] >= 256 and each.sizes["hidden_size"] >= 128
        for each in rows
    )


def test_rows_for_real_sizes_keep_to_a_scope() -> None:
    scope = Scope(frozenset({Feature.FLOAT32, Feature.PACKED}), (("num_layers", 3),))
    rows = list_real_rows(QUICK, scope, 0)
    assert {each.row["num_layers"] for each in rows} == {3}
    assert not any(each.row["layout"].is_packed for each in rows)
    assert all(each.row["dtype"] is not DType.FLOAT32 for each in rows)


def test_a_condition_chooses_the_seed_of_a_case_with_real_sizes() -> None:
    rule = find_layer_rule("stacking.single-steps")
    plan = make_plan("lstm", 0, rule)
    count = sum(row.cases for row in plan.rows)
    cases = [
        plan.accept(number, make_pool_case(row, 0))
        for number, row in enumerate(plan.rows)
        if row.sizes
    ]
    assert count == len(plan.rows)
    assert any((rule.when & rule.spans[0])(case) for case in cases)
