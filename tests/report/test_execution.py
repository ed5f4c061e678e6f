"""Test how reproduction programs are run: the comparisons they make, and their cost."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rnnspec.report.execution import assert_close

ONE = torch.tensor([[1.0, 2.0], [3.0, float("nan")]], dtype=torch.float64)
OTHERS = {
    "itself": ONE,
    "off by less than the tolerance": ONE + 1e-10,
    "off by more": ONE + 1e-3,
    "another dtype": ONE.float(),
    "another shape": ONE[:1],
    "a shape that would be broadcast": ONE[0],
    "without the NaN": ONE.nan_to_num(0.0),
    "an infinite value": ONE.clone().fill_(float("inf")),
    "another layout": ONE.to_sparse(),
    "two tensors": (ONE, ONE),
}
PROGRAM = """
import sys, torch
from rnnspec.report.execution import is_failing_program
from rnnspec.subjects.target import resolve_target
source = "torch.testing.assert_close(torch.ones(1), torch.{}(1), rtol=0, atol=0)"
target = resolve_target("torch.nn:RNN")
found = [is_failing_program("import torch; " + source.format(each), target) for each in
         ("ones", "zeros")]
print(found, "torch.distributed.tensor" in sys.modules, torch.testing.assert_close.__module__)
"""


@pytest.mark.parametrize("what", list(OTHERS))
def test_comparison_fails_where_that_of_torch_does(what: str) -> None:
    def fails(compare: object) -> bool:
        try:
            compare(ONE, OTHERS[what], rtol=1e-9, atol=1e-9, equal_nan=True)  # type: ignore[operator]
        except (AssertionError, TypeError, ValueError):
            return True
        return False

    assert fails(assert_close) is fails(torch.testing.assert_close)


def test_comparison_without_tolerances_is_that_of_torch() -> None:
    single = ONE.nan_to_num(0.0).float()
    assert_close(single, single + 1e-6)
    with pytest.raises(AssertionError, match="not close"):
        assert_close(single, single + 1e-3)


@pytest.mark.slow
def test_trying_a_program_imports_nothing_for_distributed_tensors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[False,", "True]", "False", "torch.testing._comparison"]
