"""Run a layer of the user, with as few layers and directions as it can have, on chosen numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from rnnspec import oracle
from rnnspec.adapters.expressions import NAME
from rnnspec.adapters.forms import OUTPUT, Form
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.contract.shapes import parameter_shapes, state_size
from rnnspec.oracle import Array
from rnnspec.reference.variants import Variant
from rnnspec.subjects.subject import observe_step

INPUT_SIZE, HIDDEN_SIZE = 3, 5
"""Sizes in trials. For up to four gates, no multiple of 3, 5 or 3 + 5 equals a multiple of another
of these, so that shapes are unambiguous.
"""
STEPS, BATCH = 9, 7
"""More samples than a layer has states, and different from the sizes."""
BUILDING, TRIAL = "building it", "the call with weights of the search"


@dataclass(frozen=True)
class LayerInterface:
    """How to call a layer.

    call         the form of the arguments
    returns      the form of the results
    batch_first  whether the first axis of the input is the batch
    needs_state  whether a call requires a state
    """

    call: Form
    returns: Form
    batch_first: bool
    needs_state: bool = False

    @property
    def takes_state(self) -> bool:
        """Whether a call accepts a state."""
        return "h" in self.call.names


@dataclass(frozen=True)
class Trial:
    """A layer of the user, and the numbers for comparing it with the reference.

    module    the layer
    config    the configuration for which it was built
    dtype     the dtype of its computation
    numbers   the documented weights, x (T, N, I), and the states (D * num_layers, N, H) by letter
    compared  the result to compare; if empty, all results
    added     the constant that the layer's code adds to each gate
    variant   the formula to compare with, if not the documented one
    """

    module: nn.Module
    config: Config
    dtype: torch.dtype
    interface: LayerInterface
    numbers: Mapping[str, Array] = field(default_factory=dict)
    compared: str = ""
    added: Mapping[str, float] = field(default_factory=dict)
    variant: Variant | None = None

    @property
    def kind(self) -> Kind:
        """The kind of layer."""
        return self.config.kind_data

    @property
    def tolerance(self) -> float:
        """The largest difference between equal results, of the order of 1, in this dtype."""
        return 1e-9 if self.dtype is torch.float64 else 1e-4

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of the layer, by its own names."""
        return {name: tuple(each.shape) for name, each in self.module.named_parameters()}

    def as_kind(self, kind: Kind, nonlinearity: str, seed: int = 0) -> Trial:
        """Return the trial for another kind of layer, with new numbers."""
        config = replace(self.config, kind=kind.name, nonlinearity=nonlinearity)
        return replace(self, config=config, numbers=draw_numbers(config, seed))

    def forget_states(self) -> Trial:
        """Return the trial with initial states of zero and without comparing the final states."""
        zeros = {letter: np.zeros_like(self.numbers[letter]) for letter in self.kind.states}
        return replace(self, numbers={**self.numbers, **zeros}, compared=OUTPUT)

    def complete_name(self, name: str) -> str:
        """Return the documented parameter that a name in an expression stands for."""
        found = NAME.fullmatch(name)
        assert found is not None
        if found["layer"] is not None:
            return name
        return f"{found['role']}_l0{found['suffix'] or ''}"

    def tensor(self, name: str) -> torch.Tensor:
        """Return a new tensor with some of the numbers, so that a layer may write into it."""
        return torch.tensor(self.numbers[name], dtype=self.dtype)

    def run(self, weights: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        """Return the results for the layer's own weights.

        They are the output (T, N, D * H) and the final states (D * num_layers, N, H). Raises
        Failure.
        """
        interface, x = self.interface, self.tensor("x")
        tensors = {"x": x.transpose(0, 1) if interface.batch_first else x}
        if interface.takes_state:
            tensors |= {letter: self.tensor(letter) for letter in self.kind.states}
        ways = self.config.num_directions
        positional, named = interface.call.build(tensors, ways)
        module = copy.deepcopy(self.module)  # the layer may keep state between calls
        with observe_step(TRIAL), torch.no_grad():
            returned = functional_call(module, dict(weights), tuple(positional), named)
            found = interface.returns.read(returned, ways)
            return _to_arrays(found, interface.batch_first)

    def expect(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return the results of the reference, or of the variant, for documented weights."""
        states = {letter: self.numbers[letter] for letter in self.kind.states}
        if not self.interface.takes_state:
            states = {letter: np.zeros_like(each) for letter, each in states.items()}
        if self.variant is not None:
            return self.variant.run(self.config, weights, self.numbers["x"], states)
        initial = {f"{letter}_0": each for letter, each in states.items()}
        lengths = np.full(self.numbers["x"].shape[1], len(self.numbers["x"]), dtype=np.int64)
        problem = oracle.Problem(self.config, weights, self.numbers["x"], initial, lengths)
        results = oracle.run_layers(problem).results
        return {name.removesuffix("_n"): array for name, array in results.items()}

    def agrees(self, found: Mapping[str, Array], expected: Mapping[str, Array]) -> bool:
        """Return whether all results of the layer equal the results of the reference."""
        return all(
            found[name].shape == expected[name].shape
            and bool(np.abs(found[name] - expected[name]).max() <= self.tolerance)
            for name in found
            if name in expected and self.compared in ("", name)
        )


def _to_arrays(found: Mapping[str, Any], batch_first: bool) -> dict[str, Array]:
    output = found[OUTPUT]
    if isinstance(output, tuple | list):
        output = torch.stack(tuple(output), 1 if batch_first else 0)
    tensors = {**found, OUTPUT: output.transpose(0, 1) if batch_first else output}
    return {name: np.asarray(each.detach().double().numpy()) for name, each in tensors.items()}


def draw_numbers(config: Config, seed: int) -> dict[str, Array]:
    """Return numbers for a configuration: weights, x, and a state for each letter."""
    rng = np.random.default_rng(seed)
    rows = config.num_layers * config.num_directions
    shapes = {
        **parameter_shapes(config),
        "x": (STEPS, BATCH, config.input_size),
        **{letter: (rows, BATCH, state_size(config, letter)) for letter in config.kind_data.states},
    }
    # No number is near zero, so that each has a visible effect.
    drawn = {name: rng.uniform(0.2, 1.0, shape) for name, shape in shapes.items()}
    signs = {name: rng.choice([-1.0, 1.0], shape) for name, shape in shapes.items()}
    return {name: drawn[name] * signs[name] for name in shapes}


CALL = "a call of the layer"


class Prober:
    """Calls a layer with random numbers."""

    def __init__(self, module: nn.Module, config: Config, dtype: torch.dtype) -> None:
        self.module, self.config, self.dtype = module, config, dtype
        self.kind, self.rows = config.kind_data, config.num_layers * config.num_directions
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> torch.Tensor:
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
            return (1.8 * drawn - 0.9).to(dtype)

        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(draw(*parameter.shape))
        self.x = draw(STEPS, BATCH, INPUT_SIZE)
        self.states = {each: draw(self.rows, BATCH, HIDDEN_SIZE) for each in self.kind.states}

    def call(self, form: Form, x: torch.Tensor, states: Mapping[str, torch.Tensor]) -> Any:
        """Return the results of a call. Raises Failure."""
        # Copy the inputs: a layer may write into them, and later calls need the same numbers.
        given = {name: each.clone() for name, each in {"x": x, **states}.items()}
        positional, named = form.build(given)
        module = copy.deepcopy(self.module)  # the layer may keep state between calls
        with observe_step(CALL), torch.no_grad():
            return module(*positional, **named)
