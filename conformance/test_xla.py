"""torch's own layers and cells on XLA, which computes on the CPU here.

`tox -e py311-xla` installs it. XLA compiles each operator for each shape, so sizes come from the
pool, and only the fewest cases that reach every rule are checked. `tox -e py311-xla-record` writes
the reports of the same cases as records.
"""

from __future__ import annotations

import json
import runpy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rnnspec
from conformance.test_reference_models import MODELS
from rnnspec.api.model import check_model
from rnnspec.contract.features import OF_DEVICES, Feature
from rnnspec.contract.kinds import KINDS
from rnnspec.report.data import Report, Verdict

# The example sets flags that XLA reads when it is imported.
pytestmark = pytest.mark.skipif(find_spec("torch_xla") is None, reason="needs torch_xla")

RECORDS = Path(__file__).parent / "devices" / "torch-2.9"
"""The records of XLA, see docs/backends.md."""


@pytest.fixture(autouse=True, scope="module")
def eager() -> None:
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "xla_eager.py"))


def list_broken() -> set[str]:
    """Return the rules that fail in a record of XLA."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in RECORDS.glob("*-xla.json")]
    return {
        rule
        for record in records
        for rule, each in record["rules"].items()
        if each["verdict"] == Verdict.FAIL.value
    }


@cache
def check_kind(kind: str) -> Report:
    layer = KINDS[kind].documented
    given: dict[str, Any] = {"device": "xla", "profile": "quick", "sizes": "pool", "fewest": True}
    return rnnspec.check(layer, kind=kind, **given)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_checked_or_lacks_something_that_the_report_names(kind: str) -> None:
    report = check_kind(kind)
    assert report.unsupported.keys() == {*OF_DEVICES} - {Feature.AUTOCAST}
    assert not report.stopped
    undecided = (Verdict.CHECKER_ERROR, Verdict.UNREACHED)
    assert not [each.rule for each in report.results if each.verdict in undecided]
    lacking = [each for each in report.results if each.verdict is Verdict.NOT_APPLICABLE]
    assert all(each.message for each in lacking)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_recorded_deviations_are_found(kind: str) -> None:
    broken = {each.rule for each in check_kind(kind).results if each.verdict is Verdict.FAIL}
    assert broken <= list_broken()


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_models_conform(name: str) -> None:
    report = check_model(MODELS[name], profile="quick", device="xla")
    assert report.ok, [f"{result.rule}: {result.message}" for result in report.violations]
