"""Earlier calls of the layer: the values of the axis `prior_use` that are about calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from rnnspec.cases.axes.layout import Layout
from rnnspec.cases.axes.modes import GradMode, InitialState, Mode
from rnnspec.cases.axes.prior_use.base import (
    LOAD,
    CaseChanges,
    LayerInPreparation,
    Lines,
    PriorUse,
    PriorUseMeaning,
    takes_second_way,
)
from rnnspec.contract.features import Feature

if TYPE_CHECKING:
    from rnnspec.cases.case import Case


FULL_BATCH = 16


def _start(layer: LayerInPreparation) -> None:
    layer.start()


_FRESH = PriorUseMeaning(
    "fresh",
    "built and loaded, never called",
    _start,
    (LOAD,),
    calls=False,
    is_passing=False,
)


def _call_under_other_default(layer: LayerInPreparation) -> None:
    layer.start()
    before = torch.get_default_dtype()
    if not layer.takes_second_way:
        return
    torch.set_default_dtype(torch.float64 if before == torch.float32 else torch.float32)
    try:
        layer.call()
    finally:
        torch.set_default_dtype(before)


def _call_in_place(layer: LayerInPreparation, case: Case, given: Any) -> None:
    # An expanded tensor cannot be written to.
    if not layer.takes_second_way and not case.memory_layout.repeats:
        layer.call_in_place(given)


def _write_call_in_place(case: Case) -> tuple[str, ...]:
    if case.memory_layout.repeats:
        return (LOAD, "{call}")
    halve = "with torch.no_grad():\n    {first}.mul_(-0.5)"
    return (LOAD, halve, "{call}", halve.replace("-0.5", "-2.0"))


def _write_call_before(case: Case) -> tuple[str, ...]:
    if not takes_second_way(case):
        return _write_call_in_place(case)
    set_default = "torch.set_default_dtype(torch.{})".format
    return (LOAD, set_default("float64"), "{call}", set_default("float32"))


_CALLED = PriorUseMeaning(
    "called",
    "called before under another default dtype, or on the same tensors with other numbers in them",
    _call_under_other_default,
    _write_call_before,
    before_call=_call_in_place,
    is_passing=False,
)


def _call_twice(layer: LayerInPreparation) -> None:
    layer.start()
    layer.call()
    if layer.takes_second_way:
        other = layer.build_sibling()
        other.load_others()
        other.call()
    layer.call(seed=layer.case.seed ^ 0xABC)


def _write_calls_twice(case: Case) -> Lines:
    between = ("other = {build}", "other(*given)") if takes_second_way(case) else ()
    return (LOAD, {}, *between, {})


_CALLED_TWICE = PriorUseMeaning(
    "called-twice",
    "called twice before, in half of the cases with a call of another layer in between",
    _call_twice,
    _write_calls_twice,
)


def _call_on_other_batch(layer: LayerInPreparation) -> None:
    layer.start()
    for changes in _list_other_batches(layer.case):
        is_refused = changes.get("layout") is Layout.PACKED and not layer.offers(Feature.PACKED)
        layer.call(**{**changes, "layout": layer.case.layout} if is_refused else changes)


def _list_other_batches(case: Case) -> list[CaseChanges]:
    """Return the changes of the earlier calls: the sizes, and the layout or the lengths.

    Before a padded call, the last is a packed call in the same sizes, from which a layer could keep
    the ends of the sequences. Before a packed call, an earlier call has other lengths with the same
    count and sum; in half of the cases, the last is padded. A cell takes a batch only.
    """
    other = _choose_other_sizes(case)
    if case.config.kind_data.is_cell:
        return [other]
    if not case.is_packed:
        lengths = spread_lengths(case.steps, case.batch)
        packed = {"layout": Layout.PACKED, "lengths": lengths}
        return [packed] if takes_second_way(case) else [other, packed]
    lengths = redistribute_lengths(case.lengths)
    packed = {"lengths": lengths, "steps": max(lengths)}
    padded = {**other, "layout": Layout.BATCHED}
    return [packed, padded] if takes_second_way(case) else [other, packed]


def list_changes_of_layout(case: Case) -> list[CaseChanges]:
    """Return the changes that call a case in each layout; the first is not sorted."""
    lengths = spread_lengths(case.steps, case.batch)
    packed: list[CaseChanges] = [
        {"layout": Layout.PACKED_UNSORTED, "lengths": lengths[::-1]},
        {"layout": Layout.PACKED, "lengths": lengths},
    ]
    return [
        *(packed if case.is_batched and not case.config.kind_data.is_cell else []),
        {"layout": Layout.UNBATCHED},
        {"layout": Layout.BATCHED},
    ]


def _choose_other_sizes(case: Case) -> CaseChanges:
    """Return sizes for an earlier call: smaller in half of the cases, and larger in the others.

    Before a single sample, the larger batch is the full batch of a data loader, of which a single
    sample is left at the end.
    """
    layout = {} if case.is_packed else {"layout": Layout.BATCHED}
    if (case.seed // 2) % 2 and case.batch > 1:
        return {**layout, "batch": case.batch - 1, "steps": max(1, case.steps - 1)}
    more = 2 if case.batch > 1 else FULL_BATCH
    return {**layout, "batch": case.batch + more, "steps": case.steps + 1}


def spread_lengths(steps: int, batch: int) -> tuple[int, ...]:
    """Return lengths of sequences that end one step after another, as far as `steps` allows."""
    return tuple(max(1, steps - place) for place in range(batch))


def redistribute_lengths(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Return different lengths with the same count and the same sum.

    A step moves from the longest to the shortest sequence, or the other way if they differ by less
    than two, unless the shortest has no step to spare. Then the lengths are rotated.
    """
    found = list(lengths)
    longest = found.index(max(found))
    shortest = len(found) - 1 - found[::-1].index(min(found))
    moved = 1 if found[longest] - found[shortest] > 1 else -1 if found[shortest] > 1 else 0
    found[longest] -= moved
    found[shortest] += moved
    return tuple(found[1:] + found[:1])


