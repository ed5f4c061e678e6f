"""Test that adapters choose whether a layer runs in a separate process, and are found by name."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any

import pytest
from torch import Tensor

import rnnspec
import rnnspec.adapt as adapt
from rnnspec.adapters.adapter import Adapter
from rnnspec.api.isolated import NOT_ISOLATED
from rnnspec.api.layer import find_isolation
from rnnspec.errors import AdapterError
from tests.adapters.half_done import MyRNN
from tests.adapters.test_smoke import RIGHT


class EndsItsProcess(MyRNN):
    """Ends the process in every call."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        os.abort()


ENDING = adapt.module(EndsItsProcess, isolate=True, **RIGHT)
SILENT = adapt.module(MyRNN, **RIGHT)


@pytest.mark.slow
def test_a_declared_adapter_runs_in_a_process_of_its_own() -> None:
    report = rnnspec.check(ENDING, profile="quick", rules=["recurrence.output"], cases=4)
    (fault,) = report.faults
    assert "ended the process with signal SIGABRT" in report.result(fault.rule).message


@pytest.mark.slow
def test_an_adapter_that_no_other_process_can_import_is_checked_in_this_process() -> None:
    local = adapt.module(MyRNN, isolate=True, **RIGHT)
    report = rnnspec.check(local, profile="quick", rules=["recurrence.output"])
    assert report.ok
    assert any(NOT_ISOLATED in note for note in report.notes)


def test_an_adapter_is_pickled_as_the_name_that_a_module_has_for_it() -> None:
    assert pickle.loads(pickle.dumps(ENDING)) is ENDING
    assert copy.deepcopy(ENDING) is ENDING


@pytest.mark.parametrize(
    ("target", "isolation"),
    [
        (ENDING, True),
        (f"{__name__}:ENDING", True),
        (SILENT, None),
        (MyRNN, None),
        (f"{MyRNN.__module__}:MyRNN", None),
    ],
)
def test_the_declaration_determines_where_the_target_runs(
    target: Any, isolation: bool | None
) -> None:
    assert find_isolation(target) is isolation


def test_another_value_is_refused() -> None:
    with pytest.raises(AdapterError, match="isolate must be True, False or left out, got 'yes'"):
        adapt.module(MyRNN, isolate="yes", **RIGHT)  # type: ignore[arg-type]


def test_cells_and_functions_declare_isolation_too() -> None:
    def compute(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
        return x, h_0

    adapters: list[Adapter] = [
        adapt.function(compute, isolate=False),
        adapt.layer(compute, isolate=False),
        adapt.cell(MyRNN, weights={}, isolate=False),
    ]
    assert [each.isolate for each in adapters] == [False] * 3
