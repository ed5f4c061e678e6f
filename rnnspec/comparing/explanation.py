"""The causes of faults, and the remarks on a candidate."""

from __future__ import annotations

from dataclasses import dataclass

from rnnspec.comparing.evaluation import PairCase
from rnnspec.text import TextEnum


class ComparisonPart(TextEnum):
    """The parts of a comparison, in order."""

    CALLS = "calls"
    VALUES = "values"
    USES = "uses"
    GRADIENTS = "gradients"


class Cause(TextEnum):
    """The causes of faults, as far as they can be seen from outside.

    If you add a cause, describe it in docs/generated-kernels.md, and plant a candidate that has it.
    """

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
    KEEPS_NO_STATE = "keeps-no-state"
    OTHER_STREAM = "ignores-the-stream"
    OVERWRITES_RESULT = "overwrites-its-result"
    OVERWRITES_INPUT = "overwrites-an-input"
    RANDOM = "random"
    NOT_RANDOM = "not-random"
    STALE_WEIGHTS = "weights-of-the-constructor"
    HALVES = "wrong-in-16-bits"
    GRADIENT = "gradient"
    SETTINGS = "settings"
    TRAINING = "training-mode"
    DEFAULTS = "default-arguments"
    MEMORY_LAYOUT = "memory-layout"
    SPREADS_NAN = "spreads-nan"
    EXCHANGED_INPUTS = "exchanged-inputs"
    GATE_ORDER = "gate-order"


class RemarkKey(TextEnum):
    """The remarks on a candidate. They are no faults, so your grader decides whether they count."""

    NO_GRADIENTS = "no-gradients"
    CALLS_REFERENCE = "calls-the-reference"
    USES_LIBRARY = "uses-the-library"
    REFUSES_SIZES = "refuses-sizes"
    REFUSES_USES = "refuses-uses"
    NOT_ORIGINAL = "original-sizes-not-compared"
    FALLS_BACK = "falls-back-to-the-library"


@dataclass(frozen=True)
class ExplainedCause:
    """A cause or a remark, with a description for this candidate.

    unread     the positions of the inputs that are not read
    case       the case that shows it, if it differs from the checked case
    tolerance  the tolerance of a wrong gradient
    """

    cause: Cause | RemarkKey
    text: str
    unread: frozenset[int] = frozenset()
    case: PairCase | None = None
    tolerance: float = 1e-6
