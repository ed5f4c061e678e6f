"""The rules of the layouts: each passes for torch.nn.RNN and tells what a planted bug does."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from rnnspec.cases.axes import GradMode, InitialState, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding
from rnnspec.rules.catalogue import find_layer_rule, list_layer_rules
from rnnspec.selftest import BUGS, Plain
from tests.rules.judged import Fails, Passes, case, names, verdict
from tests.rules.proven import told_and_proven

PASSES: Passes = {
    "layouts.batch-first": [
        case(),
        case(batch_first=True, num_layers=2, initial_state=InitialState.GIVEN),
        case(batch_first=True, steps=3),
    ],
    "layouts.states-stay-layer-first": [
        case(batch_first=True, initial_state=InitialState.GIVEN, bidirectional=True),
        case(batch_first=True, num_layers=3),
    ],
    "layouts.unbatched": [
        case(layout=Layout.UNBATCHED),
        case(layout=Layout.UNBATCHED, batch_first=True, initial_state=InitialState.GIVEN),
    ],
    "layouts.batch-of-one": [
        case(batch=1, batch_first=True),
        case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        case(batch=1, grad_mode=GradMode.INFERENCE),
    ],
    "layouts.memory-layout": [
        case(memory=memory, initial_state=InitialState.GIVEN) for memory in ("transposed", "sliced", "expanded")
    ],
}
MAJOR = case(batch_first=True, num_layers=3, initial_state=InitialState.GIVEN)
FAILS: Fails = [
    (
        "layouts.states-stay-layer-first",
        "FinalStateBatchFirst",
        case(batch_first=True),
        r"shape of h_n\[0\]   expected 1   got 3 ",
    ),
    (
        "layouts.batch-first",
        "OutputStaysTimeMajor",
        case(batch_first=True, steps=3),
        r"output\[0, 1, 0\]   expected",
    ),
    ("layouts.batch-first", "ReshapedToTimeMajor", case(batch_first=True), "expected"),
    ("layouts.batch-first", "AlwaysBatchFirst", case(), "as if the first axis were the batch$"),
    (
        "layouts.batch-first",
        "SquareTakenForBatchFirst",
        case(steps=3),
        "as if the first axis were the batch, and that of the output",
    ),
    (
        "layouts.states-stay-layer-first",
        "FinalStateBatchFirst",
        case(batch_first=True, num_layers=3),
        r"h_n\[0, 1, 0\]   expected",
    ),
    (
        "layouts.states-stay-layer-first",
        "InitialStateBatchFirst",
        case(batch_first=True, num_layers=3, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\]",
    ),
    (
        "layouts.unbatched",
        "UnbatchedStateIgnored",
        case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\]   expected",
    ),
    (
        "layouts.unbatched",
        "UnbatchedBackwardsInTime",
        case(layout=Layout.UNBATCHED, batch_first=True),
        r"output\[0, 0, 0\]   expected",
    ),
    (
        "layouts.batch-of-one",
        "UnbatchedStateIgnored",
        case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\]   expected",
    ),
    (
        "layouts.memory-layout",
        "StridesIgnored",
        case(memory_layout=MemoryLayout.TRANSPOSED),
        r"output\[0, 0, 0\]   expected",
    ),
    ("layouts.memory-layout", "OffsetIgnored", case(memory_layout=MemoryLayout.SLICED), "expected .* got nan"),
]


every_rule = pytest.mark.parametrize("name", PASSES)
every_bug = pytest.mark.parametrize(("name", "bug", "near", "text"), FAILS, ids=names(FAILS))


@every_rule
def test_torch_passes(name: str) -> None:
    assert [verdict(name, nn.RNN, near) for near in PASSES[name]] == [None] * len(PASSES[name])


@every_bug
def test_a_planted_bug_is_told_and_proven(name: str, bug: str, near: Case, text: str) -> None:
    assert re.search(text, told_and_proven(name, bug, near))


def test_every_rule_is_tried() -> None:
    assert (
        {rule.id for rule in list_layer_rules() if rule.theme == "layouts"}
        == set(PASSES)
        == {name for name, *_ in FAILS}
    )


def test_another_fault_is_not_blamed_on_the_axes() -> None:
    """Without batch_first a wrong number alone is no reason to speak of axes."""
    assert verdict("layouts.batch-first", BUGS["HiddenBiasLost"], case()) is None


def test_strides_of_size_one_are_no_strides() -> None:
    when = find_layer_rule("layouts.memory-layout").when
    assert not when(case(memory_layout=MemoryLayout.TRANSPOSED, steps=1, batch=1))
    assert not when(case(memory_layout=MemoryLayout.EXPANDED, layout=Layout.PACKED, lengths=(5, 4, 2)))
    assert when(case(memory_layout=MemoryLayout.SLICED, steps=1, batch=1))


def test_a_state_that_is_refused_is_told() -> None:
    finding = verdict(
        "layouts.states-stay-layer-first",
        BUGS["InitialStateBatchFirst"],
        case(batch_first=True, initial_state=InitialState.GIVEN),
    )
    assert isinstance(finding, Finding)
    assert not finding.blocked
    assert re.match(
        r"a state of shape \(1, 3, 4\) is refused: the call raised RuntimeError", finding.message
    )


class OneSampleLosesItsState(Plain):
    """A batch of one starts from zeros."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        states = super().to_batched_states(hx, batched)
        return torch.zeros_like(states) if batched and states.size(1) == 1 else states


def test_a_batch_of_one_is_blamed_where_a_batch_of_two_is_right() -> None:
    assert (
        verdict("layouts.batch-of-one", OneSampleLosesItsState, case(batch=1, initial_state=InitialState.GIVEN))
        is not None
    )
    assert (
        verdict("layouts.batch-of-one", BUGS["UnbatchedStateIgnored"], case(batch=1, initial_state=InitialState.GIVEN))
        is None
    )
    assert verdict("layouts.batch-of-one", BUGS["HiddenBiasLost"], case(batch=1)) is None
