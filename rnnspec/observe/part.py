"""Parts of an observation: attributes that are computed once, on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from rnnspec.subjects.failures import Failure

T = TypeVar("T")


class part(Generic[T]):  # noqa: N801 - it is a decorator, as `property` is
    """A property that is computed on first use and kept.

    Use it instead of `functools.cached_property` if you compute with the subject: it also keeps a
    `Failure`, raises it again on every use, and does not repeat the computation.
    """

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
            kept[self.name] = self._compute_outcome(holder)
        outcome = kept[self.name]
        if isinstance(outcome, Failure):
            raise outcome.with_traceback(None)
        return outcome  # type: ignore[no-any-return]

    def _compute_outcome(self, holder: object) -> T | Failure:
        try:
            return self.compute(holder)
        except Failure as failure:
            return failure


def copy_parts(source: object, target: object, *names: str) -> None:
    """Copy parts from one object to another; parts of the source are computed if necessary."""
    target.__dict__["_parts"] = {name: getattr(source, name) for name in names}
