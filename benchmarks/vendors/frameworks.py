"""Test a recurrent layer as frameworks and converters do: Keras, ONNX and coremltools.

The tests are rewritten for a torch layer from the description of the public tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from benchmarks.vendors.problems import (
    Cases,
    Checker,
    Fill,
    Layer,
    Problem,
    Results,
    compare,
    compute_reference,
    fill_parameters,
)
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import GRU, KINDS, LSTM, RNN, UNGATED, Kind


def expect_close(rtol: float, atol: float) -> Checker:
    """Return a comparison that tolerates this relative and absolute difference of each element."""
    return lambda name, got, due: assert_close(
        got, due, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}"
    )


def pack(x: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """Return the data and the sizes of the batches of a packed batch_first input."""
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True)
    return packed.data, tuple(packed.batch_sizes.tolist())


@dataclass(frozen=True)
class KerasTest:
    """A test of Keras: the shape of its input, its units, and what is special about it.

    with_state   whether it passes states, of whole numbers
    bias         whether there are biases
    forget_bias  the bias of the gate that multiplies a cell state
    lengths      the lengths of its sequences, which a mask shows; empty without a mask
    tolerance    the relative and absolute difference that it tolerates
    """

    shape: tuple[int, int, int]
    units: int
    with_state: bool = False
    bias: bool = True
    forget_bias: float = 1.0
    lengths: tuple[int, ...] = ()
    tolerance: float = 1e-6


KERAS = {
    RNN.name: (
        KerasTest((2, 3, 4), 4),
        KerasTest((2, 3, 4), 2),
        KerasTest((2, 4, 3), 4, with_state=True),
    ),
    GRU.name: (
        KerasTest((3, 6, 4), 3, tolerance=1e-5),
        KerasTest((3, 6, 4), 3, bias=False, tolerance=1e-5),
        KerasTest((2, 3, 4), 4),
        KerasTest((2, 3, 4), 2),
        KerasTest((2, 4, 3), 2, with_state=True),
    ),
    LSTM.name: (
        KerasTest((3, 6, 4), 3, tolerance=1e-5),
        KerasTest((3, 6, 4), 3, forget_bias=0.03, tolerance=1e-5),
        KerasTest((3, 6, 4), 3, bias=False, tolerance=1e-5),
        KerasTest((2, 3, 4), 4, tolerance=1e-5),
        KerasTest((2, 4, 3), 2),
        KerasTest((2, 4, 3), 2, with_state=True, tolerance=1e-5),
        KerasTest((2, 4, 3), 2, lengths=(3, 2), tolerance=1e-5),
    ),
}


def run_keras(layer: Layer, kind: Kind = UNGATED) -> None:
    """Check a layer against the numbers in Keras's tests of its RNNs and of Bidirectional.

    All weights of one kind are the same number, so that all units are the same unless states are
    given. The calls have no state, given states, or the final states of another call; none has a
    backward pass. Masks with gaps cannot be shown by a torch layer, nor can a GRU whose reset gate
    comes before the product (`reset_after=False`, which is not the default).
    """
    for problem, expected, tolerance in list_keras(kind.name):
        compare(layer, problem, torch.float32, expected, expect_close(tolerance, tolerance))


@cache
def list_keras(kind: str) -> list[tuple[Problem, Results, float]]:
    """Return the problems of Keras, their results, and the tolerance of each."""
    found = []
    for test in KERAS[kind]:
        for bidirectional in (False, True):
            first = fill_keras(KINDS[kind], test, bidirectional)
            expected = compute_reference(first, torch.float32)
            carried = tuple(expected[name] for name in KINDS[kind].final)
            second = replace(first, states=carried)
            found += [
                (first, expected, test.tolerance),
                (second, compute_reference(second, torch.float32), test.tolerance),
            ]
    return found


def fill_keras(kind: Kind, test: KerasTest, bidirectional: bool) -> Problem:
    """Return the problem of a test of Keras.

    Beside a reset gate, Keras has both biases.
    """
    config = Config(
        test.shape[2],
        test.units,
        bias=test.bias,
        batch_first=True,
        bidirectional=bidirectional,
        kind=kind.name,
    )
    hidden_bias = 0.03 if "reset" in kind.gates else 0.0
    values = {"weight_ih": 0.01, "weight_hh": 0.02, "bias_ih": 0.03, "bias_hh": hidden_bias}

    def fill(name: str, size: tuple[int, ...]) -> Tensor:
        parameter = torch.full(size, values[name.partition("_l")[0]])
        if kind.memory_gate and name.startswith("bias_ih"):
            parameter.chunk(len(kind.gates))[kind.gates.index(kind.memory_gate)].fill_(
                test.forget_bias
            )
        return parameter

    x = torch.arange(float(math.prod(test.shape))).reshape(test.shape)
    data, sizes = pack(x, test.lengths) if test.lengths else (x, None)
    states = number_states(config) if test.with_state else ()
    return Problem(config, fill_parameters(config, fill), data, states, sizes)


def number_states(config: Config) -> tuple[Tensor, ...]:
    """Return states of whole numbers for two samples.

    If both directions have several states, each is a multiple of the first.
    """
    count, directions = len(config.kind_data.states), config.num_directions
    factors = torch.ones(directions, count)
    if count > 1 and directions > 1:
        factors = torch.arange(1.0, 1.0 + factors.numel()).reshape(factors.shape)
    state = torch.arange(2.0 * config.hidden_size).reshape(2, config.hidden_size)
    return tuple((factors[:, :, None, None] * state).unbind(1))


ONNX = {
    RNN.name: (
        (Config(2, 4, bias=False), 0.1, (1, 3, 2)),
        (Config(3, 5), 0.1, (1, 3, 3)),
        (Config(3, 5), None, (2, 3, 3)),
        (Config(2, 4, bias=False, batch_first=True), 0.5, (3, 1, 2)),
    ),
    GRU.name: (
        (Config(2, 5, bias=False, kind=GRU.name), 0.1, (1, 3, 2)),
        (Config(3, 3, kind=GRU.name), 0.1, (1, 3, 3)),
        (Config(3, 5, kind=GRU.name), None, (2, 3, 3)),
        (Config(2, 6, bias=False, batch_first=True, kind=GRU.name), 0.2, (3, 1, 2)),
    ),
    LSTM.name: (
        (Config(2, 3, bias=False, kind=LSTM.name), 0.1, (1, 3, 2)),
        (Config(3, 4, kind=LSTM.name), 0.1, (1, 3, 3)),
        (Config(2, 7, bias=False, batch_first=True, kind=LSTM.name), 0.3, (3, 1, 2)),
    ),
}
"""The node tests by kind: arguments, the number that all weights are (drawn, if None), and the
shape of the input.
"""


def run_onnx(layer: Layer, kind: Kind = UNGATED) -> None:
    """Check a layer with the node tests of ONNX's RNN, GRU or LSTM.

    They have one direction, one layer, no given state and no backward pass. In all but one, of RNNs
    and GRUs, all weights are the same and there is a single step. Only the batch-first one compares
    the output, the others only h_n; none compares c_n. Peepholes cannot be shown by a torch layer.
    The node tests of GRU have a reset gate before the product; here it follows, as in torch.
    """
    for problem, outputs in list_onnx(kind.name):
        expected = compute_reference(problem, torch.float32)
        compared = {name: expected[name] for name in outputs}
        compare(layer, problem, torch.float32, compared, expect_close(1e-3, 1e-7))


def list_onnx(kind: str) -> Iterator[tuple[Problem, tuple[str, ...]]]:
    """Yield the problem of each node test, and the results that it compares."""
    generator = torch.Generator().manual_seed(0)

    def fill(scale: float) -> Fill:
        return lambda name, size: torch.full(size, 0.0 if name.startswith("bias_hh") else scale)

    def draw(_: str, size: tuple[int, ...]) -> Tensor:
        return torch.randn(size, generator=generator)

    for config, scale, shape in ONNX[kind]:
        x = torch.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)
        parameters = fill_parameters(config, draw if scale is None else fill(scale))
        yield Problem(config, parameters, x), ("output", "h_n") if config.batch_first else ("h_n",)


@dataclass(frozen=True)
class CoremlTest:
    """A test of coremltools: the sizes of its call, and what it compares.

    lengths  the lengths of packed sequences; empty if it is not packed
    whole    whether it passes states and compares all results; otherwise only the output
    """

    config: Config
    steps: int = 10
    samples: int = 3
    lengths: tuple[int, ...] = ()
    whole: bool = True


def list_rnn_tests() -> Iterator[CoremlTest]:
    """Yield the tests of `torch.nn.RNN` in coremltools, which convert one direction."""
    for inputs, units, layers, bias, batch_first, nonlinearity in (
        (1, 1, 1, True, True, "tanh"),
        (1, 1, 1, False, True, "relu"),
        (1, 1, 1, False, True, "tanh"),
        (3, 1, 5, True, False, "relu"),
        (3, 1, 5, True, True, "tanh"),
        (3, 7, 5, True, False, "relu"),
        (3, 7, 5, False, True, "relu"),
        (3, 7, 5, False, True, "tanh"),
    ):
        config = Config(inputs, units, layers, nonlinearity, bias, batch_first, dropout=0.3)
        yield CoremlTest(config)


def list_gru_tests() -> Iterator[CoremlTest]:
    """Yield the tests of `torch.nn.GRU` in coremltools."""
    for inputs, units, layers, bias, batch_first, steps, bidirectional in (
        (1, 1, 1, True, True, 10, True),
        (1, 1, 1, False, True, 10, True),
        (1, 1, 1, False, True, 1, False),
        (3, 1, 5, True, False, 10, False),
        (3, 1, 5, True, True, 10, True),
        (3, 7, 5, True, True, 10, False),
        (3, 7, 5, False, True, 10, True),
        (3, 7, 5, False, True, 1, True),
    ):
        config = Config(inputs, units, layers, "tanh", bias, batch_first, 0.3, bidirectional)
        yield CoremlTest(replace(config, kind=GRU.name), steps)


def list_lstm_tests() -> Iterator[CoremlTest]:
    """Yield the tests of `torch.nn.LSTM` in coremltools; of two layers in a row, each alone."""
    for inputs, units, layers, bias, batch_first, bidirectional in (
        (1, 1, 1, True, True, True),
        (1, 1, 1, False, True, False),
        (1, 1, 1, False, True, True),
        (3, 1, 5, True, False, False),
        (3, 1, 5, True, True, True),
        (3, 7, 5, True, False, False),
        (3, 7, 5, False, True, True),
        (3, 7, 5, False, True, False),
    ):
        config = Config(inputs, units, layers, "tanh", bias, batch_first, 0.3, bidirectional)
        yield CoremlTest(replace(config, kind=LSTM.name), steps=3, samples=2)
    for batch_first in (True, False):
        config = Config(4, 6, batch_first=batch_first, kind=LSTM.name)
        yield CoremlTest(config, lengths=(10, 5, 1), whole=False)
    for inputs, bias, batch_first in itertools.product((7, 10), (True, False), (True, False)):
        config = Config(inputs, 5, 1, "tanh", bias, batch_first, 0.3, True, kind=LSTM.name)
        yield CoremlTest(config, steps=3, samples=2, whole=False)


COREML = {RNN.name: list_rnn_tests, GRU.name: list_gru_tests, LSTM.name: list_lstm_tests}


def run_coremltools(layer: Layer, kind: Kind = UNGATED) -> None:
    """Check a layer as coremltools checks its conversion of torch's layers.

    The layers are in eval mode, with torch's initial weights and, unless a test compares only the
    output, given states. The converted layer computes in float16, so each problem runs in float16
    and float32.
    """
    for problem, expected in list_coremltools(kind.name):
        for dtype in (torch.float32, torch.half):
            compare(layer, problem, dtype, expected, expect_close(5e-2, 0.5))


@cache
def list_coremltools(kind: str) -> Cases:
    """Return the problems of coremltools, and the results that they compare."""
    generator, found = torch.Generator().manual_seed(0), []
    for test in COREML[kind]():
        config, bound = test.config, test.config.hidden_size**-0.5

        def fill(_: str, size: tuple[int, ...], bound: float = bound) -> Tensor:
            return bound * (2 * torch.rand(size, generator=generator) - 1)

        parameters = fill_parameters(config, fill)
        rows = config.num_layers * config.num_directions
        batch_first = config.batch_first or bool(test.lengths)
        shape = (test.samples, test.steps) if batch_first else (test.steps, test.samples)
        x = torch.randn(*shape, config.input_size, generator=generator)
        states = [
            torch.randn(rows, test.samples, config.hidden_size, generator=generator)
            for _ in KINDS[kind].states
        ]
        data, sizes = pack(x, test.lengths) if test.lengths else (x, None)
        problem = Problem(config, parameters, data, tuple(states) if test.whole else (), sizes)
        expected = compute_reference(problem, torch.float32)
        found.append((problem, expected if test.whole else {"output": expected["output"]}))
    return found
