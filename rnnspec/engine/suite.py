"""A suite as the engine uses it: its rules, its cases, and its observations.

A suite is generic in its cases and observations, so that layers and models share an engine. If you
want to check another kind of subject, implement `Suite` and `CaseSpace` for its cases.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rnnspec.cases.axes import Feature
from rnnspec.cases.plan import Profile
from rnnspec.engine.outcome import CaseT, ObservedT
from rnnspec.options import SizeSource
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.subjects.failures import Failure


class CaseSpace(Protocol[CaseT]):
    """The space of cases that the minimiser searches."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be made simpler, in the order of trying them."""

    def list_simpler(self, case: CaseT, name: str) -> list[Any]:
        """Return simpler values of a field, the largest steps first."""

    def list_others(self, case: CaseT, name: str) -> list[Any]:
        """Return other values of a field that has its simplest value."""

    def is_covered(self, case: CaseT, by: CaseT, names: Collection[str]) -> bool:
        """Return whether a case has the values of another case, `by`, in the named fields.

        Sizes may be larger, except sizes of 1: a size of 1 is named only if the fault needs it.
        """

    def has_other_size(self, case: CaseT, other: CaseT, name: str) -> bool:
        """Return whether a field is a size that differs between two cases."""

    def change_field(self, case: CaseT, name: str, value: Any) -> CaseT | None:
        """Return the case with another value of a field, or None if there is no such case."""

    def keeps_rest(self, case: CaseT, changed: CaseT, name: str) -> bool:
        """Return whether a change of a field left all other important choices unchanged."""

    def change_equal_sizes(self, case: CaseT, name: str, value: Any) -> CaseT | None:
        """Return the case with a size and all sizes equal to it changed, or None."""

    def list_other_dtypes(self, case: CaseT) -> list[CaseT]:
        """Return the case in each other dtype, if that is a choice."""

    def exchange_sizes(self, case: CaseT) -> list[CaseT]:
        """Return the case with two of its sizes exchanged, for each two that differ."""

    def spread_sizes(self, case: CaseT) -> CaseT | None:
        """Return the case with sizes above 1 that all differ, or None if they already do."""

    def enlarge(self, case: CaseT) -> CaseT:
        """Return the case with small sizes raised, so that the results show more of the error."""

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


class Facts(Protocol[CaseT, ObservedT]):
    """Finds the facts that do not hold in a case, which explain why rules fail there."""

    def collect_observations(self) -> AbstractContextManager[list[ObservedT]]:
        """Return a context that collects the observations that are made in it."""

    def find_broken_facts(
        self, observation: ObservedT, *, with_gradients: bool = False
    ) -> dict[Fact, CaseT]:
        """Return the facts that do not hold, each with the case that shows it.

        Only the first of them is returned, because the others depend on it. Gradients are checked
        only if `with_gradients`.
        """

    def find_blocker(self, observation: ObservedT) -> Failure | None:
        """Return the failure that stopped the checked call, or None if its results have the right
        form.
        """

    def find_wrong_results(self, observation: ObservedT) -> CaseT | None:
        """Return the case that shows that the results of an observed call are wrong, or None.

        Calls whose results do not have the documented form are included.
        """

    def list_sizes(self, case: CaseT, passed: Collection[str]) -> Mapping[str, int]:
        """Return the sizes of a case for a report, by the names of the dimensions.

        The result is empty unless `passed`, the ids of rules that hold, shows that the results are
        right.
        """


class Suite(Protocol[CaseT, ObservedT]):
    """The rules for a subject, and the cases on which they check it."""

    @property
    def label(self) -> str:
        """The name of the subject, as the user wrote it."""

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
    def is_limited(self) -> bool:
        """Whether the user asked for fewer cases than its plan has."""

    @property
    def sizes(self) -> SizeSource:
        """The source of the sizes of its cases."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for the report on how its cases were chosen."""

    @property
    def unsupported(self) -> Mapping[Feature, str]:
        """The features that the subject does not support, with the reasons."""

    @property
    def facts(self) -> Facts[CaseT, ObservedT] | None:
        """Finds the facts that do not hold in a case, or None if no rule presupposes any."""

    def draw_cases(self, start: int, stop: int | None) -> Iterator[tuple[int, CaseT]]:
        """Yield the cases with an index in [start, stop), always the same, each with its index."""

    def observe(self, case: CaseT) -> ObservedT:
        """Return the observation of the subject in a case."""
