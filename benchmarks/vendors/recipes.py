"""List the recipes with which vendors test recurrent layers, as rivals of rnnspec.

A recipe raises AssertionError if a result is too far from the reference. Vendors test
kernels, so the recipes compare only the results of a layer with given parameters. They cannot
detect faults in arguments, attributes, copies, dropout or the effects of earlier calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.vendors.frameworks import COREML, KERAS, ONNX, run_coremltools, run_keras, run_onnx
from benchmarks.vendors.kernels import MIOPEN, run_benchdnn, run_miopen
from benchmarks.vendors.problems import Layer
from rnnspec.contract.kinds import Kind


@dataclass(frozen=True)
class Recipe:
    """The test of one vendor, and what it consists of in a few words."""

    name: str
    run: Callable[[Layer], None]
    calls: str
    values: str
    tolerance: str


def list_recipes(kind: Kind) -> tuple[Recipe, ...]:
    """Return the recipes for a kind of layer. Raises ValueError for cells, which have none."""
    if kind.is_cell:
        raise ValueError(f"vendors have no tests of {kind.page}: they test whole layers")
    return (
        *describe_benchdnn(kind),
        *describe_miopen(kind),
        describe_keras(kind),
        describe_onnx(kind),
        describe_coremltools(kind),
    )


def describe_benchdnn(kind: Kind) -> Iterator[Recipe]:
    """Yield the recipes of benchdnn; if a kind has relu, also one without it."""
    gates = len(kind.gates)
    weights = (
        f"one weight of 1/{gates} for each gate of a unit"
        if kind.is_gated
        else "one weight of 1 for each unit"
    )
    with_relu = bool(kind.nonlinearities)
    yield Recipe(
        "benchdnn (oneDNN), float32",
        partial(run_benchdnn, dtype=torch.float32, kind=kind),
        "inference and training; its small shapes: up to 2 layers, 2 steps, 2 samples and 36 "
        f"units, 1 or 2 directions, with {name_states(kind)}",
        f"0.5 ± 0.01{', the first sample negated for relu' if with_relu else ''}; {weights}",
        f"4 ceil(log2({2 * gates + 1} steps)) eps, more for gradients, relative and mostly by the "
        "L2 norm",
    )
    yield Recipe(
        "benchdnn (oneDNN), bfloat16",
        partial(run_benchdnn, dtype=torch.bfloat16, kind=kind),
        "the same",
        "the same",
        "the same, with the eps of bfloat16",
    )
    if with_relu:
        yield Recipe(
            "benchdnn (oneDNN), bfloat16, tanh only",
            partial(run_benchdnn, dtype=torch.bfloat16, kind=kind, nonlinearities=("tanh",)),
            "the same, without relu",
            f"0.5 ± 0.01; {weights}",
            "the same, with the eps of bfloat16",
        )
    yield Recipe(
        "benchdnn (oneDNN), float16",
        partial(run_benchdnn, dtype=torch.half, kind=kind),
        "inference only",
        "as in float32",
        "the same, with the eps of float16",
    )


def describe_miopen(kind: Kind) -> Iterator[Recipe]:
    """Yield the recipes of MIOpen."""
    test = MIOPEN[kind.name]
    yield Recipe(
        "MIOpen, float32",
        partial(run_miopen, dtype=torch.float32, kind=kind),
        f"packed, forward and backward; 1 or 3 layers, {list_numbers(test.steps)} steps, 17 "
        f"sequences, {test.hidden} units, 1 or 2 directions, with and without {name_states(kind)}",
        f"0 to 0.1; weights ± {100 * test.scale:g}",
        "80 eps; root mean square relative to the largest value",
    )
    yield Recipe(
        "MIOpen, float16",
        partial(run_miopen, dtype=torch.half, kind=kind),
        "the same",
        "the same",
        "0.05, likewise",
    )


def describe_keras(kind: Kind) -> Recipe:
    """Return the recipe of Keras."""
    tests = KERAS[kind.name]
    tolerances = sorted({test.tolerance for test in tests})
    return Recipe(
        "Keras, constants",
        partial(run_keras, kind=kind),
        f"forward only; 1 layer, {list_numbers(test.shape[1] for test in tests)} steps, "
        f"{list_numbers(test.shape[0] for test in tests)} samples, one or two directions"
        f"{', packed in one test' if any(test.lengths for test in tests) else ''}",
        f"0 to {max(math.prod(test.shape) for test in tests) - 1}; all weights of a kind equal",
        f"{' or '.join(f'{each:.0e}'.replace('e-0', 'e-') for each in tolerances)}, relative and "
        "absolute",
    )


def describe_onnx(kind: Kind) -> Recipe:
    """Return the recipe of ONNX."""
    tests = ONNX[kind.name]
    steps = list_numbers(shape[config.batch_first] for config, _, shape in tests)
    equal = sum(scale is not None for _, scale, _ in tests)
    share = "" if equal == len(tests) else " in three of four"
    return Recipe(
        "ONNX, node tests",
        partial(run_onnx, kind=kind),
        f"forward only; 1 layer, 1 direction, {steps} step{'s' * (steps != '1')}, no state",
        f"1 to {max(math.prod(shape) for *_, shape in tests)}; all weights equal{share}",
        "1e-3, relative",
    )


def describe_coremltools(kind: Kind) -> Recipe:
    """Return the recipe of coremltools."""
    tests = list(COREML[kind.name]())
    directions = list_numbers(test.config.num_directions for test in tests)
    mostly = "" if all(test.whole for test in tests) else "mostly "
    return Recipe(
        "coremltools, absolute 0.5",
        partial(run_coremltools, kind=kind),
        f"forward only, eval; {list_numbers(test.config.num_layers for test in tests)} layers, "
        f"{directions} direction{'s' * (directions != '1')}, "
        f"{list_numbers(test.steps for test in tests)} steps, "
        f"{list_numbers(test.samples for test in tests)} samples, {mostly}with {name_states(kind)}",
        "normal; torch's initial weights",
        "0.5 absolute, 0.05 relative",
    )


def name_states(kind: Kind) -> str:
    """Return what the initial states of a kind are called: one or several."""
    return "states" if len(kind.states) > 1 else "a state"


def list_numbers(numbers: Iterable[int]) -> str:
    """Return different numbers in order, such as `2, 3 or 5`."""
    *first, last = map(str, sorted(set(numbers)))
    return f"{', '.join(first)} or {last}" if first else last
