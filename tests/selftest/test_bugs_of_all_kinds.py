"""A bug that is not about the cell does the same to a layer of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.selftest import BUGS
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.settings import restore_settings

GATED_LAYERS = [name for name, kind in KINDS.items() if kind.is_gated and not kind.is_cell]


def make_state(kind: str, rows: int, batch: int) -> Any:
    """Return the initial states of a kind as a call takes them."""
    states = tuple(torch.randn(rows, batch, 3) for _ in KINDS[kind].states)
    return states if len(states) > 1 else states[0]


def list_stopped_calls(kind: str, name: str) -> list[str]:
    """Return the ordinary calls in which a planted bug raises."""
    layer = find_bank(kind).bugs[name]
    sequence = torch.randn(4, 2, 3)
    packed = pack_padded_sequence(sequence, torch.tensor([4, 2]))
    calls: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
        "of a sequence": ({}, (sequence,)),
        "with states": ({}, (sequence, make_state(kind, 1, 2))),
        "of one sample": ({"num_layers": 2}, (sequence[:, :1], make_state(kind, 2, 1))),
        "of packed sequences": ({}, (packed,)),
        "in two directions": ({"bidirectional": True}, (sequence, make_state(kind, 2, 2))),
    }
    stopped = []
    with restore_settings():  # some bugs change global settings, which later tests look at
        for title, (config, given) in calls.items():
            try:
                layer(3, 3, **config)(*given)
            except Exception:
                stopped.append(title)
    return stopped


@pytest.mark.slow
@pytest.mark.parametrize("kind", GATED_LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_a_bug_stops_no_ordinary_call_that_it_does_not_stop_in_an_ungated_layer(kind: str) -> None:
    torch.manual_seed(0)
    shared = [name for name in find_bank(kind).bugs if name in BUGS]
    found = {name: list_stopped_calls(kind, name) for name in shared}
    expected = {name: list_stopped_calls(UNGATED.name, name) for name in shared}
    assert found == expected
