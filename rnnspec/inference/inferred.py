"""What was found out about a layer: its adapter, and what speaks for another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

import torch

from rnnspec.adapters.adapter import SIZES, Adapter
from rnnspec.adapters.declaration import Declaration
from rnnspec.subjects.target import Target


class Outcome(Enum):
    """What came of the search for an adapter, with the exit status of the command."""

    FOUND = ("found", 0)
    NOT_FOUND = ("not found", 1)
    AMBIGUOUS = ("ambiguous", 3)

    @property
    def exit_status(self) -> int:
        """The exit status of the command line."""
        return int(self.value[1])

    def __str__(self) -> str:
        return str(self.value[0])


@dataclass(frozen=True)
class Inferred:
    """What was found out about a layer.

    label        what the layer is called
    declaration  the adapter; if none was found, what came closest
    adapter      the adapter itself
    matched      the parameters that the layer shows to be what the declaration says
    by_name      those of which only the name, or what was left, says it
    unknown      those that are no part of the formula
    unused       those that change nothing
    foreign      the modules that hold some of these and that no recurrent layer has
    doubts       what more than one answer fits, each with what would settle it
    deviations   where the adapted layer differs from the reference all the same
    is_open      whether its constructor may take arguments of which it does not say so
    dtype        the dtype in which it was compared
    duration_s   how long it took
    added        what the layer itself adds to the sum of a gate, by gate
    variant      how its formula differs from the documented one, if that is known
    """

    label: str
    declaration: Declaration
    adapter: Adapter
    matched: tuple[str, ...]
    by_name: tuple[str, ...]
    unknown: tuple[str, ...]
    doubts: tuple[str, ...]
    unused: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    deviations: dict[str, str] = field(default_factory=dict)
    is_open: bool = False
    dtype: torch.dtype = torch.float64
    duration_s: float = 0.0
    added: dict[str, float] = field(default_factory=dict)
    variant: str = ""

    @property
    def outcome(self) -> Outcome:
        """What came of the search."""
        if self.by_name or self.unknown or self.variant or not self.matched:
            return Outcome.NOT_FOUND
        return Outcome.AMBIGUOUS if self.doubts else Outcome.FOUND

    @property
    def is_unbiased(self) -> bool:
        """Whether the documented biases stand for nothing in the layer."""
        return self.declaration.fixed.get("bias") is False

    @property
    def is_documented(self) -> bool:
        """Whether the layer has the documented names and forms, so that it needs no adapter.

        It does need one if its constructor has no place for some of the documented arguments.
        """
        declaration = self.declaration
        choices = [name for name in self.adapter.kind.arguments if name not in SIZES]
        if not self.is_open and any(declaration.arguments.get(each) != each for each in choices):
            return False
        documented = re.compile(r"(weight|bias)_[ih]h_l(0|\{layer\})(\{suffix\})?")
        return (
            all(
                documented.fullmatch(name) and name.startswith(f"{text}_l")
                for name, text in declaration.weights.items()
            )
            and not declaration.fixed
            and "[" not in declaration.call + declaration.returns
            and "batch_first" not in declaration.call + declaration.returns
        )

    def name_parameters(self, name: Callable[[str], str]) -> Inferred:
        """Return the same with other names of the layer's parameters."""
        return replace(
            self,
            matched=tuple(map(name, self.matched)),
            by_name=tuple(map(name, self.by_name)),
            unknown=tuple(map(name, self.unknown)),
            unused=tuple(map(name, self.unused)),
        )

    def adapt(self, target: Target) -> Target:
        """Return the target with the adapter in its place, also in programs."""
        imports = (
            *target.imports,
            "import rnnspec.adapt as adapt",
            "",
            f"adapted = {self.declaration.write_call(target.name)}",
        )
        return Target(self.adapter, target.label, "adapted", imports)
