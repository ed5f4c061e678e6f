"""A suite as the engine uses it: its rules, its cases, and what is observed of them.

A suite is generic in its cases and observations, so that layers and models share one engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from rnnspec.cases.axes import Feature
from rnnspec.cases.plan import Profile
from rnnspec.engine.observed import Observed
from rnnspec.options import SizeSource
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.subjects.failures import Failure

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


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

    def list_other_dtypes(self, case: CaseT) -> list[CaseT]:
        """Return the case in each other dtype, if that is a choice."""

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


class Facts(Protocol[CaseT, ObservedT]):
    """Finds the facts that do not hold in a case, which explain why rules fail there."""

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

    def list_sizes(self, case: CaseT, passed: Collection[str]) -> Mapping[str, int]:
        """Return the sizes of a case that a report names, by the names of the dimensions.

        There are none if the rules that passed, by id, do not say that the results are right.
        """


class Suite(Protocol[CaseT, ObservedT]):
    """The rules for one subject, and the cases on which they judge it."""

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
        """Where the sizes of its cases come from."""

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
        """Return what the subject does with a case."""
