"""Counts of initial parameter values: how they fill their range, and whether they repeat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import to_array
from rnnspec.oracle import Array
from rnnspec.rulekit.statistics.binomial import Count
from rnnspec.subjects.devices import seed_torch

NamedArrays = dict[str, Array]
MIN_UNITS, MAX_VALUES = 48, 12_000
LARGER_SIZES = {"input_size": 40, "hidden_size": 48}
DEEP_UNITS, MAX_FEATURES, MIN_BIASES = 16, 8, 48
MIN_COMPARED_SIZE = 12
"""Shorter rows may be equal by chance; for twelve values of 8 bits, the probability is 2**-96."""

PARTS: dict[str, tuple[float, Callable[[Array], NDArray[np.bool_]]]] = {
    "above 0": (0.5, lambda values: values > 0),
    "in the inner half of the range": (0.5, lambda values: np.abs(values) < 0.5),
    "in the innermost eighth of the range": (0.125, lambda values: np.abs(values) < 0.125),
    "in the outermost eighth of the range": (0.125, lambda values: np.abs(values) > 0.875),
}
"""Parts of the range [-1, 1]: the share of uniform values in each part, and a test for values in
it.
"""


def choose_case_to_count(case: Case) -> Case:
    """Return the case with enough parameters to count, but few enough to be built quickly."""
    config = case.config
    values = (
        config.num_layers
        * config.num_directions
        * config.hidden_size
        * (config.hidden_size + config.input_size)
    )
    sizes = {} if config.hidden_size >= MIN_UNITS and values <= MAX_VALUES else LARGER_SIZES
    return case.replace(
        constructor_style=ConstructorStyle.CHANGED, num_layers=min(3, config.num_layers), **sizes
    )


def draw_parameters(
    observation: Observation, case: Case, draw: int
) -> tuple[NamedArrays, NamedArrays]:
    """Return the parameters of two layers built one after the other, scaled to the range [-1, 1].

    Another `draw` uses another seed.
    """
    first, second = build_repeatedly(observation, case, draw, 2)
    return first, second


def build_repeatedly(
    observation: Observation, case: Case, draw: int, number: int
) -> list[NamedArrays]:
    """Return the parameters of `number` layers built one after the other, scaled to [-1, 1].

    Another `draw` uses another seed.
    """
    dtype = DType.FLOAT32 if observation.subject.offers(Feature.FLOAT32) else DType.FLOAT64
    seed_torch(observation.case.seed + draw, observation.subject.device)
    style = case.constructor_style
    return [
        _scale_to_range(observation.subject.build(case.config, style, dtype), case)
        for _ in range(number)
    ]


def _scale_to_range(module: torch.nn.Module, case: Case) -> NamedArrays:
    return {
        name: to_array(parameter) * case.config.hidden_size**0.5
        for name, parameter in module.named_parameters()
    }


def count_values(values: NamedArrays) -> dict[str, Count]:
    """Count the weights and biases in each part of the range, and equal signs in two parameters."""
    kinds = {"weights": "weight", "biases": "bias"}
    groups = {
        kind: [array.ravel() for name, array in values.items() if word in name]
        for kind, word in kinds.items()
    }
    counts = {}
    for kind, arrays in groups.items():
        for part, (share, is_inside) in PARTS.items() if arrays else ():
            pooled = np.concatenate(arrays)
            counts[f"{kind} {part}"] = Count(
                f"initial {kind} are {part}", int(is_inside(pooled).sum()), pooled.size, share
            )
    return {**counts, **_count_equal_signs(values)}


def choose_small_or_deep_case(case: Case, *, allows_deep: bool) -> Case:
    """Return the case as a layer of 1 to 3 units, or as a stack of 4 to 8 layers of 16 units.

    The seed of the case decides which.
    """
    number = case.seed // 2
    small = {"hidden_size": 1 + number % 3, "num_layers": min(3, case.config.num_layers)}
    deep = {"hidden_size": DEEP_UNITS, "num_layers": 4 + number % 5}
    return case.replace(
        constructor_style=ConstructorStyle.CHANGED,
        input_size=min(case.config.input_size, MAX_FEATURES),
        **(deep if allows_deep and case.seed % 2 else small),
    )


def count_builds(case: Case) -> int:
    """Return the number of layers to build so that each has enough biases in total to count."""
    biases = 2 * case.config.hidden_size * case.config.num_directions
    return -(-MIN_BIASES // biases)


def count_by_layer(layers: Sequence[NamedArrays]) -> dict[str, Count]:
    """Count the weights and biases in each part of the range, for each layer of a stack."""
    groups: defaultdict[tuple[str, str], list[Array]] = defaultdict(list)
    for values in layers:
        for name, array in values.items():
            kind = "biases" if name.startswith("bias") else "weights"
            groups[kind, name.partition("_l")[2].split("_")[0]].append(array.ravel())
    counts = {}
    for (kind, layer), arrays in groups.items():
        pooled = np.concatenate(arrays)
        for part, (share, is_inside) in PARTS.items():
            place = f" of layer {layer}" if layer else ""
            what = f"initial {kind}{place} are {part}"
            counts[what] = Count(what, int(is_inside(pooled).sum()), pooled.size, share)
    return counts


def _count_equal_signs(values: NamedArrays) -> dict[str, Count]:
    """Count the places at which consecutive parameters of the same shape have the same sign."""
    by_shape: defaultdict[tuple[int, ...], list[Array]] = defaultdict(list)
    for array in values.values():
        by_shape[array.shape].append(array)
    same = [
        ((one > 0) == (other > 0)).ravel()
        for arrays in by_shape.values()
        for one, other in pairwise(arrays)
    ]
    if not same:
        return {}
    pooled = np.concatenate(same)
    what = "initial values have the same sign as in another parameter"
    return {"signs": Count(what, int(pooled.sum()), pooled.size, 0.5)}


def describe_repetition(values: NamedArrays) -> str:
    """Return a text that names equal rows, columns or parameters, or an empty text.

    Rows, columns and parameters of fewer than 12 values are not compared.
    """
    for name, array in values.items():
        for what, lines in (("rows", array), ("columns", array.T)) if array.ndim == 2 else ():
            if lines.shape[1] >= MIN_COMPARED_SIZE and len(np.unique(lines, axis=0)) < len(lines):
                return f"{name} starts with equal {what}"
    large = [(name, array) for name, array in values.items() if array.size >= MIN_COMPARED_SIZE]
    equal = [
        (other, name)
        for place, (name, array) in enumerate(large)
        for other, second in large[:place]
        if np.array_equal(array, second)
    ]
    return f"{equal[0][0]} and {equal[0][1]} start with equal values" if equal else ""


def describe_reused_values(first: NamedArrays, second: NamedArrays) -> str:
    """Return a text that names a parameter with equal values in two layers, or an empty text."""
    large = [
        name for name, array in first.items() if array.size >= MIN_COMPARED_SIZE and name in second
    ]
    equal = [name for name in large if np.array_equal(first[name], second[name])]
    if not equal:
        return ""
    return f"two layers built one after the other start with the same values of {equal[0]}"
