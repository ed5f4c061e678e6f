"""What a candidate may do instead of what the reference does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rnnspec.comparing.evaluation import Case


class Cause(Enum):
    """What a candidate does instead, as far as it can be seen from outside."""

    RAISES = "raises"
    FORM = "other-form"
    SHAPE = "other-shape"
    DTYPE = "other-dtype"
    READS_NOTHING = "reads-no-input"
    IGNORES_INPUT = "ignores-an-input"
    ONE_FOR_ALL = "one-result-for-all"
    FORGETS = "forgets"
    IGNORES_INDICES = "ignores-indices"
    MIXES = "mixes"
    IGNORES_PARAMETER = "ignores-a-parameter"
    FEWER_BITS = "fewer-bits"
    OTHER_VALUES = "other-values"
    EARLIER_CALL = "result-of-an-earlier-call"
    SAME_ADDRESS = "knows-the-address"
    KEPT_STATE = "keeps-a-state"
    OVERWRITES_RESULT = "overwrites-its-result"
    OVERWRITES_INPUT = "overwrites-an-input"
    RANDOM = "random"
    NOT_RANDOM = "not-random"
    STALE_WEIGHTS = "weights-of-the-constructor"
    HALVES = "wrong-in-16-bits"
    GRADIENT = "gradient"
    SETTINGS = "settings"
    CALLS_REFERENCE = "calls-the-reference"
    SOME_SIZES = "some-sizes"
    TRAINING = "training-mode"
    DEFAULTS = "default-arguments"
    MEMORY_LAYOUT = "memory-layout"
    EXCHANGED_INPUTS = "exchanged-inputs"
    GATE_ORDER = "gate-order"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Explanation:
    """A cause, what it is in this case, and the positions of the inputs that are not read.

    `case` is the case in which it shows, if that is not the one that was asked about. One that is
    a refusal is no fault: the candidate says that it does not take something.
    """

    cause: Cause
    text: str
    unread: frozenset[int] = frozenset()
    case: Case | None = None
    is_refusal: bool = False
