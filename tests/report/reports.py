"""Reports and results for the tests of this package, made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.engine.explanations import Dependence, DependenceKind
from rnnspec.pipeline import decide_run
from rnnspec.report.data import Counterexample, FaultSummary, Report, Result, RunVerdict, Verdict

PASS = Result(
    "shapes.output",
    Level.MUST,
    Part.VALUES,
    Verdict.PASS,
    40,
    requirement="The output has the documented shape.",
    clauses=("rnn.output.shape",),
    source="Outputs: output",
)
FAIL = Result(
    "states.initial-state-used",
    Level.MUST,
    Part.VALUES,
    Verdict.FAIL,
    12,
    violations=9,
    message="h_n[0, 0, 0] is 2, expected 1 (3 times what rounding can explain, 1 of 4 elements)",
    requirement="Every layer starts from its own row of h_0.",
    clauses=("rnn.h_0.used",),
    source="Inputs: h_0",
    depends_on=Dependence(
        DependenceKind.NEEDED, "initial_state=given; dtype and layout do not matter"
    ),
    counterexample=Counterexample(
        configuration={
            "input_size": 1,
            "hidden_size": 1,
            "num_layers": 1,
            "nonlinearity": "tanh",
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        },
        sizes={"steps": 1, "batch": 1, "lengths": []},
        call={
            "layout": "batched",
            "initial_state": "given",
            "mode": "eval",
            "grad_mode": "grad",
            "dtype": "float64",
            "float32_precision": "ieee",
            "memory_layout": "contiguous",
            "prior_use": "fresh",
            "constructor_style": "changed",
            "distribution": "plain",
        },
        seed=417,
        text="RNN(1, 1), input (1, 1, 1), initial_state given, seed 417",
        index=3,
    ),
    repro="import torch\n\nassert False\n",
)
FOLLOWS = replace(
    FAIL,
    rule="states.carried",
    caused_by="states.initial-state-used",
    depends_on=None,
    counterexample=None,
    repro=None,
)
BLOCKED = replace(
    PASS,
    rule="modules.copied",
    part=Part.MODULE,
    verdict=Verdict.BLOCKED,
    cases=4,
    blocked=4,
    holds_otherwise=False,
    message="could not be checked in 4 of 4 cases",
    caused_by="states.initial-state-used",
)
HELD = replace(
    BLOCKED,
    rule="modules.moved",
    verdict=Verdict.PASS,
    cases=10,
    holds_otherwise=True,
    message="could not be checked in 4 of 10 cases",
)
SHOULD = replace(FAIL, rule="states.advice", level=Level.SHOULD)
NOTE = replace(FAIL, rule="states.remark", level=Level.NOTE)
CRASHED = replace(
    FAIL,
    rule="states.crash",
    level=Level.SHOULD,
    verdict=Verdict.CHECKER_ERROR,
    message="the check raised ZeroDivisionError: x",
)
UNREACHED = replace(
    PASS,
    rule="packed.h-n",
    verdict=Verdict.UNREACHED,
    cases=0,
    message="too few cases (checked 0 times, at least 1 needed: packed input)",
)
NOT_APPLICABLE = replace(
    PASS, rule="dropout.rate", verdict=Verdict.NOT_APPLICABLE, cases=0, message="no dropout here"
)
REPORT = Report(
    subject="mine:RNN",
    kind="rnn",
    verdict=RunVerdict.CONFORMS,
    seed=0,
    profile="quick",
    strict=False,
    cases=45,
    duration_s=1.25,
    stopped=False,
    environment={
        "rnnspec": "0.1.0",
        "torch": "2.13.0",
        "hypothesis": "6.1",
        "numpy": "2.0",
        "python": "3.11.7",
        "platform": "Linux",
        "device": "cpu",
    },
    results=(PASS,),
)


def make_fault(result: Result, *others: Result, **changes: Any) -> FaultSummary:
    """Return the fault that a result names, with the other results that it causes."""
    caused = [each for each in others if each.caused_by == result.rule]
    fault = FaultSummary(
        result.rule,
        result.part,
        cases=result.violations,
        situation="initial_state=given",
        consequences=tuple(each.rule for each in caused if each.is_broken),
        waiting=tuple(each.rule for each in caused if each.blocked),
    )
    return replace(fault, **changes)


def make_report(
    *results: Result, strict: bool = False, stopped: bool = False, **changes: Any
) -> Report:
    """Return a report of these results, with the verdict that the pipeline would decide.

    Each broken result without a cause names a fault.
    """
    levels = (Level.MUST, Level.SHOULD) if strict else (Level.MUST,)
    scored = tuple(
        replace(each, is_scored=each.level in levels or each.verdict is Verdict.CHECKER_ERROR)
        for each in results
    )
    named = [each for each in scored if each.is_broken and each.caused_by is None]
    derived = {
        "faults": tuple(make_fault(each, *scored) for each in named),
        "verdict": decide_run(scored, stopped),
    }
    return replace(REPORT, results=scored, strict=strict, stopped=stopped, **{**derived, **changes})
