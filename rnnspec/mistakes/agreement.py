"""How a case agrees with a hypothesis."""

from __future__ import annotations

from enum import Enum, auto

from rnnspec.mistakes.outcome import Outcome


class Agreement(Enum):
    """How a case agrees with a hypothesis.

    EVIDENCE       it predicts the wrong result, which no other mistake does by chance
    PREDICTED      it predicts the outcome, which is little evidence: an exception, a shape
    NEUTRAL        it predicts nothing, or nothing that differs from the required result
    CONTRADICTION  it predicts another outcome
    """

    EVIDENCE = auto()
    PREDICTED = auto()
    NEUTRAL = auto()
    CONTRADICTION = auto()


def compare_exceptions(observed: Outcome, predicted: Outcome) -> Agreement:
    """Return how two outcomes agree if at least one of them is an exception."""
    if predicted.has_raised and (observed.has_raised or observed.has_raised_before):
        return Agreement.PREDICTED
    return Agreement.NEUTRAL if observed.has_raised_before else Agreement.CONTRADICTION
