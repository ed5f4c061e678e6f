"""How the makers of kernels test a recurrent layer: oneDNN (benchdnn) and MIOpen.

Written anew from the description of their public tests, to judge a torch layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from benchmarks.vendors.problems import (
    Cases,
    Judge,
    Layer,
    Problem,
    compare,
    compute,
    compute_reference,
    fill_parameters,
)
from rnnspec.contract.config import Config
from rnnspec.selftest import Plain

FLAGS = (False, True)
EPSILONS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.bfloat16, torch.half)}
ONEDNN_SHAPES = (
    (1, 1, 1, 16, 16),
    (1, 1, 2, 17, 17),
    (1, 2, 1, 32, 32),
    (2, 1, 1, 36, 36),
    (1, 2, 2, 32, 16),
)
"""Layers, steps, samples, input and hidden size of its small shapes that are possible in torch."""


def run_benchdnn(
    layer: Layer, dtype: torch.dtype, nonlinearities: tuple[str, ...] = ("relu", "tanh")
) -> None:
    """Judge a layer as oneDNN's benchdnn judges a vanilla RNN in its continuous integration.

    Inputs, states, biases and cotangents are close to 0.5, in the first sample negated for relu.
    Each unit has a single weight of 1. A single cell is judged element by element, everything else
    by the L2 norm of the error relative to that of the result. float16 runs inference only.

    benchdnn's relu has a slope of 0.9 below zero. With torch's, the negated sample gives results
    near zero, on which a relative tolerance is much sharper than benchdnn's own.
    """
    for problem, expected in list_benchdnn(dtype, nonlinearities):
        gradient, steps = problem.cotangents is not None, len(problem.x)
        terms = 3 * max(problem.config.hidden_size, problem.x.shape[1]) if gradient else 3
        limit = 4 * (1 + gradient) * math.ceil(math.log2(terms * steps)) * EPSILONS[dtype]
        single = problem.config.num_layers == steps == 1
        compare(layer, problem, dtype, expected, judge_benchdnn(limit, single, gradient))


def judge_benchdnn(limit: float, single: bool, gradient: bool) -> Judge:
    """Return benchdnn's judge: errors of a single cell count only if the norm is too large, too."""

    def judge(name: str, got: Tensor, due: Tensor) -> None:
        difference, size = (got - due).abs(), due.abs()
        relative = float(difference.norm()) / (float(due.norm()) or 1.0)
        near = difference <= limit * size.where(size > 1e-5, torch.ones(()).double())
        near |= (difference < limit) & gradient
        if not relative <= limit and not (single and bool(near.all())):
            raise AssertionError(f"{name} differs by {relative:.3g}, tolerated {limit:.3g}")

    return judge


@cache
def list_benchdnn(dtype: torch.dtype, nonlinearities: tuple[str, ...]) -> Cases:
    """Return the problems of benchdnn in one dtype, and their results."""
    training = (False,) if dtype == torch.half else FLAGS
    problems = itertools.starmap(
        draw_benchdnn, itertools.product(ONEDNN_SHAPES, nonlinearities, FLAGS, FLAGS, training)
    )
    return [(problem, compute_reference(problem, dtype)) for problem in problems]


def draw_benchdnn(
    shape: tuple[int, ...], nonlinearity: str, bidirectional: bool, strided: bool, training: bool
) -> Problem:
    """Return one problem of benchdnn; in training it has a backward pass."""
    layers, steps, samples, inputs, hidden = shape
    config = Config(inputs, hidden, layers, nonlinearity, bidirectional=bidirectional)
    rows, width = layers * config.num_directions, config.num_directions * hidden
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        drawn = torch.randn(*size, dtype=torch.float64, generator=generator)
        return (0.5 + 0.01 * drawn).clamp(0.0, 0.999999)

    x, h_0 = draw(steps, samples, inputs), draw(rows, samples, hidden)
    if nonlinearity == "relu":
        x[:, 0], h_0[:, 0] = -x[:, 0], -h_0[:, 0]
    return Problem(
        config,
        fill_parameters(config, partial(fill_benchdnn, draw)),
        x,
        h_0,
        cotangents=(draw(steps, samples, width), draw(rows, samples, hidden)) if training else None,
        training=training,
        strided=strided,
    )


