"""A case: a configuration of a layer and a call, with everything needed to repeat them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    Choice,
    ConstructorStyle,
    Distribution,
    DropoutLevel,
    DType,
    EarlierCalls,
    Float32Precision,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    PriorUse,
    Projection,
    parse_use,
    parse_value,
)
from rnnspec.cases.axes.distribution import Encoding
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, Nonlinearity
from rnnspec.contract.shapes import input_shape

CONFIG_AXES = ("nonlinearity", "num_layers", "bidirectional", "batch_first", "bias")
"""The axes that are fields of the configuration."""
IN_PART = ("dropout", "proj_size")
"""The axes whose values stand for a number in the configuration: a probability and a size."""
SIZES = ("input_size", "hidden_size", "num_layers", "steps", "batch")
LEAST_SHARE = 0.1
"""When a dropout mask is read, at least this share of its values must reach the output."""
MOST_ABOVE = 3
"""How many boundaries may lie above a boundary whose mask is read in 16 bits or as a single number.

The activations of each layer above move the two values of a bit towards each other. For an LSTM,
they are 0.125 and 0.557 in the layer above the boundary, and 0.120 and 0.342 three layers above,
where a relative error of 1 % in each product moves a bit by at most 0.22. In float32, rounding
moves the number that 12 bits form by at most a quarter of its last bit.
"""
CHOICES = tuple(axis.name for axis in AXES if axis.name not in (*CONFIG_AXES, *IN_PART))
"""The axes that are fields of a case itself, not of its configuration, in the order of `AXES`."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a layer is built, how it is called, and on which numbers.

    The numbers are drawn from `distribution` with `seed`. For packed input, `lengths` holds the
    lengths of the sequences in the caller's order, `steps` is the longest length and `batch` the
    number of sequences; otherwise `lengths` is empty. `history` holds the uses of the layer before
    its prior use, in their order. Raises ValueError if the value of a field is not on the axis of
    that name.
    """

    config: Config
    steps: int = 1
    batch: int = 1
    lengths: tuple[int, ...] = ()
    layout: Layout = Layout.BATCHED
    initial_state: InitialState = InitialState.ABSENT
    mode: Mode = Mode.EVAL
    grad_mode: GradMode = GradMode.GRAD
    dtype: DType = DType.FLOAT64
    float32_precision: Float32Precision = Float32Precision.IEEE
    memory_layout: MemoryLayout = MemoryLayout.CONTIGUOUS
    history: tuple[PriorUse, ...] = ()
    prior_use: PriorUse = EarlierCalls.FRESH
    constructor_style: ConstructorStyle = ConstructorStyle.CHANGED
    distribution: Distribution = Distribution.PLAIN
    seed: int = 0

    def __post_init__(self) -> None:
        for name in CHOICES:
            value = getattr(self, name)
            if value not in AXIS[name].values:
                known = ", ".join(map(str, AXIS[name].values))
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if self.config.kind_data.is_cell and (self.is_packed or self.steps != 1):
            what = "packed input" if self.is_packed else f"{self.steps} steps"
            raise ValueError(f"{self.config.kind_data.page} takes one step, got {what}")

    @property
    def is_packed(self) -> bool:
        """Whether the input is a PackedSequence."""
        return self.layout.is_packed

    @property
    def is_batched(self) -> bool:
        """Whether the input has a batch axis or is packed."""
        return self.layout.is_batched

    @property
    def is_fresh(self) -> bool:
        """Whether the layer was not used before the call."""
        return self.prior_use is EarlierCalls.FRESH and not self.history

    @property
    def has_active_dropout(self) -> bool:
        """Whether the layer drops values: p > 0, in train mode, with at least two layers."""
        return self.config.has_dropout and self.mode is Mode.TRAIN

    @property
    def is_random(self) -> bool:
        """Whether the results of a call depend on random numbers."""
        is_visible = self.distribution is not Distribution.DEAF
        return self.has_active_dropout and self.config.dropout < 1 and is_visible

    @property
    def rounding(self) -> str:
        """The name of the rounding model for the case: its dtype, or tf32."""
        if self.float32_precision is Float32Precision.TF32:
            return self.float32_precision.text
        return self.dtype.text

    @property
    def boundaries(self) -> range:
        """The layers whose dropout mask can be read with `readable`; a case reads a single mask.

        Values that survive a mask reach the output only if the boundaries above keep them too. The
        number of these boundaries is limited so that at least the share `LEAST_SHARE` of the values
        arrives, and to `MOST_ABOVE` in 16 bits.
        """
        highest, keep = max(0, self.config.num_layers - 2), 1.0 - self.config.dropout
        above = MOST_ABOVE if self.dtype.is_half else highest
        while keep**above < LEAST_SHARE:
            above -= 1
        return range(max(0, highest - above), highest + 1)

    @property
    def boundary(self) -> int:
        """The layer whose dropout mask can be read with the distribution `readable`."""
        return self.boundaries[self.seed % len(self.boundaries)]

    @property
    def encoding(self) -> Encoding:
        """How the weights encode that mask with the distribution `readable`.

        A unit can encode the mask of all units of the layer only if the dtype has enough digits,
        and if few layers above shrink the code.
        """
        above = self.boundaries[-1] - self.boundary
        return Encoding(self.boundary, not self.dtype.is_half and above <= MOST_ABOVE)

    def get_choice(self, name: str) -> Any:
        """Return the value of the case on the axis called `name`."""
        if name == "dropout":
            return DropoutLevel.of_probability(self.config.dropout)
        if name == "proj_size":
            return Projection.of_size(self.config.proj_size)
        return getattr(self.config if name in CONFIG_AXES else self, name)

    def size(self, name: str) -> int:
        """Return a size of the case: input_size, hidden_size, num_layers, steps or batch."""
        return int(getattr(self if name in ("steps", "batch") else self.config, name))

    def replace(self, **changes: Any) -> Case:
        """Return the case with the fields that you change: its own, or fields of its configuration.

        The lengths are adjusted to the layout, `steps` and `batch`, and a projection to a smaller
        hidden size. A cell always has one step and input that is not packed.
        """
        names = [name for name in changes if name in self.__dataclass_fields__]
        own = {name: changes.pop(name) for name in names}
        if changes:
            config = own.get("config", self.config)
            hidden_size = changes.get("hidden_size", config.hidden_size)
            if hidden_size <= config.proj_size:
                changes = {"proj_size": max(0, hidden_size - 1), **changes}
            own["config"] = replace(config, **changes)
        if own.get("config", self.config).kind_data.is_cell:
            own["steps"] = 1
            if own.get("layout", self.layout).is_packed:
                own["layout"] = Layout.BATCHED
        return replace(self, **own).fit_lengths()

    def make_fresh(self, **changes: Any) -> Case:
        """Return the case of a layer without earlier uses, with some fields changed."""
        return self.replace(history=(), prior_use=EarlierCalls.FRESH, **changes)

    def fit_lengths(self) -> Case:
        """Return the case with `batch` and `lengths` adjusted to the layout and `steps`."""
        if not self.is_batched:
            return replace(self, batch=1, lengths=())
        if not self.is_packed:
            return replace(self, lengths=()) if self.lengths else self
        lengths = tuple(min(length, self.steps) for length in self.lengths[: self.batch])
        lengths += (self.steps,) * (self.batch - len(lengths))
        if self.steps not in lengths:
            lengths = (self.steps, *lengths[1:])
        if self.layout.is_sorted:
            lengths = tuple(sorted(lengths, reverse=True))
        return replace(self, lengths=lengths)

    def as_dict(self) -> dict[str, Any]:
        """Return the case as data for JSON, from which you get it back by `from_dict`."""
        data = {name: _as_text(value) for name, value in vars(self).items()}
        data["config"] = {**self.config.arguments, "kind": self.config.kind}
        history = [each.text for each in self.history]
        return {**data, "lengths": list(self.lengths), "history": history}

    @classmethod
    def read_stored(cls, data: Mapping[str, Any]) -> Case | None:
        """Return a case from stored data, or None if this release has no such case."""
        try:
            return cls.from_dict(data)
        except (ValueError, TypeError, KeyError):
            return None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return the case that `as_dict` stored. Raises ValueError for an unknown value."""
        known = {name: parse_value(name, data[name]) for name in CHOICES if name in data}
        known |= {"config": Config(**data["config"]), "lengths": tuple(data["lengths"])}
        known["history"] = tuple(map(parse_use, data.get("history", ())))
        return cls(**{**data, **known})

    def __str__(self) -> str:
        facts = [str(self.config), f"input {self.shape}"]
        facts += [f"lengths {_shorten(self.lengths)}"] if self.is_packed else []
        facts += [f"after {', '.join(map(str, self.history))}"] if self.history else []
        shown = {name: self.get_choice(name) for name in CHOICES if name != "layout"}
        facts += [
            f"{name} {value}" for name, value in shown.items() if value != AXIS[name].simplest
        ]
        return ", ".join([*facts, f"seed {self.seed}"])

    @property
    def is_input_expanded(self) -> bool:
        """Whether an expanded memory layout applies to the input."""
        return self.memory_layout.repeats and (
            not self._has_states_to_expand or (not self.is_packed and self.seed % 2 == 0)
        )

    @property
    def are_states_expanded(self) -> bool:
        """Whether an expanded memory layout applies to the initial state.

        Half of the states are expanded alone: if the input is expanded too, all samples are equal,
        and a layer that mixes them up is right.
        """
        return (
            self.memory_layout.repeats
            and self._has_states_to_expand
            and (self.is_packed or self.seed % 4 != 2)
        )

    @property
    def _has_states_to_expand(self) -> bool:
        return self.initial_state is InitialState.GIVEN and self.batch > 1

    @property
    def repeated_axis(self) -> int | None:
        """The dimension of a padded input along which an expanded input repeats a single slice.

        It is the batch dimension or the time dimension. The input of a cell has no time dimension,
        so it repeats nothing if it has no batch dimension either.
        """
        if self.config.kind_data.is_cell:
            return 0 if self.is_batched else None
        time = 1 if self.config.batch_first and self.is_batched else 0
        return time if self.is_expanded_along_time else 1 - time

    @property
    def is_expanded_along_time(self) -> bool:
        """Whether an expanded input repeats a time step, as a decoder of one vector does.

        Otherwise it repeats a sample.
        """
        return self.batch == 1 or (self.steps > 1 and self.seed // 4 % 2 == 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the padded input: (T, N, H_in), (N, T, H_in) or (T, H_in).

        For a cell it is (N, H_in) or (H_in).
        """
        return input_shape(self.config, self.steps, self.batch if self.is_batched else None)


def _as_text(value: Any) -> Any:
    return value.text if isinstance(value, Choice) else value


def _shorten(numbers: tuple[int, ...]) -> str:
    if len(numbers) <= 8:
        return str(list(numbers))
    return f"[{', '.join(map(str, numbers[:6]))}, ... {len(numbers)} in total]"


AxisValues = Mapping[str, Any]


@dataclass(frozen=True)
class Constraint:
    """A condition on the values of a few axes of a case."""

    axes: tuple[str, ...]
    allows: Callable[[AxisValues], bool]

    def fix(self, values: AxisValues) -> Constraint:
        """Return the condition that remains on the other axes if some axes have these values."""
        free = tuple(name for name in self.axes if name not in values)
        return self if free == self.axes else Constraint(free, partial(self._allows_with, values))

    def _allows_with(self, values: AxisValues, row: AxisValues) -> bool:
        return self.allows({**values, **row})


def _constrain(
    applies: Callable[[Distribution], bool], name: str, fits: Callable[[Any], bool]
) -> Constraint:
    """Return the constraint that some distributions allow only some values of another axis."""
    return Constraint(
        ("distribution", name), lambda row: not applies(row["distribution"]) or fits(row[name])
    )


def _is_one_of(*members: Distribution) -> Callable[[Distribution], bool]:
    return lambda distribution: distribution in members


def _is_predictable(row: AxisValues) -> bool:
    """Return whether the oracle can predict results, or the results reveal the masks."""
    drops = row["dropout"] is DropoutLevel.SOME and row["mode"] is Mode.TRAIN
    return not drops or row["num_layers"] == 1 or row["distribution"].needs_dropout


CONSTRAINTS: tuple[Constraint, ...] = (
    _constrain(
        lambda each: each.needs_dropout, "dropout", lambda level: level is DropoutLevel.SOME
    ),
    _constrain(lambda each: each.needs_dropout, "mode", lambda mode: mode is Mode.TRAIN),
    _constrain(lambda each: each.needs_dropout, "num_layers", lambda number: number > 1),
    _constrain(_is_one_of(Distribution.SOLVABLE), "num_layers", lambda number: number == 2),
    _constrain(
        _is_one_of(Distribution.INTEGER), "nonlinearity", lambda name: name == Nonlinearity.RELU
    ),
    _constrain(
        _is_one_of(Distribution.TERNARY), "nonlinearity", lambda name: name == Nonlinearity.TANH
    ),
    # In 16 bits, solving for the mask would multiply the rounding errors of long sums.
    _constrain(_is_one_of(Distribution.SOLVABLE), "dtype", lambda dtype: not dtype.is_half),
    _constrain(
        lambda each: each.shows_mask,
        "float32_precision",
        lambda precision: precision is Float32Precision.IEEE,
    ),
    Constraint(
        ("float32_precision", "dtype"),
        lambda row: (
            row["float32_precision"] is Float32Precision.IEEE or row["dtype"] is DType.FLOAT32
        ),
    ),
    # The constants that the layers pass on come from biases.
    _constrain(_is_one_of(Distribution.READABLE), "bias", bool),
    Constraint(("dropout", "mode", "num_layers", "distribution"), _is_predictable),
)
"""The conditions that every case fulfils."""
GATED_CONSTRAINTS = (
    *CONSTRAINTS,
    # Biases hold the gates shut or open.
    _constrain(_is_one_of(Distribution.TERNARY), "bias", bool),
)
"""The conditions that every case of a gated kind fulfils."""


MEMORY_CONSTRAINTS = (
    *GATED_CONSTRAINTS,
    # The terms that a memory accumulates leave its tanh saturated only if the memory is large.
    _constrain(
        _is_one_of(Distribution.TERNARY),
        "initial_state",
        lambda state: state is InitialState.GIVEN,
    ),
)
"""The conditions that every case of a kind with a memory fulfils."""


def list_constraints(kind: str) -> tuple[Constraint, ...]:
    """Return the conditions that every case of a kind of layer fulfils."""
    if KINDS[kind].memory_gate:
        return MEMORY_CONSTRAINTS
    return GATED_CONSTRAINTS if KINDS[kind].is_gated else CONSTRAINTS


def is_consistent(case: Case) -> bool:
    """Return whether a case fulfils all constraints of its kind."""
    row = {axis.name: case.get_choice(axis.name) for axis in AXES}
    return all(constraint.allows(row) for constraint in list_constraints(case.config.kind))
