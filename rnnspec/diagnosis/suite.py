"""The suite that the search for faults uses, and a limit on its work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol

from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.outcome import CaseT, ObservedT
from rnnspec.engine.suite import Facts, Suite
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import ErrorSize

# Measured on 15 planted bugs of nn.RNN and ten layers that no mistake describes: a single search
# took more than 130 sums a case. It went on for 48 s of CPU time and found nothing more. A search
# that uses up the budget takes about 15 s, twice as long as checking the rules; run
# `python -m benchmarks.cost` to count the sums.
LEAST_WORK, WORK_OF_A_CASE = 150_000, 650
"""The budget of a search, in sums of a vector: the minimum, and the share of each checked case."""


@dataclass
class Budget:
    """The work left for a search, in sums of a vector that predictions compute.

    It counts work instead of time, so that the result does not depend on the machine.
    """

    left: float = float("inf")
    is_spent: bool = False

    @classmethod
    def for_cases(cls, cases: int) -> Budget:
        """Return the budget that a search over the failures of this number of cases may use."""
        return cls(float(max(LEAST_WORK, WORK_OF_A_CASE * cases)))

    def take(self, work: int) -> bool:
        """Subtract some work and return True, or return False if there is not enough left."""
        if work > self.left:
            self.is_spent = True
            return False
        self.left -= work
        return True


RESULTS = ("output", "h_n")
"""The results of a call."""


@dataclass(frozen=True)
class CauseQuery(Generic[ObservedT]):
    """A search for the known mistake that explains a fault.

    failing     observations of cases with the fault, the most informative first
    passing     observations of cases without the fault. Of several mistakes, the search prefers a
                mistake that also predicts these. If the fault stops every failing call, the passing
                cases differ little from the failing ones, and the fault may stop some of them too
    gradients   the results are right, and a gradient is wrong
    is_partial  the mistake has to explain the first failing case and several others, not all cases
    besides     a mistake that the subject makes too
    part        a name of `RESULTS`: the mistake explains this result only, and the other is right;
                with "", the mistake explains all results
    budget      the limit on the work for predictions
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
        """Whether the search is for a single mistake that explains all results of all failing
        cases.
        """
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
        """Return the mistake that explains the calls that a rule makes in failing cases, or None.

        If several mistakes explain them, return the mistake that is already `known` as the cause of
        another fault.
        """

    def is_explained(
        self, cause: LikelyCause, observation: ObservedT, *, gradients: bool = False
    ) -> bool | None:
        """Return whether a likely cause predicts the behaviour of the subject.

        None means that the cause predicts nothing that can be compared; False, that its prediction
        differs.
        """

    def can_explain(self, cause: LikelyCause, case: CaseT) -> bool:
        """Return whether a subject that makes only this mistake can be wrong in a case."""

    def make_mistaken(
        self, causes: Sequence[LikelyCause], case: CaseT, *, gradients: bool = False
    ) -> ExplainedSuite[CaseT, ObservedT] | None:
        """Return the suite of a subject that makes these mistakes and no others, or None.

        Use it for this case only. If you set `gradients`, the causes are mistakes in gradients.
        None means that no such subject can be made.
        """

    def arrange_results(self) -> ExplainedSuite[CaseT, ObservedT]:
        """Return the suite of the subject with its results put into the documented form."""

    def measure_error(self, observation: ObservedT, *, gradients: bool = False) -> ErrorSize | None:
        """Return the size of the error in the results or gradients, or None if all are right."""

    def find_misreturned(self, observation: ObservedT) -> str:
        """Return the only wrong result if other results show that its values were computed, or "".

        In that case, the layer computes the right values and returns them in the wrong way.
        """

    def name_feature(self, case: CaseT, names: Collection[str]) -> str:
        """Return the feature that a case needs because of one of these fields, or an empty string.

        You exclude the feature by this name with `--without`.
        """
