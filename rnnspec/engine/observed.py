"""The interface of an observation that the engine uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

CaseT_co = TypeVar("CaseT_co", covariant=True)


class Observed(Protocol[CaseT_co]):
    """The behaviour of a subject in a case."""

    @property
    def case(self) -> CaseT_co:
        """The case."""

    def surroundings(self) -> AbstractContextManager[None]:
        """Return a context around everything that is computed for the case."""
