"""Find what each parameter is, by what the layer computes with it alone.

The parameters are taken one by one: all others that are not known yet are zero, in the layer and in
the reference. What a parameter can be follows from its shape, and what it is from the only
candidate with which the layer computes what the reference does. A parameter that shows only
together with others, such as the reset gate, is taken again when they are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.adapters.expressions import parse_expression
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.inference.candidates import (
    HOLDS_ADDED,
    Blocks,
    Candidate,
    list_candidates,
    list_rows,
)
from rnnspec.inference.hints import NAME_OF_BIAS, rate_by_name
from rnnspec.inference.trial import Trial
from rnnspec.reference.variants import VARIANTS
from rnnspec.subjects.failures import Failure

Array = NDArray[np.float64]
TURNED = "update"
"""The gate that some layers have in the opposite sense."""
# Results of the order of 1 are off by a few roundoffs in float32, each 6e-8.
VISIBLE = 1e-6
"""A larger difference shows that a layer uses what was changed."""
NEWTON_STEPS, NEAR = 16, 1e-5
"""Steps are clipped to 1, so that constants of up to about 10 are reached; saturated gates hide
larger ones. `NEAR` is the distance at which slopes are measured, about the root of the roundoff of
results that float64 has behind a sum of a few terms."""
ADDED_DIGITS = 5
"""Constants in code have few digits."""


@dataclass
class Assignment:
    """What the parameters of a layer are.

    trial      the layer, and the numbers on which it was compared
    chosen     what each parameter is, by its own name
    by_name    the parameters of which only the name, or what was left, says what they are
    unknown    the parameters that are no part of the formula, held at zero
    unused     those of them that change nothing
    unbiased   why biases cannot be mapped, or an empty text
    is_whole   whether the layer computes what the reference does, with the rest held at zero
    """

    trial: Trial
    chosen: dict[str, Candidate] = field(default_factory=dict)
    by_name: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    unbiased: str = ""
    is_whole: bool = False

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
    trial = replace(trial, added=find_added(trial))
    found, waiting = _match_all(trial)
    if waiting and not found.chosen and (added := _find_added_beside_weights(trial)):
        trial = replace(trial, added=added)
        found, waiting = _match_all(trial)
    if waiting:
        again, fewer = _match_all(trial.forget_states())
        if len(fewer) < len(waiting):
            found, waiting = again, fewer
    found.is_whole = _has_all_weights(found) and _is_right(found)
    used = _list_used(found, waiting)
    for name in waiting:
        _choose_by_name(found, name, is_used=name in used)
    if found.by_name and not found.unknown and _is_right(found):
        found.by_name.clear()
    return found


def _is_right(found: Assignment) -> bool:
    """Return whether the layer computes what the reference does with all of its parameters.

    Every number in them is another, so nothing else is likely to give the same results.
    """
    results = _run(found, {})
    return results is not None and found.trial.agrees(*results)


def _match_all(trial: Trial) -> tuple[Assignment, list[str]]:
    """Return what the parameters are of which the layer shows it, and the names of the others."""
    found, waiting = Assignment(trial), list(trial.shapes)
    while waiting:
        matched = [name for name in waiting if _match(found, name)] or _match_two(found, waiting)
        if not matched:
            break
        waiting = [name for name in waiting if name not in matched]
    return found, waiting


def _match(found: Assignment, name: str) -> bool:
    """Assign a parameter if the layer shows what it is, and return whether it does."""
    if not _list_visible(found, [(name,)]):
        return False
    candidates = _list_left(found, name)
    other = frozenset((TURNED,))
    turned = [replace(each, turned=other) for each in candidates if TURNED in each.gates]
    return _take_first(found, ({name: each} for each in (*candidates, *turned)))


def _match_two(found: Assignment, waiting: list[str]) -> list[str]:
    """Assign two parameters that the layer shows together only, and return their names.

    What a layer gets from the one below shows if both are not zero. The gates are taken to be in
    an order that is known, or else in that of the documentation.
    """
    for pair in _list_visible(found, list(combinations(waiting, 2))):
        first, second = (_list_in_known_order(found, name) for name in pair)
        fitting = (
            dict(zip(pair, both, strict=True))
            for both in product(first, second)
            if not both[0].covers & both[1].covers
        )
        if _take_first(found, fitting):
            return list(pair)
    return []


def _list_left(found: Assignment, name: str) -> list[Candidate]:
    """Return what a parameter can be that no other is, what fits its name best first."""
    added = tuple(found.trial.added.items())
    left = [
        replace(each, added=added)
        for each in list_candidates(found.trial.shapes[name], found.trial.config)
        if not each.covers & found.covers
    ]
    return sorted(left, key=lambda each: -rate_by_name(name, each))


def _list_in_known_order(found: Assignment, name: str) -> list[Candidate]:
    orders = {each.gates for each in found.chosen.values()} or {found.trial.kind.gates}
    return [each for each in _list_left(found, name) if each.gates in orders]


def _list_visible(found: Assignment, groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the groups of parameters whose numbers change what the layer computes."""
    trial, before = found.trial, _run(found, {})
    if before is None:
        return []
    known = make_weights(trial, found.chosen, mask_weights(trial, found.covers))
    generator = torch.Generator().manual_seed(0)
    visible = []
    for group in groups:
        drawn = {
            name: torch.rand(trial.shapes[name], generator=generator, dtype=trial.dtype) + 0.1
            for name in group
        }
        try:
            if _differs(before[0], trial.run({**known, **drawn})):
                visible.append(group)
        except Failure:
            continue
    return visible


