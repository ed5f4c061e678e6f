"""How frameworks and converters test a recurrent layer: Keras, ONNX and coremltools.

Written anew from the description of their public tests, to judge a torch layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.testing import assert_close

from benchmarks.vendors.problems import (
    Cases,
    Fill,
    Judge,
    Layer,
    Problem,
    compare,
    compute_reference,
    fill_parameters,
)
from rnnspec.contract.config import Config


def expect_close(rtol: float, atol: float) -> Judge:
    """Return a judge that tolerates this relative and absolute difference of each element."""
    return lambda name, got, due: assert_close(
        got, due, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}"
    )


def run_keras(layer: Layer) -> None:
    """Judge a layer by the numbers in Keras's tests of SimpleRNN and Bidirectional.

    All weights of one kind are the same number, so that all units are the same. The calls have no
    state, a given state, or the final state of another call; none has a backward pass. Masks with
    gaps cannot be shown by a torch layer.
    """
    for problem, expected in list_keras():
        compare(layer, problem, torch.float32, expected, expect_close(1e-6, 1e-6))


@cache
def list_keras() -> Cases:
    """Return the problems of Keras, and their results."""
    values = {"weight_ih": 0.01, "weight_hh": 0.02, "bias_ih": 0.03, "bias_hh": 0.0}

    def fill(name: str, size: tuple[int, ...]) -> Tensor:
        return torch.full(size, values[name.partition("_l")[0]])

    problems = []
    state = torch.arange(8.0).reshape(1, 2, 4)
    for shape, h_0, units in (
        ((2, 3, 4), None, 4),
        ((2, 3, 4), None, 2),
        ((2, 4, 3), state, 4),
    ):
        x, both = torch.arange(24.0).reshape(shape), None if h_0 is None else torch.cat([h_0] * 2)
        for given, bidirectional in ((h_0, False), (both, True)):
            config = Config(shape[2], units, batch_first=True, bidirectional=bidirectional)
            first = Problem(config, fill_parameters(config, fill), x, given)
            carried = compute_reference(first, torch.float32)["h_n"]
            problems += [first, Problem(config, first.parameters, x, carried)]
    return [(problem, compute_reference(problem, torch.float32)) for problem in problems]


def run_onnx(layer: Layer) -> None:
    """Judge a layer by the four node tests of ONNX's RNN.

    They have one direction, one layer, no given state and no backward pass. In three of them all
    weights are the same and there is a single step. Three compare only the final state.
    """
    for problem, outputs in list_onnx():
        expected = compute_reference(problem, torch.float32)
        compared = {name: expected[name] for name in outputs}
        compare(layer, problem, torch.float32, compared, expect_close(1e-3, 1e-7))


def list_onnx() -> Iterator[tuple[Problem, tuple[str, ...]]]:
    """Yield the problem of each node test, and the results that it compares."""
    generator = torch.Generator().manual_seed(0)

    def fill(scale: float) -> Fill:
        return lambda name, size: torch.full(size, 0.0 if name.startswith("bias_hh") else scale)

    def draw(_: str, size: tuple[int, ...]) -> Tensor:
        return torch.randn(size, generator=generator)

    default, biased = Config(2, 4, bias=False), Config(3, 5)
    batchwise = Config(2, 4, bias=False, batch_first=True)
    for config, filling, shape, outputs in (
        (default, fill(0.1), (1, 3, 2), ("h_n",)),
        (biased, fill(0.1), (1, 3, 3), ("h_n",)),
        (biased, draw, (2, 3, 3), ("h_n",)),
        (batchwise, fill(0.5), (3, 1, 2), ("output", "h_n")),
    ):
        x = torch.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)
        yield Problem(config, fill_parameters(config, filling), x), outputs


COREML_CONFIGS = (
    (1, 1, 1, True, True, "tanh"),
    (1, 1, 1, False, True, "relu"),
    (1, 1, 1, False, True, "tanh"),
    (3, 1, 5, True, False, "relu"),
    (3, 1, 5, True, True, "tanh"),
    (3, 7, 5, True, False, "relu"),
    (3, 7, 5, False, True, "relu"),
    (3, 7, 5, False, True, "tanh"),
)
"""Input size, hidden size, layers, bias, batch_first and nonlinearity in coremltools."""


def run_coremltools(layer: Layer) -> None:
    """Judge a layer as coremltools judges its conversion of `torch.nn.RNN`.

    Eight configurations in eval mode, in one direction, with torch's initial weights and a given
    state. The converted layer computes in float16, so each problem runs in float16 and float32.
    """
    for problem, expected in list_coremltools():
        for dtype in (torch.float32, torch.half):
            compare(layer, problem, dtype, expected, expect_close(5e-2, 0.5))


@cache
def list_coremltools() -> Cases:
    """Return the problems of coremltools, and their results."""
    generator, found = torch.Generator().manual_seed(0), []
    for inputs, units, layers, bias, batch_first, nonlinearity in COREML_CONFIGS:
        config = Config(inputs, units, layers, nonlinearity, bias, batch_first, dropout=0.3)

        def fill(_: str, size: tuple[int, ...], bound: float = units**-0.5) -> Tensor:
            return bound * (2 * torch.rand(size, generator=generator) - 1)

        problem = Problem(
            config,
            fill_parameters(config, fill),
            torch.randn(*((3, 10) if batch_first else (10, 3)), inputs, generator=generator),
            torch.randn(layers, 3, units, generator=generator),
        )
        found.append((problem, compute_reference(problem, torch.float32)))
    return found
