"""One generated situation, stored whole so that it can be run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rnnspec.cases.axes import AXES, DROPOUT_LAWS
from rnnspec.contract.config import Config

CONFIG_AXES = ("nonlinearity", "num_layers", "bidirectional", "batch_first", "bias")
SIZES = ("input_size", "hidden_size", "num_layers", "steps", "batch")


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a layer is built, what it is fed and how it is called; the tensors follow from `values` and `seed`.

    `lengths` holds the sequences' lengths in the caller's order where the input is packed and is empty elsewhere; `steps` is the
    longest of them and `batch` their number. The other fields take the values of `rnnspec.cases.axes`.
    """

    config: Config
    steps: int = 1
    batch: int = 1
    lengths: tuple[int, ...] = ()
    layout: str = "batched"
    state: str = "absent"
    mode: str = "eval"
    grad: str = "grad"
    dtype: str = "float64"
    arithmetic: str = "ieee"
    memory: str = "contiguous"
    history: str = "fresh"
    build: str = "changed"
    values: str = "plain"
    seed: int = 0

    @property
    def is_packed(self) -> bool:
        """Whether the input is a PackedSequence."""
        return self.layout.startswith("packed")

    @property
    def is_batched(self) -> bool:
        """Whether the input has a batch axis or is packed."""
        return self.layout != "unbatched"

    @property
    def has_active_dropout(self) -> bool:
        """Whether dropout is at work: a probability above 0, train mode and a boundary between layers."""
        return self.config.dropout > 0 and self.mode == "train" and self.config.num_layers > 1

    @property
    def is_random(self) -> bool:
        """Whether the result depends on random numbers."""
        return self.has_active_dropout and self.config.dropout < 1 and self.values != "deaf"

    @property
    def rounding(self) -> str:
        """The rounding model that judges the case: its dtype, or tf32."""
        return "tf32" if self.arithmetic == "tf32" else self.dtype

    @property
    def boundary(self) -> int:
        """The layer whose output's dropout mask the law `readable` shows."""
        return self.seed % max(1, self.config.num_layers - 1)

    def axis(self, name: str) -> Any:
        """This case's value on an axis, as `rnnspec.cases.axes` lists it."""
        if name == "dropout":
            return {0.0: "none", 1.0: "all"}.get(self.config.dropout, "some")
        return getattr(self.config if name in CONFIG_AXES else self, name)

    def size(self, name: str) -> int:
        """One of the case's sizes by name: input_size, hidden_size, num_layers, steps or batch."""
        return int(getattr(self if name in ("steps", "batch") else self.config, name))

    def replace(self, **changes: Any) -> Case:
        """The same case with some fields changed, those of the configuration included; lengths are fitted to steps and batch."""
        own = {
            name: changes.pop(name) for name in list(changes) if name in self.__dataclass_fields__
        }
        case = (
            replace(self, **own, config=replace(own.get("config", self.config), **changes))
            if changes
            else replace(self, **own)
        )
        return case.fitted()

    def fitted(self) -> Case:
        """The same case with `lengths`, `steps` and `batch` brought into accord with the layout."""
        if self.layout == "unbatched":
            return replace(self, batch=1, lengths=())
        if not self.is_packed:
            return replace(self, lengths=())
        lengths = tuple(min(length, self.steps) for length in self.lengths[: self.batch])
        lengths += (self.steps,) * (self.batch - len(lengths))
        if self.steps not in lengths:
            lengths = (self.steps, *lengths[1:])
        return replace(
            self,
            lengths=tuple(sorted(lengths, reverse=True)) if self.layout == "packed" else lengths,
        )

    def as_dict(self) -> dict[str, Any]:
        """The case as plain data, for reports."""
        data = asdict(self)
        data["config"].pop("kind")
        return {**data, "lengths": list(self.lengths)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """The case that `as_dict` stored."""
        return cls(
            **{**data, "config": Config(**data["config"]), "lengths": tuple(data["lengths"])}
        )

    def __str__(self) -> str:
        facts = [str(self.config), f"input {self.shape}"]
        facts += [f"lengths {_shortened(self.lengths)}"] if self.is_packed else []
        shown = {
            axis.name: self.axis(axis.name)
            for axis in AXES
            if axis.name not in (*CONFIG_AXES, "dropout", "layout")
        }
        simplest = {axis.name: axis.simplest for axis in AXES}
        facts += [f"{name} {value}" for name, value in shown.items() if value != simplest[name]]
        return ", ".join([*facts, f"seed {self.seed}"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The input's shape, padded where it is packed."""
        batch = (
            (self.steps, self.batch) if not self.config.batch_first else (self.batch, self.steps)
        )
        return (
            (self.steps, self.config.input_size)
            if self.layout == "unbatched"
            else (*batch, self.config.input_size)
        )


def _shortened(numbers: tuple[int, ...]) -> str:
    return (
        str(list(numbers))
        if len(numbers) <= 8
        else f"[{', '.join(map(str, numbers[:6]))}, ... {len(numbers)} in all]"
    )


@dataclass(frozen=True)
class Constraint:
    """A condition that the values of a few axes must fulfil together."""

    axes: tuple[str, ...]
    holds: Callable[[Mapping[str, Any]], bool]


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint(
        ("values", "dropout"),
        lambda row: row["values"] not in DROPOUT_LAWS or row["dropout"] == "some",
    ),
    Constraint(
        ("values", "mode"), lambda row: row["values"] not in DROPOUT_LAWS or row["mode"] == "train"
    ),
    Constraint(
        ("values", "num_layers"),
        lambda row: row["values"] not in DROPOUT_LAWS or row["num_layers"] > 1,
    ),
    Constraint(
        ("values", "num_layers"), lambda row: row["values"] != "solvable" or row["num_layers"] == 2
    ),
    # Each layer above the boundary shrinks what is read.
    Constraint(
        ("values", "num_layers"), lambda row: row["values"] != "readable" or row["num_layers"] <= 5
    ),
    Constraint(
        ("values", "nonlinearity"),
        lambda row: row["values"] != "integer" or row["nonlinearity"] == "relu",
    ),
    Constraint(
        ("values", "nonlinearity"),
        lambda row: row["values"] != "ternary" or row["nonlinearity"] == "tanh",
    ),
    Constraint(
        ("values", "dtype"),
        lambda row: (
            row["values"] not in ("readable", "solvable") or row["dtype"] in ("float64", "float32")
        ),
    ),
    Constraint(
        ("values", "arithmetic"),
        lambda row: row["values"] not in ("readable", "solvable") or row["arithmetic"] == "ieee",
    ),
    Constraint(
        ("arithmetic", "dtype"),
        lambda row: row["arithmetic"] == "ieee" or row["dtype"] == "float32",
    ),
    Constraint(("values", "bias"), lambda row: row["values"] != "readable" or row["bias"]),
    Constraint(
        ("dropout", "mode", "num_layers", "values"),
        lambda row: (
            (row["dropout"], row["mode"]) != ("some", "train")
            or row["num_layers"] == 1
            or row["values"] in DROPOUT_LAWS
        ),
    ),
)


def is_consistent(case: Case) -> bool:
    """Whether the fields of a case can stand together."""
    row = {axis.name: case.axis(axis.name) for axis in AXES}
    return all(tie.holds(row) for tie in CONSTRAINTS)
