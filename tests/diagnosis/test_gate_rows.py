"""What is done to the rows of one gate is told with the gate and the weight."""

from __future__ import annotations

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis.mistakes.gate_rows import HYPOTHESES
from rnnspec.diagnosis.mistakes.places import PLACES
from tests.diagnosis.planted_mistakes import diagnose, list_cases


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_each_is_told(name: str) -> None:
    kind = KINDS[name]
    cases = list_cases(name)[:20]
    mistakes = [each for each in HYPOTHESES[:: len(PLACES)] if each.of(kind)]
    causes = [diagnose(each, cases=cases) for each in mistakes]
    assert [each and each.text for each in causes] == [each.text for each in mistakes]
    assert len(mistakes) == 4 * len(kind.gates)
