"""Reports made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rnnspec.cases.axes import (
    ConstructorStyle,
    Distribution,
    DType,
    EarlierCalls,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
)
from rnnspec.report.data import Counterexample, Report, Result

PASS = Result(
    "shapes.output",
    "MUST",
    "pass",
    40,
    requirement="The output has the documented shape.",
    clauses=("rnn.output.shape",),
    source="Outputs: output",
)
FAIL = Result(
    "states.initial-state-used",
    "MUST",
    "fail",
    12,
    violations=9,
    message="h_n[0, 0, 0]   expected 1   got 2   (3 times what rounding can explain, 1 of 4 elements)",
    requirement="The recurrence starts from the state that is given.",
    clauses=("rnn.h_0.used",),
    source="Inputs: h_0",
    depends_on="state=given; any layout, dtype",
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
            "layout": Layout.BATCHED,
            "initial_state": InitialState.GIVEN,
            "mode": Mode.EVAL,
            "grad_mode": GradMode.GRAD,
            "dtype": DType.FLOAT64,
            "memory_layout": MemoryLayout.CONTIGUOUS,
            "prior_use": EarlierCalls.FRESH,
            "constructor_style": ConstructorStyle.CHANGED,
            "distribution": Distribution.PLAIN,
        },
        seed=417,
        text="RNN(1, 1), input (1, 1, 1), state given, seed 417",
        index=3,
    ),
    repro="import torch\n\nassert False\n",
)
FOLLOWS = replace(FAIL, rule="states.carried", caused_by="states.initial-state-used")
SHOULD = replace(FAIL, rule="states.advice", level="SHOULD")
NOTE = replace(FAIL, rule="states.remark", level="NOTE")
CRASHED = replace(
    FAIL,
    rule="states.crash",
    level="SHOULD",
    verdict="crashed",
    message="the check raised ZeroDivisionError: x",
)
UNREACHED = replace(
    PASS,
    rule="packed.h-n",
    verdict="unreached",
    cases=0,
    message="reached 0 times, at least 1 needed: packed input",
)
NOT_APPLICABLE = replace(
    PASS, rule="dropout.rate", verdict="not-applicable", cases=0, message="no dropout here"
)
REPORT = Report(
    subject="mine:RNN",
    kind="rnn",
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


def report(*results: Result, **changes: Any) -> Report:
    """A report with these results."""
    return replace(REPORT, results=results, **changes)
