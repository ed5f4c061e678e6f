"""A suite as the search for faults uses it: it knows mistakes that explain results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol, TypeVar

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


class ExplainedSuite(Suite[CaseT, ObservedT], Facts[CaseT, ObservedT], Protocol[CaseT, ObservedT]):
    """A suite whose failures can be compared with known mistakes."""

    def find_likely_cause(
        self,
        failing: Iterable[ObservedT],
        passing: Iterable[ObservedT] = (),
        *,
        gradients: bool = False,
        is_partial: bool = False,
        besides: LikelyCause | None = None,
        part: str = "",
        budget: Budget | None = None,
    ) -> LikelyCause | None:
        """Return the one mistake that explains all of these observations, the simplest first.

        Of several, one is preferred that holds in the `passing` ones too. With `is_partial`, it
        explains the first, and several others. With `besides`, the subject makes that mistake
        too. With `part`, one of `RESULTS`, it explains that result if the
        other is taken to be right. Predictions are made as far as a `budget` allows.
        """

    def find_cause_of_calls(
        self, rule: Rule[CaseT, ObservedT], failing: Iterable[ObservedT]
    ) -> LikelyCause | None:
        """Return what explains the calls that a rule makes in cases in which it fails, or None."""

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