_OTHER_BATCH = PriorUseMeaning(
    "other-batch",
    "called before on another batch size and length, packed or padded, or with other lengths",
    _call_on_other_batch,
    lambda case: (LOAD, *_list_other_batches(case)),
)


def _call_with_other_state(layer: LayerInPreparation) -> None:
    layer.start()
    changes = _choose_other_state(layer.case)
    if not layer.offers(Feature.STATE):
        changes = {**changes, "initial_state": InitialState.ABSENT}
    layer.call(**changes)


def _choose_other_state(case: Case) -> CaseChanges:
    is_given = case.initial_state is InitialState.GIVEN
    state = InitialState.ABSENT if is_given else InitialState.GIVEN
    return {"initial_state": state, "steps": case.steps + 2}


_OTHER_STATE = PriorUseMeaning(
    "other-state",
    "called before with an initial state, or without one if the checked call has one",
    _call_with_other_state,
    lambda case: (LOAD, _choose_other_state(case)),
)


def _call_in_other_grad_mode(layer: LayerInPreparation) -> None:
    layer.start()
    mode = _choose_other_mode(layer.case)
    is_offered = mode.needs is None or layer.offers(mode.needs)
    layer.call(grad_mode=mode if is_offered else GradMode.NO_GRAD)


def _choose_other_mode(case: Case) -> GradMode:
    if case.grad_mode is not GradMode.GRAD:
        return GradMode.GRAD
    return GradMode.INFERENCE if takes_second_way(case) else GradMode.NO_GRAD


_OTHER_GRAD = PriorUseMeaning(
    "other-grad",
    "called before in another gradient mode",
    _call_in_other_grad_mode,
    lambda case: (LOAD, f"with {_choose_other_mode(case).code}:\n    layer(*given)"),
)


def _call_frozen(layer: LayerInPreparation) -> None:
    layer.start()
    with layer.step("requires_grad_(False)"):
        layer.module.requires_grad_(False)
    layer.call()
    with layer.step("requires_grad_(True)"):
        layer.module.requires_grad_(True)


_THAWED = PriorUseMeaning(
    "thawed",
    "called before while every parameter was frozen",
    _call_frozen,
    (LOAD, "layer.requires_grad_(False)", "{call}", "layer.requires_grad_(True)"),
)


def _call_in_other_mode(layer: LayerInPreparation) -> None:
    layer.start()
    layer.module.train(layer.case.mode is not Mode.TRAIN)
    layer.call()
    layer.module.eval()
    layer.module.train()


_OTHER_MODE = PriorUseMeaning(
    "other-mode",
    "called before in the other of train and eval mode",
    _call_in_other_mode,
    (LOAD, "layer.train({other_mode})", "{call}", "layer.train({mode})"),
)


def _order_threads(case: Case) -> tuple[int, ...]:
    """Return the numbers of threads of the earlier calls and, last, of the checked call.

    A kernel that gives every thread the same number of units loses the remainder, so the last
    number does not divide the hidden size, unless all of 2 to 5 do.
    """
    uneven = [number for number in range(2, 6) if case.config.hidden_size % number] or [2, 3]
    checked = uneven[case.seed // 2 % min(2, len(uneven))]
    return (1, 3 if checked == 2 else 2, checked)


@contextmanager
def _use_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _call_under_threads(layer: LayerInPreparation) -> None:
    layer.start()
    for number in _order_threads(layer.case)[:-1]:
        with _use_threads(number):
            layer.call()


def _write_calls_under_threads(case: Case) -> tuple[str, ...]:
    *earlier, checked = (f"torch.set_num_threads({each})" for each in _order_threads(case))
    return (LOAD, *(line for each in earlier for line in (each, "{call}")), checked)


_OTHER_THREADS = PriorUseMeaning(
    "other-threads",
    "called under several numbers of threads, the checked call under one that leaves units over",
    _call_under_threads,
    _write_calls_under_threads,
    during=lambda case: _use_threads(_order_threads(case)[-1]),
    is_passing=False,
)


class EarlierCalls(PriorUse):
    """How the layer was called before."""

    FRESH = _FRESH
    CALLED = _CALLED
    CALLED_TWICE = _CALLED_TWICE
    OTHER_BATCH = _OTHER_BATCH
    OTHER_STATE = _OTHER_STATE
    OTHER_GRAD = _OTHER_GRAD
    THAWED = _THAWED
    OTHER_MODE = _OTHER_MODE
    OTHER_THREADS = _OTHER_THREADS


PLAIN_CALLS = EarlierCalls.CALLED_TWICE
"""The prior use that only calls the layer, which most other uses do as well."""
