"""Correct layers that run through a tool of PyTorch: a compiler, `vmap` or recomputation."""

# ruff: noqa: D102  (the class docstring says what its methods do differently)

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

from rnnspec.plain.layer import Plain, Sizes


def compute_step(x: Tensor, h: Tensor, weight: Tensor, is_tanh: bool) -> Tensor:
    """Compute one step; `compile_step` compiles this function."""
    total = torch.addmm(x, h, weight)
    return torch.tanh(total) if is_tanh else torch.relu(total)


@cache
def compile_step(dtype: torch.dtype, builds_graph: bool) -> Any:
    """Return `compute_step` compiled by `torch.compile`, for any sizes and without C++.

    The compiler makes up to eight versions of a function, and then leaves it as it is. Therefore
    each dtype has a function of its own, with and without gradients.
    """
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    name = f"compute_step_{str(dtype).removeprefix('torch.')}_{builds_graph}"
    code = compute_step.__code__.replace(co_name=name)
    function = FunctionType(code, compute_step.__globals__)
    return torch.compile(function, backend="eager", dynamic=True)


class CompiledStep(Plain):
    """Each step is a function compiled by `torch.compile`."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        compiled = compile_step(x.dtype, torch.is_grad_enabled())
        with warnings.catch_warnings():
            # The compiler looks at `.grad` of tensors that are not leaves.
            warnings.simplefilter("ignore", UserWarning)
            new: Tensor = compiled(x, h, weight, self.nonlinearity == "tanh")
        return new


def loop_over_steps(
    inputs: list[Tensor], h: Tensor, weight: Tensor, is_tanh: bool
) -> tuple[list[Tensor], Tensor]:
    """Compute all steps of one direction; `script_loop` compiles this function."""
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


class ScriptedLoop(Plain):
    """The loop over the time steps is a function compiled by `torch.jit.script`."""

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        inputs = torch.split(self.project(data, layer, direction), list(sizes))
        order = [*self.order(len(sizes), direction)]
        outputs, h = script_loop()(
            [inputs[t] for t in order],
            h,
            self.recurrent_weight(layer, direction).t(),
            self.nonlinearity == "tanh",
        )
        return self.join(dict(zip(order, outputs, strict=True)), len(sizes)), h


class SamplesByVmap(Plain):
    """The equation of one sample is mapped over the samples by `torch.vmap`."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if not len(data):
            return super().project(data, layer, direction)
        projected = torch.vmap(linear, in_dims=(0, None))(data, self.input_weight(layer, direction))
        return sum(self.biases(layer, direction), start=projected)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if not len(x):
            return super().step(x, h, weight, layer, t)
        new: Tensor = torch.vmap(self.step_sample, in_dims=(0, 0, None))(x, h, weight)
        return new

    def step_sample(self, x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        """Return the next state of one sample."""
        return self.activation(x + h @ weight)


class StepsRecomputed(Plain):
    """No step keeps anything for the backward pass, which computes each of them again."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new: Tensor = checkpoint(super().step, x, h, weight, layer, t, use_reentrant=False)
        return new
