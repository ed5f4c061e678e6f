"""The space of cases that the minimiser searches: the fields of a case and their simpler values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    PLAIN_CALLS,
    PRIOR_USES,
    DropoutLevel,
    EarlierCalls,
    GradMode,
    InitialState,
    Layout,
    PriorUse,
    Projection,
)
from rnnspec.cases.case import SIZES, Case, is_consistent
from rnnspec.cases.plan import Scope

FIELDS = (
    *SIZES,
    "lengths",
    "history",
    *(axis.name for axis in AXES if axis.name != "num_layers"),
)
"""The fields in the order of simplification; small sizes make the rest fast."""
MAX_TRIED_VALUES = 4
"""If an axis has more values, only the simplest is tried."""
WHOLE_SCOPE = Scope()
PROBED_AXES = (
    "nonlinearity",
    "bidirectional",
    "batch_first",
    "bias",
    "layout",
    "initial_state",
    "mode",
    "grad_mode",
    "constructor_style",
)
"""The axes for which the minimiser tries whether a fault needs their simplest value. Other values
of the remaining axes change the numbers or their precision, which may hide a fault.
"""
USUAL_DROPOUT = 0.5
"""The simplest probability between 0 and 1: dropped and kept values are both frequent."""
ONE_IN_CELLS = ("num_layers", "steps")
"""The sizes that are 1 in every case of a cell."""
PROBED_SIZES = ("steps", "batch", "input_size", "hidden_size")
"""The sizes for which the minimiser tries whether a fault needs them to be 1."""

REORDERED_TIES = 17
"""From this number of samples on, packing may reorder samples of equal length."""

LARGER_SIZES = {"steps": 3, "batch": 2, "input_size": 3, "hidden_size": 4}
"""The sizes to which the sizes of a minimal case are raised."""


@dataclass(frozen=True)
class LayerCaseSpace:
    """The space of the cases of a recurrent layer.

    Pinned axes keep their value, and values that need an unsupported feature are never tried.
    """

    scope: Scope = WHOLE_SCOPE

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be made simpler, in the order of trying them."""
        pinned = dict(self.scope.pinned)
        return tuple(name for name in FIELDS if name not in pinned)

    def list_simpler(self, case: Case, name: str) -> list[Any]:
        """Return simpler values of a field of a case, the largest steps first.

        A history may be replaced by a prior use that only calls the layer.
        """
        if name in SIZES:
            return list_smaller_sizes(case.size(name))
        if name == "lengths":
            return list_simpler_lengths(case) if case.is_packed else []
        if name == "history":
            uses = self.scope.list_values(AXIS["prior_use"])
            is_free = case.prior_use is EarlierCalls.FRESH and PLAIN_CALLS in uses
            plain = [PLAIN_CALLS] if case.history and is_free else []
            return [*plain, *list_shorter(case.history)]
        values, present = self.scope.list_values(AXIS[name]), case.get_choice(name)
        simpler = list_simpler_values(values, present)
        if name == "prior_use" and _has_more_than_calls(present) and PLAIN_CALLS in values:
            simpler = [PLAIN_CALLS, *simpler]
        is_unusual = name == "dropout" and case.config.dropout not in (0.0, USUAL_DROPOUT, 1.0)
        return [present, *simpler] if is_unusual else simpler

    def list_others(self, case: Case, name: str) -> list[Any]:
        """Return other values of a field that has its simplest value."""
        if name in PROBED_SIZES:
            is_fixed = name in ONE_IN_CELLS and case.config.kind_data.is_cell
            return [2] if case.size(name) == 1 and not is_fixed else []
        if name not in PROBED_AXES:
            return []
        values = self.scope.list_values(AXIS[name])
        present = case.get_choice(name)
        return [value for value in values if value != present] if present == values[0] else []

    def is_covered(self, case: Case, by: Case, names: Collection[str]) -> bool:
        """Return whether a case has the values of another case, `by`, in the named fields.

        Sizes may be larger, except sizes of 1: a size of 1 is named only if the fault needs it.
        """
        return all(_is_field_covered(case, by, name) for name in names)

    def has_other_size(self, case: Case, other: Case, name: str) -> bool:
        """Return whether a field is a size that differs between two cases."""
        return name in SIZES and case.size(name) != other.size(name)

    def change_field(self, case: Case, name: str, value: Any) -> Case | None:
        """Return the case with another value of a field, or None if no such case is consistent.

        If the distribution or the dropout prevents the change, it gets its simplest value too. A
        cell has one layer and one step.
        """
        if name in ONE_IN_CELLS and value != 1 and case.config.kind_data.is_cell:
            return None
        changed = _set_field(case, name, value)
        for other in ("distribution", "dropout"):
            if other != name and other in self.fields and not is_consistent(changed):
                changed = _set_field(changed, other, AXIS[other].simplest)
        return changed if is_consistent(changed) else None

    def keeps_rest(self, case: Case, changed: Case, name: str) -> bool:
        """Return whether a change of another field kept the dropout.

        A change can remove it because few distributions allow dropout.
        """
        return name == "dropout" or case.get_choice("dropout") == changed.get_choice("dropout")

    def change_equal_sizes(self, case: Case, name: str, value: Any) -> Case | None:
        """Return the case with a size and all sizes equal to it changed, or None if there is none.

        Some faults need two equal sizes, such as a batch as large as the sequence is long, or
        weights for the input that are square.
        """
        if name not in SIZES:
            return None
        size, rows = case.size(name), len(case.config.kind_data.gates)
        if rows > 1 and case.config.input_size == rows * case.config.hidden_size:
            return self._keep_square(case, name, value, rows)
        equal = [each for each in SIZES if each in self.fields and case.size(each) == size]
        if len(equal) < 2:
            return None
        changed: Case | None = case
        for each in equal:
            changed = None if changed is None else self.change_field(changed, each, value)
        return changed

    def _keep_square(self, case: Case, name: str, value: Any, rows: int) -> Case | None:
        """Return the case with another hidden size and as many features as W_ih has rows."""
        hidden = {"hidden_size": value, "input_size": max(1, value // rows)}.get(name)
        if hidden in (None, case.config.hidden_size):
            return None
        changed = self.change_field(case, "hidden_size", hidden)
        size = rows * changed.config.hidden_size if changed else 0
        return changed and self.change_field(changed, "input_size", size)

    def exchange_sizes(self, case: Case) -> list[Case]:
        """Return the case with two of its sizes exchanged, for each two that differ."""
        found = []
        for one, other in combinations([each for each in SIZES if each in self.fields], 2):
            if case.size(one) != case.size(other):
                half = self.change_field(case, one, case.size(other))
                found.append(half and self.change_field(half, other, case.size(one)))
        return [each for each in found if each is not None]

    def list_other_dtypes(self, case: Case) -> list[Case]:
        """Return the case in each other dtype."""
        dtypes = self.scope.list_values(AXIS["dtype"]) if "dtype" in self.fields else ()
        changed = (self.change_field(case, "dtype", dtype) for dtype in dtypes)
        return [each for each in changed if each is not None and each != case]

    def spread_sizes(self, case: Case) -> Case | None:
        """Return the case with sizes above 1 that all differ, or None if they already do.

        The number of states (rows of h_0) counts as a size.
        """
        taken = {case.config.num_layers * case.config.num_directions}
        changed: Case | None = case
        for name in ("steps", "batch", "input_size", "hidden_size"):
            size = case.size(name)
            if size == 1 or name not in self.fields:
                continue
            while size in taken:
                size += 1
            taken.add(size)
            changed = None if changed is None else self.change_field(changed, name, size)
        return None if changed == case else changed

    def enlarge(self, case: Case) -> Case:
        """Return the case with small sizes raised, so that the results show more of the error."""
        for name, size in LARGER_SIZES.items():
            is_fixed = name not in self.fields or case.size(name) >= size
            changed = None if is_fixed else self.change_field(case, name, size)
            case = case if changed is None else changed
        return case

    def reseed(self, case: Case, seed: int) -> Case:
        """Return the case with other numbers."""
        return case.replace(seed=seed)

    def get_seed(self, case: Case) -> int:
        """Return the seed of the numbers of a case."""
        return case.seed

    def list_raised(self, case: Case) -> frozenset[str]:
        """Return the axes whose value is not the simplest, and "history" if it is not empty."""
        raised = {axis.name for axis in AXES if case.get_choice(axis.name) != axis.simplest}
        return frozenset(raised | {"history"} if case.history else raised)

    def list_usual(self, case: Case) -> frozenset[str]:
        """Return the choices that most faults need to show.

        For a cell, which computes a single step, this is an initial state. A fault of a cell that
        shows only without an initial state is unusual, so its choice is not returned.
        """
        is_usual = case.config.kind_data.is_cell and case.initial_state is not InitialState.ABSENT
        return frozenset({"initial_state"} if is_usual else ())

    def measure_size(self, case: Case) -> int:
        """Return the sum of the sizes of a case."""
        return sum(case.size(name) for name in SIZES)

    def describe_field(self, case: Case, name: str) -> str:
        """Return a field and its value in words: `name=value`, or `name >= value` for a size."""
        if name in SIZES:
            return f"{name} >= {case.size(name)}" if case.size(name) > 1 else f"{name}=1"
        if name == "history":
            return f"history={', '.join(map(str, case.history)) or 'none'}"
        return "lengths that differ" if name == "lengths" else f"{name}={case.get_choice(name)}"


MORE_SPECIAL = {
    (GradMode.NO_GRAD, GradMode.INFERENCE),
    (Layout.PACKED, Layout.PACKED_UNSORTED),
}
"""Pairs of values: the second is a special form of the first, and shows the same faults."""


def _is_field_covered(case: Case, by: Case, name: str) -> bool:
    if name in SIZES:
        size = by.size(name)
        return case.size(name) == 1 if size == 1 else case.size(name) >= size
    if name == "lengths":
        return case.is_packed and len(set(case.lengths)) > 1
    if name == "history":
        return has_in_order(case.history, by.history)
    if name in ("distribution", "dtype"):
        # Chance decides which unusual numbers, and which low precision, show a fault.
        return bool(case.get_choice(name) != AXIS[name].simplest)
    if name == "dropout" and by.get_choice(name) is DropoutLevel.SOME:
        return case.config.dropout > 0
    value, wanted = case.get_choice(name), by.get_choice(name)
    if wanted is PLAIN_CALLS:
        return case.prior_use.calls
    return value == wanted or (wanted, value) in MORE_SPECIAL


def _has_more_than_calls(prior_use: PriorUse) -> bool:
    """Return whether the layer was called before, and something else was done to it."""
    return prior_use.calls and PRIOR_USES.index(prior_use) > PRIOR_USES.index(PLAIN_CALLS)


def list_shorter(history: tuple[PriorUse, ...]) -> list[tuple[PriorUse, ...]]:
    """Return shorter histories: the empty history, and each history without a single use."""
    shorter = [history[:place] + history[place + 1 :] for place in range(len(history))]
    return list(dict.fromkeys(((), *shorter))) if history else []


def has_in_order(history: Iterable[PriorUse], uses: Iterable[PriorUse]) -> bool:
    """Return whether a history contains some uses in their order, with any others between them."""
    left = iter(history)
    return all(use in left for use in uses)


def list_simpler_lengths(case: Case) -> list[tuple[int, ...]]:
    """Return simpler lengths of a packed batch: all equal, then all 1 except one or the longest."""
    equal = (case.steps,) * case.batch
    if case.lengths == equal:
        return []
    first = case.lengths.index(case.steps)
    one = tuple(case.steps if row == first else 1 for row in range(case.batch))
    longest = tuple(length if length == case.steps else 1 for length in case.lengths)
    tried = list(dict.fromkeys((equal, one, longest)))
    return tried[: tried.index(case.lengths)] if case.lengths in tried else tried


def _set_field(case: Case, name: str, value: Any) -> Case:
    if name == "dropout":
        value = USUAL_DROPOUT if value is DropoutLevel.SOME else value.probability
    if name == "batch" and case.is_packed and not case.layout.is_sorted:
        return _take_fewer_unsorted(case, value)
    if name == "steps" and case.is_packed and value < case.steps:
        return _shorten_all(case, value)
    if name == "history" and isinstance(value, PriorUse):
        return case.replace(history=(), prior_use=value)
    if name == "proj_size":
        value = (case.config.hidden_size // 2) if value is Projection.SOME else 0
    return case.replace(**{name: value})


def _shorten_all(case: Case, steps: int) -> Case:
    """Return a packed batch with fewer steps that has its longest sequences at the same places.

    All sequences lose the same number of steps, so that different lengths still differ.
    """
    fewer = case.steps - steps
    return case.replace(steps=steps, lengths=tuple(max(1, each - fewer) for each in case.lengths))


def _take_fewer_unsorted(case: Case, batch: int) -> Case:
    """Return a packed batch with fewer samples, still unsorted if that is possible.

    The longest sequence stays. Packing reorders samples of equal length only in large batches, so
    in a smaller batch the last sample is made longer.
    """
    lengths = case.lengths
    if len(set(lengths)) == 1 and 1 < batch < REORDERED_TIES <= len(lengths):
        steps = max(2, case.steps)
        return case.replace(steps=steps, batch=batch, lengths=(1,) * (batch - 1) + (steps,))
    fewer = lengths[:batch]
    is_sorted = list(fewer) == sorted(fewer, reverse=True)
    if max(lengths) in fewer and not is_sorted:
        return case.replace(batch=batch)
    return case.replace(batch=batch, lengths=tuple(sorted(lengths)[-batch:]))


def list_simpler_values(values: Sequence[Any], present: Any) -> list[Any]:
    """Return the values before the present value, the simplest first.

    If there are more than `MAX_TRIED_VALUES` values, return only the simplest: each costs a call.
    """
    if present not in values:
        return list(values[:1])
    count = len(values) if len(values) <= MAX_TRIED_VALUES else 1
    return list(values[: values.index(present)][:count])


def list_smaller_sizes(size: int) -> list[int]:
    """Return smaller sizes to try: 1, 2, one half, three quarters, and one less."""
    candidates = dict.fromkeys(
        [*(small for small in (1, 2) if small < size), size // 2, size - size // 4, size - 1]
    )
    return [value for value in candidates if 1 <= value < size]
