"""The verdict of a run follows from its results, and only a report fits the published schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import pytest
from torch import nn

import rnnspec
from rnnspec.cases.axes import Feature
from rnnspec.report.data import SCHEMA, Report, Result, RunVerdict
from rnnspec.selftest import BUGS
from tests.engine.subjects import Bare
from tests.report.reports import (
    CRASHED,
    FAIL,
    FOLLOWS,
    NOT_APPLICABLE,
    NOTE,
    PASS,
    SHOULD,
    UNREACHED,
    report,
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
        ([PASS, CRASHED], "violates", "violates"),
    ],
)
def test_the_verdict_follows_from_the_results(
    results: list[Result], verdict: str, strict: str
) -> None:
    assert report(*results).verdict.value == verdict
    assert report(*results, strict=True).verdict.value == strict
    assert (
        report(*results).exit_status == {"conforms": 0, "violates": 1, "inconclusive": 3}[verdict]
    )
    assert report(*results).ok == (verdict == "conforms")


def test_a_run_that_was_stopped_never_conforms() -> None:
    assert report(PASS, stopped=True).verdict is RunVerdict.INCONCLUSIVE
    assert report(PASS, SHOULD, stopped=True).verdict is RunVerdict.INCONCLUSIVE
    assert report(FAIL, stopped=True).verdict is RunVerdict.VIOLATES


def test_only_violations_are_raised() -> None:
    report(PASS, SHOULD, UNREACHED).raise_for_violations()
    with pytest.raises(rnnspec.ViolationsFound) as raised:
        report(PASS, FAIL, SHOULD, CRASHED).raise_for_violations()
    assert str(raised.value).splitlines() == [
        "mine:RNN violates the contract of rnn:",
        f"states.initial-state-used: {FAIL.message}",
        "states.crash: the check raised ZeroDivisionError: x",
    ]


FEW: dict[str, Any] = {
    "profile": "quick",
    "cases": 30,
    "rules": ["recurrence.*", "states.*", "packed.h-n", "dropout.rate", "directions.h-n-order"],
}
REAL: dict[str, tuple[Callable[[], Report], str]] = {
    "conforming": (
        lambda: rnnspec.check(
            nn.RNN, **{**FEW, "cases": 60, "rules": ["recurrence.output", "packed.h-n"]}
        ),
        "conforms",
    ),
    "violating": (lambda: rnnspec.check(BUGS["StatesByDirection"], **FEW), "violates"),
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
        lambda: rnnspec.check(
            BUGS["StatesByDirection"], fail_fast=True, **{**FEW, "rules": ["directions.h-n-order"]}
        ),
        "violates",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_report_fits_the_schema(name: str) -> None:
    make, verdict = REAL[name]
    found = make()
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    VALIDATOR.validate(data)
    assert data["verdict"] == verdict
    assert data["schema"] == SCHEMA == VALIDATOR.schema["$id"]
    assert data["results"] == json.loads(json.dumps([result.as_dict() for result in found.results]))


def test_the_report_of_a_model_fits_the_schema() -> None:
    from rnnspec.selftest.model_plain import LastStep

    found = rnnspec.check_model(
        LastStep, profile="quick", cases=2, rules=["model.output-shape", "readout.complete"]
    )
    VALIDATOR.validate(json.loads(json.dumps(found.as_dict(), allow_nan=False)))


@pytest.mark.parametrize(
    "results",
    [[PASS], [FAIL, FOLLOWS, PASS], [CRASHED], [PASS, SHOULD, NOTE, UNREACHED, NOT_APPLICABLE]],
)
def test_a_report_made_by_hand_fits_the_schema(results: list[Result]) -> None:
    VALIDATOR.validate(report(*results, notes=("a word",), unsupported={Feature.PACKED: "no"}).as_dict())


def removed(*path: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


def put(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


MISFITS: dict[str, Callable[[Any], None]] = {
    "no schema": removed("schema"),
    "another schema": put("rnnspec-report-1", "schema"),
    "no verdict": removed("verdict"),
    "unknown verdict": put("cannot-check", "verdict"),
    "violates without a failure": put([], "results"),
    "conforms with a failure": put("conforms", "verdict"),
    "text for a seed": put("0", "seed"),
    "fraction for a seed": put(0.5, "seed"),
    "unknown kind": put("gru", "kind"),
    "unknown profile": put("slow", "profile"),
    "unknown key": put(1, "more"),
    "read-out of a layer": put({}, "readout"),
    "no device": removed("environment", "device"),
    "version as a number": put(2.13, "environment", "torch"),
    "empty reason": put({"packed": ""}, "unsupported"),
    "unknown key of a result": put(1, "results", 0, "more"),
    "no level": removed("results", 0, "level"),
    "unknown level": put("MAY", "results", 0, "level"),
    "no id": put("states", "results", 0, "rule"),
    "no clauses": put([], "results", 0, "clauses"),
    "failure without examples": put(0, "results", 0, "cases"),
    "failure without a counterexample": put(None, "results", 0, "counterexample"),
    "failure without a message": put("", "results", 0, "message"),
    "empty program": put("", "results", 0, "repro"),
    "no size": put(0, "results", 0, "counterexample", "configuration", "hidden_size"),
    "unknown argument": put(1, "results", 0, "counterexample", "configuration", "proj_size"),
    "unknown layout": put("nested", "results", 0, "counterexample", "call", "layout"),
    "negative index": put(-1, "results", 0, "counterexample", "index"),
    "pass with a message": put("but", "results", 1, "message"),
    "pass with a violation": put(1, "results", 1, "violations"),
    "pass without examples": put(0, "results", 1, "cases"),
    "pass with a program": put("import torch", "results", 1, "repro"),
    "unreached without a reason": put("", "results", 2, "message"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_is_no_report_does_not_fit_the_schema(name: str) -> None:
    data = copy.deepcopy(report(FAIL, PASS, UNREACHED).as_dict())
    VALIDATOR.validate(data)
    MISFITS[name](data)
    assert list(VALIDATOR.iter_errors(data))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_knows_every_field() -> None:
    data = report(FAIL).as_dict()
    assert set(VALIDATOR.schema["required"]) == set(data)
    definitions = VALIDATOR.schema["$defs"]
    assert (
        set(definitions["result"]["required"])
        == set(definitions["result"]["properties"])
        == set(data["results"][0])
    )
    assert set(definitions["counterexample"]["required"]) == set(
        data["results"][0]["counterexample"]
    )
