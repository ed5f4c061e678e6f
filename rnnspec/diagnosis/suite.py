"""A suite as the search for faults uses it: it knows mistakes that explain results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from rnnspec.diagnosis.budget import Budget
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.observed import Observed
from rnnspec.engine.suite import Facts, Suite
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import ErrorSize

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
RESULTS = ("output", "h_n")
"""The results of a call."""


@dataclass(frozen=True)
class CauseQuery(Generic[ObservedT]):
    """The question which known mistake explains a fault.

    failing     observations of cases with the fault, the most telling first
    passing     observations of cases without it: of several mistakes, one is preferred that holds
                there too. If the fault stops every failing call, they differ little from these, and
                it may stop some of them too
    gradients   the results are right, and a gradient is wrong
    is_partial  the mistake explains the first failing case, and several others; with False, all
    besides     a mistake that the subject makes too
    part        the result that the mistake explains if the other is right, one of `RESULTS`; with
                "", it explains all results
    budget      how far predictions are made
    """

    failing: Iterable[ObservedT]
    passing: Iterable[ObservedT] = ()
    gradients: bool = False
    is_partial: bool = False
    besides: LikelyCause | None = None
    part: str = ""
    budget: Budget = field(default_factory=Budget)

    @property
    def is_whole(self) -> bool:
        """Whether a single mistake explains all results of all failing cases."""
        return not (self.gradients or self.is_partial or self.besides or self.part)


class ExplainedSuite(Suite[CaseT, ObservedT], Facts[CaseT, ObservedT], Protocol[CaseT, ObservedT]):
    """A suite whose failures can be compared with known mistakes."""

    def find_likely_cause(self, query: CauseQuery[ObservedT]) -> LikelyCause | None:
        """Return the simplest mistake that explains the observations, or None."""

    def find_cause_of_calls(
        self,
        rule: Rule[CaseT, ObservedT],
        failing: Iterable[ObservedT],
        known: Collection[LikelyCause] = (),
    ) -> LikelyCause | None:
        """Return what explains the calls that a rule makes in cases in which it fails, or None.

        Of several mistakes that explain them, it is the one that is `known` from another fault.
        """

    def is_explained(
        self, cause: LikelyCause, observation: ObservedT, *, gradients: bool = False
    ) -> bool | None:
        """Return whether a likely cause predicts what the subject did, or None if it says nothing.

        False means that it predicts something else.
        """

    def can_explain(self, cause: LikelyCause, case: CaseT) -> bool:
        """Return whether a subject that makes this mistake alone can be wrong in a case."""

    def make_mistaken(
        self, causes: Sequence[LikelyCause], case: CaseT, *, gradients: bool = False
    ) -> ExplainedSuite[CaseT, ObservedT] | None:
        """Return the suite of a subject that does right all but what these likely causes say.

        It is meant for one case. With `gradients`, these causes are about gradients. None if there
        is no such subject.
        """

    def arrange_results(self) -> ExplainedSuite[CaseT, ObservedT]:
        """Return the suite of the subject whose results are put into the documented form."""

    def measure_error(self, observation: ObservedT, *, gradients: bool = False) -> ErrorSize | None:
        """Return how wrong the results or the gradients are, or None if none is wrong."""

    def find_misreturned(self, observation: ObservedT) -> str:
        """Return the only wrong result, if others show that it was computed rightly, or "".

        What is wrong then is how it is returned.
        """

    def name_feature(self, case: CaseT, names: Collection[str]) -> str:
        """Return the feature that a case needs because of one of these fields, or an empty string.

        The user can exclude it by its name.
        """
