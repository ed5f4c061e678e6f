"""The documented layer as a module of torch for which NumPy computes.

It uses none of torch's arithmetic, so it shows the results that a layer must return even where
torch's operators are wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnspec import oracle
from rnnspec.cases.states import get_states_size, name_final, name_initial
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.observe.tensors import make_tensor, to_array
from rnnspec.oracle import Array
from rnnspec.plain.call import Batches
from rnnspec.plain.catalogue import PLAIN_KINDS
from rnnspec.plain.checks import find_autocast_dtype

NOISE: ContextVar[float] = ContextVar("NOISE", default=0.0)
"""The relative change of all given numbers, to measure how much it changes the results."""


@dataclass
class OracleCall:
    """A call of such a layer, with the cotangents of its backward passes.

    `problem` has the numbers of the call, and `sizes` the number of sequences at each step.
    `autocast` is the dtype to which products may be rounded, if it has fewer digits.
    """

    config: Config
    sizes: Batches
    masks: Mapping[int, Array]
    autocast: torch.dtype | None = None
    cotangents: list[dict[str, Array]] = field(default_factory=list)
    problem: oracle.Problem = field(init=False)

    def begin(self, data: Array, start: Array, weights: Sequence[Array]) -> None:
        """Set the numbers of the call: data (rows, H_in), concatenated states, and weights."""
        data, start, *weights = (self.disturb(each) for each in (data, start, *weights))
        self.problem = oracle.Problem(
            self.config,
            dict(zip(parameter_shapes(self.config), weights, strict=True)),
            pad_rows(data, self.sizes),
            name_initial(self.config, start),
            (np.array(self.sizes)[:, None] > np.arange(self.sizes[0])).sum(axis=0),
            self.masks,
        )

    def disturb(self, values: Array) -> Array:
        """Return numbers moved up or down by the share `NOISE`."""
        noise = NOISE.get()
        if not noise:
            return values
        signs = np.random.default_rng(values.size).choice((-1.0, 1.0), values.shape)
        return values * (1.0 + noise * signs)

    @cached_property
    def trace(self) -> oracle.Trace:
        """The forward pass."""
        return oracle.run_layers(self.problem)

    def find_results(self) -> tuple[Array, Array]:
        """Return the output (rows, D * H_out) and the concatenated final states."""
        final = [self.trace.results[name] for name in self.config.kind_data.final]
        return self._cut(self.trace.output), np.concatenate(final, axis=-1)

    def find_gradients(self, d_output: Array, d_final: Array) -> tuple[Array, ...]:
        """Return the gradients of the data (rows, H_in), the states and the parameters in order."""
        config = self.config
        cotangents = name_final(config, d_final)
        if not config.kind_data.is_cell:
            cotangents = {"output": pad_rows(d_output, self.sizes), **cotangents}
        self.cotangents.append(cotangents)
        found = oracle.compute_gradients(self.problem, self.trace, cotangents)
        initial = [found[name] for name in config.kind_data.initial]
        weights = (found[name] for name in parameter_shapes(config))
        return self._cut(found["input"]), np.concatenate(initial, axis=-1), *weights

    def count_terms(self) -> int:
        """Return a limit on the number of products that a result or a gradient is the sum of."""
        config = self.config
        width = config.input_size + config.hidden_size
        return width * sum(self.sizes) * config.num_layers * config.num_directions

    def find_largest_bound(self, rounding: oracle.Rounding) -> float:
        """Return the largest error that rounding can explain in any result and gradient.

        It is infinite if the error of a finite value has no bound.
        """
        bound = oracle.compute_bound(self.problem, self.trace, rounding)
        pairs = [(self.trace.results, bound.results)]
        for each in self.cotangents:
            values = oracle.compute_gradients(self.problem, self.trace, each)
            errors = oracle.compute_gradient_bound(self.problem, self.trace, each, rounding)
            pairs.append((values, errors))
        return max(
            float(errors[name][np.isfinite(values[name])].max(initial=0.0))
            for values, errors in pairs
            for name in errors
        )

    def _cut(self, padded: Array) -> Array:
        """Return the rows (rows, F) that belong to sequences."""
        pairs = zip(padded, self.sizes, strict=True)
        return np.concatenate([step[:size] for step, size in pairs])


def pad_rows(rows: Array, sizes: Batches) -> Array:
    """Return the rows of all steps as (T, N, F), with zeros behind the end of sequences."""
    padded = np.zeros((len(sizes), sizes[0], rows.shape[-1]))
    starts = np.cumsum([0, *sizes])
    for step, size in enumerate(sizes):
        padded[step, :size] = rows[starts[step] : starts[step] + size]
    return padded


class ByOracle(nn.Module):
    """Gives a plain layer results and gradients that the oracle computes in float64.

    They are rounded to the dtype of the layer. Masks of dropout are drawn in each call. Gradients
    cannot be differentiated again.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> Any:
        """Return the output (rows, D * H_out) and the states (D * num_layers, N, S)."""
        config = _read_config(self)
        if start is None:
            rows = config.num_layers * config.num_directions
            start = data.new_zeros((rows, sizes[0], get_states_size(config)))
        weights = [getattr(self, name) for name in parameter_shapes(config)]
        drops = config.has_dropout and self.training
        width = config.num_directions * config.output_size
        masks = _draw_masks(config, (len(sizes), sizes[0], width)) if drops else {}
        call = OracleCall(config, sizes, masks, find_autocast_dtype(data.device.type))
        CALLS.append(call)
        return _Results.apply(call, data, start, *weights)


