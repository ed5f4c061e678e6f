"""A module around a function on arrays, which converts tensors to arrays and back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnspec.adapters.adapter import name_target
from rnnspec.adapters.expressions import Expression
from rnnspec.adapters.layer import draw_seed
from rnnspec.adapters.libraries import Arrays, Differentiated, Function, compile_function
from rnnspec.adapters.recipes import make_recipes
from rnnspec.adapters.results import read_gradients, read_results
from rnnspec.adapters.validation import LENGTHS, SEED, TRAINING, list_optional
from rnnspec.contract.config import Config
from rnnspec.contract.features import Feature
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.subjects.devices import keep_random_numbers

Compute = Callable[..., Any]
"""A function (config, x, h_0, weights) that returns output and h_n; an LSTM has pairs of states."""
BuildFirst = Callable[[Config, str], Any]
"""A function of a configuration and a dtype name that builds the first argument of `Compute`."""
WITHOUT_BIAS = (
    "since with bias=False there is no bias to make it from; "
    'if the layer always has biases, declare lacks={"bias": "it always has biases"}'
)


@dataclass(frozen=True)
class Implementation:
    """A computation of a layer on arrays, and the features that it lacks.

    compute    the function of the adapter
    build      builds its first argument, if that is not the configuration
    gradients  computes its gradients, if the user provides them
    arrays     the library of its arrays
    lacks      the features that it lacks
    """

    compute: Compute
    build: BuildFirst | None
    gradients: Callable[..., Any] | None
    arrays: Arrays
    lacks: frozenset[Feature]


class ArrayLayer(nn.Module):
    """A module with the parameters that a function takes, which passes them as arrays."""

    def __init__(
        self, own: Implementation, config: Config, weights: Mapping[str, Expression]
    ) -> None:
        super().__init__()
        self.implementation, self.config = own, config
        documented = {name: torch.zeros(each) for name, each in parameter_shapes(config).items()}
        for name, (complete, expression) in make_recipes(weights, config).items():
            made = expression.evaluate(lambda each, full=complete: documented[full(each)])  # type: ignore[misc]
            self._add_parameter(name, nn.Parameter(torch.as_tensor(made).clone()))
        whole = make_recipes(weights, replace(config, bias=True))
        self.missing = tuple(name for name in whole if name not in dict(self.named_parameters()))

    def _add_parameter(self, name: str, parameter: nn.Parameter) -> None:
        """Register a parameter; parts of its name before a dot are modules."""
        holder: nn.Module = self
        *places, own = name.split(".")
        for place in places:
            if place not in dict(holder.named_children()):
                holder.add_module(place, nn.Module())
            holder = holder.get_submodule(place)
        holder.register_parameter(own, parameter)

    def forward(self, x: Any, *states: torch.Tensor) -> Any:
        """Return the output and the final states as new tensors, or the output alone."""
        first = self.config.batch_first
        is_packed = isinstance(x, PackedSequence)
        padded, lengths = pad_packed_sequence(x, batch_first=first) if is_packed else (x, None)
        output, *finals = self._call(padded, states, lengths)
        packed = output if lengths is None else _pack_like(x, output, lengths, first)
        lacks_finals = Feature.FINAL_STATE in self.implementation.lacks
        return packed if lacks_finals else (packed, *finals)

    def _call(
        self, x: torch.Tensor, states: tuple[torch.Tensor, ...], lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """Call the function on a tensor; `lengths` are given if sequences differ in length."""
        weights, own = dict(self.named_parameters()), self.implementation
        optional = list_optional(own.compute)
        form = Flat(
            own=own,
            config=self.config,
            dtype=str(x.dtype).removeprefix("torch."),
            count=len(states),
            names=tuple(weights),
            missing=self.missing,
            training=TRAINING in optional and self.training,
        )
        # Build it here, because JAX would trace anything that is built within the call.
        form.get_first()
        drops = self.training and self.config.has_dropout
        seed = draw_seed() if SEED in optional and drops else None
        extra = (
            None if lengths is None else own.arrays.from_lengths(lengths),
            None if seed is None else own.arrays.from_seed(seed),
        )
        back = None if own.gradients is None else form.pull_back
        call = Differentiated(flatten_function(form, own.arrays), own.arrays, extra, back)
        return call(x, *states, *weights.values())


@dataclass(frozen=True)
class Flat:
    """A function of an adapter with a flat list of arrays: x, the states and the weights.

    own        the function, and the functions that build its first argument and its gradients
    config     the configuration
    dtype      the name of the dtype of the input
    count      the number of states
    names      the names of the weights
    missing    the names of the weights that exist only with biases
    training   whether to pass on that the layer is in training mode
    """

    own: Implementation
    config: Config
    dtype: str
    count: int
    names: tuple[str, ...]
    missing: tuple[str, ...] = ()
    training: bool = False

    def run(self, extra: tuple[Any, Any], *given: Any) -> tuple[Any, ...]:
        """Return the output and the final states; `extra` contains the lengths and the seed."""
        compute = self.own.compute
        try:
            returned = compute(*self._arrange(given), **self._select_optional(compute, extra))
        except KeyError as error:
            if error.args and error.args[0] in self.missing:
                raise LookupError(f"weights[{error}] is missing, {WITHOUT_BIAS}") from error
            raise
        kind, has_finals = self.config.kind_data, Feature.FINAL_STATE not in self.own.lacks
        return read_results(returned, kind, name_target(compute), has_finals=has_finals)

    def pull_back(self, extra: tuple[Any, Any], *given: Any) -> tuple[Any, ...]:
        """Return the gradients of x, the states and the weights."""
        gradients = self.own.gradients
        assert gradients is not None
        size = 1 + self.count + len(self.names)
        output, *finals = given[size:]
        named = self._select_optional(gradients, extra)
        of_finals = _unwrap(finals) if finals else None
        returned = gradients(*self._arrange(given[:size]), output, of_finals, **named)
        label, initial = name_target(gradients), self.config.kind_data.initial[: self.count]
        return read_gradients(returned, initial, self.names, label)

    def get_first(self) -> Any:
        """Return the first argument: the built object, or the configuration without `build`."""
        build = self.own.build
        return build_once(build, self.config, self.dtype) if build else self.config

    def _select_optional(self, called: Compute, extra: tuple[Any, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a function, as far as it takes them."""
        lengths, seed = extra
        known = {LENGTHS: lengths, SEED: seed, TRAINING: self.training}
        return {name: known[name] for name in list_optional(called)}

    def _arrange(self, given: tuple[Any, ...]) -> tuple[Any, Any, Any, dict[str, Any]]:
        initial = given[1 : 1 + self.count]
        weights = dict(zip(self.names, given[1 + self.count :], strict=True))
        return self.get_first(), given[0], _unwrap(initial) if initial else None, weights


@functools.lru_cache(maxsize=1024)
def build_once(build: BuildFirst, config: Config, dtype: str) -> Any:
    """Return the result of a build function, without drawing from the caller's random numbers."""
    with keep_random_numbers():
        return build(config, dtype)


@functools.lru_cache(maxsize=4096)
def flatten_function(form: Flat, arrays: Arrays) -> Function:
    """Return the function of arrays. Equal forms share a function, so that JAX compiles it once."""
    return compile_function(form.run) if arrays is Arrays.JAX else form.run


def _unwrap(states: Sequence[Any]) -> Any:
    """Return a pair of states for a layer with two states, otherwise the state itself."""
    return states[0] if len(states) == 1 else tuple(states)


def _pack_like(
    packed: PackedSequence, output: torch.Tensor, lengths: torch.Tensor, batch_first: bool
) -> PackedSequence:
    """Return a padded output packed in the order of a packed input."""
    if packed.sorted_indices is not None:
        output = output.index_select(0 if batch_first else 1, packed.sorted_indices)
        lengths = lengths[packed.sorted_indices]
    data = pack_padded_sequence(output, lengths, batch_first=batch_first).data
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
