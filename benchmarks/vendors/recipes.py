"""The recipes with which vendors test recurrent layers, as rivals of rnnspec.

A recipe raises AssertionError if a result is too far from the reference. Vendors test kernels: so
the recipes see only what a layer with given parameters computes, and nothing of wrong arguments,
attributes, copies, dropout or the effects of earlier calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.vendors.frameworks import run_coremltools, run_keras, run_onnx
from benchmarks.vendors.kernels import run_benchdnn, run_miopen
from benchmarks.vendors.problems import Layer


@dataclass(frozen=True)
class Recipe:
    """The test of one vendor, and what it consists of in a few words."""

    name: str
    run: Callable[[Layer], None]
    calls: str
    values: str
    tolerance: str


RECIPES = (
    Recipe(
        "benchdnn (oneDNN), float32",
        partial(run_benchdnn, dtype=torch.float32),
        "inference and training; its small shapes: up to 2 layers, 2 steps, 2 samples and 36 "
        "units, 1 or 2 directions, with a state",
        "0.5 ± 0.01, the first sample negated for relu; one weight of 1 for each unit",
        "4 ceil(log2(3 steps)) eps, more for gradients, relative and mostly by the L2 norm",
    ),
    Recipe(
        "benchdnn (oneDNN), bfloat16",
        partial(run_benchdnn, dtype=torch.bfloat16),
        "the same",
        "the same",
        "the same, with the eps of bfloat16",
    ),
    Recipe(
        "benchdnn (oneDNN), bfloat16, tanh only",
        partial(run_benchdnn, dtype=torch.bfloat16, nonlinearities=("tanh",)),
        "the same, without relu",
        "0.5 ± 0.01; one weight of 1 for each unit",
        "the same, with the eps of bfloat16",
    ),
    Recipe(
        "benchdnn (oneDNN), float16",
        partial(run_benchdnn, dtype=torch.half),
        "inference only",
        "as in float32",
        "the same, with the eps of float16",
    ),
    Recipe(
        "MIOpen, float32",
        partial(run_miopen, dtype=torch.float32),
        "packed, forward and backward; 1 or 3 layers, 3 or 51 steps, 17 sequences, 127 units, 1 "
        "or 2 directions, with and without a state",
        "0 to 0.1; weights ± 0.01",
        "80 eps; root mean square relative to the largest value",
    ),
    Recipe(
        "MIOpen, float16",
        partial(run_miopen, dtype=torch.half),
        "the same",
        "the same",
        "0.05, likewise",
    ),
    Recipe(
        "Keras, constants",
        run_keras,
        "forward only; 1 layer, 3 or 4 steps, 2 samples, one or two directions",
        "0 to 23; all weights of a kind equal",
        "1e-6, relative and absolute",
    ),
    Recipe(
        "ONNX, node tests",
        run_onnx,
        "forward only; 1 layer, 1 direction, 1 or 2 steps, no state",
        "1 to 18; all weights equal in three of four",
        "1e-3, relative",
    ),
    Recipe(
        "coremltools, absolute 0.5",
        run_coremltools,
        "forward only, eval; 1 or 5 layers, 1 direction, 10 steps, 3 samples, with a state",
        "normal; torch's initial weights",
        "0.5 absolute, 0.05 relative",
    ),
)