CALLS: deque[OracleCall] = deque(maxlen=64)
"""The last calls of such layers, the newest last. No program makes as many."""


class _Results(torch.autograd.Function):
    """The two passes of a call, from tensors to tensors."""

    @staticmethod
    def forward(call: OracleCall, data: Tensor, start: Tensor, *weights: Tensor) -> Any:
        call.begin(to_array(data), to_array(start), [to_array(each) for each in weights])
        return tuple(_to_tensor(each, data) for each in call.find_results())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the call, and a tensor of its dtype and device."""
        ctx.call, ctx.like = inputs[:2]

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, d_final: Tensor) -> Any:
        return None, *_Gradients.apply(ctx.call, ctx.like, d_output, d_final)


class _Gradients(torch.autograd.Function):
    """The backward pass of a call: a separate function, whose tensors `torch.func` unwraps."""

    @staticmethod
    def forward(call: OracleCall, like: Tensor, d_output: Tensor, d_final: Tensor) -> Any:
        gradients = call.find_gradients(to_array(d_output), to_array(d_final))
        return tuple(_to_tensor(each, like) for each in gradients)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *received: Tensor) -> Any:
        raise RuntimeError("the gradients of the oracle have no gradients")


def _make_layer(kind: Kind) -> type[nn.Module]:
    plain = PLAIN_KINDS[kind.name]
    bases = (*plain.outside, ByOracle, plain.joined)
    return type(f"{kind.title}ByOracle", bases, {"__module__": __name__})


LAYERS_BY_ORACLE = {name: _make_layer(KINDS[name]) for name in PLAIN_KINDS}
"""The layer or cell of each kind that the oracle computes."""
globals().update({layer.__name__: layer for layer in LAYERS_BY_ORACLE.values()})  # for pickle


def _draw_masks(config: Config, shape: tuple[int, ...]) -> dict[int, Array]:
    """Return a mask for each layer except the last. Torch provides only the seed."""
    rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
    keep = 1.0 - config.dropout
    return {
        layer: (rng.random(shape) < keep) / (keep or 1.0) for layer in range(config.num_layers - 1)
    }


def _read_config(layer: Any) -> Config:
    arguments = {name: getattr(layer, name) for name in layer.kind.arguments}
    return Config(**arguments, kind=layer.kind.name)


def _to_tensor(array: Array, like: Tensor) -> Tensor:
    return make_tensor(array, like.device, like.dtype)
