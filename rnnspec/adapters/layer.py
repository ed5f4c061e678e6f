"""An adapted layer: a torch module with the documented parameters around the user's module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from rnnspec.adapters.expressions import Expression
from rnnspec.adapters.forms import OUTPUT, Form
from rnnspec.adapters.recipes import WeightRecipe
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes, state_size
from rnnspec.errors import suggest_similar
from rnnspec.subjects.failures import Malformed

SEEDS = 2**31
"""Seeds are drawn below this number, which every generator accepts."""


class Adaptation(Protocol):
    """The part of an adapter that an adapted layer uses; its fields have the same names."""

    @property
    def build_own(self) -> Callable[[Config], nn.Module]:
        """Builds the user's module from a configuration."""

    @property
    def call(self) -> Form:
        """The form of the arguments of a call."""

    @property
    def returns(self) -> Form:
        """The form of the results of a call."""

    @property
    def needs_state(self) -> bool:
        """Whether a call requires a state."""

    @property
    def seed(self) -> Callable[[int], Any] | None:
        """Seeds the generator of a module that does not draw from torch's."""

    def make_recipes(self, config: Config) -> dict[str, WeightRecipe]:
        """Return the recipe for each parameter of the user's module."""


class AdaptedLayer(nn.Module):
    """A module with the documented parameters, which calls your module.

    Each call replaces the parameters of your module by values made from the documented parameters,
    so that gradients reach these. You find your module in `own`.
    """

    def __init__(
        self, adapter: Adaptation, config: Config, dtype: torch.dtype | None, device: Any
    ) -> None:
        super().__init__()
        self.adapter, self.config = adapter, config
        limit = 1.0 / math.sqrt(config.hidden_size)
        for name, shape in parameter_shapes(config).items():
            parameter = nn.Parameter(torch.empty(shape, dtype=dtype, device=device))
            nn.init.uniform_(parameter, -limit, limit)
            self.register_parameter(name, parameter)
        # In a tuple, so that torch does not register its parameters as parameters of this module.
        self.held = (adapter.build_own(config).to(device=device, dtype=dtype),)
        self.recipes = adapter.make_recipes(config)

    @property
    def own(self) -> nn.Module:
        """The user's module."""
        return self.held[0]

    def train(self, mode: bool = True) -> AdaptedLayer:
        """Set the mode of both modules."""
        super().train(mode)
        self.own.train(mode)
        return self

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> AdaptedLayer:
        """Convert or move both modules here, since the gradient mode in a call may forbid it."""
        super()._apply(fn, recurse)
        like = next(self.parameters())
        self.own.to(device=like.device, dtype=like.dtype)
        return self

    def make_weights(self) -> dict[str, torch.Tensor]:
        """Return the parameters of the user's module, made from the documented parameters.

        The user's module follows the dtype and the device of the documented parameters, even if a
        call replaces these.
        """
        like = next(self.parameters())
        own = dict(self.own.to(device=like.device, dtype=like.dtype).named_parameters())
        return {name: self.make_weight(name, own) for name in self.recipes}

    def make_weight(self, name: str, own: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one of them. Raises Malformed if the parameter is missing or has another shape."""
        complete, expression = self.recipes[name]
        if name not in own:
            near = suggest_similar(name, own)
            message = f"the layer has no parameter {name!r}.{near}"
            raise Malformed(message, f"parameter.missing@{name}")
        value = expression.evaluate(partial(self._look_up, complete))
        if isinstance(value, float):
            return torch.full_like(own[name], value)
        return value if value.shape == own[name].shape else _fit(value, own[name], name, expression)

    def _look_up(self, complete: Callable[[str], str], name: str) -> torch.Tensor:
        """Return the parameter for a name in an expression, however it is stored."""
        found: torch.Tensor = getattr(self, complete(name))
        return found

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output and the final states in the documented form."""
        adapter, states = self.adapter, self._read_states(input, hx)
        ways = self.config.num_directions
        weights = self.make_weights()

        def call(part: Any) -> dict[str, Any]:
            positional, named = adapter.call.build({"x": part, **states}, ways)
            returned = functional_call(self.own, weights, tuple(positional), named)
            return adapter.returns.read(returned, ways)

        if adapter.seed is not None and self.training and self.config.has_dropout:
            adapter.seed(draw_seed())
        is_whole = OUTPUT in adapter.returns.names
        time = int(self.config.batch_first)
        found = call(input) if is_whole else call_parts(call, input, time, ways)
        output = found[OUTPUT]
        if isinstance(output, tuple | list) and not isinstance(output, PackedSequence):
            output = torch.stack(tuple(output), 1 if self.config.batch_first else 0)
        letters = self.config.kind_data.states
        finals = tuple(
            found[letter] if letter in found else self._fill_in(letter, input) for letter in letters
        )
        return output, finals[0] if len(finals) == 1 else finals

    def _read_states(self, input: Any, hx: Any) -> dict[str, Any]:
        """Return the initial states for the user's module, by letter."""
        letters = self.config.kind_data.states
        if hx is not None:
            return dict(zip(letters, (hx,) if len(letters) == 1 else hx, strict=True))
        if not self.adapter.needs_state:
            return {}
        return {letter: self._fill_in(letter, input) for letter in letters}

    def _fill_in(self, letter: str, input: Any) -> torch.Tensor:
        """Return zeros for a required state, or for a final state that is not returned."""
        if isinstance(input, PackedSequence):
            batch: tuple[int, ...] = (int(input.batch_sizes[0]),)
        else:
            batch = () if input.dim() < 3 else (input.shape[0 if self.config.batch_first else 1],)
        first = (self.config.num_layers * self.config.num_directions, *batch)
        numbers: torch.Tensor = input.data if isinstance(input, PackedSequence) else input
        return numbers.new_zeros(*first, state_size(self.config, letter))


def call_parts(
    call: Callable[[torch.Tensor], dict[str, Any]], input: torch.Tensor, time: int, ways: int
) -> dict[str, Any]:
    """Return the final states of a call, and as its output the top layer's states after each step.

    The steps stand along the axis `time`. The forward direction has these states after each prefix
    of the sequence, and the backward direction, if `ways` is 2, after each suffix.
    """
    steps = input.shape[time]
    prefixes = [call(input.narrow(time, 0, count)) for count in range(1, steps + 1)]
    halves = [torch.stack([each["h"][-ways] for each in prefixes], time)]
    if ways > 1:
        suffixes = [call(input.narrow(time, step, steps - step)) for step in range(1, steps)]
        states = [each["h"][-1] for each in (prefixes[-1], *suffixes)]
        halves.append(torch.stack(states, time))
    return {**prefixes[-1], OUTPUT: torch.cat(halves, -1)}


def draw_seed() -> int:
    """Return a seed drawn from torch's generator, so that `torch.manual_seed` determines it."""
    return int(torch.randint(SEEDS, ()))


def _fit(made: torch.Tensor, like: torch.Tensor, name: str, expression: Expression) -> torch.Tensor:
    """Return a value in the shape of a parameter that differs only in axes of size 1.

    A stack of gates (G, ...) also fits a parameter with the gates one below the other.
    """
    if made.numel() == like.numel() and _drop_ones(made) == _drop_ones(like):
        return made.reshape(like.shape)
    raise Malformed(
        f"{name} has shape {tuple(like.shape)}, and {expression.text!r} makes {tuple(made.shape)}",
        f"parameter.shape@{name}",
    )


def _drop_ones(tensor: torch.Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
