"""Whether the parts of a declaration have the types that they must have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnspec.contract.config import DEFAULTS, Config
from rnnspec.contract.kinds import Kind
from rnnspec.errors import AdapterError, suggest_similar

LENGTHS, TRAINING, SEED = "lengths", "training", "seed"
TOLD = (LENGTHS, TRAINING, SEED)
"""What a function is told beyond that if it has parameters of these names."""
COMPUTED = ("config", "x", "h_0", "weights")
"""What the function of an adapter is given."""
PULLED_BACK = (*COMPUTED, "grad_output", "grad_h_n")
"""What the function that makes gradients is given."""
MEANT: dict[type, str] = {bool: "True or False", int: "a whole number", float: "a number"}
"""The types of the arguments of a layer in words; a text has no word."""
EXAMPLES = {
    "weights": '{"kernel": "weight_ih.T"}',
    "arguments": '{"num_layers": "depth"}',
    "fixed": '{"batch_first": True}',
    "extra": '{"forget_bias": 1.0}',
    "lacks": '{"bias": "it always has biases"}',
}
"""A right value of each mapping."""
OWN = ("compute", "states")
"""Parameters of `function` that are no arguments of `layer`, or not by keyword."""
TOLD_BY = "the function has a parameter {name!r} if it is to be told"
ELSEWHERE = {
    "returns": 'a function without final states declares lacks={"final-state": "..."}',
    **{name: TOLD_BY.format(name=name) for name in TOLD},
}
"""How a function says what is an argument of another adapter, or none."""
LARGE = 2**20
"""A size of the hidden state that is larger than any projection."""
TEXTS = ("weights", "arguments", "lacks")
"""The mappings whose values are texts."""


def read_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function, or None if it has none that can be read."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def list_told(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return what a function is told by keyword: `lengths`, `training` or `seed`."""
    signature = read_signature(function)
    known = () if signature is None else signature.parameters
    return tuple(name for name in TOLD if name in known)


def check_function(what: str, function: Any, given: Sequence[str]) -> None:
    """Raise AdapterError if a function cannot be called with arguments of these names by position.

    One that is None is right, and so is one whose signature cannot be read.
    """
    if function is None:
        return
    form = f"({', '.join(given)})"
    if not callable(function):
        raise AdapterError(f"{what}: {function!r} is no function; give one that takes {form}")
    signature = read_signature(function)
    if signature is None:
        return
    try:
        signature.bind(*given, **dict.fromkeys(list_told(function)))
    except TypeError as error:
        name = getattr(function, "__name__", what)
        must = f"rnnspec calls it as {name}{form}"
        said = f"{name}{signature} has other arguments: {must}; {error}"
        raise AdapterError(f"{said}{_suggest_told(signature)}") from error


def _suggest_told(signature: inspect.Signature) -> str:
    """Return which parameter is meant by one that is like what a function can be told."""
    found = [suggest_similar(name, TOLD) for name in signature.parameters if name not in TOLD]
    return next((f".{each}" for each in found if each), "")


def check_mapping(what: str, given: Any) -> None:
    """Raise AdapterError if one of the parts that are mappings is none, or has other values."""
    if given is None:
        return
    must = f"give a dictionary, such as {what}={EXAMPLES[what]}"
    if not isinstance(given, Mapping):
        raise AdapterError(f"{what}={given!r} is no dictionary; {must}")
    for name, value in given.items():
        if not isinstance(name, str) or (what in TEXTS and not isinstance(value, str)):
            raise AdapterError(f"{what}: {name!r}: {value!r} is no pair of texts; {must}")


def check_fixed(fixed: Mapping[str, Any], kind: Kind) -> None:
    """Raise AdapterError if an argument that is fixed has a value that it cannot have."""
    for name, value in fixed.items():
        default = DEFAULTS[name]
        wanted = type(default) if isinstance(default, bool | int | float | str) else int
        fits = isinstance(value, (int, float) if wanted is float else wanted)
        if not fits or isinstance(value, bool) is not (wanted is bool):
            must = f"it must be {MEANT.get(wanted, f'a text such as {default!r}')}"
            raise AdapterError(f"fixed: {name} is {value!r}; {must}")
    try:
        Config(**{"input_size": 1, "hidden_size": LARGE, **fixed}, kind=kind.name)
    except ValueError as error:
        raise AdapterError(f"fixed: {error}") from error


def check_boolean(what: str, value: Any) -> None:
    """Raise AdapterError if a value is neither True nor False."""
    if not isinstance(value, bool):
        raise AdapterError(f"{what}={value!r}: it must be True or False")


def check_text(what: str, value: Any, example: str) -> None:
    """Raise AdapterError if a value is no text."""
    if not isinstance(value, str):
        raise AdapterError(f"{what}={value!r} is no text; write it as {what}={example!r}")


def check_keywords(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    """Raise TypeError, with a suggestion, for a keyword that a function does not take."""
    known = [each for each in inspect.signature(function).parameters if each not in OWN]
    for each in given:
        if each not in known:
            near = f" {ELSEWHERE[each]}." if each in ELSEWHERE else suggest_similar(each, known)
            raise TypeError(f"{name}() has no argument {each!r}.{near} It has {', '.join(known)}.")
