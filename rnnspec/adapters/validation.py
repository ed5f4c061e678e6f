"""Check the types of the parts of a declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnspec.contract.config import DEFAULTS, Config
from rnnspec.contract.kinds import Kind
from rnnspec.errors import AdapterError, suggest_similar

LENGTHS, TRAINING, SEED = "lengths", "training", "seed"
OPTIONAL = (LENGTHS, TRAINING, SEED)
"""Optional parameters; if your function has parameters of these names, it gets them."""
COMPUTED = ("config", "x", "h_0", "weights")
"""The arguments of an adapter's function."""
PULLED_BACK = (*COMPUTED, "grad_output", "grad_h_n")
"""The arguments of the function that computes gradients."""
MEANT: dict[type, str] = {bool: "True or False", int: "a whole number", float: "a number"}
"""The types of a layer's arguments in words, except text."""
EXAMPLES = {
    "weights": '{"kernel": "weight_ih.T"}',
    "arguments": '{"num_layers": "depth"}',
    "fixed": '{"batch_first": True}',
    "extra": '{"forget_bias": 1.0}',
    "lacks": '{"bias": "it always has biases"}',
}
"""A valid example of each mapping."""
OWN = ("compute", "states")
"""Parameters of `function` that `layer` does not take, or not by keyword."""
PASSED_BY_NAME = "give the function a parameter {name!r}, and rnnspec passes it"
ELSEWHERE = {
    "returns": 'a function without final states declares lacks={"final-state": "..."}',
    **{name: PASSED_BY_NAME.format(name=name) for name in OPTIONAL},
}
"""Advice for arguments that only other adapters have, by name."""
LARGE = 2**20
"""A hidden size that is larger than any projection."""
TEXTS = ("weights", "arguments", "lacks")
"""The mappings whose values are texts."""


def read_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function, or None if it cannot be read."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def list_optional(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the optional parameters that a function has: `lengths`, `training` and `seed`."""
    signature = read_signature(function)
    known = () if signature is None else signature.parameters
    return tuple(name for name in OPTIONAL if name in known)


def check_function(what: str, function: Any, given: Sequence[str]) -> None:
    """Raise AdapterError if your function cannot be called with these arguments by position.

    None is accepted, and so is a function whose signature cannot be read.
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
        signature.bind(*given, **dict.fromkeys(list_optional(function)))
    except TypeError as error:
        name = getattr(function, "__name__", what)
        must = f"rnnspec calls it as {name}{form}"
        said = f"{name}{signature} has other arguments: {must}; {error}"
        raise AdapterError(f"{said}{_suggest_parameter(signature)}") from error


def _suggest_parameter(signature: inspect.Signature) -> str:
    """Return a suggestion if a parameter's name is similar to an optional parameter."""
    found = [
        suggest_similar(name, OPTIONAL) for name in signature.parameters if name not in OPTIONAL
    ]
    return next((f".{each}" for each in found if each), "")


def check_mapping(what: str, given: Any) -> None:
    """Raise AdapterError if a part that must be a mapping is none, or has wrong values."""
    if given is None:
        return
    must = f"give a dictionary, such as {what}={EXAMPLES[what]}"
    if not isinstance(given, Mapping):
        raise AdapterError(f"{what}={given!r} is no dictionary; {must}")
    for name, value in given.items():
        if not isinstance(name, str) or (what in TEXTS and not isinstance(value, str)):
            raise AdapterError(f"{what}: {name!r}: {value!r} is no pair of texts; {must}")


def check_fixed(fixed: Mapping[str, Any], kind: Kind) -> None:
    """Raise AdapterError if a fixed argument has an impossible value."""
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
