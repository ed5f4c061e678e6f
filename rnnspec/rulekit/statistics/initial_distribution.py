"""First values of parameters, counted: how they are spread over their range, and whether they are draws of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.observe.seeding import seed_torch
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.statistics.binomial import Count

Array = NDArray[np.float64]
Named = dict[str, Array]
FEW_UNITS, MANY_VALUES = 48, 12_000
LARGER = {"input_size": 40, "hidden_size": 48}
SHORTEST_LINE = 12
"""Shorter rows might be equal by chance; twelve values of only 8 bits each are with a probability of 2**-96."""

PARTS: dict[str, tuple[float, Callable[[Array], NDArray[np.bool_]]]] = {
    "above 0": (0.5, lambda values: values > 0),
    "in the inner half of the range": (0.5, lambda values: np.abs(values) < 0.5),
    "in the innermost eighth of the range": (0.125, lambda values: np.abs(values) < 0.125),
    "in the outermost eighth of the range": (0.125, lambda values: np.abs(values) > 0.875),
}


def choose_counted_case(case: Case) -> Case:
    """The case with enough parameters for counts to tell something, and not so many that counting them takes long."""
    config = case.config
    values = (
        config.num_layers
        * config.num_directions
        * config.hidden_size
        * (config.hidden_size + config.input_size)
    )
    sizes = {} if config.hidden_size >= FEW_UNITS and values <= MANY_VALUES else LARGER
    return case.replace(constructor_style=ConstructorStyle.CHANGED, num_layers=min(3, config.num_layers), **sizes)


def draw_parameters(observation: Observation, case: Case, draw: int) -> tuple[Named, Named]:
    """The parameters of two layers built one after the other, in units of their range; another `draw` gives other ones."""
    dtype = DType.FLOAT32 if observation.subject.offers(Feature.FLOAT32) else DType.FLOAT64
    seed_torch(observation.case.seed + draw, observation.subject.device)
    first, second = (observation.subject.build(case.config, case.constructor_style, dtype) for _ in range(2))
    return _in_range(first, case), _in_range(second, case)


def _in_range(module: torch.nn.Module, case: Case) -> Named:
    return {
        name: to_array(parameter) * case.config.hidden_size**0.5
        for name, parameter in module.named_parameters()
    }


def count_values(values: Named) -> dict[str, Count]:
    """How many weights and how many biases lie in each part of the range, and how many have the sign of their neighbour's."""
    kinds = {"weights": "weight", "biases": "bias"}
    groups = {
        kind: [array.ravel() for name, array in values.items() if word in name]
        for kind, word in kinds.items()
    }
    counts = {}
    for kind, arrays in groups.items():
        for part, (share, inside) in PARTS.items() if arrays else ():
            pooled = np.concatenate(arrays)
            counts[f"{kind} {part}"] = Count(
                f"initial {kind} {part}", int(inside(pooled).sum()), pooled.size, share
            )
    return {**counts, **_signs(values)}


def _signs(values: Named) -> dict[str, Count]:
    """In how many places parameters have the same sign as the one before of the same shape."""
    alike: defaultdict[tuple[int, ...], list[Array]] = defaultdict(list)
    for array in values.values():
        alike[array.shape].append(array)
    same = [
        ((one > 0) == (other > 0)).ravel()
        for group in alike.values()
        for one, other in pairwise(group)
    ]
    if not same:
        return {}
    pooled = np.concatenate(same)
    return {
        "signs": Count(
            "initial values with the sign of another parameter's",
            int(pooled.sum()),
            pooled.size,
            0.5,
        )
    }


def find_repetition(values: Named) -> str:
    """Which rows, columns or parameters are equal, or nothing; what is too short to tell is passed over."""
    for name, array in values.items():
        for what, lines in (("rows", array), ("columns", array.T)) if array.ndim == 2 else ():
            if lines.shape[1] >= SHORTEST_LINE and len(np.unique(lines, axis=0)) < len(lines):
                return f"{name} starts with equal {what}"
    long = [(name, array) for name, array in values.items() if array.size >= SHORTEST_LINE]
    equal = [
        (other, name)
        for place, (name, array) in enumerate(long)
        for other, second in long[:place]
        if np.array_equal(array, second)
    ]
    return f"{equal[0][0]} and {equal[0][1]} start with equal values" if equal else ""


def find_same_values(first: Named, second: Named) -> str:
    """Which parameter is equal in two layers, or nothing."""
    long = [name for name, array in first.items() if array.size >= SHORTEST_LINE and name in second]
    equal = [name for name in long if np.array_equal(first[name], second[name])]
    return f"{equal[0]} starts with the same values in the next layer" if equal else ""
