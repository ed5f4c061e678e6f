"""Test that programs state the expectation in words."""

import pytest
import torch

from rnnspec import check
from rnnspec.report.expectation import state_expectation
from rnnspec.selftest import BUGS

SOURCE = """import torch

x = torch.zeros(2)

def close(got, expected):
    torch.testing.assert_close(
        got, expected, rtol=1e-09, atol=1e-09, equal_nan=True
    )

{last}
"""
LONG = "The `state` before the first time step is h_0, " * 3 + "and nothing else."


@pytest.mark.parametrize("last", ["close(x, x + 1)", "assert x.sum() == 1"])
@pytest.mark.parametrize("requirement", ["It's 'so' and \"so\".", LONG])
def test_a_failing_assertion_states_the_expectation(last: str, requirement: str) -> None:
    source = state_expectation(SOURCE.format(last=last), requirement)
    with pytest.raises(AssertionError) as raised:
        exec(compile(source, "<program>", "exec"), {})
    assert str(raised.value).startswith(requirement)
    assert max(map(len, source.splitlines())) <= 100


@pytest.mark.parametrize("last", ["close(x, x)", "assert x.sum() == 0"])
def test_a_passing_program_still_passes(last: str) -> None:
    exec(compile(state_expectation(SOURCE.format(last=last), LONG), "<program>", "exec"), {})


def test_a_message_of_its_own_is_kept_and_a_program_without_assertions_is_too() -> None:
    shown = "import torch\nassert torch.zeros(1), 'shown'\n"
    assert state_expectation(shown, LONG) == shown
    assert (
        state_expectation("import torch\ntorch.zeros(1)\n", LONG)
        == "import torch\ntorch.zeros(1)\n"
    )


@pytest.mark.slow
def test_the_program_of_a_report_states_the_expectation() -> None:
    report = check(BUGS["ReluForgotten"], profile="quick", rules=["nonlinearity.*"])
    result = report.result(report.faults[0].rule)
    assert result.repro is not None
    with pytest.raises(AssertionError, match="max\\(0, x\\)"):
        exec(compile(result.repro, "<program>", "exec"), {"torch": torch})
