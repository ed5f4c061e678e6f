"""A part of an observation: computed on first use, kept, and kept too where it failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from rnnspec.subjects.failures import Failure

T = TypeVar("T")


class part(Generic[T]):  # noqa: N801 - a decorator, as property is
    """Like functools.cached_property, but a Failure is remembered and raised again instead of the work being done again."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, holder: None, owner: type) -> part[T]: ...
    @overload
    def __get__(self, holder: object, owner: type) -> T: ...
    def __get__(self, holder: object | None, owner: type) -> part[T] | T:
        if holder is None:
            return self
        kept = holder.__dict__.setdefault("_parts", {})
        if self.name not in kept:
            kept[self.name] = self._outcome(holder)
        outcome = kept[self.name]
        if isinstance(outcome, Failure):
            raise outcome.with_traceback(None)
        return outcome  # type: ignore[no-any-return]

    def _outcome(self, holder: object) -> T | Failure:
        try:
            return self.compute(holder)
        except Failure as failure:
            return failure


def copy_parts(source: object, target: object, *names: str) -> None:
    """Give an object the parts of another that have these names; they are computed if need be."""
    target.__dict__["_parts"] = {name: getattr(source, name) for name in names}
