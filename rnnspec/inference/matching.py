"""Identify the parameters of a layer by their effect on its results.

Parameters are taken one at a time: all others that are still unidentified are zero, in the layer
and in the reference. The shape of a parameter gives its candidates; it is identified if with a
candidate the layer computes the same results as the reference. A parameter that has an effect only
together with others, such as the reset gate, is tried again after they are identified.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
import torch

from rnnspec.adapters.expressions import parse_expression
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.inference.candidates import (
    HOLDS_ADDED,
    NAME_OF_BIAS,
    Blocks,
    Candidate,
    list_candidates,
    list_rows,
    rate_by_name,
)
from rnnspec.inference.trial import Trial
from rnnspec.oracle import Array
from rnnspec.oracle.catalogue import list_separate_gates
from rnnspec.reference.variants import VARIANTS
from rnnspec.subjects.failures import Failure

TURNED = "update"
"""The gate that some layers use in the opposite sense, as 1 - z instead of z."""
# Results of the order of 1 are off by a few roundoffs in float32, each 6e-8.
VISIBLE = 1e-6
"""A larger difference shows that a layer uses a changed parameter."""
NEWTON_STEPS, NEAR = 16, 1e-5
"""Steps are clipped to 1, so that 16 of them reach constants of up to about 10; saturated gates
hide larger constants. `NEAR` is the distance for measuring slopes: about the square root of the
roundoff that float64 leaves in results after a sum of a few terms.
"""
ADDED_DIGITS = 5
"""Inferred constants are rounded to this many digits, since constants in code have few."""


@dataclass
class Assignment:
    """The documented weights that the parameters of a layer stand for.

    trial      the layer, and the numbers for comparing it
    chosen     the candidate for each parameter, by the layer's own name
    by_name    the parameters that were assigned only by name or by elimination
    unknown    the parameters that are no part of the formula, held at zero
    unused     the parameters among the rest that change no result
    unbiased   the reason why biases cannot be mapped, or an empty text
    is_whole   whether the layer equals the reference with all unidentified parameters at zero
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
        """The blocks of the documented weights that are assigned to some parameter."""
        return frozenset(block for each in self.chosen.values() for block in each.covers)

    @property
    def score(self) -> int:
        """The number of parameters identified by results, with a penalty for each of the others."""
        return len(self.chosen) - 2 * len(self.by_name) - 2 * len(self.unknown)


def assign_parameters(trial: Trial) -> Assignment:
    """Return the documented weights that each parameter of a layer stands for.

    A fault in the states would hide all parameters, so the search is repeated without states if
    some parameters are not found.
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
    # Names were right if the layer equals the reference with all parameters in use.
    if found.by_name and not found.unknown and _is_right(found):
        found.by_name.clear()
    return found


def _is_right(found: Assignment) -> bool:
    """Return whether the layer equals the reference with all of its parameters.

    All numbers are different, so a wrong assignment is unlikely to give the same results.
    """
    results = _run(found, {})
    return results is not None and found.trial.agrees(*results)


def _match_all(trial: Trial) -> tuple[Assignment, list[str]]:
    """Identify parameters by their effect, and return the assignment and the names of the rest."""
    found, waiting = Assignment(trial), list(trial.shapes)
    while waiting:
        matched = [name for name in waiting if _match(found, name)] or _match_two(found, waiting)
        if not matched:
            break
        waiting = [name for name in waiting if name not in matched]
    return found, waiting


def _match(found: Assignment, name: str) -> bool:
    """Assign a parameter if a candidate explains its effect, and return whether there is one."""
    # Skip parameters without an effect so far: no candidate could be excluded.
    if not _list_visible(found, [(name,)]):
        return False
    candidates = _list_left(found, name)
    other = frozenset((TURNED,))
    turned = [replace(each, turned=other) for each in candidates if TURNED in each.gates]
    return _take_first(found, ({name: each} for each in (*candidates, *turned)))


def _match_two(found: Assignment, waiting: list[str]) -> list[str]:
    """Assign two parameters that have an effect only together, and return their names.

    The weights of an upper layer have an effect only if two of them are not zero. Gates are tried
    in the orders of identified parameters or, if there are none, in the documented order.
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
    """Return the candidates for a parameter that overlap with no assigned one, best name first."""
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
    """Return the groups of parameters whose values change the results."""
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
    """Return the parameters that change the results when all the others have values."""
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
    """Take the first choice for which the layer equals the reference; return whether any does."""
    before = _run(found, {})
    for choice in choices:
        results = _run(found, choice)
        if before is None or results is None:
            continue
        got, expected = results
        # Require an effect: weights that change nothing yet, such as the reset gate's alone, agree
        # without being right.
        if found.trial.agrees(got, expected) and _differs(before[0], got):
            found.chosen.update(choice)
            return True
    return False


