"""Open refusals: decide whether an exception means that a subject lacks a feature.

If you need to distinguish a missing feature from a broken feature, use this module. A feature is
refused by NotImplementedError, by a keyword that does not exist, or by a message of the layer
itself that names the feature as unsupported. Any other exception is a fault in a supported feature.
`rnnspec check` ignores messages, since a layer with the documented arguments promises the features
behind them; `rnnspec adapt` reads messages, since a layer with its own arguments promises none.
"""

from __future__ import annotations

import ast
import inspect
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnspec.contract.features import Feature
from rnnspec.subjects.failures import Ended, Failure, Raised, Unsupported
from rnnspec.subjects.steps import CONSTRUCTOR
from rnnspec.text import read_message

KEYWORDS = {Feature.DTYPE: ("dtype", "device")}
"""The constructor's keywords for features whose name is not a keyword."""
UNKNOWN_KEYWORD = re.compile(
    r"unexpected keyword argument '(\w+)'|'(\w+)' is an invalid keyword argument"
)
"""The message of a TypeError about a keyword that the called function does not accept."""
DTYPE_NAMES = r"b?float(16|32|64)|double|half|fp(16|32|64)|precision"
NAMES: Mapping[Feature, str] = {
    Feature.NONLINEARITY: r"nonlinearity|activation|relu",
    Feature.NUM_LAYERS: r"layers?\b|depth|stack",
    Feature.BIDIRECTIONAL: r"bi-?dir|direction|reverse",
    Feature.BATCH_FIRST: r"batch[_ -]?first|time[_ -]?major|layout",
    Feature.PROJECTION: r"proj",
    Feature.BIAS: r"\bbias",
    Feature.DROPOUT: r"drop",
    Feature.UNBATCHED: r"unbatched|batch|dimension|\b[23]-?d\b|\brank\b",
    Feature.PACKED: r"packed",
    Feature.STATE: r"state|hidden|\bhx\b|\b[hc]_?0\b",
    Feature.FLOAT64: DTYPE_NAMES,
    Feature.FLOAT32: DTYPE_NAMES,
    Feature.BFLOAT16: DTYPE_NAMES,
    Feature.FLOAT16: DTYPE_NAMES,
}
"""Patterns for the names of a feature in messages, regardless of case."""
REFUSING = re.compile(
    r"(\bnot|n't|\bnever)\s+((yet|currently|be)\s+)*(support|implement|allow|avail|handle)"
    r"|unsupported|unimplemented|no support|\bonly\b|\bunknown\b|unrecogni[sz]ed|\binvalid\b"
    r"|(must|should|has to|have to|needs? to) be (1|one|a single|false|true|none|0|zero|'?tanh)\b",
    re.IGNORECASE,
)
"""Pattern for messages about something that is not supported.

It does not match messages about a value out of its range, such as "num_layers must be greater than
zero".
"""
NEEDING = re.compile(
    r"\brequire|\bneed|\bmissing\b"
    r"|(must|should|has to) (be|not be) (given|passed|provided|set|none)",
    re.IGNORECASE,
)
"""Pattern for messages about an argument that is required."""
ACCIDENTS = (AttributeError, LookupError, NameError, ArithmeticError, MemoryError, RecursionError)
"""Exceptions that code raises by accident; their messages name any object that is missing."""


def is_refused(failure: Failure, feature: Feature, own: str = "") -> bool:
    """Return whether a failure, including its message, is an open refusal of a feature.

    `own` is the layer's own name for the feature, if it differs.
    """
    if isinstance(failure, Unsupported):
        return True
    if not isinstance(failure, Raised) or isinstance(failure, Ended):
        return False
    return _refuses_by_message(failure.error, feature, own)


def requires_state(failure: Failure, arguments: Sequence[str]) -> bool:
    """Return whether a call without a state fails with an open request for a state.

    `arguments` are the names of the layer's arguments for states.
    """
    if isinstance(failure, Unsupported):
        return True
    if not isinstance(failure, Raised) or isinstance(failure.error, ACCIDENTS):
        return False
    if isinstance(failure.error, AssertionError) and _find_asserted_name(failure.error):
        return _find_asserted_name(failure.error) in arguments
    text = read_message(failure.error)
    names = "|".join((NAMES[Feature.STATE], *(rf"\b{re.escape(each)}\b" for each in arguments)))
    return bool(re.search(names, text, re.IGNORECASE) and NEEDING.search(text))


def find_refused_keyword(
    factory: Callable[..., Any], feature: Feature, raised: Raised
) -> str | None:
    """Return the reason if a constructor does not accept the keyword of a feature, or None.

    It must raise Python's TypeError about an unexpected keyword of this name. If its signature
    contains the keyword, the error comes from a function that it calls, and is a fault.
    """
    unknown = UNKNOWN_KEYWORD.search(read_message(raised.error))
    if raised.step != CONSTRUCTOR or not isinstance(raised.error, TypeError) or not unknown:
        return None
    keyword = unknown[1] or unknown[2]
    is_own = keyword in KEYWORDS.get(feature, (feature.text,))
    return str(raised) if is_own and keyword not in _list_parameters(factory) else None


def _refuses_by_message(error: BaseException, feature: Feature, own: str) -> bool:
    if isinstance(error, KeyError):  # raised by a lookup in a table of activations
        return feature is Feature.NONLINEARITY and error.args == ("relu",)
    if isinstance(error, ACCIDENTS) or UNKNOWN_KEYWORD.search(read_message(error)):
        return False
    name = re.compile("|".join(filter(None, (NAMES.get(feature), re.escape(own)))), re.IGNORECASE)
    if isinstance(error, AssertionError) and (asserted := _find_asserted_name(error)):
        return name.search(asserted) is not None
    text = read_message(error)
    return bool(name.pattern and name.search(text) and REFUSING.search(text))


def _find_asserted_name(error: AssertionError) -> str:
    """Return the argument that a failed assertion compares with a constant, or an empty string.

    Assertions about other expressions, such as the length of a list, restrict no argument. The
    source line shows this even if the assertion has no message.
    """
    lines = [frame.line or "" for frame in traceback.extract_tb(error.__traceback__)]
    try:
        body = ast.parse("".join(lines[-1:]).strip()).body
    except (SyntaxError, ValueError):  # a statement that continues on the next line
        return ""
    test = body[0].test if body and isinstance(body[0], ast.Assert) else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test = test.operand
    if isinstance(test, ast.Compare) and len(test.comparators) == 1:
        try:
            ast.literal_eval(test.comparators[0])
        except ValueError:
            return ""
        test = test.left
    if isinstance(test, ast.Attribute):
        return test.attr
    return test.id if isinstance(test, ast.Name) else ""


def _list_parameters(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a factory's parameters, as far as they can be inspected.

    A class that accepts further keywords may pass them on to the constructor of its base.
    """
    bases = factory.__mro__ if isinstance(factory, type) else ()
    constructors = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    names: list[str] = []
    for called in constructors or [factory]:
        try:
            parameters = inspect.signature(called).parameters
        except (TypeError, ValueError):
            break
        names.extend(parameters)
        if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            break
    return tuple(names)
