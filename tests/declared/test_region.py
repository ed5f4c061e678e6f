"""Test regions of declared deviations: the cases they cover, and errors in them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rnnspec.cases.axes import DType, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.declared.region import describe_region, keep_conditions, parse_region

CASE = Case(config=Config(2, 3, bidirectional=True), steps=33, batch=1, dtype=DType.FLOAT32)


@pytest.mark.parametrize(
    ("table", "covered"),
    [
        ({}, True),
        ({"steps": 33}, True),
        ({"steps": ">= 33"}, True),
        ({"steps": "> 33"}, False),
        ({"steps": "<= 33", "batch": "< 2"}, True),
        ({"batch": [1, 2]}, True),
        ({"bidirectional": True, "dtype": ["float32", "float16"]}, True),
        ({"bidirectional": False}, False),
        ({"layout": "packed"}, False),
        ({"num_layers": 1, "hidden_size": 3}, True),
    ],
)
def test_region_covers_a_case(table: dict[str, Any], covered: bool) -> None:
    assert parse_region(table).covers(CASE) is covered


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"bach": 0}, "'bach' is no size and no axis of a case. Did you mean 'batch'?"),
        ({"layout": "pcked"}, "layout 'pcked' is none of"),
        ({"steps": "many"}, "steps 'many' is neither a number nor a text such as '>= 2'"),
        ({"steps": True}, "steps True is neither"),
        ({"dtype": []}, "dtype has no value"),
        ({"batch": 0}, "batch is at least 1 in every case; leave it out for a rule that"),
    ],
)
def test_an_invalid_region_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_region(table)


def test_region_around_a_case() -> None:
    table = describe_region(CASE, frozenset({"steps", "batch", "bidirectional", "dtype"}))
    assert table == {"steps": ">= 33", "batch": 1, "bidirectional": True, "dtype": "float32"}
    others = [CASE, CASE.replace(dtype=DType.FLOAT64), CASE.replace(layout=Layout.UNBATCHED)]
    kept = {"steps": ">= 33", "batch": 1, "bidirectional": True}
    assert keep_conditions(table, others) == kept
    assert parse_region(kept).covers(others[2])
