"""A layer that does not hold what was loaded is told so, and not by what it then computes."""

from __future__ import annotations

import pytest

import rnnspec
from rnnspec.selftest.banks import find_bank

RULES = ("parameters.loaded", "gates.order", "recurrence.output")


@pytest.mark.parametrize(
    ("kind", "bug"), [("lstm", "GatesReorderedOnLoad"), ("gru", "BiasesClearedOnLoad")]
)
def test_what_is_loaded_wrongly_is_one_fault_without_a_mistake_of_the_call(
    kind: str, bug: str
) -> None:
    report = rnnspec.check(
        find_bank(kind).bugs[bug], kind=kind, profile="quick", rules=RULES, cases=120
    )
    assert [(fault.rule, fault.likely_cause) for fault in report.faults] == [
        ("parameters.loaded", "")
    ]
