"""What a case can say about a hypothesis."""

from __future__ import annotations

from enum import Enum, auto

from rnnspec.mistakes.outcome import Outcome


class Agreement(Enum):
    """What a case says about a hypothesis.

    EVIDENCE       it predicts the wrong result, and nothing else does by chance
    PREDICTED      it predicts what the layer did, which says little: an exception, a shape
    NEUTRAL        it predicts nothing, or nothing that could be told from what is required
    CONTRADICTION  it predicts something else
    """

    EVIDENCE = auto()
    PREDICTED = auto()
    NEUTRAL = auto()
    CONTRADICTION = auto()


def compare_exceptions(observed: Outcome, predicted: Outcome) -> Agreement:
    """Return what two outcomes say of which at least one is an exception."""
    if predicted.has_raised and (observed.has_raised or observed.has_raised_before):
        return Agreement.PREDICTED
    return Agreement.NEUTRAL if observed.has_raised_before else Agreement.CONTRADICTION
