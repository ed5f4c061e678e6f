"""One call of a layer with given parameters, as data, and how its results are judged.

The recipes of vendors are made of these. The reference is always `torch.nn.RNN` in float64, in
place of each vendor's own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.contract.config import Config

Layer = type[nn.Module]
Results = dict[str, Tensor]
"""The results of a call by name: output, h_n, and the gradients of `x`, `h_0` and parameters."""
Judge = Callable[[str, Tensor, Tensor], None]
"""Raises AssertionError if the result of this name is too far from the expected one."""
Fill = Callable[[str, tuple[int, ...]], Tensor]
"""Returns a parameter from its name and shape."""


@dataclass(frozen=True)
class Problem:
    """One call, and what it is called with, in float64.

    x           the input, or for packed input its data
    sizes       the sizes of the batches of packed input, or None
    cotangents  the gradients of output and h_n, or None without a backward pass
    strided     whether steps of x and rows of h_0 are one element further apart than needed
    """

    config: Config
    parameters: Mapping[str, Tensor]
    x: Tensor
    h_0: Tensor | None = None
    sizes: tuple[int, ...] | None = None
    cotangents: tuple[Tensor, Tensor] | None = None
    training: bool = False
    strided: bool = False


Cases = list[tuple[Problem, Results]]
"""Problems, each with its expected results."""


def compute(layer: Layer, problem: Problem, dtype: torch.dtype) -> Results:
    """Return what a layer computes for a problem whose numbers are rounded to `dtype`."""
    module = layer(**problem.config.changed).to(dtype).train(problem.training)
    module.load_state_dict({name: value.to(dtype) for name, value in problem.parameters.items()})
    given = [problem.x] if problem.h_0 is None else [problem.x, problem.h_0]
    leaves = [tensor.detach().clone().to(dtype) for tensor in given]
    if problem.strided:
        leaves = [place(leaf, dim) for dim, leaf in enumerate(leaves, 1)]
    with torch.set_grad_enabled(problem.cotangents is not None):
        for leaf in leaves:
            leaf.requires_grad_(problem.cotangents is not None)
        first: Any = leaves[0]
        if problem.sizes is not None:
            first = PackedSequence(first, torch.tensor(problem.sizes))
        output, h_n = module(first, *leaves[1:])
    output = output if problem.sizes is None else output.data
    if problem.cotangents is None:
        return {"output": output, "h_n": h_n}
    names = ["x", "h_0"][: len(leaves)] + [name for name, _ in module.named_parameters()]
    pairs = zip((output, h_n), problem.cotangents, strict=True)
    with_graph = [(result, due.to(dtype)) for result, due in pairs if result.requires_grad]
    gradients = torch.autograd.grad(
        [result for result, _ in with_graph],
        [*leaves, *module.parameters()],
        [cotangent for _, cotangent in with_graph],
        materialize_grads=True,
        allow_unused=True,
    )
    return {"output": output, "h_n": h_n, **dict(zip(names, gradients, strict=True))}


def place(tensor: Tensor, dim: int) -> Tensor:
    """Return a copy in which one unused element follows each part along the dimensions to `dim`."""
    rows = tensor.flatten(dim)
    return torch.cat([rows, rows[..., :1]], dim=-1)[..., :-1].view(tensor.shape)


def compare(
    layer: Layer, problem: Problem, dtype: torch.dtype, expected: Results, judge: Judge
) -> None:
    """Judge each result of a layer by the expected one, both in float64."""
    found = compute(layer, problem, dtype)
    for name, due in expected.items():
        got = found[name].detach().double()
        assert got.shape == due.shape, f"{name} has shape {got.shape}, expected {due.shape}"
        judge(name, got, due)


def compute_reference(problem: Problem, dtype: torch.dtype) -> Results:
    """Return what `torch.nn.RNN` computes in float64 for the numbers rounded to `dtype`."""

    def narrow(tensor: Tensor) -> Tensor:
        return tensor.to(dtype).double()

    given = problem.cotangents
    rounded = replace(
        problem,
        parameters={name: narrow(value) for name, value in problem.parameters.items()},
        x=narrow(problem.x),
        h_0=problem.h_0 if problem.h_0 is None else narrow(problem.h_0),
        cotangents=None if given is None else (narrow(given[0]), narrow(given[1])),
    )
    results = compute(nn.RNN, rounded, torch.float64)
    return {name: value.detach() for name, value in results.items()}


def fill_parameters(config: Config, fill: Fill) -> Results:
    """Return a value for each parameter of a layer."""
    state = nn.RNN(**config.changed).state_dict()
    return {name: fill(name, tuple(value.shape)).double() for name, value in state.items()}
