"""Hypothesis strategies for your own tests: configurations, cases, and sequence lengths."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from rnnspec.cases.axes import AXES, AXIS, parse_value
from rnnspec.cases.case import CONSTRAINTS, Case
from rnnspec.cases.drawing import PROBABILITIES, cases_in_row
from rnnspec.cases.sizes import DIMENSIONS, lengths
from rnnspec.contract.config import Config

__all__ = ["cases", "configs", "lengths"]


@st.composite
def configs(
    draw: st.DrawFn, *, max_size: int = 8, max_layers: int = 3, dropout: bool = False
) -> Config:
    """Draw configurations of nn.RNN that shrink to `RNN(1, 1)`.

    `input_size` and `hidden_size` are at most `max_size`, and `num_layers` is at most `max_layers`.
    The `dropout` argument is 0; if `dropout` is true, it is drawn from probabilities from 0 to 1.
    Raises ValueError if a bound is below 1.
    """
    for name, bound in (("max_size", max_size), ("max_layers", max_layers)):
        if bound < 1:
            raise ValueError(f"{name} must be at least 1, got {bound!r}")
    return Config(
        input_size=draw(st.integers(1, max_size)),
        hidden_size=draw(st.integers(1, max_size)),
        num_layers=draw(st.integers(1, max_layers)),
        nonlinearity=draw(st.sampled_from(("tanh", "relu"))),
        bias=not draw(st.booleans()),
        batch_first=draw(st.booleans()),
        dropout=draw(st.one_of(st.just(0.0), PROBABILITIES, st.just(1.0))) if dropout else 0.0,
        bidirectional=draw(st.booleans()),
    )


@st.composite
def cases(draw: st.DrawFn, /, **fixed: object) -> Case:
    """Draw cases, each of which says how a layer is built and called, and on which numbers.

    Keyword arguments fix axes to a value, which is an enum member or its text: `layout="packed"` is
    the same as `layout=Layout.PACKED`. Cases shrink to sizes of 1 and the simplest value of every
    axis. `rnnspec.draw_values(case)` returns the numbers of a case. Raises ValueError if an axis or
    a value does not exist, or if the fixed values contradict each other.
    """
    row = {name: parse_value(name, value) for name, value in fixed.items()}
    if not _fulfils_constraints(row):
        listed = ", ".join(f"{name}={value}" for name, value in row.items())
        raise ValueError(f"these values contradict each other: {listed}")
    for name in (each for each in ("distribution", *AXIS) if each not in fixed):
        # Draw from all values of the axis: if one axis shrinks, the draws of the others stay as
        # they are.
        drawn = draw(st.sampled_from(AXIS[name].values))
        row[name] = next(
            value
            for value in (drawn, *AXIS[name].values)
            if _fulfils_constraints({**row, name: value})
        )
    # One draw for each dimension, so that each can shrink by itself.
    large = tuple(name for name in DIMENSIONS if draw(st.integers(0, 5)) == 5)
    case = draw(cases_in_row({axis.name: row[axis.name] for axis in AXES}, large))
    return case.replace(seed=draw(st.integers(0, 2**16)))


def _fulfils_constraints(row: Mapping[str, object]) -> bool:
    """Return whether the values chosen so far fulfil the constraints on their axes."""
    return all(each.allows(row) for each in CONSTRAINTS if row.keys() >= set(each.axes))