def _list_used(found: Assignment, names: list[str]) -> list[str]:
    """Return those of some parameters that change what the layer computes with all the others."""
    trial = found.trial
    known = make_weights(trial, found.chosen, mask_weights(trial, found.covers))
    generator = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.rand(trial.shapes[name], generator=generator, dtype=trial.dtype) + 0.1
        for name in names
    }
    used = []
    for name in names:
        without = {**known, **drawn, name: torch.zeros(trial.shapes[name], dtype=trial.dtype)}
        try:
            if _differs(trial.run({**known, **drawn}), trial.run(without)):
                used.append(name)
        except Failure:
            return names
    return used


def _take_first(found: Assignment, choices: Iterable[Mapping[str, Candidate]]) -> bool:
    """Take the first choice with which the layer computes what the reference does, if any."""
    before = _run(found, {})
    for choice in choices:
        results = _run(found, choice)
        if before is None or results is None:
            continue
        got, expected = results
        if found.trial.agrees(got, expected) and _differs(before[0], got):
            found.chosen.update(choice)
            return True
    return False


def assign_as_variant(trial: Trial) -> Assignment | None:
    """Return what each parameter is as that of a variant, if one explains them all."""
    for variant in VARIANTS:
        if variant.kind == trial.kind:
            tried = replace(trial, variant=variant, added={})
            found, waiting = _match_all(replace(tried, added=find_added(tried)))
            if not waiting and found.chosen:
                return found
    return None


def _find_added_beside_weights(trial: Trial) -> dict[str, float]:
    """Return what a layer adds to its gates if that shows only beside its largest weights.

    What is added to the forget gate, for example, changes nothing as long as the cell state is
    zero. The weights may be in one parameter, or those of the input and of the state in two.
    """
    by_size = sorted(trial.shapes, key=lambda name: -math.prod(trial.shapes[name]))
    for name in by_size[:2]:
        for candidate in _list_left(Assignment(trial), name):
            has_all = trial.kind.is_gated and len(candidate.gates) == len(trial.kind.gates)
            if has_all and (added := find_added(trial, {name: candidate})):
                return added
    return {}


