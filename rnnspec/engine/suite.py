"""What the engine needs to know of a check: its rules, its cases, how a case is observed and what makes one simpler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from rnnspec.cases.plan import Profile
from rnnspec.rulekit.rule import Rule


class CaseSpace(Protocol):
    """A space of cases as the minimiser walks it."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be made simpler, in the order in which they are tried."""

    def list_simpler(self, case: Any, name: str) -> list[Any]:
        """Simpler values of one field, the largest steps first."""

    def change_field(self, case: Any, name: str, value: Any) -> Any | None:
        """The case with one field at another value, or nothing where that contradicts the others."""

    def reseed(self, case: Any, seed: int) -> Any:
        """The case with other numbers."""

    def list_raised(self, case: Any) -> frozenset[str]:
        """The fields of choice that are not at their simplest value."""

    def total_size(self, case: Any) -> int:
        """The sum of a case's sizes."""

    def describe_field(self, case: Any, name: str) -> str:
        """A field and its value in words."""


class Suite(Protocol):
    """One check of one subject: a layer against the layers' contract, or a model against the models'."""

    @property
    def label(self) -> str:
        """What the user calls the subject."""

    @property
    def kind(self) -> str:
        """The kind of layer, or `model`."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that judge."""

    @property
    def profile(self) -> Profile:
        """How thorough the check is."""

    @property
    def seed(self) -> int:
        """The seed of everything drawn."""

    @property
    def space(self) -> CaseSpace:
        """The space of its cases."""

    @property
    def size(self) -> int:
        """How many case indices there are."""

    @property
    def refused(self) -> dict[str, str]:
        """The features that the subject refuses openly, with the reason."""

    def cases(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """The cases with an index in [start, stop); a pure function of the check."""

    def observe(self, case: Any) -> Any:
        """What the subject does with a case."""

    def out_of_scope(self, rule: Rule) -> str:
        """Why no case of this check can reach a rule, or nothing where one can."""

    def counterexample(self, case: Any) -> dict[str, Any]:
        """A case as data: configuration, sizes, call, seed and text."""

    def program(self, finding: Any) -> str:
        """A stand-alone program that fails for the subject and passes for a correct one."""
