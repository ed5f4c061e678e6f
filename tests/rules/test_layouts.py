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
from tests.rules.judged import Fails, Passes, make_case, make_test_ids, judge_layer
from tests.rules.proven import prove_violation

PASSES: Passes = {
    "layouts.batch-first": [
        make_case(),
        make_case(batch_first=True, num_layers=2, initial_state=InitialState.GIVEN),
        make_case(batch_first=True, steps=3),
    ],
    "layouts.states-stay-layer-first": [
        make_case(batch_first=True, initial_state=InitialState.GIVEN, bidirectional=True),
        make_case(batch_first=True, num_layers=3),
    ],
    "layouts.unbatched": [
        make_case(layout=Layout.UNBATCHED),
        make_case(layout=Layout.UNBATCHED, batch_first=True, initial_state=InitialState.GIVEN),
    ],
    "layouts.batch-of-one": [
        make_case(batch=1, batch_first=True),
        make_case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        make_case(batch=1, grad_mode=GradMode.INFERENCE),
    ],
    "layouts.memory-layout": [
        make_case(memory=memory, initial_state=InitialState.GIVEN) for memory in ("transposed", "sliced", "expanded")
    ],
}
MAJOR = make_case(batch_first=True, num_layers=3, initial_state=InitialState.GIVEN)
FAILS: Fails = [
    (
        "layouts.states-stay-layer-first",
        "FinalStateBatchFirst",
        make_case(batch_first=True),
        r"shape of h_n\[0\]   expected 1   got 3 ",
    ),
    (
        "layouts.batch-first",
        "OutputStaysTimeMajor",
        make_case(batch_first=True, steps=3),
        r"output\[0, 1, 0\]   expected",
    ),
    ("layouts.batch-first", "ReshapedToTimeMajor", make_case(batch_first=True), "expected"),
    ("layouts.batch-first", "AlwaysBatchFirst", make_case(), "as if the first axis were the batch$"),
    (
        "layouts.batch-first",
        "SquareTakenForBatchFirst",
        make_case(steps=3),
        "as if the first axis were the batch, and that of the output",
    ),
    (
        "layouts.states-stay-layer-first",
        "FinalStateBatchFirst",
        make_case(batch_first=True, num_layers=3),
        r"h_n\[0, 1, 0\]   expected",
    ),
    (
        "layouts.states-stay-layer-first",
        "InitialStateBatchFirst",
        make_case(batch_first=True, num_layers=3, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\]",
    ),
    (
        "layouts.unbatched",
        "UnbatchedStateIgnored",
        make_case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\]   expected",
    ),
    (
        "layouts.unbatched",
        "UnbatchedBackwardsInTime",
        make_case(layout=Layout.UNBATCHED, batch_first=True),
        r"output\[0, 0, 0\]   expected",
    ),
    (
        "layouts.batch-of-one",
        "UnbatchedStateIgnored",
        make_case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\]   expected",
    ),
    (
        "layouts.memory-layout",
        "StridesIgnored",
        make_case(memory_layout=MemoryLayout.TRANSPOSED),
        r"output\[0, 0, 0\]   expected",
    ),
    ("layouts.memory-layout", "OffsetIgnored", make_case(memory_layout=MemoryLayout.SLICED), "expected .* got nan"),
]


every_rule = pytest.mark.parametrize("name", PASSES)
every_bug = pytest.mark.parametrize(("name", "bug", "near", "text"), FAILS, ids=make_test_ids(FAILS))


@every_rule
def test_torch_passes(name: str) -> None:
    assert [judge_layer(name, nn.RNN, near) for near in PASSES[name]] == [None] * len(PASSES[name])


@every_bug
def test_a_planted_bug_is_told_and_proven(name: str, bug: str, near: Case, text: str) -> None:
    assert re.search(text, prove_violation(name, bug, near))


def test_every_rule_is_tried() -> None:
    assert (
        {rule.id for rule in list_layer_rules() if rule.theme == "layouts"}
        == set(PASSES)
        == {name for name, *_ in FAILS}
    )


def test_another_fault_is_not_blamed_on_the_axes() -> None:
    """Without batch_first a wrong number alone is no reason to speak of axes."""
    assert judge_layer("layouts.batch-first", BUGS["HiddenBiasLost"], make_case()) is None


def test_strides_of_size_one_are_no_strides() -> None:
    when = find_layer_rule("layouts.memory-layout").when
    assert not when(make_case(memory_layout=MemoryLayout.TRANSPOSED, steps=1, batch=1))
    assert not when(make_case(memory_layout=MemoryLayout.EXPANDED, layout=Layout.PACKED, lengths=(5, 4, 2)))
    assert when(make_case(memory_layout=MemoryLayout.SLICED, steps=1, batch=1))


def test_a_state_that_is_refused_is_told() -> None:
    finding = judge_layer(
        "layouts.states-stay-layer-first",
        BUGS["InitialStateBatchFirst"],
        make_case(batch_first=True, initial_state=InitialState.GIVEN),
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
        judge_layer("layouts.batch-of-one", OneSampleLosesItsState, make_case(batch=1, initial_state=InitialState.GIVEN))
        is not None
    )
    assert (
        judge_layer("layouts.batch-of-one", BUGS["UnbatchedStateIgnored"], make_case(batch=1, initial_state=InitialState.GIVEN))
        is None
    )
    assert judge_layer("layouts.batch-of-one", BUGS["HiddenBiasLost"], make_case(batch=1)) is None
