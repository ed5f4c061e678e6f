"""The parts of every axis: choices from a fixed set, and the feature that each choice needs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from rnnspec.contract.features import Feature
from rnnspec.errors import suggest_similar

C = TypeVar("C", bound="Choice")


@dataclass(frozen=True)
class Meaning:
    """The name of a choice in reports and options, its meaning, and the feature that it needs."""

    text: str
    meaning: str
    needs: Feature | None = field(default=None, kw_only=True)


class Choice(Enum):
    """A value of an axis. Its value is a `Meaning`, or a subclass that adds behaviour.

    If you add an axis, derive its enum from this class, and list the simplest value first.
    """

    _value_: Meaning

    @property
    def text(self) -> str:
        """The name used in reports, on the command line and in JSON."""
        return self._value_.text

    @property
    def meaning(self) -> str:
        """A description of the choice."""
        return self._value_.meaning

    @property
    def needs(self) -> Feature | None:
        """The feature that a subject must offer for this choice, or None."""
        return self._value_.needs

    @classmethod
    def parse(cls: type[C], text: str) -> C:
        """Return the choice called `text`. Raises ValueError with a suggestion if there is none."""
        known = {member.text: member for member in cls}
        if text not in known:
            names = ", ".join(known)
            raise ValueError(f"{text!r} is none of {names}.{suggest_similar(text, known)}")
        return known[text]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Pickle by name, because a value holds functions, and not every function can be pickled.
        return getattr, (type(self), self.name)


@dataclass(frozen=True)
class Axis:
    """An independent choice of a case: its values, the simplest first.

    `needs` maps values to features if the values are plain numbers or flags; a `Choice` has its own
    `needs`.
    """

    name: str
    values: tuple[Hashable, ...]
    meaning: str
    needs: Mapping[Hashable, Feature] = field(default_factory=dict)

    @property
    def simplest(self) -> Any:
        """The value that a minimised counterexample prefers."""
        return self.values[0]

    def needed_feature(self, value: Hashable) -> Feature | None:
        """Return the feature that a subject must offer for a value, or None."""
        return value.needs if isinstance(value, Choice) else self.needs.get(value)

    def describe_value(self, value: Hashable) -> str:
        """Return the meaning of a value in words."""
        return value.meaning if isinstance(value, Choice) else str(value)
