"""Two mistakes that a layer makes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from types import FunctionType
from typing import Any

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Build, Hypothesis, every, never
from rnnspec.diagnosis.mistakes.reference import Reference, Refused
from rnnspec.diagnosis.mistakes.values import Changes


def list_further(known: Hypothesis, others: Iterable[Hypothesis]) -> Iterator[Hypothesis]:
    """Yield each of the others as a mistake that is made besides a known one.

    Each has its own text, and predicts what a layer computes that makes both mistakes.
    """
    for other in others:
        if other.text != known.text and not (other.family and other.family == known.family):
            yield replace(
                other,
                build=partial(_build_where_concerned, known, other),
                where=partial(_holds_for_any, known, other),
                of=every,
                unclear=partial(_is_unclear_for_any, known, other),
                is_certain=never,
                effect=None,
            )


def _build_where_concerned(known: Hypothesis, other: Hypothesis, given: Given) -> Reference:
    if not other.concerns(given.case):
        return known.build(given)
    if not known.concerns(given.case):
        return other.build(given)
    return build_both(known.build, other.build, given)


def build_both(first: Build, second: Build, given: Given) -> Reference:
    """Return a reference with both mistakes, each of which may be made of several.

    The methods that only one of them overrides are those of that one. If both override a method,
    the first is called and calls the second in place of what is documented. Each works with its own
    fields. Raises Refused if they exclude each other.
    """
    one, other = first(given), second(given)
    changes = one.changes.compose(other.changes)
    if type(other) is Reference or (type(one) is Reference and one.changes):
        return _share(other if type(one) is Reference else one, changes)
    if type(one) is type(other):
        return other
    if _are_related(one, other):
        raise Refused("the two mistakes exclude each other")
    kind = _join((type(one), type(other)))
    views: dict[type[Reference], Reference] = {}
    for made, single in {**_list_parts(one), **_list_parts(other)}.items():
        view: Reference = object.__new__(kind)
        view.__dict__.update(vars(single), **{VIEWS: views})
        views[made] = view
    return _share(views[type(one)], changes)


def _share(reference: Reference, changes: Changes) -> Reference:
    """Return a reference all of whose views make the same changes at the same spot."""
    spot, ended = reference.spot, reference.ended
    for view in list_views(reference):
        vars(view).update(changes=changes, spot=spot, ended=ended)
    return reference


def _list_parts(reference: Reference) -> dict[type[Reference], Reference]:
    """Return the reference, and those of the mistakes that it is made of, by what they are."""
    return {**getattr(reference, VIEWS, {}), type(reference): reference}


def _are_related(one: Reference, other: Reference) -> bool:
    """Return whether a mistake of one is a special sort of a mistake of the other.

    It would use the helpers of the other with its own fields.
    """
    return any(
        issubclass(first, second) or issubclass(second, first)
        for first in _list_single(one)
        for second in _list_single(other)
    )


def _list_single(reference: Reference) -> list[type[Reference]]:
    """Return what single mistakes a reference is made of."""
    made = _list_parts(reference)
    return [each for each in made if each is not Reference and not issubclass(each, Both)]


def list_views(reference: Reference) -> list[Reference]:
    """Return the instances whose methods compute: one for each mistake of a reference."""
    views: dict[type[Reference], Reference] = getattr(reference, VIEWS, {})
    return [*views.values()] or [reference]


class Both:
    """What has two mistakes or more, as a base by which its classes are recognised."""


VIEWS = "views_of_mistakes"
"""The attribute that has the instance for the methods of each of the two classes."""


_JOINED: dict[tuple[type, type], type[Reference]] = {}
_SWITCHED: dict[type, type[Reference]] = {}


def _join(kinds: tuple[type[Reference], type[Reference]]) -> type[Reference]:
    """Return a class with the methods of two."""
    if kinds not in _JOINED:
        _JOINED[kinds] = type("Both", (*map(_switch, kinds), Both), {})
    return _JOINED[kinds]


def _switch(kind: type[Reference]) -> type[Reference]:
    """Return a class whose methods are called on the instance with the fields of a mistake."""
    if kind not in _SWITCHED:
        _SWITCHED[kind] = type(kind.__name__, (kind,), _wrap_methods(kind))
    return _SWITCHED[kind]


def _wrap_methods(kind: type[Reference]) -> dict[str, Any]:
    """Return the methods and properties of the reference that a mistake overrides."""
    own = {
        name: value
        for base in reversed(kind.__mro__)
        if base not in Reference.__mro__
        for name, value in vars(base).items()
        if name in vars(Reference) and not name.startswith("__")
    }
    return {
        name: _switch_property(kind, name)
        if isinstance(value, property)
        else _switch_method(kind, name)
        for name, value in own.items()
        if isinstance(value, (property, FunctionType))
    }


def _switch_method(kind: type[Reference], name: str) -> Callable[..., Any]:
    def call(self: Reference, *arguments: Any) -> Any:
        return getattr(kind, name)(getattr(self, VIEWS)[kind], *arguments)

    return call


def _switch_property(kind: type[Reference], name: str) -> property:
    def read(self: Reference) -> Any:
        return getattr(kind, name).fget(getattr(self, VIEWS)[kind])

    return property(read)


def _holds_for_any(known: Hypothesis, other: Hypothesis, case: Case) -> bool:
    return known.concerns(case) or other.concerns(case)


def _is_unclear_for_any(known: Hypothesis, other: Hypothesis, case: Case) -> bool:
    return known.unclear(case) or other.unclear(case)
