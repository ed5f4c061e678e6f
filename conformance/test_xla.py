"""torch's own layers and cells on XLA, which computes on the CPU here.

`tox -e py311-xla` installs it. XLA compiles each operator for each shape, so sizes come from the
pool, and a case takes seconds.
"""

from __future__ import annotations

from functools import cache

import pytest

import rnnspec
from rnnspec.contract.features import OF_DEVICES
from rnnspec.contract.kinds import KINDS
from rnnspec.report.data import Report, Verdict

torch_xla = pytest.importorskip("torch_xla")

KNOWN = {"errors.h-0-batch-unsorted", "recurrence.exact"}
"""The rules that torch's layers break there, see docs/backends.md."""
CASES = 24


@pytest.fixture(autouse=True, scope="module")
def eager() -> None:
    torch_xla.experimental.eager_mode(True)


@cache
def check_kind(kind: str) -> Report:
    layer = KINDS[kind].documented
    return rnnspec.check(layer, kind=kind, device="xla", profile="quick", cases=CASES, sizes="pool")


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_checked_or_lacks_something_that_the_report_names(kind: str) -> None:
    report = check_kind(kind)
    assert report.unsupported.keys() == {*OF_DEVICES}
    assert report.cases == CASES
    assert not [each for each in report.results if each.verdict is Verdict.CHECKER_ERROR]
    lacking = [each for each in report.results if each.verdict is Verdict.NOT_APPLICABLE]
    assert all(each.message for each in lacking)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_recorded_deviations_are_found(kind: str) -> None:
    assert {fault.rule for fault in check_kind(kind).faults} <= KNOWN
