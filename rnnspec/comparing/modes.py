"""Compare the two in other uses: training mode, fewer arguments, and 16 bits."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace

import torch

from rnnspec.comparing.differences import DifferenceKind, compare_case
from rnnspec.comparing.evaluation import Pair, PairCase, are_equal
from rnnspec.comparing.explanation import Cause, ExplainedCause, RemarkKey
from rnnspec.comparing.halves import find_wrong_halves
from rnnspec.comparing.recipe import Side
from rnnspec.models.steps import suppress_failures
from rnnspec.subjects.failures import Failure
from rnnspec.text import join_words


def check_uses(pair: Pair, case: PairCase) -> Iterator[ExplainedCause]:
    """Yield differences in training mode, with fewer arguments, and in 16 bits."""
    training = replace(case, training=True)
    if not is_random(pair, pair.recipe.reference, training):
        yield from _compare(pair, training, Cause.TRAINING, "in training mode")
    elif not is_random(pair, pair.recipe.candidate, training):
        text = "in training mode, its results do not depend on random numbers, as with dropout"
        yield ExplainedCause(Cause.NOT_RANDOM, text)
    count = count_required(pair, case)
    fewer = replace(case, count=count)
    if count is not None and not _depends_on_constructor(pair, fewer):
        text = f"if only {count} of the arguments {'is' if count == 1 else 'are'} given"
        yield from _compare(pair, fewer, Cause.DEFAULTS, text)
    wrong = find_wrong_halves(pair, case)
    if wrong:
        yield ExplainedCause(Cause.HALVES, f"its results are wrong {join_words(wrong)}")


def count_required(pair: Pair, case: PairCase) -> int | None:
    """Return how many arguments the reference needs, or None if it needs all that are given."""
    forward = getattr(pair.recipe.reference.target.factory, "forward", None)
    given = pair.make_given(case)
    try:
        parameters = list(inspect.signature(forward).parameters.values())[1:] if forward else []
    except (TypeError, ValueError):
        return None
    needed = [
        each
        for each in parameters
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    is_fewer = bool(parameters) and 0 < len(needed) < len(given.positional)
    return len(needed) if is_fewer and not given.named else None


def _depends_on_constructor(pair: Pair, case: PairCase) -> bool:
    """Return whether results depend on numbers that a constructor draws and no one can load."""
    first = pair.build_reference(case)
    second = pair.recipe.build(pair.recipe.reference, case.sizes, case.seed + 1)
    second.load_state_dict(first.state_dict())
    given, side = pair.make_given(case), pair.recipe.reference
    try:
        one, other = (pair.call(side, each, given, case) for each in (first, second))
    except Failure:
        return True
    return any(not torch.equal(one[name], other[name]) for name in one)


def _compare(pair: Pair, case: PairCase, cause: Cause, when: str) -> Iterator[ExplainedCause]:
    """Yield that the two differ in a case, unless the reference raises there."""
    difference = None
    with suppress_failures():
        difference = compare_case(pair, case)
    if difference is not None:
        is_refusal = difference.kind is DifferenceKind.REFUSES or isinstance(
            difference.error, TypeError
        )
        found = RemarkKey.REFUSES_USES if is_refusal else cause
        shown = (
            "its results differ" if difference.kind is DifferenceKind.VALUES else difference.text
        )
        yield ExplainedCause(found, f"{when}, {shown}", case=case)


def is_random(pair: Pair, side: Side, case: PairCase) -> bool:
    """Return whether results depend on the state of the random number generator."""
    given = pair.make_given(case)
    try:
        first, second = (
            pair.call(side, pair.build(side, case), given, replace(case, seed=seed))
            for seed in (case.seed, case.seed + 1)
        )
    except Failure:
        return True
    return not are_equal(first, second)