def fill_benchdnn(draw: Callable[..., Tensor], name: str, size: tuple[int, ...]) -> Tensor:
    """Return a parameter of benchdnn; its single bias is the one of the input."""
    if name.startswith("bias"):
        return draw(*size) if name.startswith("bias_ih") else torch.zeros(size)
    start = 13 * int(name.split("_l")[1][0]) + 11 * name.endswith("_reverse")
    weight = torch.zeros(size)
    for unit in range(size[0]):
        weight[unit, (19 * unit + start) % size[1]] = 1.0
    return weight


MARGIN = 1e-6
"""How far every input of a relu must be from zero, relative to the largest in its step."""
SEEDS = range(8)


def run_miopen(layer: Layer, dtype: torch.dtype) -> None:
    """Judge a layer as MIOpen's test of vanilla RNNs does.

    Packed batches run forward and backward in training, with small positive inputs, states and
    cotangents, and small weights of both signs. Each result is judged by its root mean square error
    relative to its largest value. MIOpen's reference goes backward through the activations of the
    kernel under test; here instead, the seed is chosen so that no input of a relu is so close to
    zero that rounding could change its sign. Dropout is not compared: MIOpen's reference emulates
    the kernel's generator.
    """
    limit = 5e-2 if dtype == torch.half else 80 * EPSILONS[dtype]

    def judge(name: str, got: Tensor, due: Tensor) -> None:
        largest = max(float(got.abs().max()), float(due.abs().max())) or 1.0
        error = float((got - due).norm()) / (math.sqrt(due.numel()) * largest)
        if not error <= limit:
            raise AssertionError(f"the error of {name} is {error:.3g}, tolerated {limit:.3g}")

    for problem, expected in list_miopen(dtype):
        compare(layer, problem, dtype, expected, judge)


@cache
def list_miopen(dtype: torch.dtype) -> Cases:
    """Return the problems of MIOpen in one dtype, and their results."""
    return [(problem, compute_reference(problem, dtype)) for problem in choose_miopen()]


@cache
def choose_miopen() -> list[Problem]:
    """Return the problems of MIOpen: for relu, with the seed that keeps its inputs from zero."""
    configs = [
        Config(31, 127, layers, nonlinearity, bias, bidirectional=bidirectional)
        for layers, nonlinearity, bias, bidirectional in itertools.product(
            (1, 3), ("relu", "tanh"), FLAGS, FLAGS
        )
    ]
    found = []
    for config, steps, given in itertools.product(configs, (3, 51), FLAGS):
        seeds = SEEDS if config.nonlinearity == "relu" else SEEDS[:1]
        problem = max((draw_miopen(config, steps, given, seed) for seed in seeds), key=find_margin)
        if find_margin(problem) > MARGIN:
            found.append(problem)
    return found


def find_margin(problem: Problem) -> float:
    """Return how far every input of a relu is from zero, relative to the largest in its step."""
    smallest = [math.inf]

    class Watched(Plain):
        def activation(self, x: Tensor) -> Tensor:
            if self.nonlinearity == "relu":
                size = x.abs()
                smallest.append(float(size.min() / size.max()))
            return super().activation(x)

    compute(Watched, replace(problem, cotangents=None), torch.float64)
    return min(smallest)


def draw_miopen(config: Config, steps: int, given: bool, seed: int) -> Problem:
    """Return one problem of MIOpen: 17 sequences, with the numbers of one seed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int, low: int = 0, scale: float = 1e-3) -> Tensor:
        return scale * torch.randint(low, 100, size, generator=generator).double()

    sizes = [17]
    for ended in torch.randint(0, 3, (steps - 1,), generator=generator).tolist():
        sizes.append(max(1, sizes[-1] - ended))
    rows, states = sum(sizes), (config.num_layers * config.num_directions, 17, 127)
    return Problem(
        config,
        fill_parameters(config, lambda _, size: draw(*size, low=-99, scale=1e-4)),
        draw(rows, 31),
        draw(*states) if given else None,
        tuple(sizes),
        (draw(rows, 127 * config.num_directions), draw(*states)),
        training=True,
    )
