"""Find out which code a candidate runs: its own, the layer of torch, or the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from rnnspec.comparing.evaluation import Pair, PairCase
from rnnspec.comparing.explanation import ExplainedCause, RemarkKey
from rnnspec.comparing.recipe import Side
from rnnspec.comparing.sizes import Growth, Sizes
from rnnspec.contract.kinds import KINDS
from rnnspec.models.lines import Recorder
from rnnspec.models.steps import suppress_failures

LAYERS = {
    "_".join(filter(None, (kind.layer, nonlinearity, "cell" if kind.is_cell else "")))
    for kind in KINDS.values()
    for nonlinearity in kind.nonlinearities or ("",)
}
"""The functions of torch that compute a recurrent layer or a cell, by their names."""
# In float64, 31 microseconds a step of an LSTM and 36 of a GRU, and 7 for a function.
STEP = 4
"""A step of a layer and direction in these takes as long as this many functions of torch."""


class Counter(Recorder):
    """Counts the functions of torch, and notes whether any of them computes a recurrent layer.

    Such a function counts for each step that it takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.is_layer_used = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and note which."""
        is_layer = getattr(function, "__name__", "") in LAYERS
        self.count += 1 + (STEP * count_steps(args) if is_layer else 0)
        self.is_layer_used |= is_layer
        return function(*args, **(kwargs or {}))


def count_steps(args: Sequence[Any]) -> int:
    """Return how many steps a function for a recurrent layer takes, in all layers and directions.

    `args` are (input, states, weights, biases, layers, dropout, training, directions, batch first)
    for a layer, and (data, batch sizes, states, weights, ...) for a packed sequence.
    """
    if len(args) != 9:
        return 1  # a cell
    if isinstance(args[3], bool):
        steps, layers, is_two = args[0].shape[1 if args[8] else 0], args[4], args[7]
    else:
        steps, layers, is_two = len(args[1]), args[5], args[8]
    return int(steps * layers * (2 if is_two else 1))


def _record(pair: Pair, side: Side, case: PairCase) -> Counter:
    counter = Counter()
    with suppress_failures():
        module = pair.build(side, case)
        given = pair.make_given(case)
        with counter:
            pair.call(side, module, given, case)
    return counter


def count_operations(pair: Pair, case: PairCase) -> Growth:
    """Return the number of torch functions in a case: three times the number of the reference."""

    def count(sizes: Sizes) -> int:
        at_sizes = replace(case, sizes=sizes)
        calls = ((pair.recipe.candidate, 1), (pair.recipe.reference, 3))
        return sum(times * _record(pair, side, at_sizes).count for side, times in calls)

    first = count(case.sizes)
    more = {name: count({**case.sizes, name: size + 1}) for name, size in case.sizes.items()}
    slopes = {name: (each - first) / first for name, each in more.items() if each > first}
    return Growth(case.sizes, first, slopes)


def trace_code(pair: Pair, cases: Sequence[PairCase]) -> Iterator[ExplainedCause]:
    """Yield remarks on the code that the candidate runs in some cases."""
    if _calls_reference(pair, cases[0]):
        yield ExplainedCause(RemarkKey.CALLS_REFERENCE, "it calls the class of the reference")
    used = [_record(pair, pair.recipe.candidate, each).is_layer_used for each in cases]
    if all(used):
        yield ExplainedCause(RemarkKey.USES_LIBRARY, "it computes with a recurrent layer of torch")
    elif any(used):
        text = f"it falls back to a recurrent layer of torch in {sum(used)} of {len(used)} sizes"
        yield ExplainedCause(RemarkKey.FALLS_BACK, text)


def _calls_reference(pair: Pair, case: PairCase) -> bool:
    """Return whether the candidate calls the class of the reference in a case."""
    owner = pair.recipe.reference.target.factory
    if not isinstance(owner, type) or "forward" not in vars(owner):
        return False
    forward, calls = vars(owner)["forward"], []

    def note_call(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(*arguments, **named)

    with suppress_failures():
        module = pair.build_candidate(case)
        given = pair.make_given(case)
        with patch.object(owner, "forward", note_call):
            pair.call(pair.recipe.candidate, module, given, case)
    return bool(calls)
