"""Tests of reports as data, of their verdicts, and of the published JSON schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import pytest
from torch import nn

import rnnspec
from rnnspec.cases.axes import Feature
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.report.data import SCHEMA, PartVerdict, Report, Result, RunVerdict
from tests.engine.subjects import WRONG, Bare
from tests.report.reports import (
    BLOCKED,
    CRASHED,
    FAIL,
    FOLLOWS,
    HELD,
    NOT_APPLICABLE,
    NOTE,
    PASS,
    SHOULD,
    UNREACHED,
    make_report,
)

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((resources.files("rnnspec.report") / "schema.json").read_text(encoding="utf-8"))
)


@pytest.mark.parametrize(
    ("results", "verdict", "strict"),
    [
        ([PASS], "conforms", "conforms"),
        ([PASS, NOT_APPLICABLE], "conforms", "conforms"),
        ([PASS, UNREACHED], "inconclusive", "inconclusive"),
        ([PASS, FAIL], "violates", "violates"),
        ([FAIL, UNREACHED], "violates", "violates"),
        ([PASS, SHOULD], "conforms", "violates"),
        ([SHOULD, UNREACHED], "inconclusive", "violates"),
        ([PASS, NOTE], "conforms", "conforms"),
        ([PASS, CRASHED], "inconclusive", "inconclusive"),
        ([FAIL, CRASHED], "violates", "violates"),
        ([PASS, FAIL, FOLLOWS, BLOCKED, HELD], "violates", "violates"),
    ],
)
def test_verdict_follows_from_the_results(results: list[Result], verdict: str, strict: str) -> None:
    assert make_report(*results).verdict.value == verdict
    assert make_report(*results, strict=True).verdict.value == strict
    assert (
        make_report(*results).exit_status
        == {"conforms": 0, "violates": 1, "inconclusive": 3}[verdict]
    )
    assert make_report(*results).ok == (verdict == "conforms")


def test_stopped_run_never_conforms() -> None:
    assert make_report(PASS, stopped=True).verdict is RunVerdict.INCONCLUSIVE
    assert make_report(PASS, SHOULD, stopped=True).verdict is RunVerdict.INCONCLUSIVE
    assert make_report(FAIL, stopped=True).verdict is RunVerdict.VIOLATES


def test_raise_for_violations_lists_only_scored_rules() -> None:
    make_report(PASS, SHOULD, UNREACHED).raise_for_violations()
    with pytest.raises(rnnspec.ViolationsFound) as raised:
        make_report(PASS, FAIL, SHOULD, CRASHED).raise_for_violations()
    assert str(raised.value).splitlines() == [
        "mine:RNN violates the contract of rnn:",
        f"states.initial-state-used: {FAIL.message}",
        "states.crash: the check raised ZeroDivisionError: x",
    ]


def test_parts_have_verdicts_of_their_own() -> None:
    gradient = replace(PASS, rule="gradients.input", part=Part.GRADIENTS)
    unreached = replace(UNREACHED, rule="errors.types", part=Part.INTERFACE)
    report = make_report(
        *(PASS, FAIL, FOLLOWS, SHOULD, NOT_APPLICABLE, gradient, BLOCKED, HELD, unreached)
    )
    assert report.parts == {
        Part.VALUES: PartVerdict(rules=4, faults=1, following=1, doubtful=0, unreached=0),
        Part.GRADIENTS: PartVerdict(rules=1, faults=0, following=0, doubtful=0, unreached=0),
        Part.MODULE: PartVerdict(rules=2, faults=0, following=2, doubtful=1, unreached=0),
        Part.INTERFACE: PartVerdict(rules=1, faults=0, following=0, doubtful=0, unreached=1),
    }
    assert {part.value: each.verdict.value for part, each in report.parts.items()} == {
        "values": "violates",
        "gradients": "conforms",
        "module": "inconclusive",
        "interface": "inconclusive",
    }
    held = make_report(FAIL, HELD).parts[Part.MODULE]
    assert (held.following, held.verdict) == (1, RunVerdict.CONFORMS)
    none = make_report(PASS).parts[Part.MODULE]
    assert (none.rules, none.verdict) == (0, RunVerdict.INCONCLUSIVE)
    assert list(report.as_dict()["parts"]) == ["values", "gradients", "module", "interface"]


def test_broken_should_counts_for_its_part_only_if_the_run_is_strict() -> None:
    lenient, strict = make_report(PASS, SHOULD), make_report(PASS, SHOULD, strict=True)
    assert lenient.parts[Part.VALUES].verdict is RunVerdict.CONFORMS
    assert strict.parts[Part.VALUES].verdict is RunVerdict.VIOLATES
    assert strict.parts[Part.VALUES].faults == 1


def test_rule_that_could_not_be_checked_is_not_broken() -> None:
    report = make_report(FAIL, BLOCKED, HELD)
    assert not BLOCKED.is_broken
    assert report.violations == (report.results[0],)


FEW: dict[str, Any] = {
    "profile": "quick",
    "cases": 30,
    "rules": ["recurrence.*", "states.*", "packed.h-n", "dropout.rate", "directions.h-n-order"],
}
REPORTS: dict[str, tuple[Callable[[], Report], str]] = {
    "conforming": (
        lambda: rnnspec.check(
            nn.RNN, **{**FEW, "cases": 60, "rules": ["recurrence.output", "packed.h-n"]}
        ),
        "conforms",
    ),
    "violating": (lambda: rnnspec.check(WRONG, **FEW), "violates"),
    "inconclusive": (lambda: rnnspec.check(nn.RNN, **{**FEW, "cases": 2}), "inconclusive"),
    "refusing": (
        lambda: rnnspec.check(
            Bare, **{**FEW, "rules": ["directions.*", "packed.h-n", "recurrence.output"]}
        ),
        "conforms",
    ),
    "excluded": (
        lambda: rnnspec.check(
            nn.RNN, without=["packed"], dtype="float32", seed=-3, **{**FEW, "rules": ["packed.*"]}
        ),
        "inconclusive",
    ),
    "stopped": (
        lambda: rnnspec.check(WRONG, fail_fast=True, **{**FEW, "rules": ["directions.h-n-order"]}),
        "violates",
    ),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", REPORTS)
def test_report_of_a_layer_fits_the_schema(name: str) -> None:
    make, verdict = REPORTS[name]
    found = make()
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    VALIDATOR.validate(data)
    assert data["verdict"] == verdict
    assert data["schema"] == SCHEMA == VALIDATOR.schema["$id"]
    assert data["results"] == json.loads(json.dumps([result.as_dict() for result in found.results]))


def test_report_of_a_model_fits_the_schema() -> None:
    from rnnspec.selftest.model_plain import LastStep

    found = rnnspec.check_model(
        LastStep, profile="quick", cases=2, rules=["model.output-shape", "readout.complete"]
    )
    VALIDATOR.validate(json.loads(json.dumps(found.as_dict(), allow_nan=False)))


@pytest.mark.parametrize(
    "results",
    [
        [PASS],
        [FAIL, FOLLOWS, BLOCKED, HELD, PASS],
        [CRASHED],
        [replace(FAIL, repro=None, no_repro="the program that was tried does not show the fault")],
        [PASS, SHOULD, NOTE, UNREACHED, NOT_APPLICABLE],
        [FAIL, replace(UNREACHED, violations=1, message="the run stopped at the first fault")],
    ],
)
def test_report_made_by_hand_fits_the_schema(results: list[Result]) -> None:
    found = make_report(*results, notes=("a word",), unsupported={Feature.PACKED: "no"})
    VALIDATOR.validate(found.as_dict())


def test_largest_sizes_list_the_blocks_they_cross() -> None:
    sizes = {"features": 513, "units": 129, "steps": 32, "layers": 3}
    found = make_report(PASS, largest_sizes=sizes)
    data = found.as_dict()
    VALIDATOR.validate(data)
    assert data["largest_sizes"]["features"] == {"size": 513, "crosses": [32, 64, 128, 256]}
    assert data["largest_sizes"]["units"] == {"size": 129, "crosses": [32, 64, 128]}
    assert data["largest_sizes"]["steps"]["crosses"] == []
    assert found.uncrossed_blocks == {"units": (256,), "steps": (32, 64, 128, 256)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fits_the_schema(kind: str) -> None:
    VALIDATOR.validate({**make_report(PASS).as_dict(), "kind": kind})


def remove_at(*path: Any) -> Callable[[Any], None]:
    """Return a change that removes the item at this path of keys and indices."""

    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


def put_at(value: Any, *path: Any) -> Callable[[Any], None]:
    """Return a change that puts a value at this path of keys and indices."""

    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


MISFITS: dict[str, Callable[[Any], None]] = {
    "no schema": remove_at("schema"),
    "another schema": put_at("rnnspec-report-2", "schema"),
    "no verdict": remove_at("verdict"),
    "unknown verdict": put_at("cannot-check", "verdict"),
    "violates without a failure": put_at([], "results"),
    "conforms with a failure": put_at("conforms", "verdict"),
    "text for a seed": put_at("0", "seed"),
    "fraction for a seed": put_at(0.5, "seed"),
    "unknown kind": put_at("gtu", "kind"),
    "unknown profile": put_at("slow", "profile"),
    "unknown key": put_at(1, "more"),
    "size of another dimension": put_at({"size": 1, "crosses": []}, "largest_sizes", "width"),
    "read-out of a layer": put_at({}, "readout"),
    "no device": remove_at("environment", "device"),
    "version as a number": put_at(2.13, "environment", "torch"),
    "empty reason": put_at({"packed": ""}, "unsupported"),
    "unknown key of a result": put_at(1, "results", 0, "more"),
    "no level": remove_at("results", 0, "level"),
    "unknown level": put_at("MAY", "results", 0, "level"),
    "no id": put_at("states", "results", 0, "rule"),
    "no clauses": put_at([], "results", 0, "clauses"),
    "failure without cases": put_at(0, "results", 0, "cases"),
    "failure without a counterexample": put_at(None, "results", 0, "counterexample"),
    "failure without a message": put_at("", "results", 0, "message"),
    "empty program": put_at("", "results", 0, "repro"),
    "no size": put_at(0, "results", 0, "counterexample", "configuration", "hidden_size"),
    "unknown argument": put_at(1, "results", 0, "counterexample", "configuration", "gate_size"),
    "unknown layout": put_at("nested", "results", 0, "counterexample", "call", "layout"),
    "negative index": put_at(-1, "results", 0, "counterexample", "index"),
    "failure without a program and a reason": put_at(None, "results", 0, "repro"),
    "failure with a program and a reason": put_at("none", "results", 0, "no_repro"),
    "failure without a dependence": put_at("", "results", 0, "depends_on"),
    "failure without a fault": put_at([], "faults"),
    "failure without violations": put_at(0, "results", 0, "violations"),
    "unknown part of a result": put_at("speed", "results", 0, "part"),
    "consequence with a counterexample": put_at({}, "results", 3, "counterexample"),
    "consequence with a program": put_at("import torch", "results", 3, "repro"),
    "consequence with a reason": put_at("none", "results", 3, "no_repro"),
    "consequence with a dependence": put_at("always", "results", 3, "depends_on"),
    "blocked without a cause": put_at(None, "results", 4, "caused_by"),
    "blocked with a violation": put_at(1, "results", 4, "violations"),
    "blocked in no case": put_at(0, "results", 4, "blocked"),
    "blocked without a message": put_at("", "results", 4, "message"),
    "blocked although it holds": put_at(True, "results", 4, "holds_otherwise"),
    "pass although it does not hold": put_at(False, "results", 5, "holds_otherwise"),
    "pass in some cases without a cause": put_at(None, "results", 5, "caused_by"),
    "pass in some cases without a message": put_at("", "results", 5, "message"),
    "no verdict of a part": remove_at("parts", "module"),
    "unknown part": put_at({}, "parts", "speed"),
    "part that conforms with a failure": put_at("conforms", "parts", "values", "verdict"),
    "part that conforms with a doubtful rule": put_at("conforms", "parts", "module", "verdict"),
    "part that conforms without rules": put_at("conforms", "parts", "gradients", "verdict"),
    "unknown part of a fault": put_at("speed", "faults", 0, "part"),
    "fault without a rule": remove_at("faults", 0, "rule"),
    "fault without cases": put_at(0, "faults", 0, "cases"),
    "fault with an unknown key": put_at(1, "faults", 0, "more"),
    "consequence that is no rule": put_at(["states"], "faults", 0, "consequences"),
    "consequence that is listed twice": put_at(["states.a", "states.a"], "faults", 0, "waiting"),
    "likely cause without a remedy": put_at("rows exchanged", "faults", 0, "likely_cause"),
    "remedy without a likely cause": put_at("exchange them", "faults", 0, "remedy"),
    "pass with a cause": put_at("states.initial-state-used", "results", 1, "caused_by"),
    "pass with a blocked case": put_at(1, "results", 1, "blocked"),
    "pass with a message": put_at("but", "results", 1, "message"),
    "pass with a violation": put_at(1, "results", 1, "violations"),
    "pass without cases": put_at(0, "results", 1, "cases"),
    "pass with a program": put_at("import torch", "results", 1, "repro"),
    "unreached without a reason": put_at("", "results", 2, "message"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_broken_report_does_not_fit_the_schema(name: str) -> None:
    data = copy.deepcopy(make_report(FAIL, PASS, UNREACHED, FOLLOWS, BLOCKED, HELD).as_dict())
    VALIDATOR.validate(data)
    MISFITS[name](data)
    assert list(VALIDATOR.iter_errors(data))


def test_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_requires_every_field() -> None:
    data = make_report(FAIL).as_dict()
    assert set(VALIDATOR.schema["required"]) == set(data)
    definitions = VALIDATOR.schema["$defs"]
    for name, item in (
        ("result", data["results"][0]),
        ("fault", data["faults"][0]),
        ("partVerdict", data["parts"]["values"]),
    ):
        defined = definitions[name]
        assert set(defined["required"]) == set(defined["properties"]) == set(item)
    assert set(definitions["counterexample"]["required"]) == set(
        data["results"][0]["counterexample"]
    )
