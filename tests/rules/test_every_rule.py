"""Every rule passes torch's own layers, and reports a planted bug with a program that proves it.

The modules beside this one have the cases: `PASSES` by rule, and `FAILS` with the bugs. A module
may also have

SEEDS            how many seeds are tried of each case, if a rule seldom applies
IS_SLOW          whether its bugs but the first are among the slow tests
prove_otherwise  a function that proves a violation, if the program on the first example may not
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rnnspec.cases.case import Case
from rnnspec.rulekit.rule import Theme
from rnnspec.rules.catalogue import list_layer_rules
from tests.rules.checking import check_layer, load_standard
from tests.rules.proven import prove_violation

# More seeds of torch's own layers are checked in `conformance`, by every rule.
SEEDS_OF_PASSES, SEEDS_OF_BUGS = 1, 8
PASSED_BESIDE = {
    "errors.device",
    *(rule.id for rule in list_layer_rules() if rule.theme is Theme.CELLS),
}
"""The rules that modules check on torch's own layers in tests of their own."""
PLANTED_BESIDE = {
    *("construction.documented-example", "errors.device", "modes.meta", "nonlinearity.tanh"),
    *("modules.dtype-conversion", "modules.refuses-state-dict", "modules.weight-norm"),
    *("packed.full-length", "packed.sequences", "recurrence.exact", "samples.huge"),
    "states.by-name",
}
"""The rules that detect wrong layers in tests beside this one, or only bugs of the bank."""
TABLES = [
    module
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    if path.stem != Path(__file__).stem
    and hasattr(module := import_module(f"tests.rules.{path.stem}"), "FAILS")
]


def list_passes() -> Iterator[Any]:
    for table in TABLES:
        seeds = min(SEEDS_OF_PASSES, getattr(table, "SEEDS", SEEDS_OF_PASSES))
        for name, cases in getattr(table, "PASSES", {}).items():
            yield pytest.param(name, cases, seeds, id=name)


def list_fails() -> Iterator[Any]:
    for table in TABLES:
        for number, (name, bug, near, text) in enumerate(table.FAILS):
            is_slow = number > 0 and getattr(table, "IS_SLOW", False)
            marks = [pytest.mark.slow] if is_slow else []
            yield pytest.param(table, name, bug, near, text, id=f"{name}-{bug}", marks=marks)


@pytest.mark.parametrize(("name", "cases", "seeds"), list(list_passes()))
def test_torch_passes(name: str, cases: list[Case], seeds: int) -> None:
    for near in cases:
        assert check_layer(name, load_standard(near), near, seeds) is None, near


@pytest.mark.parametrize(("table", "name", "bug", "near", "text"), list(list_fails()))
def test_a_planted_bug_is_reported_and_proven(
    table: ModuleType, name: str, bug: str, near: Case, text: str
) -> None:
    prove = getattr(table, "prove_otherwise", prove_violation)
    assert re.search(text, prove(name, bug, near, getattr(table, "SEEDS", SEEDS_OF_BUGS)))


def test_every_rule_has_passing_cases_and_a_bug() -> None:
    rules = {rule.id for rule in list_layer_rules()}
    passing = {name for table in TABLES for name in getattr(table, "PASSES", {})}
    assert passing == rules - PASSED_BESIDE
    assert {name for table in TABLES for name, *_ in table.FAILS} == rules - PLANTED_BESIDE
