"""Random problems, from contracting to chaotic, and the results of a layer or cell on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.shapes import Shape, parameter_shapes, state_size
from rnnspec.oracle import Array, Problem
from rnnspec.subjects.documented import require_documented

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

Distribution = Callable[[np.random.Generator, Shape, int], Array]


def _draw_with_row_sums(rows: float) -> Distribution:
    def draw_values(rng: np.random.Generator, shape: Shape, hidden: int) -> Array:
        values = np.copysign(0.25 + np.abs(rng.standard_normal(shape)), rng.standard_normal(shape))
        return (
            values * (rows / np.abs(values).sum(axis=-1, keepdims=True))
            if len(shape) == 2
            else values
        )

    return draw_values


def _draw_normal(gain: float) -> Distribution:
    return lambda rng, shape, hidden: rng.standard_normal(shape) * gain / np.sqrt(shape[-1])


DISTRIBUTIONS: dict[str, Distribution] = {
    "default": lambda rng, shape, hidden: rng.uniform(-1.0, 1.0, shape) / np.sqrt(hidden),
    "contracting": _draw_normal(0.9),
    "expanding": _draw_normal(1.5),
    "chaotic": _draw_normal(3.0),
    "row sums 0.5": _draw_with_row_sums(0.5),
    "row sums 0.9": _draw_with_row_sums(0.9),
    "sparse": lambda rng, shape, hidden: rng.standard_normal(shape) * (rng.random(shape) < 0.2),
    "tiny": lambda rng, shape, hidden: (
        rng.standard_normal(shape) * 10.0 ** rng.uniform(-44.0, -3.0)
    ),
}
"""The distributions of weights: functions from (generator, shape, hidden_size) to values."""


def draw(
    rng: np.random.Generator,
    dtype: torch.dtype,
    *,
    largest: int = 33,
    steps: int = 16,
    kind: str = "rnn",
) -> Problem:
    """Draw a problem of one to three layers whose values are all representable in the dtype.

    In two of five problems the sequences have different lengths. In two of five, the states of an
    LSTM are projected. A cell has one layer and one step, whose samples are complete.
    """
    data = KINDS[kind]
    sizes = rng.integers(1, largest, 2)
    config = Config(
        int(sizes[0]),
        int(sizes[rng.integers(2)]),
        num_layers=1 if data.is_cell else int(rng.integers(1, 4)),
        nonlinearity=str(rng.choice(data.nonlinearities or ["tanh"])),
        bias=bool(rng.random() < 0.8),
        bidirectional=not data.is_cell and bool(rng.random() < 0.5),
        kind=kind,
    )
    if data.has_projection and config.hidden_size > 1 and rng.random() < 0.4:
        config = replace(config, proj_size=int(rng.integers(1, config.hidden_size)))
    length, batch = int(rng.integers(1, 2 if data.is_cell else steps + 1)), int(rng.integers(1, 5))
    lengths = rng.integers(1, length + 1, batch) if rng.random() < 0.4 else np.full(batch, length)
    lengths[rng.integers(batch)] = length
    draw_weights = DISTRIBUTIONS[str(rng.choice(list(DISTRIBUTIONS)))]
    scale = 10.0 ** rng.uniform(-2.0, 1.0)
    return Problem(
        config=config,
        weights={
            name: cast(draw_weights(rng, shape, config.hidden_size), dtype)
            for name, shape in parameter_shapes(config).items()
        },
        input=cast(rng.standard_normal((length, batch, config.input_size)) * scale, dtype),
        initial={
            f"{letter}_0": cast(
                rng.standard_normal(state_rows(config, batch, letter)) * (rng.random() < 0.7), dtype
            )
            for letter in config.kind_data.states
        },
        lengths=lengths,
        masks=_draw_masks(rng, config, length, batch) if rng.random() < 0.3 else {},
    )


def state_rows(config: Config, batch: int, letter: str) -> Shape:
    """Return the shape of the states with a letter."""
    return (config.num_directions * config.num_layers, batch, state_size(config, letter))


def cotangents(
    rng: np.random.Generator, problem: Problem, dtype: torch.dtype = torch.float64
) -> dict[str, Array]:
    """Draw a cotangent of every result, with values that are representable in the dtype."""
    config, (steps, batch, _) = problem.config, problem.input.shape
    kind = config.kind_data
    shapes = {kind.leading: (steps, batch, config.num_directions * config.output_size)} | {
        name: state_rows(config, batch, letter)
        for letter, name in zip(kind.states, kind.final, strict=True)
    }
    return {name: cast(rng.standard_normal(shape), dtype) for name, shape in shapes.items()}


def cast(values: Array, dtype: torch.dtype) -> Array:
    """Round to the nearest values of the dtype, returned as float64."""
    rounded: Array = torch.from_numpy(np.ascontiguousarray(values)).to(dtype).double().numpy()
    return rounded


class CheckedCase:
    """A layer or cell called on a problem: its results and, with `grad=True`, gradients by name.

    A problem with masks is computed by one module per layer, with the masks in between. The layer
    is torch's own of the problem's kind unless another is given.
    """

    def __init__(
        self,
        problem: Problem,
        dtype: torch.dtype,
        *,
        grad: bool = False,
        layer: type[torch.nn.Module] | None = None,
    ) -> None:
        self.grad = grad
        self.layer = layer or require_documented(problem.config.kind_data)
        arrays = {**problem.weights, "input": problem.input, **problem.initial}
        self.tensors = {
            name: torch.tensor(values, dtype=dtype, requires_grad=grad)
            for name, values in arrays.items()
        }
        with torch.set_grad_enabled(grad):
            self.tensor_results = self._run(problem, dtype)
        self.results = {name: _to_array(each) for name, each in self.tensor_results.items()}

    def gradients(self, cotangents: Mapping[str, Array]) -> dict[str, Array]:
        """Return the gradients of the weighted sum of all results by name, as float64 arrays."""
        results = self.tensor_results
        seeds = [torch.from_numpy(cotangents[name]).to(results[name].dtype) for name in results]
        torch.autograd.backward(list(results.values()), seeds)
        return {
            name: _to_array(tensor.grad)
            for name, tensor in self.tensors.items()
            if tensor.grad is not None
        }

    def _run(self, problem: Problem, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        if problem.config.kind_data.is_cell:
            return self._run_cell(problem)
        layers = problem.config.num_layers
        groups = [[layer] for layer in range(layers)] if problem.masks else [list(range(layers))]
        values, finals = self.tensors["input"], []
        for group in groups:
            values, *final = self._call(problem, group, values)
            finals.append(final)
            if group[-1] in problem.masks:
                values = values * torch.from_numpy(problem.masks[group[-1]]).to(dtype)
        states = [torch.cat(each) for each in zip(*finals, strict=True)]
        return dict(zip(problem.config.kind_data.results, [values, *states], strict=True))

    def _run_cell(self, problem: Problem) -> dict[str, torch.Tensor]:
        kind, values = problem.config.kind_data, self.tensors["input"]
        module = self.layer(**problem.config.arguments).to(values.dtype)
        weights = {name: self.tensors[name] for name, _ in module.named_parameters()}
        found = torch.func.functional_call(
            module,
            weights,
            (values[0], _pass_states([self.tensors[each][0] for each in kind.initial])),
        )
        states = [found] if isinstance(found, torch.Tensor) else found
        return {name: state[None] for name, state in zip(kind.final, states, strict=True)}

    def _call(
        self, problem: Problem, group: list[int], values: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        config, directions = problem.config, problem.config.num_directions
        given = {"input_size": values.shape[-1], "num_layers": len(group), "dropout": 0.0}
        module = self.layer(**{**config.arguments, **given}).to(values.dtype)
        sources = {
            name: name.replace("_l0", f"_l{group[0]}") if len(group) == 1 else name
            for name, _ in module.named_parameters()
        }
        first = [
            self.tensors[name][group[0] * directions : (group[-1] + 1) * directions]
            for name in config.kind_data.initial
        ]
        steps = values.shape[0]
        packed: torch.Tensor | PackedSequence = values
        if (problem.lengths < steps).any():
            packed = pack_padded_sequence(
                values, torch.from_numpy(problem.lengths), enforce_sorted=False
            )
        weights = {name: self.tensors[source] for name, source in sources.items()}
        output, final = torch.func.functional_call(module, weights, (packed, _pass_states(first)))
        if isinstance(output, PackedSequence):
            output = pad_packed_sequence(output)[0]
        return (output, *(final if isinstance(final, tuple) else [final]))


def _pass_states(states: list[torch.Tensor]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    return states[0] if len(states) == 1 else tuple(states)


def check(problem: Problem, dtype: torch.dtype) -> dict[str, Array]:
    """Return the results of torch's layer as float64 arrays by name."""
    return CheckedCase(problem, dtype).results


def excess(checked: Array, reference: Array, allowance: Array) -> float:
    """Return the largest error in units of the bound.

    An error counts as inf if it is NaN or exceeds a bound of zero, and as 0 if the bound is inf.
    """
    with np.errstate(all="ignore"):
        error = np.abs(checked - reference)
        ratio = np.where(error == 0.0, 0.0, error / allowance)
    ratio = np.where(np.isinf(allowance), 0.0, ratio)
    return float(np.where(np.isnan(ratio), np.inf, ratio).max(initial=0.0))


def _draw_masks(
    rng: np.random.Generator, config: Config, steps: int, batch: int
) -> dict[int, Array]:
    shape = (steps, batch, config.num_directions * config.output_size)
    p = float(rng.choice([0.1, 0.5, 0.9]))
    return {
        layer: (rng.random(prod(shape)).reshape(shape) >= p) / (1.0 - p)
        for layer in range(config.num_layers - 1)
    }


def _to_array(tensor: torch.Tensor) -> Array:
    values: Array = tensor.detach().double().numpy()
    return values
