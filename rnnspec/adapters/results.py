"""What the function of an adapter returns: the output and the final states, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnspec.adapters.kinds import suggest_kind
from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.subjects.failures import Malformed

OUTPUT = "output"


def read_results(returned: Any, kind: Kind, label: str) -> tuple[Any, ...]:
    """Return the output and the final states that a function returned.

    `label` is the name of the function. Raises Malformed, which says what it must return.
    """
    must = f"it must return {describe_results(kind)}"
    if not _is_sequence(returned):
        raise Malformed(f"{label} returned {describe_value(returned)}; {must}")
    if len(returned) != 2:
        hint = _suggest_by_states(kind, len(returned) - 1)
        raise Malformed(f"{label} returned {len(returned)} values; {must}.{hint}".rstrip("."))
    output, finals = returned
    ends = tuple(finals) if _is_sequence(finals) else (finals,)
    if len(ends) != len(kind.states):
        wanted = _join_states(kind)
        hint = _suggest_by_states(kind, len(ends))
        said = f"{label} returned {describe_value(finals)} in the place of {wanted}"
        raise Malformed(f"{said}; {must}.{hint}".rstrip("."))
    for name, value in zip((OUTPUT, *kind.final), (output, *ends), strict=True):
        if value is None or isinstance(value, str | Mapping):
            raise Malformed(f"{label} returned {describe_value(value)} for {name}; {must}")
    return output, *ends


def describe_results(kind: Kind) -> str:
    """Return what a function must return: (output, h_n), with a pair of states for an LSTM."""
    text = f"({OUTPUT}, {_join_states(kind)})"
    if len(kind.states) > 1:
        return text
    (paired,) = (each for each in LAYER_KINDS.values() if len(each.states) > 1)
    return f"{text}, for an {paired.title} ({OUTPUT}, {_join_states(paired)})"


def describe_value(value: Any) -> str:
    """Return what a function returned, in words."""
    if value is None:
        return "None"
    if _is_sequence(value):
        return "1 value" if len(value) == 1 else f"{len(value)} values"
    shape = getattr(value, "shape", None)
    if shape is None:
        return f"a {type(value).__name__}"
    return f"one array of shape {tuple(shape)}"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _join_states(kind: Kind) -> str:
    names = ", ".join(kind.final)
    return f"({names})" if len(kind.final) > 1 else names


def _suggest_by_states(kind: Kind, number: int) -> str:
    """Return the question whether another kind is meant, which has so many states."""
    fitting = [each for each in LAYER_KINDS.values() if len(each.states) == number]
    return suggest_kind(kind, fitting)
