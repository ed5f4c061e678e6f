"""Infer from an exception which chosen argument does not fit, and which value to try instead."""

from __future__ import annotations

import ast
import linecache
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import FrameType, SimpleNamespace
from typing import Any

from rnnspec.models.building.candidates import ArgumentContext, list_candidates
from rnnspec.models.building.meanings import ArgumentMeaning, find_meaning
from rnnspec.models.building.values import (
    Access,
    PlaceOfValue,
    PlainValue,
    Record,
    Value,
    Vocabulary,
    get_entries,
    list_places,
    put_value,
)
from rnnspec.models.lines import is_foreign
from rnnspec.subjects.devices import lacks_device

OF_DICTIONARIES = frozenset({"get", "items", "keys", "values", "pop", "setdefault", "update"})
OF_TENSORS = frozenset({"shape", "size", "dim", "float", "dtype", "numpy", "astype", "tolist"})
CUDA_START = "_lazy_init"
"""The function of torch that raises if CUDA is needed but missing."""


def needs_cuda(error: BaseException) -> bool:
    """Return whether an exception was raised because torch cannot use CUDA here."""
    if not lacks_device("cuda"):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_code.co_name == CUDA_START for frame in frames)


def find_own_lines(error: BaseException) -> tuple[int, ...]:
    """Return the numbers of the user's lines that led to an exception, outermost first.

    Of two attempts, the attempt that got further has the larger numbers.
    """
    return tuple(line for _, line in _list_own_frames(error))


def list_named(error: BaseException) -> frozenset[str]:
    """Return the names in the user's innermost line that led to an exception."""
    return frozenset(re.findall(r"\w+", find_line(error)))


def list_switches(error: BaseException) -> dict[str, str]:
    """Return the names that enable the user's innermost line, with values that disable it.

    They occur in conditions around the line, such as `if config.pretrained:` and `if x is not
    None:`.
    """
    frames = list(_list_own_frames(error))
    if not frames:
        return {}
    frame, line = frames[-1]
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except SyntaxError:  # the source changed since it was run
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.If):
            continue
        for is_met, body in ((True, node.body), (False, node.orelse)):
            if body and body[0].lineno <= line <= (body[-1].end_lineno or line):
                found.update(_switch_off(node.test, is_met))
    return found


def _switch_off(test: ast.expr, is_met: bool) -> Iterator[tuple[str, str]]:
    """Yield each name that is a condition by itself, with a value that reverses the condition."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _switch_off(test.operand, not is_met)
    elif isinstance(test, ast.BoolOp):
        for each in test.values:
            yield from _switch_off(each, is_met)
    elif isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.IsNot):
        is_none = isinstance(test.comparators[0], ast.Constant) and (
            test.comparators[0].value is None
        )
        if is_none and isinstance(test.ops[0], ast.IsNot) is is_met:
            yield from ((name, "None") for name, _ in _switch_off(test.left, is_met))
    elif isinstance(test, ast.Name | ast.Attribute | ast.Subscript):
        name = re.findall(r"\w+", ast.unparse(test))[-1]
        yield name, str(not is_met)


def find_line(error: BaseException) -> str:
    """Return the text of the user's innermost line that led to an exception."""
    lines = [linecache.getline(frame.f_code.co_filename, n) for frame, n in _list_own_frames(error)]
    return lines[-1] if lines else ""


def _list_own_frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if not is_foreign(name) and "/rnnspec/" not in name and not name.startswith("<"):
            yield frame, line


def correct_values(
    values: Mapping[str, Value],
    error: BaseException,
    objects: Mapping[str, Any],
    known: ArgumentContext,
) -> dict[str, Value] | None:
    """Return the values with the entry that an exception requires, or None if it requires none.

    `objects` are the arguments at the time of the exception.
    """
    if isinstance(error, AttributeError):
        return _correct_attribute(values, error, objects, known)
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return _correct_key(values, error.args[0], find_line(error), known)
    return None


def _correct_attribute(
    values: Mapping[str, Value],
    error: AttributeError,
    objects: Mapping[str, Any],
    known: ArgumentContext,
) -> dict[str, Value] | None:
    name, line = error.name or "", find_line(error)
    # Equal small numbers are the same object, so use the line to find the right argument.
    for place, value in sorted(
        list_places(values), key=lambda each: _rate_place(each[0], name, line)
    ):
        if not name or not _is_object(value, _walk(objects, place), error.obj):
            continue
        if isinstance(value, Record):
            return _extend_record(values, place, value, name, known)
        if isinstance(value, Vocabulary):
            attributes = (*value.attributes, name)
            return put_value(values, place, replace(value, attributes=attributes))
        if place[-1] in list_named(error):
            chosen = list_candidates(name, None, known)[0]
            # `config.embedding.dim` is an entry, `weights.dim()` is a method.
            is_tensor = name in OF_TENSORS and (len(place) == 1 or name not in ("dim", "size"))
            record = Record(Access.ATTRIBUTES, {name: chosen})
            other = PlainValue("torch.rand(20, 8)") if is_tensor else record
            return put_value(values, place, other)
    return None


