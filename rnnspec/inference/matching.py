"""Find what each parameter is, by what the layer computes with it alone.

The parameters are taken one by one: all others that are not known yet are zero, in the layer and in
the reference. What a parameter can be follows from its shape, and what it is from the only
candidate with which the layer computes what the reference does. A parameter that shows only
together with others, such as the reset gate, is taken again when they are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.adapters.expressions import parse_expression
from rnnspec.inference.candidates import Blocks, Candidate, list_candidates
from rnnspec.inference.hints import rate_by_name
from rnnspec.inference.trial import Trial
from rnnspec.subjects.failures import Failure

Array = NDArray[np.float64]
TURNED = "update"
"""The gate that some layers have in the opposite sense."""
VISIBLE = 1e-6


@dataclass
class Assignment:
    """What the parameters of a layer are.

    trial      the layer, and the numbers on which it was compared
    chosen     what each parameter is, by its own name
    by_name    the parameters of which only the name, or what was left, says what they are
    unknown    the parameters of which nothing says what they are
    unbiased   why biases cannot be mapped, or an empty text
    """

    trial: Trial
    chosen: dict[str, Candidate] = field(default_factory=dict)
    by_name: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unbiased: str = ""

    @property
    def covers(self) -> Blocks:
        """The blocks of the documented weights that are known to be somewhere."""
        return frozenset(block for each in self.chosen.values() for block in each.covers)

    @property
    def score(self) -> int:
        """How many parameters were found by what the layer computes, less those that were not."""
        return len(self.chosen) - 2 * len(self.by_name) - 2 * len(self.unknown)


def assign_parameters(trial: Trial) -> Assignment:
    """Return what each parameter of a layer is.

    A fault that is about states would hide all of them. So if some are not found, the search is
    repeated without states.
    """
    found, waiting = _match_all(trial)
    if waiting:
        again, fewer = _match_all(trial.forget_states())
        if len(fewer) < len(waiting):
            found, waiting = again, fewer
    for name in waiting:
        _choose_by_name(found, name, waiting)
    return found


def _match_all(trial: Trial) -> tuple[Assignment, list[str]]:
    """Return what the parameters are of which the layer shows it, and the names of the others."""
    found, waiting = Assignment(trial), list(trial.shapes)
    while waiting:
        matched = [name for name in waiting if _match(found, name)]
        if not matched:
            break
        waiting = [name for name in waiting if name not in matched]
    return found, waiting


def _match(found: Assignment, name: str) -> bool:
    """Assign a parameter if the layer shows what it is, and return whether it does."""
    candidates = [
        each
        for each in list_candidates(found.trial.shapes[name], found.trial.kind)
        if not each.covers & found.covers
    ]
    candidates.sort(key=lambda each: -rate_by_name(name, each))
    other = frozenset((TURNED,))
    turned = [replace(each, turned=other) for each in candidates if TURNED in each.gates]
    before = _run(found, {})
    for candidate in (*candidates, *turned):
        results = _run(found, {name: candidate})
        if before is None or results is None:
            continue
        got, expected = results
        if found.trial.agrees(got, expected) and _differs(before[0], got):
            found.chosen[name] = candidate
            return True
    return False


def _choose_by_name(found: Assignment, name: str, waiting: list[str]) -> None:
    """Assign a parameter whose effect is not that of the reference, by its name and shape.

    The gates are taken to be in the same order as in a parameter that shows it.
    """
    left = [
        each
        for each in list_candidates(found.trial.shapes[name], found.trial.kind)
        if not each.covers & found.covers
    ]
    if not left:
        found.unknown.append(name)
        return
    orders = [each.gates for own, each in found.chosen.items() if own not in found.by_name]
    found.chosen[name] = max(
        left, key=lambda each: (rate_by_name(name, each), each.gates in orders)
    )
    found.by_name.append(name)


def _run(
    found: Assignment, more: Mapping[str, Candidate]
) -> tuple[Mapping[str, Array], Mapping[str, Array]] | None:
    """Return what the layer and the reference compute with the known parameters and `more`.

    It is None if the layer cannot be called.
    """
    trial = found.trial
    chosen = {**found.chosen, **more}
    covered = frozenset(block for each in chosen.values() for block in each.covers)
    documented = mask_weights(trial, covered)
    weights = make_weights(trial, chosen, documented)
    try:
        return trial.run(weights), trial.expect(documented)
    except Failure:
        return None


def mask_weights(trial: Trial, covered: Blocks) -> dict[str, Array]:
    """Return the documented weights of a trial with zeros in blocks that are not covered."""
    gates = trial.kind.gates
    masked = {}
    for full, array in trial.numbers.items():
        if "_l0" not in full:
            continue
        role = full.removesuffix("_l0")
        keep = np.repeat([(role, gate) in covered for gate in gates], len(array) // len(gates))
        masked[full] = np.where(keep[:, None] if array.ndim > 1 else keep, array, 0.0)
    return masked


def make_weights(
    trial: Trial, chosen: Mapping[str, Candidate], documented: Mapping[str, Array]
) -> dict[str, torch.Tensor]:
    """Return the parameters of the layer: those that are not chosen are zero."""
    tensors = {name: torch.from_numpy(each).to(trial.dtype) for name, each in documented.items()}
    weights = {}
    for name, shape in trial.shapes.items():
        weights[name] = torch.zeros(shape, dtype=trial.dtype)
        if name in chosen:
            expression = parse_expression(chosen[name].text, trial.kind)
            value = expression.evaluate(lambda each: tensors[f"{each}_l0"])
            if isinstance(value, torch.Tensor):
                weights[name] = value.reshape(shape)
    return weights


def _differs(before: Mapping[str, Array], after: Mapping[str, Array]) -> bool:
    return any(bool(np.abs(before[name] - after[name]).max() > VISIBLE) for name in after)
