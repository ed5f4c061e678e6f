"""The region of a declared deviation: a condition on a case, as a table of values.

Each entry names a size or an axis. Its value is the value that the case must have, a list of
alternatives, or for sizes a text such as ">= 2" or "<= 1". Your deviation covers a case only if the
case fulfils every entry.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnspec.cases.axes import AXIS, parse_value
from rnnspec.cases.case import SIZES, Case
from rnnspec.cases.reach import CaseTest
from rnnspec.errors import suggest_similar

COMPARISON = re.compile(r"(>=|<=|>|<)\s*(\d+)")
COMPARED = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Region:
    """The cases that fulfil all conditions of a table."""

    table: Mapping[str, Any]
    tests: tuple[CaseTest, ...] = field(compare=False)

    def covers(self, case: Case) -> bool:
        """Return whether a case lies in the region."""
        return all(test(case) for test in self.tests)


def parse_region(table: Mapping[str, Any]) -> Region:
    """Return the region that your table describes. Raises ValueError, with a suggestion."""
    return Region(table, tuple(_parse_condition(name, value) for name, value in table.items()))


def _parse_condition(name: str, value: Any) -> CaseTest:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{name} has no value")
    tests = [_parse_one(name, each) for each in values]
    return lambda case: any(test(case) for test in tests)


def _parse_one(name: str, value: Any) -> CaseTest:
    if name in SIZES:
        return _parse_size(name, value)
    if name not in AXIS:
        known = (*SIZES, *AXIS)
        raise ValueError(
            f"{name!r} is no size and no axis of a case.{suggest_similar(name, known)}"
        )
    wanted = parse_value(name, value)
    return lambda case: case.get_choice(name) == wanted


def _parse_size(name: str, value: Any) -> CaseTest:
    if value == 0 and not isinstance(value, bool):
        raise ValueError(
            f"{name} is at least 1 in every case; leave it out for a rule that makes calls with "
            "other sizes, such as shapes.empty-batch"
        )
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return lambda case: case.size(name) == value
    found = COMPARISON.fullmatch(str(value).strip())
    if found is None or isinstance(value, bool):
        raise ValueError(f"{name} {value!r} is neither a number nor a text such as '>= 2'")
    compare, number = COMPARED[found[1]], int(found[2])
    return lambda case: bool(compare(case.size(name), number))


def describe_region(case: Case, names: frozenset[str]) -> dict[str, Any]:
    """Return the table of a region around a case: the values of the named fields.

    A size above 1 becomes a lower bound.
    """
    table: dict[str, Any] = {}
    for name in (*SIZES, *AXIS):
        if name not in names or name in table:
            continue
        if name in SIZES:
            size = case.size(name)
            table[name] = f">= {size}" if size > 1 else size
        else:
            value = case.get_choice(name)
            table[name] = value if isinstance(value, bool | str) else str(value)
    return table


def keep_conditions(table: Mapping[str, Any], cases: list[Case]) -> dict[str, Any]:
    """Return the conditions of a table that hold in all of these cases."""
    return {
        name: value
        for name, value in table.items()
        if all(_parse_condition(name, value)(case) for case in cases)
    }
