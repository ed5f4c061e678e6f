"""A hypothesis: a mistake of a layer, or two at once, and a reference that makes it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Flag, auto
from functools import partial, reduce

from rnnspec.cases.axes import DType
from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.contract.kinds import Kind
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import Changes

KindCondition = Callable[[Kind], bool]


class About(Flag):
    """The features of a layer that a mistake is about and that a cell lacks."""

    ONE_STEP = 0
    """Features that cells have as well."""
    STEPS = auto()
    OUTPUT = auto()
    LAYERS = auto()
    DIRECTIONS = auto()
    AXES = auto()
    """The axes of time and of layers, and batch_first."""
    PACKED = auto()


def always(case: Case) -> bool:
    """Return True."""
    return True


def every(kind: Kind) -> bool:
    """Return True."""
    return True


def never(case: Case) -> bool:
    """Return False."""
    return False


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mistake that a layer might make. It equals only itself, which makes comparisons fast.

    key       the identifier, such as h_0.ignored@first-layer
    text      the behaviour of the layer, to be read after "likely cause"; like the remedy, it may
              contain words that depend on the kind, such as $first_input (listed in `of_cells.py`)
    remedy    the change that would make the layer conform
    rules     the ids of the rules that the mistake breaks, the best name first
    changes   the functions that change named values of the reference
    where     whether the mistake can change anything in a case of a layer that can make it
    family    the key of hypotheses that may coincide; the lowest rank is reported
    rank      its rank in the family
    unclear   whether the mistake could have several effects in a case
    is_certain  whether the mistake leaves nothing to chance in a case with random dropout
    shown_by  cases of which at least one must be explained
    effect    hypotheses with equal effects on a case compute the same there; None equals no other
    remembers  whether it depends on the use of the layer before the call
    rounded    the key of the values that it rounds, a few of which a layer may round to the other
               neighbour
    computes_in  the dtype of its computation, in an order that the layer need not share
    is_local   whether it is made in some layers or directions only
    of         whether layers of a kind can make it
    about      the features it is about that cells lack; cells make no such mistake
    likewise   the hidden states in the text, h_0 or h_n, whose cell states are wrong as well
    spares     the number of calls nearby that the mistake could have stopped and did not, needed to
               report a mistake that is only known to stop calls
    parts      the mistakes that it consists of, if there are several
    """

    key: str
    text: str
    remedy: str
    rules: tuple[str, ...]
    changes: Changes
    where: CaseTest = always
    family: str = ""
    rank: int = 0
    unclear: CaseTest = never
    is_certain: CaseTest = never
    shown_by: CaseTest = always
    effect: Callable[[Case], Hashable] | None = None
    remembers: bool = False
    rounded: str = ""
    computes_in: DType | None = None
    is_local: bool = False
    of: KindCondition = every
    about: About = About.ONE_STEP
    likewise: tuple[str, ...] = ()
    spares: int = 3
    parts: tuple[Hypothesis, ...] = ()

    @property
    def all_parts(self) -> tuple[Hypothesis, ...]:
        """The mistakes that it consists of: itself, or several."""
        return self.parts or (self,)

    @property
    def rounds(self) -> bool:
        """Whether it rounds values."""
        return bool(self.rounded)

    def build(self, given: Given) -> Reference:
        """Return the reference with this mistake, on the numbers of a case."""
        return Reference(given, self.changes)

    def concerns(self, case: Case) -> bool:
        """Return whether the mistake can change anything in a case."""
        return self.of(case.config.kind_data) and self.where(case)

    def find_effect(self, case: Case) -> Hashable:
        """Return a value that is equal for hypotheses that compute the same in a case."""
        return self if self.effect is None else self.effect(case)


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
