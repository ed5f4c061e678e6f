"""Describe one call of a layer with given parameters as data, and compare its results.

The recipes of vendors consist of such problems. The reference is always the layer of torch.nn of
the same kind in float64, in place of each vendor's own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.subjects.documented import require_documented

Layer = type[nn.Module]
Results = dict[str, Tensor]
"""The results of a call by name: output, final states, and the gradients of `x`, initial states and
parameters.
"""
Checker = Callable[[str, Tensor, Tensor], None]
"""Raises AssertionError if the result of this name is too far from the expected one."""
Fill = Callable[[str, tuple[int, ...]], Tensor]
"""Returns a parameter from its name and shape."""


@dataclass(frozen=True)
class Problem:
    """One call, and what it is called with, in float64.

    x           the input, or for packed input its data
    states      the initial states, or none
    sizes       the sizes of the batches of packed input, or None
    cotangents  the gradients of output and final states, or None without a backward pass
    strided     whether steps of x and rows of states are one element further apart than needed
    """

    config: Config
    parameters: Mapping[str, Tensor]
    x: Tensor
    states: tuple[Tensor, ...] = ()
    sizes: tuple[int, ...] | None = None
    cotangents: tuple[Tensor, ...] | None = None
    training: bool = False
    strided: bool = False


Cases = list[tuple[Problem, Results]]
"""Problems, each with its expected results."""


def compute(layer: Layer, problem: Problem, dtype: torch.dtype) -> Results:
    """Return what a layer computes for a problem whose numbers are rounded to `dtype`."""
    kind = problem.config.kind_data
    module = layer(**problem.config.changed).to(dtype).train(problem.training)
    module.load_state_dict({name: value.to(dtype) for name, value in problem.parameters.items()})
    leaves = [tensor.detach().clone().to(dtype) for tensor in (problem.x, *problem.states)]
    if problem.strided:
        leaves = [place(leaf, min(dim, 2)) for dim, leaf in enumerate(leaves, 1)]
    with torch.set_grad_enabled(problem.cotangents is not None):
        for leaf in leaves:
            leaf.requires_grad_(problem.cotangents is not None)
        first: Any = leaves[0]
        if problem.sizes is not None:
            first = PackedSequence(first, torch.tensor(problem.sizes))
        given = [tuple(leaves[1:])] if len(leaves) > 2 else leaves[1:]
        output, final = module(first, *given)
    output = output if problem.sizes is None else output.data
    results = name_results(kind, output, final)
    if problem.cotangents is None:
        return results
    names = ["x", *kind.initial[: len(problem.states)]]
    names += [name for name, _ in module.named_parameters()]
    pairs = zip(results.values(), problem.cotangents, strict=True)
    with_graph = [(result, due.to(dtype)) for result, due in pairs if result.requires_grad]
    gradients = torch.autograd.grad(
        [result for result, _ in with_graph],
        [*leaves, *module.parameters()],
        [cotangent for _, cotangent in with_graph],
        materialize_grads=True,
        allow_unused=True,
    )
    return {**results, **dict(zip(names, gradients, strict=True))}


def name_results(kind: Kind, output: Tensor, final: Any) -> Results:
    """Return output and final states by name; `final` is a pair if the kind has two states."""
    states = final if len(kind.states) > 1 else (final,)
    return {"output": output, **dict(zip(kind.final, states, strict=True))}


def place(tensor: Tensor, dim: int) -> Tensor:
    """Return a copy in which one unused element follows each part along the dimensions to `dim`."""
    rows = tensor.flatten(dim)
    return torch.cat([rows, rows[..., :1]], dim=-1)[..., :-1].view(tensor.shape)


def compare(
    layer: Layer, problem: Problem, dtype: torch.dtype, expected: Results, check: Checker
) -> None:
    """Compare each result of a layer with the expected one, both in float64."""
    found = compute(layer, problem, dtype)
    for name, due in expected.items():
        got = found[name].detach().double()
        assert got.shape == due.shape, f"{name} has shape {got.shape}, expected {due.shape}"
        check(name, got, due)


def compute_reference(problem: Problem, dtype: torch.dtype) -> Results:
    """Return what torch.nn computes in float64 for the numbers rounded to `dtype`."""

    def narrow(tensor: Tensor) -> Tensor:
        return tensor.to(dtype).double()

    given = problem.cotangents
    rounded = replace(
        problem,
        parameters={name: narrow(value) for name, value in problem.parameters.items()},
        x=narrow(problem.x),
        states=tuple(map(narrow, problem.states)),
        cotangents=None if given is None else tuple(map(narrow, given)),
    )
    results = compute(find_own(problem.config.kind_data), rounded, torch.float64)
    return {name: value.detach() for name, value in results.items()}


def fill_parameters(config: Config, fill: Fill) -> Results:
    """Return a value for each parameter of a layer."""
    state = find_own(config.kind_data)(**config.changed).state_dict()
    return {name: fill(name, tuple(value.shape)).double() for name, value in state.items()}


def find_own(kind: Kind) -> Layer:
    """Return the layer of torch.nn of a kind."""
    own: Layer = require_documented(kind)
    return own
