"""One generated situation, stored whole so that it can be run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
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
    parse_value,
)
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Nonlinearity

CONFIG_AXES = ("nonlinearity", "num_layers", "bidirectional", "batch_first", "bias")
SIZES = ("input_size", "hidden_size", "num_layers", "steps", "batch")
CHOICES = tuple(axis.name for axis in AXES if axis.name not in (*CONFIG_AXES, "dropout"))
"""The axes that are fields of a case, in the order of the axes."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a layer is built, what it is fed and how it is called.

    The tensors follow from `distribution` and `seed`. `lengths` holds the lengths of the sequences
    in the caller's order if the input is packed, and is empty otherwise; `steps` is the longest of
    them and `batch` their number. Raises ValueError if a field has no value of its axis.
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

    @property
    def is_packed(self) -> bool:
        """Whether the input is a PackedSequence."""
        return self.layout.is_packed

    @property
    def is_batched(self) -> bool:
        """Whether the input has a batch axis or is packed."""
        return self.layout.is_batched

    @property
    def has_active_dropout(self) -> bool:
        """Whether dropout is active: p > 0, train mode, and a boundary between two layers."""
        return self.config.dropout > 0 and self.mode is Mode.TRAIN and self.config.num_layers > 1

    @property
    def is_random(self) -> bool:
        """Whether the result depends on random numbers."""
        decides = self.distribution is not Distribution.DEAF
        return self.has_active_dropout and self.config.dropout < 1 and decides

    @property
    def rounding(self) -> str:
        """The name of the rounding model that judges the case: its dtype, or tf32."""
        if self.float32_precision is Float32Precision.TF32:
            return self.float32_precision.text
        return self.dtype.text

    @property
    def boundary(self) -> int:
        """The layer whose dropout mask the distribution `readable` shows."""
        return self.seed % max(1, self.config.num_layers - 1)

    def axis(self, name: str) -> Any:
        """Return the value of this case on an axis."""
        if name == "dropout":
            return DropoutLevel.of_probability(self.config.dropout)
        return getattr(self.config if name in CONFIG_AXES else self, name)

    def size(self, name: str) -> int:
        """Return one of the sizes: input_size, hidden_size, num_layers, steps or batch."""
        return int(getattr(self if name in ("steps", "batch") else self.config, name))

    def replace(self, **changes: Any) -> Case:
        """Return the case with some fields changed, those of the configuration included.

        The lengths are fitted to steps and batch.
        """
        names = [name for name in changes if name in self.__dataclass_fields__]
        own = {name: changes.pop(name) for name in names}
        if changes:
            own["config"] = replace(own.get("config", self.config), **changes)
        return replace(self, **own).fit_lengths()

    def fit_lengths(self) -> Case:
        """Return the case with `lengths`, `steps` and `batch` that agree with the layout."""
        if not self.is_batched:
            return replace(self, batch=1, lengths=())
        if not self.is_packed:
            return replace(self, lengths=())
        lengths = tuple(min(length, self.steps) for length in self.lengths[: self.batch])
        lengths += (self.steps,) * (self.batch - len(lengths))
        if self.steps not in lengths:
            lengths = (self.steps, *lengths[1:])
        if self.layout.is_sorted:
            lengths = tuple(sorted(lengths, reverse=True))
        return replace(self, lengths=lengths)

    def as_dict(self) -> dict[str, Any]:
        """Return the case as plain data."""
        data = {name: _as_text(value) for name, value in vars(self).items()}
        data["config"] = asdict(self.config)
        data["config"].pop("kind")
        return {**data, "lengths": list(self.lengths)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return the case that `as_dict` stored. Raises ValueError for an unknown value."""
        known = {name: parse_value(name, data[name]) for name in CHOICES if name in data}
        config, lengths = Config(**data["config"]), tuple(data["lengths"])
        return cls(**{**data, **known, "config": config, "lengths": lengths})

    def __str__(self) -> str:
        facts = [str(self.config), f"input {self.shape}"]
        facts += [f"lengths {_shorten(self.lengths)}"] if self.is_packed else []
        shown = {name: self.axis(name) for name in CHOICES if name != "layout"}
        facts += [f"{name} {value}" for name, value in shown.items() if value != AXIS[name].simplest]
        return ", ".join([*facts, f"seed {self.seed}"])

    @property
    def repeated_axis(self) -> int:
        """The axis along which an expanded input repeats itself.

        It is the batch, or time if there is one sample.
        """
        time = 1 if self.config.batch_first and self.is_batched else 0
        return time if self.batch == 1 else 1 - time

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input, padded if it is packed."""
        if not self.is_batched:
            return (self.steps, self.config.input_size)
        leading = (self.steps, self.batch)
        return (*(leading[::-1] if self.config.batch_first else leading), self.config.input_size)


def _as_text(value: Any) -> Any:
    return value.text if isinstance(value, Choice) else value


def _shorten(numbers: tuple[int, ...]) -> str:
    if len(numbers) <= 8:
        return str(list(numbers))
    return f"[{', '.join(map(str, numbers[:6]))}, ... {len(numbers)} in all]"


Row = Mapping[str, Any]


@dataclass(frozen=True)
class Constraint:
    """A condition that the values of a few axes must fulfil together."""

    axes: tuple[str, ...]
    allows: Callable[[Row], bool]


def _needs(flag: Callable[[Distribution], bool], name: str, fits: Callable[[Any], bool]) -> Constraint:
    """Return the constraint that distributions with a flag need a fitting value of another axis."""
    return Constraint(
        ("distribution", name), lambda row: not flag(row["distribution"]) or fits(row[name])
    )


def _is_any(*members: Distribution) -> Callable[[Distribution], bool]:
    return lambda distribution: distribution in members


def _is_decidable(row: Row) -> bool:
    """Return whether results that random numbers decide can be judged."""
    drops = row["dropout"] is DropoutLevel.SOME and row["mode"] is Mode.TRAIN
    return not drops or row["num_layers"] == 1 or row["distribution"].needs_dropout


CONSTRAINTS: tuple[Constraint, ...] = (
    _needs(lambda each: each.needs_dropout, "dropout", lambda level: level is DropoutLevel.SOME),
    _needs(lambda each: each.needs_dropout, "mode", lambda mode: mode is Mode.TRAIN),
    _needs(lambda each: each.needs_dropout, "num_layers", lambda number: number > 1),
    _needs(_is_any(Distribution.SOLVABLE), "num_layers", lambda number: number == 2),
    # Each layer above the boundary shrinks what is read.
    _needs(_is_any(Distribution.READABLE), "num_layers", lambda number: number <= 5),
    _needs(_is_any(Distribution.INTEGER), "nonlinearity", lambda name: name == Nonlinearity.RELU),
    _needs(_is_any(Distribution.TERNARY), "nonlinearity", lambda name: name == Nonlinearity.TANH),
    _needs(lambda each: each.shows_mask, "dtype", lambda dtype: not dtype.is_half),
    _needs(
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
    _needs(_is_any(Distribution.READABLE), "bias", bool),
    Constraint(("dropout", "mode", "num_layers", "distribution"), _is_decidable),
)


def is_consistent(case: Case) -> bool:
    """Return whether the fields of a case can stand together."""
    row = {axis.name: case.axis(axis.name) for axis in AXES}
    return all(constraint.allows(row) for constraint in CONSTRAINTS)
