"""Test a recurrent layer as the makers of kernels do: oneDNN (benchdnn) and MIOpen.

The tests are rewritten for a torch layer from the description of the public tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from benchmarks.vendors.problems import (
    Cases,
    Checker,
    Layer,
    Problem,
    compare,
    compute,
    compute_reference,
    fill_parameters,
)
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import GRU, KINDS, LSTM, RNN, UNGATED, Kind
from rnnspec.reference.values import change_values
from rnnspec.selftest import Plain

FLAGS = (False, True)
NONLINEARITIES = ("relu", "tanh")
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
    layer: Layer,
    dtype: torch.dtype,
    kind: Kind = UNGATED,
    nonlinearities: tuple[str, ...] = NONLINEARITIES,
) -> None:
    """Check a layer as oneDNN's benchdnn checks RNNs in its continuous integration.

    Inputs, states, biases and cotangents are close to 0.5, in the first sample negated for relu.
    Each gate of a unit has a single weight, 1 divided by the number of gates. A single cell is
    compared element by element, everything else by the L2 norm of the error relative to that of the
    result. float16 runs inference only. GRUs are those whose reset gate follows the product, with a
    bias of its own there (`LBR_GRU`), and gates have torch's order. Its projections of LSTMs are
    left out: torch has none to as many units, or to more.

    benchdnn's relu has a slope of 0.9 below zero. With torch's, the negated sample gives results
    near zero, on which a relative tolerance is much sharper than benchdnn's own.
    """
    chosen = tuple(each for each in nonlinearities if each in kind.nonlinearities)
    for problem, expected in list_benchdnn(kind.name, dtype, chosen):
        gradient, steps = problem.cotangents is not None, len(problem.x)
        gates, samples = len(kind.gates), problem.x.shape[1]
        terms = 2 * gates + 1
        if gradient:
            terms *= max(gates * problem.config.hidden_size, samples)
        limit = 4 * (1 + gradient) * math.ceil(math.log2(terms * steps)) * EPSILONS[dtype]
        single = problem.config.num_layers == steps == 1
        compare(layer, problem, dtype, expected, check_benchdnn(limit, single, gradient))


def check_benchdnn(limit: float, single: bool, gradient: bool) -> Checker:
    """Return benchdnn's comparison: a wrong element counts only if the norm is too large, too."""

    def check(name: str, got: Tensor, due: Tensor) -> None:
        difference, size = (got - due).abs(), due.abs()
        relative = float(difference.norm()) / (float(due.norm()) or 1.0)
        near = difference <= limit * size.where(size > 1e-5, torch.ones(()).double())
        near |= (difference < limit) & gradient
        if not relative <= limit and not (single and bool(near.all())):
            raise AssertionError(f"{name} differs by {relative:.3g}, tolerated {limit:.3g}")

    return check


@cache
def list_benchdnn(kind: str, dtype: torch.dtype, nonlinearities: tuple[str, ...]) -> Cases:
    """Return the problems of benchdnn in one dtype, and their results."""
    training = (False,) if dtype == torch.half else FLAGS
    configs = [
        (shape, Config(*shape[3:], shape[0], nonlinearity, bidirectional=bidirectional, kind=kind))
        for shape, nonlinearity, bidirectional in itertools.product(
            ONEDNN_SHAPES, nonlinearities or ("tanh",), FLAGS
        )
    ]
    problems = [
        draw_benchdnn(shape, config, strided, trained)
        for (shape, config), strided, trained in itertools.product(configs, FLAGS, training)
    ]
    return [(problem, compute_reference(problem, dtype)) for problem in problems]


def draw_benchdnn(shape: tuple[int, ...], config: Config, strided: bool, training: bool) -> Problem:
    """Return one problem of benchdnn; in training it has a backward pass."""
    layers, steps, samples, inputs, hidden = shape
    rows, width = layers * config.num_directions, config.num_directions * hidden
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        drawn = torch.randn(*size, dtype=torch.float64, generator=generator)
        return (0.5 + 0.01 * drawn).clamp(0.0, 0.999999)

    def draw_states() -> tuple[Tensor, ...]:
        return tuple(draw(rows, samples, hidden) for _ in config.kind_data.states)

    x, states = draw(steps, samples, inputs), draw_states()
    if config.nonlinearity == "relu":
        for tensor in (x, *states):
            tensor[:, 0] *= -1
    return Problem(
        config,
        fill_parameters(config, partial(fill_benchdnn, draw, config.kind_data)),
        x,
        states,
        cotangents=(draw(steps, samples, width), *draw_states()) if training else None,
        training=training,
        strided=strided,
    )


