"""Tests of the named values and of the functions that change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference
from rnnspec.reference.steps import step_of
from rnnspec.reference.values import (
    OTHERS,
    STATES,
    VALUES,
    BoundArguments,
    Changes,
    Spot,
    change_values,
)
from tests.diagnosis.planted_mistakes import expect


def make_given(kind: str, *, initial: bool = True, **arguments: Any) -> Given:
    case = Case(
        config=Config(2, 3, kind=kind, **arguments),
        steps=4,
        batch=2,
        seed=1,
        initial_state=InitialState.GIVEN if initial else InitialState.ABSENT,
    )
    return Given.from_values(case, expect(case).values, gradients=True)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"gate.forgot": torch.neg}, "no value has the name 'gate.forgot'. Did you mean 'gate."),
        ({"before": lambda value, frist: value}, "'before' cannot ask for 'frist'. Did you mean"),
        ({"output": lambda value, first: value}, "a change of 'output' cannot ask for 'first'"),
    ],
)
def test_names_are_checked_when_changes_are_declared(functions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Changes.declare(functions)


def list_expected(kind: Kind) -> dict[str, frozenset[str]]:
    """Return the values of a kind, each with the values that a change of it may request."""
    parts = {
        f"{name}.{letter}": seen | {"states"}
        for name, seen in STATES.items()
        for letter in kind.states
    }
    found = {**STATES, **parts, **OTHERS, **step_of(kind).seen}
    unused = ("rate", "mask")  # predictions draw no masks
    for name in (*unused, *(() if kind.has_projection else ("weight_hr", "projected"))):
        del found[name]
    return found


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_every_value_passes_through_its_changes_with_the_values_they_may_request(kind: str) -> None:
    asked: dict[str, set[str]] = {}

    def watch(name: str) -> tuple[BoundArguments, ...]:
        def note(value: Any, spot: Spot, seen: Mapping[str, Any]) -> Any:
            asked.setdefault(name, set()).update(seen)
            return value

        return (note,)

    changes = Changes({name: watch(name) for name in VALUES})
    calls = [make_given(kind, num_layers=2, bidirectional=True), make_given(kind, initial=False)]
    if LAYER_KINDS[kind].has_projection:
        calls.append(make_given(kind, proj_size=2))
    for given in calls:
        reference = Reference(given, changes)
        output, states = reference.compute()
        expected = Reference(given).compute()
        assert torch.equal(output, expected[0])
        assert all(torch.equal(state, expected[1][name]) for name, state in states.items())
        assert not reference.packs_output
        d_final = {name[0]: torch.ones_like(state) for name, state in states.items()}
        reference.differentiate(torch.ones_like(output), d_final)
    assert asked == list_expected(LAYER_KINDS[kind])


def test_changes_of_two_mistakes_are_applied_one_after_the_other() -> None:
    given = make_given("lstm")
    double, add = (
        change_values({"before.c": lambda c: 2 * c}),
        change_values({"before.c": lambda c: c + 1}),
    )
    both = change_values({"before.c": lambda c: 2 * c + 1})
    expected = Reference(given, both).compute()
    found = Reference(given, double.compose(add)).compute()
    assert torch.equal(found[0], expected[0])
    other = Reference(given, add.compose(double)).compute()
    assert not torch.equal(other[0], expected[0])


def test_a_change_is_made_only_in_the_layers_and_directions_that_it_is_limited_to() -> None:
    given = make_given("gru", num_layers=2, bidirectional=True)
    places = set()

    def note(h: torch.Tensor, spot: Any) -> torch.Tensor:
        places.add(spot.place)
        return h

    changes = Changes.declare({"h": note}).limit(lambda spot: spot.layer == 1)
    Reference(given, changes).compute()
    assert places == {(1, 0), (1, 1)}
