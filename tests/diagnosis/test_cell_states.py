"""Faults of an LSTM are told by their likely causes."""

from __future__ import annotations

import re

import pytest
import torch

import rnnspec
from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.observe.expected import Expected
from rnnspec.selftest.lstm import BUGS
from tests.rules.test_cell_state import DEEP, PACKED, PLAIN, PROJECTED, PROJECTED_DEEP, STATE

TOLD = {
    "RowsReadAsIFOG": "the gates input, forget, output, cell, in this order",
    "RowsReadAsOGFI": "the gates output, cell, forget, input, in this order",
    "ForgetBiasOfOne": "the forget gate is computed from its sum plus 1",
    "InputGateCoupled": "the input gate is 1 minus the forget gate",
    "MemoryShownAsItIs": "the hidden state is o \\* c, without tanh",
    "MemoryClipped": "the cell state is clipped to \\[-3, 3\\]",
    "CellStateLost": "c_0 is ignored",
    "ReturnedPairExchanged": r"the states are returned as \(c_n, h_n\)",
    "FinalCellStateShown": r"c_n is tanh\(c\)",
}


@pytest.mark.parametrize("case", [PLAIN, STATE, DEEP, PACKED, PROJECTED, PROJECTED_DEEP], ids=str)
def test_the_reference_agrees_with_the_oracle(case: Case) -> None:
    expected = Expected(case, rnnspec.draw_values(case))
    with torch.inference_mode():
        given = Given.from_values(case, expected.values)
        output, final = Reference(given).run()
    output = output if given.alive is None else torch.where(given.alive, output, 0.0)
    torch.testing.assert_close(output, torch.from_numpy(expected.output))
    torch.testing.assert_close(final, torch.from_numpy(expected.final))


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLD)
def test_a_fault_of_the_cell_has_its_likely_cause(name: str) -> None:
    report = rnnspec.check(BUGS[name], kind="lstm", profile="quick")
    assert len(report.faults) == 1
    assert re.search(TOLD[name], report.faults[0].likely_cause)
