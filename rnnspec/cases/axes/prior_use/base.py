"""Uses of a layer before the checked call: the parts of every value.

Each value does something to the layer, and writes a reproduction program that does the same.
Programs define `layer`, `reference` (torch.nn.RNN with the weights of the case) and `given`, the
arguments of the call. The words in braces are replaced for the case (`PROGRAM_WORDS`). An earlier
call that differs from the checked call is written as its changes to the case, e.g. `{"steps": 3}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.cases.axes.dtype import DType
from rnnspec.contract.features import Feature

if TYPE_CHECKING:
    from rnnspec.cases.case import Case

PROGRAM_WORDS = {
    "first": "the tensor that holds the input, packed or not",
    "input": "the input",
    "call": "a call with the arguments of the case",
    "other_mode": "whether the other mode is training mode",
    "mode": "whether the mode of the case is training mode",
    "dtype": "the dtype of the case",
    "other_dtype": "another dtype",
    "build": "the call of the constructor",
    "entries": "the entries of a `state_dict` that the layer loads, an expression",
    "weights": "pairs of the layer's own names and the weights of the case, an expression",
    "place": "the module that holds the parameter `name` of the layer, and its name there",
    "other_place": "the same of a layer called other",
}


class LayerInPreparation(Protocol):
    """A layer before the checked call, with the methods that the uses need."""

    case: Case
    module: torch.nn.Module
    owner: torch.nn.Module
    original: torch.nn.Module | None

    @property
    def takes_second_way(self) -> bool:
        """Whether the case takes the second of the two ways of a prior use."""

    def offers(self, feature: Feature) -> bool:
        """Return whether the subject offers a feature."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Return a context that attributes an exception to the step called `name`."""

    def start(self) -> None:
        """Load the weights of the case, unless an earlier use has done so."""

    def load(self) -> None:
        """Load the weights of the case."""

    def load_others(self) -> None:
        """Load other weights."""

    def call(self, through: Callable[..., Any] | None = None, **changes: Any) -> Any:
        """Call the module on other numbers, with some fields of the case changed.

        If `through` is given, it is called in place of the module.
        """

    def call_in_loop(self, times: int) -> None:
        """Call the module several times, each time with the final states of the call before."""

    def call_wrongly(self) -> None:
        """Call the module with too many features, and go on if it raises an exception."""

    def with_module(self, module: torch.nn.Module) -> LayerInPreparation:
        """Return this layer with another module."""

    def call_in_place(self, given: Any) -> None:
        """Call the module on the tensors of the checked call, with other numbers in them."""

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the module's parameters by documented name."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights of the case as new tensors, by the module's own names."""

    def case_weight(self, name: str) -> torch.Tensor:
        """Return a weight of the case by documented name, laid out like the module's parameter."""

    def build_sibling(self) -> LayerInPreparation:
        """Build another layer of the same configuration."""

    def change_dtype(self, dtype: DType) -> LayerInPreparation:
        """Return the layer in another dtype: converted, or newly built if it has not been used."""

    def share_parameters(self, other: LayerInPreparation) -> None:
        """Give another layer the parameters of this layer."""

    def use_module(self, module: torch.nn.Module) -> None:
        """Continue with another module."""

    def use_weights(self, weights: dict[str, torch.Tensor], call: Callable[..., Any]) -> None:
        """Make `call` the checked call, with weights that are not the module's own."""

    def unsupported(self, reason: str) -> Exception:
        """Return the exception which reports that the subject openly lacks a feature."""


def takes_second_way(case: Case) -> bool:
    """Return whether a case takes the second of the two ways that some prior uses have."""
    return case.seed % 2 == 1


PrepareLayer = Callable[[LayerInPreparation], None]
CaseChanges = Mapping[str, Any]
"""The changes of an earlier call to the case: new values of its fields, by name."""
Lines = tuple[str | CaseChanges, ...]
BeforeCall = Callable[["LayerInPreparation", "Case", Any], None]
"""Takes the layer, the case of the checked call, and its arguments."""
LOAD = "layer.load_state_dict({entries})"
FOR_EACH_WEIGHT = "for name, parameter in {weights}:\n"
QUIET_CALL = "with torch.no_grad():\n    layer(*given)"


@dataclass(frozen=True)
class PriorUseMeaning(Meaning):
    """A prior use.

    prepare       uses the layer
    lines         the same in a program; a function if it depends on the case
    imports       the modules that those lines need
    replaces      whether those lines replace parameters, at {place} or {other_place}
    before_call   the last step, which needs the tensors of the checked call
    during        returns a context around the checked call
    calls         whether the layer itself was called before
    is_passing    whether other uses may follow it
    """

    prepare: PrepareLayer
    lines: Lines | Callable[[Case], Lines]
    imports: tuple[str, ...] = ()
    replaces: bool = False
    before_call: BeforeCall | None = None
    during: Callable[[Case], AbstractContextManager[None]] | None = None
    calls: bool = True
    is_passing: bool = True


class PriorUse(Choice):
    """A use of the layer before the checked call; each family of values is a subclass."""

    _value_: PriorUseMeaning

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that the lines of a program need."""
        return self._value_.imports

    @property
    def replaces(self) -> bool:
        """Whether the lines of a program replace parameters."""
        return self._value_.replaces

    @property
    def calls(self) -> bool:
        """Whether the layer itself was called before."""
        return self._value_.calls

    @property
    def is_passing(self) -> bool:
        """Whether other uses may follow it, so that it can be part of a history."""
        return self._value_.is_passing

    def prepare(self, layer: LayerInPreparation) -> None:
        """Use a layer as it was used before the checked call, and load the weights of the case."""
        self._value_.prepare(layer)

    def before_call(self, layer: LayerInPreparation, case: Case, given: Any) -> None:
        """Take the last step of the use, which needs `given`, the arguments of the checked call."""
        if self._value_.before_call is not None:
            self._value_.before_call(layer, case, given)

    def during(self, case: Case) -> AbstractContextManager[None]:
        """Return a context around the checked call."""
        return nullcontext() if self._value_.during is None else self._value_.during(case)

    def write_lines(
        self,
        case: Case,
        words: Mapping[str, Any],
        write_call: Callable[[Case], str],
        *,
        is_used: bool = False,
    ) -> list[str]:
        """Return the lines of a program.

        `words` has a value for each of `PROGRAM_WORDS`, and `write_call` writes the call of a case
        on its own numbers. If the layer `is_used`, it already has the weights of the case.
        """
        own = self._value_.lines
        lines = own if isinstance(own, tuple) else own(case)
        if is_used and lines[0] == LOAD:
            lines = lines[1:]
        return [
            line.format(**words) if isinstance(line, str) else write_call(case.replace(**line))
            for line in lines
        ]