def assign_as_variant(trial: Trial) -> Assignment | None:
    """Return the assignment for a known variant of the formula that explains all parameters."""
    for variant in VARIANTS:
        if variant.kind == trial.kind:
            tried = replace(trial, variant=variant, added={})
            found, waiting = _match_all(replace(tried, added=find_added(tried)))
            if not waiting and found.chosen:
                return found
    return None


def _find_added_beside_weights(trial: Trial) -> dict[str, float]:
    """Return the constants that a layer adds to its gates if they show only beside large weights.

    A constant on the forget gate, for example, changes nothing as long as the cell state is zero.
    The weights may be in a single parameter, or in two for the input and the state.
    """
    by_size = sorted(trial.shapes, key=lambda name: -math.prod(trial.shapes[name]))
    for name in by_size[:2]:
        for candidate in _list_left(Assignment(trial), name):
            has_all = trial.kind.is_gated and len(candidate.gates) == len(trial.kind.gates)
            if has_all and (added := find_added(trial, {name: candidate})):
                return added
    return {}


def find_added(trial: Trial, chosen: Mapping[str, Candidate] | None = None) -> dict[str, float]:
    """Return the constants that the layer's code adds to its gates, such as a forget bias of 1.

    With all parameters at zero except the `chosen` ones, the layer equals a reference that has
    these constants as biases. Newton's method finds them. Constants that do not explain the results
    are discarded, and so are constants without an effect.
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
        if np.abs(off).max() > first / (1 + step // 4):  # no longer converging
            break
        slopes = np.stack([compare(numbers + NEAR * unit) - off for unit in np.eye(len(gates))], 1)
        # `rcond` drops constants without an effect: their slopes are rounding noise.
        change = np.linalg.lstsq(slopes / NEAR, -off, rcond=1e-6)[0]
        numbers = numbers + np.clip(change, -1.0, 1.0)
        off = compare(numbers)
        if np.abs(off).max() <= trial.tolerance:
            break
    numbers = numbers.round(ADDED_DIGITS)
    for index in np.argsort(np.abs(numbers)):  # a gate without an effect could have any value
        without = np.where(np.arange(len(gates)) == index, 0.0, numbers)
        numbers = without if trial.agrees(got, expect(without)) else numbers
    found = {gate: float(each) for gate, each in zip(gates, numbers, strict=True) if each}
    return found if trial.agrees(got, expect(numbers)) else {}


def _has_all_weights(found: Assignment) -> bool:
    """Return whether every documented weight other than biases is assigned."""
    kind, endings = found.trial.kind, [row.ending for row in list_rows(found.trial.config)]
    needed = {
        (f"{role}{ending}", gate)
        for role in ("weight_ih", "weight_hh")
        for ending in endings
        for gate in kind.gates
    }
    return needed <= found.covers


def _choose_by_name(found: Assignment, name: str, *, is_used: bool) -> None:
    """Assign a parameter with an unexplained effect by its name and shape.

    Prefer the order of gates of identified parameters, and for a square weight the orientation of
    most others. If the layer equals the reference without the parameter, and its name does not
    suggest a bias, it is no part of the formula.
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
    """Return the results of the layer and of the reference, given the assignment and `more`.

    Returns None if the layer cannot be called.
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

    A bias that is not covered holds the constant that the layer's code adds to its gate.
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
    """Return the parameters of the layer, with zeros for parameters that are not chosen."""
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


def merge_biases(found: Assignment) -> None:
    """Assign the sum of both documented biases to each bias that stands for both.

    If a gate has no bias, or a single bias where the formula uses the two separately, hold all
    biases at zero and record the reason in `found.unbiased`.
    """
    if not any(name.startswith("bias") for name, _ in found.covers):
        found.unbiased = "it has no biases"
        return
    for row in list_rows(found.trial.config):
        _merge_row(found, row.ending)


def _merge_row(found: Assignment, row: str) -> None:
    """Merge the biases of a single layer and direction."""
    kind, covers = found.trial.kind, found.covers
    read, carried = (
        {gate for each, gate in covers if each == f"{role}{row}"} for role in ("bias_ih", "bias_hh")
    )
    # A bias that covers a gate alone acts as the sum of both, since the formula adds them.
    merged = read ^ carried
    bare = [each for each in kind.gates if each not in read | carried]
    # The new gate of a GRU multiplies its second bias by the reset gate: no sum replaces both.
    split = [each for each in list_separate_gates(kind) if each in merged]
    if bare or split:
        gate = (bare or split)[0]
        count = "no bias" if bare else "one bias"
        need = "the documented layer has two" + (
            ", and a formula in which they are not added" if split else ""
        )
        found.unbiased = f"its {gate} gate has {count}; {need}"
        for name, candidate in found.chosen.items():
            if candidate.is_bias:
                found.chosen[name] = replace(candidate, is_zero=True)
        return
    for name, candidate in found.chosen.items():
        if candidate.is_bias and candidate.row == row:
            own = frozenset(candidate.gates) & merged
            found.chosen[name] = replace(candidate, merged=own)
