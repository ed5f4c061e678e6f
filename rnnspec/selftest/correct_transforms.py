"""Correct layers that use a tool of PyTorch: a compiler, `vmap` or recomputation."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from rnnspec.plain.call import Batches
from rnnspec.plain.layer import Plain
from rnnspec.selftest.correct import StepByStep, add_to, take_steps


def compute_step(x: Tensor, h: Tensor, weight: Tensor, is_tanh: bool) -> Tensor:
    """Compute a step; `compile_step` compiles this function."""
    total = torch.addmm(x, h, weight)
    return torch.tanh(total) if is_tanh else torch.relu(total)


@cache
def compile_step(dtype: torch.dtype, builds_graph: bool) -> Any:
    """Return `compute_step` compiled by `torch.compile`, for any sizes and without C++.

    The compiler makes up to eight versions of a function, and then stops compiling it. Therefore
    each dtype has its own function, with and without gradients.
    """
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    name = f"compute_step_{str(dtype).removeprefix('torch.')}_{builds_graph}"
    code = compute_step.__code__.replace(co_name=name)
    function = FunctionType(code, compute_step.__globals__)
    return torch.compile(function, backend="eager", dynamic=True)


def take_compiled_step(x: Tensor, h: Tensor, weight: Tensor, is_tanh: bool) -> Tensor:
    """Return the states after a step, computed by the compiled function."""
    compiled = compile_step(x.dtype, torch.is_grad_enabled())
    with warnings.catch_warnings():
        # The compiler reads `.grad` of tensors that are not leaves, and torch warns about it.
        warnings.simplefilter("ignore", UserWarning)
        new: Tensor = compiled(x, h, weight, is_tanh)
    return new


class CompiledStep(Plain):
    """Each step is a function compiled by `torch.compile`."""

    changes = take_steps(take_compiled_step)


def loop_over_steps(
    inputs: list[Tensor], h: Tensor, weight: Tensor, is_tanh: bool
) -> tuple[list[Tensor], Tensor]:
    """Compute all steps of a direction; `script_loop` compiles this function."""
    outputs: list[Tensor] = []
    for x in inputs:
        count = x.size(0)
        total = torch.addmm(x, h[:count], weight)
        new = torch.tanh(total) if is_tanh else torch.relu(total)
        outputs.append(new)
        h = torch.cat([new, h[count:]])
    return outputs, h


@cache
def script_loop() -> Any:
    """Return `loop_over_steps` compiled by `torch.jit.script`, compiling it at first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(loop_over_steps)


class ScriptedLoop(StepByStep):
    """The loop over the time steps is a function compiled by `torch.jit.script`."""

    def run_direction(
        self, data: Tensor, sizes: Batches, state: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        reading, weight, *biases = (
            self.parameter(kind, layer, direction) for kind in self.parameter_kinds()
        )
        way = -1 if direction else 1
        inputs = sum(biases, start=linear(data, reading)).split(sizes)[::way]
        steps, last = script_loop()(inputs, state, weight.t(), self.nonlinearity == "tanh")
        return torch.cat(steps[::way]), last


class SamplesByVmap(Plain):
    """The product of a row and a weight is mapped over the rows by `torch.vmap`."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        if not rows.numel():
            return super().multiply(rows, weight, added)
        multiply = torch.vmap(torch.matmul, in_dims=(0, None))
        product: Tensor = multiply(rows.flatten(0, -2), weight).unflatten(0, rows.shape[:-1])
        return add_to(added, product)


class StepsRecomputed(Plain):
    """No step keeps anything for the backward pass, which computes each step again."""

    changes = take_steps(lambda *given: checkpoint(compute_step, *given, use_reentrant=False))
