"""What the engine needs to know of a suite: its rules, its cases, and what is observed of them.

A suite is generic in its cases and observations, so that layers and models share one engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from rnnspec.cases.axes import Feature
from rnnspec.cases.plan import Profile
from rnnspec.engine.explanations import LikelyCause, Program
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Finding
from rnnspec.options import SizeSource
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.rulekit.violation import ErrorSize
from rnnspec.subjects.failures import Failure

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


RESULTS = ("output", "h_n")
"""The results of a call."""


class CaseSpace(Protocol[CaseT]):
    """The space of cases that the minimiser searches."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be made simpler, in the order in which they are tried."""

    def list_simpler(self, case: CaseT, name: str) -> list[Any]:
        """Return simpler values of one field, the largest steps first."""

    def list_others(self, case: CaseT, name: str) -> list[Any]:
        """Return other values of a field that has its simplest value."""

    def is_covered(self, case: CaseT, by: CaseT, names: Collection[str]) -> bool:
        """Return whether a case has the values of another in the named fields.

        Sizes may be larger, except those that are 1: they are named only if they must be.
        """

    def has_other_size(self, case: CaseT, other: CaseT, name: str) -> bool:
        """Return whether a field is a size that differs between two cases."""

    def change_field(self, case: CaseT, name: str, value: Any) -> CaseT | None:
        """Return the case with another value of one field, or None if there is no such case."""

    def keeps_rest(self, case: CaseT, changed: CaseT, name: str) -> bool:
        """Return whether a change of one field changed no other choice of importance with it."""

    def change_equal_sizes(self, case: CaseT, name: str, value: Any) -> CaseT | None:
        """Return the case with a size and all that equal it changed, or None if there is none."""

    def exchange_sizes(self, case: CaseT) -> list[CaseT]:
        """Return the case with two of its sizes exchanged, for each two that differ."""

    def spread_sizes(self, case: CaseT) -> CaseT | None:
        """Return the case with sizes above 1 that differ from each other, or None if they do."""

    def enlarge(self, case: CaseT) -> CaseT:
        """Return the case with sizes that say more of what is wrong, where they were small."""

    def reseed(self, case: CaseT, seed: int) -> CaseT:
        """Return the case with other numbers."""

    def get_seed(self, case: CaseT) -> int:
        """Return the seed of the numbers of a case."""

    def list_raised(self, case: CaseT) -> frozenset[str]:
        """Return the fields, other than sizes, that do not have their simplest value."""

    def list_usual(self, case: CaseT) -> frozenset[str]:
        """Return the choices that most faults need to show, whatever they are about."""

    def measure_size(self, case: CaseT) -> int:
        """Return the sum of the sizes of a case."""

    def describe_field(self, case: CaseT, name: str) -> str:
        """Return a field and its value in words."""


class Suite(Protocol[CaseT, ObservedT]):
    """The rules for one subject, and the cases on which they judge it."""

    @property
    def label(self) -> str:
        """What the user calls the subject."""

    @property
    def kind(self) -> str:
        """The kind of layer, or `model`."""

    @property
    def device(self) -> str:
        """The device that the subject runs on."""

    @property
    def rules(self) -> tuple[Rule[CaseT, ObservedT], ...]:
        """The rules that are checked."""

    @property
    def profile(self) -> Profile:
        """How thorough the check is."""

    @property
    def seed(self) -> int:
        """The seed of everything that is drawn."""

    @property
    def space(self) -> CaseSpace[CaseT]:
        """The space of its cases."""

    @property
    def size(self) -> int:
        """The number of case indices."""

    @property
    def sizes(self) -> SizeSource:
        """Where the sizes of its cases come from."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a report should say about how its cases were chosen."""

    @property
    def unsupported(self) -> Mapping[Feature, str]:
        """The features that the subject does not support, with the reasons."""

    def draw_cases(self, start: int, stop: int | None) -> Iterator[tuple[int, CaseT]]:
        """Yield the cases with an index in [start, stop), always the same, each with its index."""

    def observe(self, case: CaseT) -> ObservedT:
        """Return what the subject does with a case."""

    def collect_observations(self) -> AbstractContextManager[list[ObservedT]]:
        """Return a context that collects the observations that are made in it."""

    def find_broken_facts(
        self, observation: ObservedT, *, with_gradients: bool = False
    ) -> dict[Fact, CaseT]:
        """Return the facts that do not hold, each with the case that shows it.

        Only the first of them is returned, since the others rest on it. The gradients are looked at
        only if `with_gradients`.
        """

    def find_blocker(self, observation: ObservedT) -> Failure | None:
        """Return what stopped the judged call, or None if it returned the documented form."""

    def find_wrong_results(self, observation: ObservedT) -> CaseT | None:
        """Return the case that shows that the results of an observed call are wrong, or None.

        That includes calls that returned nothing of the documented form.
        """

    def find_likely_cause(
        self,
        failing: Iterable[ObservedT],
        passing: Iterable[ObservedT] = (),
        *,
        gradients: bool = False,
        is_partial: bool = False,
        besides: LikelyCause | None = None,
        part: str = "",
    ) -> LikelyCause | None:
        """Return the one mistake that explains all of these observations, the simplest first.

        Of several, one is preferred that holds in the `passing` ones too. With `is_partial`, it
        explains the first, and several others. With `besides`, the subject makes that mistake
        too. With `part`, one of `RESULTS`, it explains that result if the
        other is taken to be right.
        """

    def find_cause_of_calls(
        self, rule: Rule[CaseT, ObservedT], failing: Iterable[ObservedT]
    ) -> LikelyCause | None:
        """Return what explains the calls that a rule makes in cases in which it fails, or None."""

    def find_obstacle(self, rule: Rule[CaseT, ObservedT]) -> str:
        """Return why a rule applies to no case of this suite, or an empty string if it does."""

    def describe_case(self, case: CaseT) -> dict[str, Any]:
        """Return a case as data: configuration, sizes, call, seed and text."""

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
    ) -> Suite[CaseT, ObservedT] | None:
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

    def write_program(self, finding: Finding[CaseT]) -> Program:
        """Return a program that fails for the subject and passes for a correct one.

        If there is none, return the reason.
        """
