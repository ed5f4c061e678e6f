"""Two mistakes that a layer makes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import Hypothesis, every, never


def list_further(known: Hypothesis, others: Iterable[Hypothesis]) -> Iterator[Hypothesis]:
    """Yield each of the others as a mistake in addition to a known mistake.

    Each has its own key and text, and predicts a layer that makes both mistakes: the changes of the
    known mistake come first, and each change is made where its mistake concerns the case.
    """
    own = known.changes.make_where(known.concerns)
    for other in others:
        if other.key != known.key and not (other.family and other.family == known.family):
            yield replace(
                other,
                changes=own.compose(other.changes.make_where(other.concerns)),
                parts=(*known.all_parts, *other.all_parts),
                where=partial(_holds_for_any, known, other),
                of=every,
                unclear=partial(_is_unclear_for_any, known, other),
                is_certain=never,
                effect=None,
            )


def combine_mistakes(mistakes: Sequence[Hypothesis]) -> Hypothesis:
    """Return the combination of these mistakes, each made once.

    The parts of a combined mistake are made separately.
    """
    parts = {part.key: part for mistake in mistakes for part in mistake.all_parts}
    return reduce(lambda known, other: next(list_further(known, [other]), known), parts.values())


def _holds_for_any(known: Hypothesis, other: Hypothesis, case: Case) -> bool:
    return known.concerns(case) or other.concerns(case)


def _is_unclear_for_any(known: Hypothesis, other: Hypothesis, case: Case) -> bool:
    return known.unclear(case) or other.unclear(case)