def _extend_record(
    values: Mapping[str, Value],
    place: PlaceOfValue,
    record: Record,
    name: str,
    known: ArgumentContext,
) -> dict[str, Value]:
    if record.access is Access.ATTRIBUTES and name in OF_DICTIONARIES:
        return put_value(values, place, Record(Access.ITEMS, record.entries))
    access = Access.BOTH if record.access is Access.ITEMS else record.access
    chosen = list_candidates(name, None, known)[0]
    return put_value(values, place, Record(access, {**record.entries, name: chosen}))


def _is_object(value: Value, made: Any, found: Any) -> bool:
    """Return whether an object, or the copy that a model keeps, belongs to a value."""
    if made is found:
        return True
    if not isinstance(value, Record) or type(made) is not type(found):
        return False
    return set(value.entries) == set(found if isinstance(found, dict) else vars(found))


def _walk(objects: Mapping[str, Any], place: PlaceOfValue) -> Any:
    found: Any = objects
    for name in place:
        try:
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
        # A built object rarely keeps its arguments as attributes.
        except (KeyError, AttributeError):
            return MISSING
    return found


MISSING = SimpleNamespace()
"""Stands for an object that cannot be found."""


def _correct_key(
    values: Mapping[str, Value], key: str, line: str, known: ArgumentContext
) -> dict[str, Value] | None:
    """Add a missing key to a dictionary, preferring the dictionary before the key in the line."""
    lacking = [
        (place, value)
        for place, value in list_places(values)
        if (isinstance(value, Record) and key not in value.entries)
        or (isinstance(value, Vocabulary) and key not in value.words)
    ]
    fitting = [
        (place, value)
        for place, value in lacking
        if not isinstance(value, Record) or value.access is not Access.ATTRIBUTES
    ]
    for place, value in sorted(fitting, key=lambda each: _rate_place(each[0], key, line)):
        if isinstance(value, Vocabulary):
            return put_value(values, place, replace(value, words=(*value.words, key)))
        if isinstance(value, Record):
            chosen = list_candidates(key, None, known)[0]
            return put_value(values, place, Record(value.access, {**value.entries, key: chosen}))
    return None


def _rate_place(place: PlaceOfValue, key: str, line: str) -> tuple[bool, bool]:
    """Return a sort key that is smallest for the place named right before the entry."""
    name = re.escape(place[-1])
    is_before = re.search(rf"\b{name}\W+{re.escape(key)}\b", line)
    return not is_before, not re.search(rf"\b{name}\b", line)


def list_alternatives(
    values: Mapping[str, Value],
    error: BaseException | None,
    known: ArgumentContext,
    annotations: Mapping[str, Any],
) -> Iterator[dict[str, Value]]:
    """Yield the values with a single replacement, starting with names in the line of the error.

    The next are values that decide whether the line runs at all.
    """
    named = list_named(error) if error else frozenset()
    switches = list_switches(error) if error else {}
    places = sorted(list_places(values), key=lambda each: _rate_doubt(each[0], each[1], named))
    first = [each for each in places if each[0][-1] in named]
    yield from _replace_each(values, first, known, annotations)
    for place, _ in places:
        if place[-1] in switches:
            yield put_value(values, place, PlainValue(switches[place[-1]]))
    rest = [each for each in places if each[0][-1] not in named]
    yield from _replace_each(values, rest, known, annotations)


def _replace_each(
    values: Mapping[str, Value],
    places: Iterable[tuple[PlaceOfValue, Value]],
    known: ArgumentContext,
    annotations: Mapping[str, Any],
) -> Iterator[dict[str, Value]]:
    """Yield the values with another candidate at one of the places."""
    for place, value in places:
        annotation = annotations.get(place[0]) if len(place) == 1 else None
        for other in list_candidates(place[-1], annotation, known):
            if other.write() != value.write():
                yield put_value(values, place, other)


def _rate_doubt(
    place: PlaceOfValue, value: Value, named: frozenset[str]
) -> tuple[bool, bool, bool]:
    """Return a sort key that is smallest for the most doubtful values.

    A configuration whose entries were read is less doubtful than other values.
    """
    is_known = find_meaning(place[-1]) is not ArgumentMeaning.UNKNOWN
    return place[-1] not in named, bool(get_entries(value)), is_known
