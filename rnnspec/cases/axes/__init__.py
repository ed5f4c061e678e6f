"""The discrete axes of a case: a module for each axis, an object for each value.

If you add a value, define it in the module of its axis (docs/adding-an-axis-value.md).
"""

from __future__ import annotations

from typing import Any

from rnnspec.cases.axes.choice import Axis, Choice
from rnnspec.cases.axes.constructor_style import ConstructorStyle
from rnnspec.cases.axes.distribution import Distribution
from rnnspec.cases.axes.dtype import DType, Float32Precision
from rnnspec.cases.axes.layout import Layout
from rnnspec.cases.axes.memory_layout import MemoryLayout
from rnnspec.cases.axes.modes import DropoutLevel, GradMode, InitialState, Mode, Projection
from rnnspec.cases.axes.prior_use import (
    HISTORY_USES,
    PLAIN_CALLS,
    PRIOR_USES,
    EarlierCalls,
    ModuleUses,
    ParameterUpdates,
    PriorUse,
    parse_use,
)
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.errors import suggest_similar

__all__ = [
    "AXES",
    "AXIS",
    "HISTORY_USES",
    "KERNEL_AXES",
    "PLAIN_CALLS",
    "PRIOR_USES",
    "STACKED",
    "Axis",
    "Choice",
    "ConstructorStyle",
    "DType",
    "Distribution",
    "DropoutLevel",
    "EarlierCalls",
    "Feature",
    "Float32Precision",
    "GradMode",
    "InitialState",
    "Layout",
    "MemoryLayout",
    "Mode",
    "ModuleUses",
    "ParameterUpdates",
    "PriorUse",
    "Projection",
    "parse_use",
    "parse_value",
]

STACKED = (2, 3, 4, 5, 11)
"""Numbers of layers above 1. With 11 layers, sorting parameter names as text changes their order.
"""

AXES: tuple[Axis, ...] = (
    Axis(
        "nonlinearity",
        tuple(each.value for each in Nonlinearity),
        "the activation",
        {Nonlinearity.RELU.value: Feature.NONLINEARITY},
    ),
    Axis("num_layers", (1, *STACKED), "stacked layers", dict.fromkeys(STACKED, Feature.NUM_LAYERS)),
    Axis("bidirectional", (False, True), "one direction or two", {True: Feature.BIDIRECTIONAL}),
    Axis("batch_first", (False, True), "time-major or batch-major", {True: Feature.BATCH_FIRST}),
    Axis("bias", (True, False), "with or without biases", {False: Feature.BIAS}),
    Axis("dropout", tuple(DropoutLevel), "how much the dropout argument drops"),
    Axis("proj_size", tuple(Projection), "whether hidden states are projected"),
    Axis("layout", tuple(Layout), "how the sequences are handed over"),
    Axis("initial_state", tuple(InitialState), "whether an initial state is passed"),
    Axis("mode", tuple(Mode), "eval() or train()"),
    Axis("grad_mode", tuple(GradMode), "the gradient mode of the call"),
    Axis("dtype", tuple(DType), "the dtype of everything"),
    Axis("float32_precision", tuple(Float32Precision), "whether products may be rounded to TF32"),
    Axis("memory_layout", tuple(MemoryLayout), "how input and state are laid out in memory"),
    Axis("prior_use", PRIOR_USES, "how the layer was used before the call"),
    Axis("constructor_style", tuple(ConstructorStyle), "how the constructor is called"),
    Axis("distribution", tuple(Distribution), "the distribution of the numbers"),
)

AXIS: dict[str, Axis] = {axis.name: axis for axis in AXES}

KERNEL_AXES = ("nonlinearity", "bidirectional", "layout", "initial_state", "mode", "dtype")
"""The axes on which an implementation chooses its kernel."""


def parse_value(name: str, text: Any) -> Any:
    """Return the value of an axis from its text, as used in JSON and on the command line.

    Numbers and flags are returned as they are. Raises ValueError with a suggestion if the axis or
    the value does not exist.
    """
    if name not in AXIS:
        raise ValueError(f"{name!r} is no axis.{suggest_similar(name, AXIS)}")
    known = {str(value): value for value in AXIS[name].values}
    if text in AXIS[name].values:
        return text
    if str(text) not in known:
        near = suggest_similar(str(text), known)
        raise ValueError(f"{name} {text!r} is none of {', '.join(known)}.{near}")
    return known[str(text)]