def fill_benchdnn(
    draw: Callable[..., Tensor], kind: Kind, name: str, size: tuple[int, ...]
) -> Tensor:
    """Return a parameter of benchdnn; its single bias is the one of the input.

    Only the last gate of a GRU, whose hidden part is multiplied by the reset gate, has another.
    """
    gates, hidden = len(kind.gates), size[0] // len(kind.gates)
    if name.startswith("bias_ih"):
        return draw(*size)
    parameter = torch.zeros(size, dtype=torch.float64)
    if name.startswith("bias"):
        if "reset" in kind.gates:
            parameter[-hidden:] = draw(hidden)
        return parameter
    start = 13 * int(name.split("_l")[1][0]) + 11 * name.endswith("_reverse")
    for gate, unit in itertools.product(range(gates), range(hidden)):
        column = (19 * unit + 7 * gate + start) % size[1]
        parameter[gate * hidden + unit, column] = 1.0 / gates
    return parameter


@dataclass(frozen=True)
class Sizes:
    """The sizes of MIOpen's test of a kind, and the scale of its weights."""

    inputs: int
    hidden: int
    steps: tuple[int, ...]
    scale: float


MIOPEN = {
    RNN.name: Sizes(31, 127, (3, 51), 1e-4),
    GRU.name: Sizes(13, 67, (1, 23), 1e-3),
    LSTM.name: Sizes(17, 67, (1, 25), 1e-3),
}
MARGIN = 1e-6
"""How far every input of a relu must be from zero, relative to the largest in its step."""
SEEDS = range(8)


def run_miopen(layer: Layer, dtype: torch.dtype, kind: Kind = UNGATED) -> None:
    """Check a layer as MIOpen's tests of vanilla RNNs, GRUs and LSTMs do.

    Packed batches run forward and backward in training, with small positive inputs, states and
    cotangents, and small weights of both signs. Each result is compared by its root mean square
    error relative to its largest value. MIOpen's reference goes backward through the activations of
    the kernel under test; here instead, the seed is chosen so that no input of a relu is so close
    to zero that rounding could change its sign. Dropout is not compared: MIOpen's reference
    emulates the kernel's generator.
    """
    limit = 5e-2 if dtype == torch.half else 80 * EPSILONS[dtype]

    def check(name: str, got: Tensor, due: Tensor) -> None:
        largest = max(float(got.abs().max()), float(due.abs().max())) or 1.0
        error = float((got - due).norm()) / (math.sqrt(due.numel()) * largest)
        if not error <= limit:
            raise AssertionError(f"the error of {name} is {error:.3g}, tolerated {limit:.3g}")

    for problem, expected in list_miopen(kind.name, dtype):
        compare(layer, problem, dtype, expected, check)


@cache
def list_miopen(kind: str, dtype: torch.dtype) -> Cases:
    """Return the problems of MIOpen in one dtype, and their results."""
    return [(problem, compute_reference(problem, dtype)) for problem in choose_miopen(kind)]


@cache
def choose_miopen(kind: str) -> list[Problem]:
    """Return the problems of MIOpen: for relu, with the seed that keeps its inputs from zero."""
    test = MIOPEN[kind]
    chosen = [each for each in NONLINEARITIES if each in KINDS[kind].nonlinearities]
    configs = [
        Config(test.inputs, test.hidden, layers, nonlinearity, bias, False, 0.0, both, kind=kind)
        for layers, nonlinearity, bias, both in itertools.product(
            (1, 3), chosen or ["tanh"], FLAGS, FLAGS
        )
    ]
    found = []
    for config, steps, given in itertools.product(configs, test.steps, FLAGS):
        if config.nonlinearity == "relu":
            drawn = [draw_miopen(config, steps, given, seed) for seed in SEEDS]
            problem = max(drawn, key=find_margin)
            if find_margin(problem) > MARGIN:
                found.append(problem)
        else:
            found.append(draw_miopen(config, steps, given, SEEDS[0]))
    return found


def find_margin(problem: Problem) -> float:
    """Return how far every input of a relu is from zero, relative to the largest in its step."""
    smallest = [math.inf]

    def watch(total: Tensor) -> Tensor:
        size = total.abs()
        smallest.append(float(size.min() / size.max()))
        return total

    class Watched(Plain):
        changes = change_values({"sum.hidden": watch})

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
    test, rows = MIOPEN[config.kind], sum(sizes)
    shape = config.num_layers * config.num_directions, sizes[0], test.hidden

    def draw_states() -> tuple[Tensor, ...]:
        return tuple(draw(*shape) for _ in config.kind_data.states)

    return Problem(
        config,
        fill_parameters(config, lambda _, size: draw(*size, low=-99, scale=test.scale)),
        draw(rows, test.inputs),
        draw_states() if given else (),
        tuple(sizes),
        (draw(rows, test.hidden * config.num_directions), *draw_states()),
        training=True,
    )
