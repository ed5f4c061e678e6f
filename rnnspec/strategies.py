"""Hypothesis strategies for users' own tests: configurations, cases and lengths that shrink to the smallest."""

from __future__ import annotations

from hypothesis import strategies as st

from rnnspec.cases.axes import AXES
from rnnspec.cases.case import TIES, Case
from rnnspec.cases.drawing import PROBABILITIES, cases_of
from rnnspec.cases.sizes import lengths
from rnnspec.contract.config import Config

__all__ = ["cases", "configs", "lengths"]


@st.composite
def configs(draw: st.DrawFn, *, max_size: int = 8, max_layers: int = 3, dropout: bool = False) -> Config:
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
def cases(draw: st.DrawFn, **fixed: object) -> Case:
    """Whole cases: how a layer is built, fed and called. Keyword arguments fix an axis, as in `cases(layout="packed")`.

    The tensors of a case come from `rnnspec.values_of(case)`. Cases shrink to a layer of sizes 1 with every axis at its simplest.
    Raises ValueError for an axis or a value that does not exist.
    """
    for name, value in fixed.items():
        _check_axis(name, value)
    row = {axis.name: fixed.get(axis.name, draw(st.sampled_from(axis.values))) for axis in AXES}
    if not all(tie.holds(row) for tie in TIES):
        row |= {"dropout": "none", "values": "plain"} | {name: fixed[name] for name in ("dropout", "values") if name in fixed}
    case = draw(cases_of(row).filter(lambda _: all(tie.holds(row) for tie in TIES)))
    return case.altered(seed=draw(st.integers(0, 2**16)))


def _check_axis(name: str, value: object) -> None:
    axes = {axis.name: axis for axis in AXES}
    if name not in axes:
        raise ValueError(f"no axis {name!r}; the axes are {', '.join(axes)}")
    if value not in axes[name].values:
        raise ValueError(f"axis {name!r} has no value {value!r}; it has {', '.join(map(repr, axes[name].values))}")