def find_added(trial: Trial, chosen: Mapping[str, Candidate] | None = None) -> dict[str, float]:
    """Return what a layer itself adds to the sums of its gates, such as a forget bias of 1.

    With all parameters zero but the `chosen` ones, the layer computes what the reference does with
    these numbers as biases. They are found by Newton's method, and none is returned that does not
    explain the results, nor one that changes nothing.
    """
    known = chosen or {}
    covered = frozenset(block for each in known.values() for block in each.covers)
    try:
        got = trial.run(make_weights(trial, known, mask_weights(trial, covered)))
    except Failure:
        return {}
    gates, numbers = trial.kind.gates, np.zeros(len(trial.kind.gates))

    def expect(added: Array) -> dict[str, Array]:
        tried = replace(trial, added=dict(zip(gates, added.tolist(), strict=True)))
        return tried.expect(mask_weights(tried, covered))

    if trial.agrees(got, expect(numbers)) or any(
        got[name].shape != array.shape for name, array in expect(numbers).items() if name in got
    ):
        return {}

    def compare(added: Array) -> Array:
        expected = expect(added)
        return np.concatenate(
            [(expected[name] - got[name]).ravel() for name in expected.keys() & got]
        )

    off, first = compare(numbers), float(np.abs(compare(numbers)).max())
    for step in range(NEWTON_STEPS):
        if np.abs(off).max() > first / (1 + step // 4):  # it comes no nearer
            break
        slopes = np.stack([compare(numbers + NEAR * unit) - off for unit in np.eye(len(gates))], 1)
        change = np.linalg.lstsq(slopes / NEAR, -off, rcond=1e-6)[0]
        numbers = numbers + np.clip(change, -1.0, 1.0)
        off = compare(numbers)
        if np.abs(off).max() <= trial.tolerance:
            break
    numbers = numbers.round(ADDED_DIGITS)
    for index in np.argsort(np.abs(numbers)):  # what changes nothing may have any value
        without = np.where(np.arange(len(gates)) == index, 0.0, numbers)
        numbers = without if trial.agrees(got, expect(without)) else numbers
    found = {gate: float(each) for gate, each in zip(gates, numbers, strict=True) if each}
    return found if trial.agrees(got, expect(numbers)) else {}


def _has_all_weights(found: Assignment) -> bool:
    """Return whether every documented weight that is no bias is known to be somewhere."""
    kind, endings = found.trial.kind, [row.ending for row in list_rows(found.trial.config)]
    needed = {
        (f"{role}{ending}", gate)
        for role in ("weight_ih", "weight_hh")
        for ending in endings
        for gate in kind.gates
    }
    return needed <= found.covers


def _choose_by_name(found: Assignment, name: str, *, is_used: bool) -> None:
    """Assign a parameter whose effect is not that of the reference, by its name and shape.

    The gates are taken to be in the same order as in a parameter that shows it, and a square weight
    to be transposed if most others are. If the layer is whole without it and it is not called a
    bias, it is no part of the formula.
    """
    left = _list_left(found, name)
    if not left or (found.is_whole and not NAME_OF_BIAS.search(name.lower())):
        (found.unknown if is_used or not found.is_whole else found.unused).append(name)
        return
    orders = [each.gates for own, each in found.chosen.items() if own not in found.by_name]
    transposed = [each.is_transposed for each in found.chosen.values() if not each.is_bias]
    usual = 2 * sum(transposed) > len(transposed)

    def rate(each: Candidate) -> tuple[int, bool, bool]:
        return rate_by_name(name, each), each.gates in orders, each.is_transposed == usual

    found.chosen[name] = max(left, key=rate)
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
    """Return the documented weights of a trial with zeros in blocks that are not covered.

    A bias that is not covered has what the layer itself adds to its gate.
    """
    gates, masked = trial.kind.gates, {}
    kept = {(trial.complete_name(name), gate) for name, gate in covered}
    for name in parameter_shapes(trial.config):
        array = trial.numbers[name]
        rows = len(array) // len(gates)
        keep = np.repeat([(name, gate) in kept for gate in gates], rows)
        rest = np.zeros(len(array))
        if name.startswith(HOLDS_ADDED):
            rest = np.repeat([trial.added.get(gate, 0.0) for gate in gates], rows)
        masked[name] = np.where(keep, array, rest) if array.ndim == 1 else keep[:, None] * array
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
            value = expression.evaluate(lambda each: tensors[trial.complete_name(each)])
            if isinstance(value, torch.Tensor):
                weights[name] = value.reshape(shape)
    return weights


def _differs(before: Mapping[str, Array], after: Mapping[str, Array]) -> bool:
    return any(bool(np.abs(before[name] - after[name]).max() > VISIBLE) for name in after)
