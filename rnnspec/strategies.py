"""Hypothesis strategies for your own tests: configurations, cases, and sequence lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from rnnspec.cases.axes import AXES, AXIS, parse_value
from rnnspec.cases.case import Case, list_constraints
from rnnspec.cases.drawing import PROBABILITIES, cases_in_row
from rnnspec.cases.plan import Scope
from rnnspec.cases.sizes import DIMENSIONS, lengths
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, UNGATED, Nonlinearity, find_kind

__all__ = ["cases", "configs", "lengths"]


@st.composite
def configs(
    draw: st.DrawFn,
    *,
    max_size: int = 8,
    max_layers: int = 3,
    dropout: bool = False,
    kind: str = UNGATED.name,
) -> Config:
    """Draw configurations of a kind; if your test fails, they shrink to `RNN(1, 1)`, `GRUCell(1,
    1)` and so on.

    `input_size` and `hidden_size` are at most `max_size`, and `num_layers` is at most `max_layers`.
    The `dropout` argument is 0; use `dropout=True` to draw probabilities from 0 to 1. Arguments
    that the kind does not have keep their defaults. Raises ValueError if a bound is below 1 or the
    kind does not exist.
    """
    own = find_kind(kind)
    for name, bound in (("max_size", max_size), ("max_layers", max_layers)):
        if bound < 1:
            raise ValueError(f"{name} must be at least 1, got {bound!r}")
    input_size, hidden_size = (draw(st.integers(1, max_size)) for _ in range(2))
    probabilities = st.one_of(st.just(0.0), PROBABILITIES, st.just(1.0))
    domains: dict[str, st.SearchStrategy[Any]] = {
        "num_layers": st.integers(1, max_layers),
        "nonlinearity": st.sampled_from(own.nonlinearities or (Nonlinearity.TANH.value,)),
        "bias": st.booleans().map(lambda lacks: not lacks),
        "batch_first": st.booleans(),
        "dropout": probabilities if dropout else st.just(0.0),
        "bidirectional": st.booleans(),
        "proj_size": st.integers(0, hidden_size - 1),
    }
    drawn = {name: draw(each) for name, each in domains.items() if name in own.arguments}
    return Config(input_size, hidden_size, kind=kind, **drawn)


@st.composite
def cases(draw: st.DrawFn, /, *, kind: str = UNGATED.name, **fixed: object) -> Case:
    """Draw cases. A case describes how to build and call a layer, and with which values.

    `kind` is the kind of layer or cell, such as lstm or gru-cell. Use other keyword arguments to
    fix an axis to a value, which is an enum member or its text: `layout="packed"` is the same as
    `layout=Layout.PACKED`. If your test fails, cases shrink to sizes of 1 and the simplest value of
    every axis. Use `rnnspec.draw_values(case)` to get the values of a case. Raises ValueError if
    the kind, an axis or a value does not exist, or if the fixed values contradict each other or the
    kind.
    """
    find_kind(kind)
    scope = Scope(kind=kind)
    lacking = {axis.name: axis.simplest for axis in AXES if not scope.has_axis(axis.name)}
    row = {**lacking, **{name: parse_value(name, value) for name, value in fixed.items()}}
    for name, simplest in lacking.items():
        if row[name] != simplest:
            raise ValueError(f"{KINDS[kind].page} has no {name}, got {fixed[name]!r}")
    if not _fulfils_constraints(row, kind):
        listed = ", ".join(f"{name}={row[name]}" for name in fixed)
        raise ValueError(f"these values contradict each other: {listed}")
    for name in (each for each in ("distribution", *AXIS) if each not in row):
        # Draw from all values of the axis, so that shrinking one axis does not change the draws of
        # the others.
        values = scope.list_values(AXIS[name])
        drawn = draw(st.sampled_from(values))
        row[name] = next(
            value for value in (drawn, *values) if _fulfils_constraints({**row, name: value}, kind)
        )
    # Use one draw per dimension, so that each can shrink by itself.
    large = tuple(name for name in DIMENSIONS if draw(st.integers(0, 5)) == 5)
    case = draw(cases_in_row({**{axis.name: row[axis.name] for axis in AXES}, "kind": kind}, large))
    return case.replace(seed=draw(st.integers(0, 2**16)))


def _fulfils_constraints(row: Mapping[str, object], kind: str) -> bool:
    """Return whether the values chosen so far fulfil the constraints on their axes."""
    return all(each.allows(row) for each in list_constraints(kind) if row.keys() >= set(each.axes))
