"""Calls of a layer in which some tensors require no gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.judging import proofs
from rnnspec.judging.gradient_proofs import FREEZE, FROZEN
from rnnspec.observe.call import Call, perform
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import arguments


def chosen_to_freeze(case: Case, values: Values) -> list[str]:
    """What is frozen in a case, by its seed; something is always left that requires a gradient."""
    names = list(values.weights)
    rng = np.random.default_rng([case.seed, 3])
    one = names[rng.integers(len(names))]
    kind, _, layer = one.rpartition("_l")
    choices: tuple[Sequence[str], ...] = (
        ["input", "h_0"],
        [name for name in names if name.startswith(kind)],
        [name for name in names if name.split("_l")[1].split("_")[0] == layer.split("_")[0]],
        [one],
        names,
    )
    return list(choices[rng.integers(len(choices))])


@contextmanager
def frozen_call(seen: Observation, names: list[str]) -> Iterator[Call]:
    """A further call in which the named tensors require no gradient; the parameters do again afterwards."""
    given = arguments(seen.case, seen.values.input, seen.values.h_0, seen.subject.device)
    tensors = {"input": given.leaf, "h_0": given.h_0, **seen.stage.weights()}
    still = [tensor for name in names if (tensor := tensors[name]) is not None]
    for tensor in still:
        tensor.requires_grad_(False)
    try:
        yield perform(seen.stage, seen.case, given)
    finally:
        for tensor in still:
            tensor.requires_grad_(True)


def frozen_proof(names: list[str]) -> str:
    """Lines that compare what is left with torch's layer, frozen in the same way."""
    if "input" in names or len(names) == 1 or not any(name.startswith("weight_ih_l0") for name in names):
        return FROZEN.format(names=names)
    return FREEZE + proofs.gradient("input")
