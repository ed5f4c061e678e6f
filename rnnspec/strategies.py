"""Hypothesis strategies for users' own tests: configurations, cases and lengths that shrink to the smallest."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from rnnspec.cases.axes import AXES, AXIS
from rnnspec.cases.case import CONSTRAINTS, Case
from rnnspec.cases.drawing import PROBABILITIES, cases_in_row
from rnnspec.cases.sizes import DIMENSIONS, lengths
from rnnspec.contract.config import Config

__all__ = ["cases", "configs", "lengths"]


@st.composite
def configs(
    draw: st.DrawFn, *, max_size: int = 8, max_layers: int = 3, dropout: bool = False
) -> Config:
    """Configurations of nn.RNN with sizes up to `max_size`; they shrink to RNN(1, 1).

    Raises ValueError where a bound is below 1. `dropout=True` also draws probabilities from 0 to 1.
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
        dropout=draw(st.sampled_from((0.0, *PROBABILITIES, 1.0))) if dropout else 0.0,
        bidirectional=draw(st.booleans()),
    )


@st.composite
def cases(draw: st.DrawFn, /, **fixed: object) -> Case:
    """Whole cases: how a layer is built, fed and called. Keyword arguments fix an axis, as in `cases(layout=Layout.PACKED)`.

    The tensors of a case come from `rnnspec.draw_values(case)`. Cases shrink to a layer of sizes 1 with every axis at its simplest.
    Raises ValueError for an axis or a value that does not exist, and for values that contradict each other.
    """
    for name, value in fixed.items():
        _check_axis(name, value)
    if not _holds(fixed):
        raise ValueError(
            f"{', '.join(f'{name}={value!r}' for name, value in fixed.items())} contradict each other"
        )
    row = dict(fixed)
    for name in (each for each in ("distribution", *AXIS) if each not in fixed):
        # Every axis draws from all its values, so that making one simpler does not disturb what the others drew.
        drawn = draw(st.sampled_from(AXIS[name].values))
        row[name] = next(
            value for value in (drawn, *AXIS[name].values) if _holds({**row, name: value})
        )
    # One choice a dimension, so that each can become small by itself.
    large = tuple(name for name in DIMENSIONS if draw(st.integers(0, 5)) == 5)
    case = draw(cases_in_row({axis.name: row[axis.name] for axis in AXES}, large))
    return case.replace(seed=draw(st.integers(0, 2**16)))


def _holds(chosen: Mapping[str, object]) -> bool:
    """Whether the ties between the axes chosen so far are fulfilled."""
    return all(each.allows(chosen) for each in CONSTRAINTS if chosen.keys() >= set(each.axes))


def _check_axis(name: str, value: object) -> None:
    if name not in AXIS:
        raise ValueError(f"no axis {name!r}; the axes are {', '.join(AXIS)}")
    if value not in AXIS[name].values:
        raise ValueError(
            f"axis {name!r} has no value {value!r}; it has {', '.join(map(repr, AXIS[name].values))}"
        )
