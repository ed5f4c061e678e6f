"""The search for a case that fulfils a condition: right, complete, and quick."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from rnnspec.cases.axes import AXES, AXIS, Distribution, DropoutLevel, Layout, Mode
from rnnspec.cases.case import Case, is_consistent, list_constraints
from rnnspec.cases.conditions import (
    has_different_lengths,
    has_equal_lengths,
    has_predictable_results,
    has_size_at_least,
    has_value,
    is_bidirectional,
    is_packed,
    is_unbatched,
    list_seeds,
    one_in,
)
from rnnspec.cases.drawing import make_pool_case
from rnnspec.cases.plan import PlanRow, Scope
from rnnspec.cases.reach import Domains, list_domains, make_search
from rnnspec.contract.kinds import KINDS, LSTM, RNN
from rnnspec.rulekit.selection import select_in_force
from rnnspec.rules.catalogue import list_layer_rules

FREE = 5
"""The number of axes that have two values in a domain that is searched by brute force."""


def choose_domains(kind: str, seed: int) -> dict[str, tuple[Any, ...]]:
    """Return one value for most axes and two for some, all of them drawn."""
    rng = Random(seed)
    whole = list_domains(Scope(kind=kind))
    free = rng.sample([name for name, values in whole.items() if len(values) > 1], k=FREE)
    return {
        name: tuple(rng.sample(values, k=2 if name in free else 1))
        for name, values in whole.items()
    }


def list_all(domains: Domains, kind: str) -> Iterator[Case]:
    """Yield cases for each choice that the constraints allow, with some sizes of the pool."""
    for chosen in itertools.product(*domains.values()):
        row = dict(zip(domains, chosen, strict=True))
        if all(each.allows(row) for each in list_constraints(kind)):
            for number in range(0, 11, 2):
                yield make_pool_case(PlanRow({**row, "kind": kind}, 1), number)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "seeds", [range(1), pytest.param(range(1, 30), marks=pytest.mark.slow)], ids=["one", "many"]
)
def test_the_search_agrees_with_brute_force(kind: str, seeds: range) -> None:
    rules = select_in_force(list_layer_rules(), kind=kind)
    for seed in seeds:
        domains = choose_domains(kind, seed)
        cases = list(list_all(domains, kind))
        if not cases:
            continue
        search = make_search(domains, kind, seed)
        for rule in rules:
            found = search.find(rule.when.can_hold)
            if any(map(rule.when.can_hold, cases)):
                assert found is not None, (rule.id, seed)
            if found is not None:
                assert rule.when.can_hold(found), (rule.id, seed)
                assert is_consistent(found), (rule.id, seed)
                assert all(found.get_choice(name) in domains[name] for name in domains)


def test_constraints_exclude_conditions() -> None:
    domains = list_domains(Scope(kind=RNN.name)) | {"mode": (Mode.EVAL,)}
    search = make_search(domains, RNN.name)
    assert search.find(has_value(Distribution.READABLE).holds) is None
    assert search.find(has_value(DropoutLevel.SOME).holds) is not None


@pytest.mark.parametrize(
    "condition",
    [
        has_different_lengths,
        has_equal_lengths,
        is_unbatched & is_bidirectional,
        is_packed & has_size_at_least("steps", 20) & ~has_size_at_least("batch", 2),
        ~has_predictable_results,
    ],
    ids=lambda each: each.text,
)
def test_conditions_on_sizes_and_lengths_are_fulfilled(condition: Any) -> None:
    for kind in (RNN, LSTM):
        for seed in range(4):
            found = make_search(list_domains(Scope(kind=kind.name)), kind.name, seed).find(
                condition
            )
            assert found is not None
            assert condition(found)


def test_other_seeds_find_other_cases() -> None:
    domains = list_domains(Scope())
    found = [make_search(domains, RNN.name, seed).find(is_packed) for seed in range(6)]
    assert len({str(each) for each in found}) > 3
    assert {each.layout for each in found if each} == {Layout.PACKED, Layout.PACKED_UNSORTED}


def test_the_seed_does_not_change_the_conditions_that_can_hold() -> None:
    condition = is_packed & one_in(5)
    case = make_search(list_domains(Scope()), RNN.name).find(condition.can_hold)
    assert case is not None
    seeded = [case.replace(seed=seed) for seed in range(100)]
    assert all(map(condition.can_hold, seeded))
    assert {condition(each) for each in seeded} == {False, True}
    assert all(map((~condition).can_hold, seeded))
    assert not (condition & ~is_packed).can_hold(case)
    assert (one_in(7) | ~is_packed).can_hold(case)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_applies_with_a_seed_of_the_list_wherever_it_can(kind: str) -> None:
    search = make_search(list_domains(Scope(kind=kind)), kind)
    found = {
        rule: search.find(rule.when.can_hold)
        for rule in select_in_force(list_layer_rules(), kind=kind)
    }
    for rule, case in found.items():
        if case is not None:
            for first in range(case.seed, case.seed + 2):
                seeded = (case.replace(seed=seed) for seed in list_seeds(first))
                assert any(map(rule.when, seeded)), rule.id


def test_no_condition_selects_fewer_cases_than_the_list_of_seeds_reaches() -> None:
    with pytest.raises(ValueError, match="one case in at most 60, got 61"):
        one_in(2, of_cells=61)


def test_every_axis_has_a_domain() -> None:
    assert set(list_domains(Scope())) == set(AXIS) == {axis.name for axis in AXES}
