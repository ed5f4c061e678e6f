"""What the engine needs to know of a suite: rules, cases, observations, and what makes a case simpler.

A suite is generic in its cases and in what is observed of them, so that layers and models run
through the same engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rnnspec.cases.axes import Feature
from rnnspec.cases.plan import Profile
from rnnspec.rulekit.rule import Rule

if TYPE_CHECKING:
    from rnnspec.engine.outcome import Finding

CaseT = TypeVar("CaseT")
CaseT_co = TypeVar("CaseT_co", covariant=True)
ObservedT = TypeVar("ObservedT", bound="Observed[Any]")


class Observed(Protocol[CaseT_co]):
    """What a subject did with a case."""

    @property
    def case(self) -> CaseT_co:
        """The case."""

    def surroundings(self) -> AbstractContextManager[None]:
        """Return a context around everything that is computed for the case."""


class CaseSpace(Protocol[CaseT]):
    """A space of cases as the minimiser walks it."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be made simpler, in the order in which they are tried."""

    def list_simpler(self, case: CaseT, name: str) -> list[Any]:
        """Return simpler values of one field, the largest steps first."""

    def change_field(self, case: CaseT, name: str, value: Any) -> CaseT | None:
        """Return the case with another value of one field, or None if that contradicts the others."""

    def reseed(self, case: CaseT, seed: int) -> CaseT:
        """Return the case with other numbers."""

    def seed_of(self, case: CaseT) -> int:
        """Return the seed of the numbers of a case."""

    def list_raised(self, case: CaseT) -> frozenset[str]:
        """Return the fields of choice that are not at their simplest value."""

    def total_size(self, case: CaseT) -> int:
        """Return the sum of the sizes of a case."""

    def describe_field(self, case: CaseT, name: str) -> str:
        """Return a field and its value in words."""


class Suite(Protocol[CaseT, ObservedT]):
    """The rules for one subject and the cases on which they judge it."""

    @property
    def label(self) -> str:
        """What the user calls the subject."""

    @property
    def kind(self) -> str:
        """The kind of layer, or `model`."""

    @property
    def device(self) -> str:
        """The device that it runs on."""

    @property
    def rules(self) -> tuple[Rule[CaseT, ObservedT], ...]:
        """The rules that judge."""

    @property
    def profile(self) -> Profile:
        """How thorough the check is."""

    @property
    def seed(self) -> int:
        """The seed of everything drawn."""

    @property
    def space(self) -> CaseSpace[CaseT]:
        """The space of its cases."""

    @property
    def size(self) -> int:
        """How many case indices there are."""

    @property
    def unsupported(self) -> Mapping[Feature, str]:
        """The features that the subject openly lacks, with the reason."""

    def cases(self, start: int, stop: int) -> Iterator[tuple[int, CaseT]]:
        """Yield the cases with an index in [start, stop); a pure function of the suite."""

    def observe(self, case: CaseT) -> ObservedT:
        """Return what the subject does with a case."""

    def find_obstacle(self, rule: Rule[CaseT, ObservedT]) -> str:
        """Return why no case of this suite can reach a rule; empty if one can."""

    def describe_case(self, case: CaseT) -> dict[str, Any]:
        """Return a case as data: configuration, sizes, call, seed and text."""

    def write_program(self, finding: Finding[CaseT]) -> str:
        """Return a program that fails for the subject and passes for a correct one, or nothing."""
