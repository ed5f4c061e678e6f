"""Weights and inputs under which a module shows all that it depends on.

With the weights of a constructor, a recurrent layer forgets: the first of 512 steps changes the
last output by less than rounding does. The functions of this module that change weights stand in
programs as they are here, so each uses torch and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch

Prepare = Callable[..., None]


def keep_weights(module: torch.nn.Module) -> None:
    """Leave the weights as the constructor has drawn them."""


def scale_weights(module: torch.nn.Module, factor: float) -> None:
    """Multiply all parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def remember(module: torch.nn.Module, sign: float, gain: float) -> None:
    """Make the recurrent layers of torch.nn keep their states for long."""
    layers = [
        each
        for each in module.modules()
        if isinstance(each, (torch.nn.RNNBase, torch.nn.RNNCellBase))
    ]
    # By the number of gates, the indices of those that stay open and shut.
    indices = {4: (1, 0), 3: (1, None)}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(gain)
        for layer in layers:
            for name, parameter in layer.named_parameters():
                gates = parameter.shape[0] // layer.hidden_size
                if gates == 1 and name.startswith("weight_hh"):
                    parameter.copy_(sign * torch.eye(*parameter.shape))
                elif gates == 1 and name.startswith("bias"):
                    parameter.mul_(0.01)
                elif name.startswith("bias_hh"):
                    opened, shut = indices[gates]
                    biases = parameter.unflatten(0, (gates, -1))
                    biases[opened] += 6.0
                    if shut is not None:
                        biases[shut] -= 4.0


def keep_columns(module: torch.nn.Module, at_end: bool, sign: float) -> None:
    """Put an identity or its negative into wide weights, and make all biases small."""
    for parameter in module.parameters():
        with torch.no_grad():
            if parameter.dim() == 2 and 1 <= parameter.shape[0] <= parameter.shape[1]:
                rows, columns = parameter.shape
                first = columns - rows if at_end else 0
                parameter[:, first : first + rows] = sign * torch.eye(rows)
            elif parameter.dim() == 1:
                parameter.mul_(0.01)


def shift_biases(module: torch.nn.Module, parts: int, opened: int, shut: int, gain: float) -> None:
    """Open one gate and shut another, of biases that have several parts or stand for one each."""
    biases = [each for each in module.parameters() if each.dim() == 1]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(gain)
        for index, parameter in enumerate(biases):
            if parts > 1 and parameter.shape[0] % parts == 0:
                gates = parameter.unflatten(0, (parts, -1))
                gates[opened] += 6.0
                if shut >= 0:
                    gates[shut] -= 4.0
            elif parts == 1:
                parameter.add_(6.0 * (index == opened) - 4.0 * (index == shut))


def redraw_weights(module: torch.nn.Module) -> None:
    """Multiply each weight by another number between 0.5 and 1.5."""
    generator = torch.Generator().manual_seed(4)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.mul_((torch.rand(parameter.shape, generator=generator) + 0.5).to(parameter))


def scale_inputs(value: torch.Tensor, factor: float, held: int | None = None) -> torch.Tensor:
    """Multiply an input; along a held dimension, the first stays, and the others are as one."""
    if held is None:
        return value * factor
    if held >= value.dim() or value.shape[held] < 3:
        return value
    first, second = value.split([1, value.shape[held] - 1], held)
    return torch.cat([first, factor * second.narrow(held, 0, 1).expand_as(second)], held)


@dataclass(frozen=True)
class NumberCondition:
    """A change of the weights of both modules, and of the inputs of a call.

    prepare    changes the weights of a module
    arguments  its further arguments
    factor     multiplies the inputs
    held       the dimension along which inputs are constant from the second index on, or None
    """

    prepare: Prepare = keep_weights
    arguments: tuple[Any, ...] = ()
    factor: float = 1.0
    held: int | None = None

    def prepare_weights(self, module: torch.nn.Module) -> None:
        """Change the weights of a module."""
        self.prepare(module, *self.arguments)

    def prepare_input(self, value: Any) -> Any:
        """Return an argument of a call under this condition."""
        is_number = isinstance(value, torch.Tensor) and value.is_floating_point()
        return scale_inputs(value, self.factor, self.held) if is_number else value

    @property
    def is_linear(self) -> bool:
        """Whether all weights are multiplied by the same number, whatever their order."""
        return self.prepare in (keep_weights, scale_weights)

    def describe(self) -> str:
        """Return the condition in words, or an empty text if nothing is changed."""
        words = []
        if self.prepare is not keep_weights:
            given = ", ".join(map(repr, self.arguments))
            words.append(f"weights {self.prepare.__name__}({given})")
        if self.factor != 1.0:
            words.append(f"inputs multiplied by {self.factor:g}")
        if self.held is not None:
            words.append(f"inputs constant along dimension {self.held} from its second index on")
        return ", ".join(words)

    def write_functions(self) -> list[str]:
        """Return the source of the functions that a program needs for this condition."""
        needed: list[Callable[..., Any]] = []
        if self.prepare is not keep_weights:
            needed.append(self.prepare)
        if self.factor != 1.0 or self.held is not None:
            needed.append(scale_inputs)
        return [inspect.getsource(each).rstrip() for each in needed]


AS_BUILT = NumberCondition()
REDRAWN = NumberCondition(redraw_weights)
# At 1e3, the errors of float32 hide the errors of a rough activation where it is nearly 1.
MAGNITUDES = (
    *(NumberCondition(factor=factor) for factor in (1e-3, 8.0, 1e3)),
    NumberCondition(scale_weights, (8.0,)),  # results that a candidate limits may be too small else
    # A candidate may take the zeros after the first step or sample for padding.
    *(NumberCondition(factor=0.0, held=dimension) for dimension in (0, 1)),
)


def list_conditions(dimensions: int, biases: int) -> Iterator[NumberCondition]:
    """Yield conditions under which a module may remember, the simplest first.

    `dimensions` is the largest number of dimensions of an input, and `biases` the number of vectors
    among the parameters.
    """
    for gain in (1.0, 3.0):
        for factor in (1.0, 0.01):
            yield NumberCondition(remember, (-1.0, gain), factor)
    yield NumberCondition(remember, (1.0, 1.0), 0.01)
    for gain, factor in ((3.0, 1.0), (3.0, 0.01), (6.0, 1.0)):
        yield NumberCondition(scale_weights, (gain,), factor)
    for at_end in (True, False):
        for sign in (-1.0, 1.0):
            yield NumberCondition(keep_columns, (at_end, sign), 0.01)
    for held in range(dimensions):
        yield NumberCondition(factor=100.0, held=held)
    for opened, shut in ((1, 0), (0, 1)):
        yield NumberCondition(shift_biases, (4, opened, shut, 1.0))
        yield NumberCondition(shift_biases, (3, opened, -1, 1.0))
    for opened, shut in permutations(range(min(biases, 4)), 2):
        yield NumberCondition(shift_biases, (1, opened, shut, 1.0))
