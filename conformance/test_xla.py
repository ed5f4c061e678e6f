"""torch's own layers and cells on XLA, which computes on the CPU here.

`tox -e py311-xla` installs it. XLA compiles each operator for each shape, so sizes come from the
pool, and only the fewest cases that reach every rule are checked. Each kind is compared with the
claims of XLA in its manifest. `tox -e py311-xla-record` writes the reports of the same cases as
records.
"""

from __future__ import annotations

import runpy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rnnspec
from conformance.test_reference_models import MODELS
from rnnspec.api.model import check_model
from rnnspec.cli.check_backend import read_claims
from rnnspec.contract.kinds import KINDS
from rnnspec.declared.files import read_manifest
from rnnspec.report.data import Report, Verdict
from rnnspec.report.scorecard import list_missing

# The example sets flags that XLA reads when it is imported.
pytestmark = pytest.mark.skipif(find_spec("torch_xla") is None, reason="needs torch_xla")

MANIFEST = Path(__file__).parent / "devices" / "xla.toml"
"""The claims of XLA: the features that it refuses, and its known deviations."""


@pytest.fixture(autouse=True, scope="module")
def eager() -> None:
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "xla_eager.py"))


@cache
def check_kind(kind: str) -> Report:
    declared = read_manifest(str(MANIFEST)).backend
    given: dict[str, Any] = {name: value for name, value in declared.items() if name != "import"}
    return rnnspec.check(KINDS[kind].documented, kind=kind, known=str(MANIFEST), **given)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_checked_or_lacks_something_that_the_report_names(kind: str) -> None:
    report = check_kind(kind)
    assert not report.stopped
    undecided = (Verdict.CHECKER_ERROR, Verdict.UNREACHED)
    assert not [each.rule for each in report.results if each.verdict in undecided]
    lacking = [each for each in report.results if each.verdict is Verdict.NOT_APPLICABLE]
    assert all(each.message for each in lacking)


@pytest.mark.parametrize("kind", KINDS)
def test_xla_keeps_its_claims_and_refuses_nothing_that_works(kind: str) -> None:
    report = check_kind(kind)
    assert not list_missing({kind: report}, read_claims(read_manifest(str(MANIFEST))))
    broken = (Verdict.FAIL, Verdict.STALE)
    assert not [each.rule for each in report.results if each.verdict in broken]
    assert not report.untrue_refusals


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_models_conform(name: str) -> None:
    report = check_model(MODELS[name], profile="quick", device="xla")
    assert report.ok, [f"{result.rule}: {result.message}" for result in report.violations]
