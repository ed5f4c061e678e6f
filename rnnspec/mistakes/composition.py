"""Two mistakes that a layer makes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import Hypothesis, every, never


def list_further(known: Hypothesis, others: Iterable[Hypothesis]) -> Iterator[Hypothesis]:
    """Yield each of the others as a mistake that is made besides a known one.

    Each has its own key and text, and predicts what a layer computes that makes both mistakes: the
    changes of the known one are made first, each where its mistake concerns the case.
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
    """Return the mistake of making all of these, each once.

    One that was found besides another makes that one, too.
    """
    parts = {part.key: part for mistake in mistakes for part in mistake.all_parts}
    return reduce(lambda known, other: next(list_further(known, [other]), known), parts.values())


def _holds_for_any(known: Hypothesis, other: Hypothesis, case: Case) -> bool:
    return known.concerns(case) or other.concerns(case)


def _is_unclear_for_any(known: Hypothesis, other: Hypothesis, case: Case) -> bool:
    return known.unclear(case) or other.unclear(case)
