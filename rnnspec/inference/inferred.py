"""The result of the search for an adapter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

import torch

from rnnspec.adapters.adapter import SIZES, Adapter
from rnnspec.adapters.declaration import Declaration
from rnnspec.subjects.target import Target


class SearchOutcome(Enum):
    """The outcome of the search for an adapter, with the exit status of the command."""

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
    """The adapter that was inferred for a layer, and what is uncertain about it.

    label        the name of the layer
    declaration  the declaration of the adapter; if none fits, the closest
    adapter      the adapter itself
    matched      the parameters whose declaration the layer's results confirm
    by_name      the parameters whose declaration follows only from their names or by elimination
    unknown      the parameters that are no part of the formula
    unused       the parameters that change no result
    foreign      the modules that hold by_name or unknown parameters and that no recurrent layer has
    doubts       the questions with several possible answers, each with a way to settle it
    deviations   where the adapted layer still differs from the reference
    is_open      whether the constructor may take arguments that its signature does not list
    dtype        the dtype of the comparison
    duration_s   how long the search took, in seconds
    added        the constant that the layer's code adds to each gate
    variant      how the formula differs from the documented one, if it is a known variant
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
    def outcome(self) -> SearchOutcome:
        """The outcome of the search."""
        if self.by_name or self.unknown or self.variant or not self.matched:
            return SearchOutcome.NOT_FOUND
        return SearchOutcome.AMBIGUOUS if self.doubts else SearchOutcome.FOUND

    @property
    def is_unbiased(self) -> bool:
        """Whether the adapter declares `bias=False` because the layer's biases cannot be mapped."""
        return self.declaration.fixed.get("bias") is False

    @property
    def is_documented(self) -> bool:
        """Whether the layer has the documented names and forms, so that it needs no adapter.

        A layer whose constructor lacks some documented arguments does need an adapter.
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
        """Return the same result with other names of the layer's parameters."""
        return replace(
            self,
            matched=tuple(map(name, self.matched)),
            by_name=tuple(map(name, self.by_name)),
            unknown=tuple(map(name, self.unknown)),
            unused=tuple(map(name, self.unused)),
        )

    def adapt(self, target: Target) -> Target:
        """Return a target that builds the layer through the adapter, also in printed programs."""
        imports = (
            *target.imports,
            "import rnnspec.adapt as adapt",
            "",
            f"adapted = {self.declaration.write_call(target.name)}",
        )
        return Target(self.adapter, target.label, "adapted", imports)
