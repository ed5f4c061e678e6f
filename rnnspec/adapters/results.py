"""Read the results of an adapter's function: the output and the final states, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnspec.adapters.kinds import add_article, suggest_kind
from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.errors import suggest_similar
from rnnspec.subjects.failures import Malformed

OUTPUT = "output"
WITHOUT_FINALS = (
    '; if it has no final state, declare lacks={"final-state": "it returns the output only"}'
)


def read_results(
    returned: Any, kind: Kind, label: str, *, has_finals: bool = True
) -> tuple[Any, ...]:
    """Return the output and the final states among a function's results.

    `label` is the name of the function. A function without final states returns the output, or a
    pair whose second part is ignored. Raises Malformed, which describes the required results.
    """
    if not has_finals:
        return (_read_output(returned, label),)
    must = f"it must return {describe_results(kind)}"
    if not _is_sequence(returned):
        hint = "" if returned is None else WITHOUT_FINALS
        message = f"{label} returned {describe_value(returned)}; {must}{hint}"
        raise Malformed(message, _name_value("results", returned))
    if len(returned) != 2:
        hint = _suggest_by_states(kind, len(returned) - 1)
        message = f"{label} returned {len(returned)} values; {must}.{hint}"
        raise Malformed(message.rstrip("."), "results.number")
    output, finals = returned
    ends = tuple(finals) if _is_sequence(finals) else (finals,)
    if len(ends) != len(kind.states):
        wanted = _join_states(kind)
        hint = _suggest_by_states(kind, len(ends))
        said = f"{label} returned {describe_value(finals)} in the place of {wanted}"
        hint = f".{hint}" if hint else WITHOUT_FINALS
        message = f"{said}; {must}{hint}".rstrip(".")
        raise Malformed(message, _name_value("states", finals))
    for name, value in zip((OUTPUT, *kind.final), (output, *ends), strict=True):
        if value is None or isinstance(value, str | Mapping):
            message = f"{label} returned {describe_value(value)} for {name}; {must}"
            raise Malformed(message, _name_value(name, value))
    return output, *ends


def _read_output(returned: Any, label: str) -> Any:
    output = returned[0] if isinstance(returned, tuple) and len(returned) == 2 else returned
    if output is None or isinstance(output, str | Mapping | tuple):
        said = f"{label} returned {describe_value(output)}"
        message = f"{said}; without final states it must return output alone"
        raise Malformed(message, _name_value("output", output))
    return output


def read_gradients(
    returned: Any,
    initial: Sequence[str],
    names: Sequence[str],
    label: str,
) -> tuple[Any, ...]:
    """Return the gradients of x, of the states and of the weights among a function's results.

    `initial` and `names` are the names of the states and of the weights, and `label` is the name of
    the function. The gradient of a state may be None, which autograd treats as zeros. Raises
    Malformed, which describes the required results.
    """
    must = "it must return the gradients of x, of h_0, and a dictionary of those of the weights"
    if not _is_sequence(returned) or len(returned) != 3 or not isinstance(returned[2], Mapping):
        message = f"{label} returned {describe_value(returned)}; {must}"
        raise Malformed(message, _name_value("gradients", returned))
    of_input, of_states, of_weights = returned
    if of_input is None:
        message = f"{label} returned None for the gradient of x; {must}"
        raise Malformed(message, "gradients.missing@x")
    missing = [name for name in names if of_weights.get(name) is None]
    if missing:
        near = suggest_similar(missing[0], of_weights)
        message = f"{label} returned no gradient of weights[{missing[0]!r}].{near}"
        raise Malformed(message, f"gradients.missing@{missing[0]}")
    alone = (of_states,) * (1 if of_states is not None else len(initial))
    states = tuple(of_states) if _is_sequence(of_states) else alone
    if initial and len(states) != len(initial):
        said = f"{label} returned {describe_value(of_states)} for the gradient of "
        message = f"{said}{' and '.join(initial)}; {must}"
        raise Malformed(message, _name_value("gradients-of-states", of_states))
    return of_input, *(states if initial else ()), *(of_weights[name] for name in names)


def describe_results(kind: Kind) -> str:
    """Describe the required results: (output, h_n), with a pair of states for an LSTM."""
    text = f"({OUTPUT}, {_join_states(kind)})"
    if kind.has_several_states:
        return text
    others = [each for each in LAYER_KINDS.values() if each.has_several_states]
    forms = [f"for {add_article(each)} ({OUTPUT}, {_join_states(each)})" for each in others]
    return ", ".join([text, *forms])


def describe_value(value: Any) -> str:
    """Describe a returned value in words."""
    if value is None:
        return "None"
    if _is_sequence(value):
        return "1 value" if len(value) == 1 else f"{len(value)} values"
    shape = getattr(value, "shape", None)
    if shape is None:
        return f"a {type(value).__name__}"
    return f"one array of shape {tuple(shape)}"


def _name_value(name: str, value: Any) -> str:
    """Return the key of a result that has the wrong type."""
    return f"value@{name}:{type(value).__name__}"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _join_states(kind: Kind) -> str:
    names = ", ".join(kind.final)
    return f"({names})" if kind.has_several_states else names


def _suggest_by_states(kind: Kind, number: int) -> str:
    """Ask whether the user meant another kind, with this number of states."""
    fitting = [each for each in LAYER_KINDS.values() if len(each.states) == number]
    return suggest_kind(kind, fitting)
