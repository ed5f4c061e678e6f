"""Open refusals: whether an exception says that a subject lacks a feature.

Everything that decides whether a feature is lacking or broken asks here. A feature is refused by
NotImplementedError, by a keyword that does not exist, or by a message of the layer's own that names
the feature and says that it is not offered. Every other exception is a fault of a feature that the
subject offers. `rnnspec check` reads no messages, since a layer with the documented arguments
promises them; `rnnspec adapt` does, since a layer in a form of its own promises none.
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
"""The keywords of the constructor for features that have another name than their keyword."""
UNKNOWN_KEYWORD = re.compile(
    r"unexpected keyword argument '(\w+)'|'(\w+)' is an invalid keyword argument"
)
"""The message of a TypeError about a keyword that the called function does not take."""
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
"""How messages name a feature, in any case of letters."""
REFUSING = re.compile(
    r"(\bnot|n't|\bnever)\s+((yet|currently|be)\s+)*(support|implement|allow|avail|handle)"
    r"|unsupported|unimplemented|no support|\bonly\b|\bunknown\b|unrecogni[sz]ed|\binvalid\b"
    r"|(must|should|has to|have to|needs? to) be (1|one|a single|false|true|none|0|zero|'?tanh)\b",
    re.IGNORECASE,
)
"""How messages say that something is not offered.

A message about a value out of its range, such as "num_layers must be greater than zero", does not.
"""
NEEDING = re.compile(
    r"\brequire|\bneed|\bmissing\b"
    r"|(must|should|has to) (be|not be) (given|passed|provided|set|none)",
    re.IGNORECASE,
)
"""How messages say that something must be given."""
ACCIDENTS = (AttributeError, LookupError, NameError, ArithmeticError, MemoryError, RecursionError)
"""Exceptions that code raises by accident: their messages name what happens to be missing."""


def is_refused(failure: Failure, feature: Feature, own: str = "") -> bool:
    """Return whether a failure says openly that a feature is lacking, messages included.

    `own` is the name that the layer gives the feature, if that is another one.
    """
    if isinstance(failure, Unsupported):
        return True
    if not isinstance(failure, Raised) or isinstance(failure, Ended):
        return False
    return _refuses_by_message(failure.error, feature, own)


def requires_state(failure: Failure, arguments: Sequence[str]) -> bool:
    """Return whether a failure of a call without a state says openly that one must be given.

    `arguments` are the names under which the layer takes states.
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
    """Return the reason if a constructor does not take the keyword of a feature, or None.

    It must raise the TypeError that Python raises about an unexpected keyword of that name. If its
    signature names the keyword, the error comes from what it calls, and is a fault.
    """
    unknown = UNKNOWN_KEYWORD.search(read_message(raised.error))
    if raised.step != CONSTRUCTOR or not isinstance(raised.error, TypeError) or not unknown:
        return None
    keyword = unknown[1] or unknown[2]
    is_own = keyword in KEYWORDS.get(feature, (feature.text,))
    return str(raised) if is_own and keyword not in _list_parameters(factory) else None


def _refuses_by_message(error: BaseException, feature: Feature, own: str) -> bool:
    if isinstance(error, KeyError):  # of a table of the activations that there are
        return feature is Feature.NONLINEARITY and error.args == ("relu",)
    if isinstance(error, ACCIDENTS) or UNKNOWN_KEYWORD.search(read_message(error)):
        return False
    name = re.compile("|".join(filter(None, (NAMES.get(feature), re.escape(own)))), re.IGNORECASE)
    if isinstance(error, AssertionError) and (asserted := _find_asserted_name(error)):
        return name.search(asserted) is not None
    text = read_message(error)
    return bool(name.pattern and name.search(text) and REFUSING.search(text))


def _find_asserted_name(error: AssertionError) -> str:
    """Return the argument that a failed assertion restricts to a constant, or an empty text.

    An assertion about anything else, such as the length of a list, restricts no argument. Its
    statement says that even if it has no message.
    """
    lines = [frame.line or "" for frame in traceback.extract_tb(error.__traceback__)]
    try:
        body = ast.parse("".join(lines[-1:]).strip()).body
    except (SyntaxError, ValueError):  # of a statement that goes on in the next line
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
    """Return the names of the parameters of a factory, as far as Python can tell.

    A class that takes further keywords may pass them on to the constructor of its base.
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
