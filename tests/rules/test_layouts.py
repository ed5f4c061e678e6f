"""The rules about layouts: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rnnspec.cases.axes import GradMode, InitialState, Layout, MemoryLayout
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS, Plain
from tests.rules.checking import Fails, Passes, check_layer, make_case

PASSES: Passes = {
    "layouts.input-by-name": [
        make_case(),
        make_case(initial_state=InitialState.GIVEN, layout=Layout.UNBATCHED),
        make_case(layout=Layout.PACKED, lengths=(5, 4, 2)),
    ],
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
        make_case(memory_layout=layout, initial_state=InitialState.GIVEN)
        for layout in (MemoryLayout.TRANSPOSED, MemoryLayout.SLICED, MemoryLayout.EXPANDED)
    ],
}
FAILS: Fails = [
    (
        "layouts.input-by-name",
        "FirstArgumentNamedX",
        make_case(),
        r"^layer\(input=input\) raised TypeError: .*unexpected keyword argument 'input'$",
    ),
    (
        "layouts.states-stay-layer-first",
        "FinalStateBatchFirst",
        make_case(batch_first=True),
        r"h_n has shape \(3, 1, 4\), expected \(1, 3, 4\)",
    ),
    (
        "layouts.batch-first",
        "OutputStaysTimeMajor",
        make_case(batch_first=True, steps=3),
        r"output\[0, 1, 0\] is .*, expected",
    ),
    ("layouts.batch-first", "ReshapedToTimeMajor", make_case(batch_first=True), "expected"),
    (
        "layouts.batch-first",
        "AlwaysBatchFirst",
        make_case(),
        "^axes.batch-first.input-and-output$",
    ),
    (
        "layouts.batch-first",
        "SquareTakenForBatchFirst",
        make_case(steps=3),
        "^axes.batch-first.input$",
    ),
    (
        "layouts.states-stay-layer-first",
        "FinalStateBatchFirst",
        make_case(batch_first=True, num_layers=3),
        r"h_n\[0, 1, 0\] is .*, expected",
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
        r"output\[0, 0, 0\] is .*, expected",
    ),
    (
        "layouts.unbatched",
        "UnbatchedBackwardsInTime",
        make_case(layout=Layout.UNBATCHED, batch_first=True),
        r"output\[0, 0, 0\] is .*, expected",
    ),
    (
        "layouts.batch-of-one",
        "UnbatchedStateIgnored",
        make_case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN),
        r"output\[0, 0, 0\] is .*, expected",
    ),
    (
        "layouts.memory-layout",
        "StridesIgnored",
        make_case(memory_layout=MemoryLayout.TRANSPOSED),
        r"output\[0, 0, 0\] is .*, expected",
    ),
    (
        "layouts.memory-layout",
        "GapsIgnored",
        make_case(memory_layout=MemoryLayout.CUT),
        r"output\[1, 0, 0\] is .*, expected",
    ),
    (
        "layouts.memory-layout",
        "OffsetIgnored",
        make_case(memory_layout=MemoryLayout.SLICED),
        "is nan, expected",
    ),
    (
        "layouts.memory-layout",
        "RepeatedStepComputedOnce",
        make_case(memory_layout=MemoryLayout.EXPANDED, initial_state=InitialState.GIVEN, seed=2),
        r"output\[1, 0, 0\] for an input that repeats a time step is .*, expected",
    ),
]


def test_other_faults_are_not_blamed_on_exchanged_dimensions() -> None:
    assert check_layer("layouts.batch-first", BUGS["HiddenBiasLost"], make_case()) is None


def test_dimensions_of_size_one_do_not_count_as_strided() -> None:
    when = find_layer_rule("layouts.memory-layout").when
    assert not when(make_case(memory_layout=MemoryLayout.TRANSPOSED, steps=1, batch=1))
    assert not when(
        make_case(memory_layout=MemoryLayout.EXPANDED, layout=Layout.PACKED, lengths=(5, 4, 2))
    )
    assert when(make_case(memory_layout=MemoryLayout.SLICED, steps=1, batch=1))


@pytest.mark.parametrize("layout", [Layout.BATCHED, Layout.PACKED])
def test_a_strided_state_counts_with_any_input(layout: Layout) -> None:
    when = find_layer_rule("layouts.memory-layout").when
    one = Config(1, 2, num_layers=2)
    for memory_layout in set(MemoryLayout) - {MemoryLayout.CONTIGUOUS}:
        case = make_case(layout=layout, lengths=(1, 1), steps=1, memory_layout=memory_layout)
        assert when(replace(case, config=one, batch=2, initial_state=InitialState.GIVEN))


def test_rejected_state_is_reported() -> None:
    finding = check_layer(
        "layouts.states-stay-layer-first",
        BUGS["InitialStateBatchFirst"],
        make_case(batch_first=True, initial_state=InitialState.GIVEN),
    )
    assert isinstance(finding, Finding)
    assert finding.kind is FindingKind.VIOLATION
    assert re.match(
        r"h_0 of shape \(1, 3, 4\) should be accepted; the call raised RuntimeError",
        finding.message,
    )


class OneSampleLosesItsState(Plain):
    """A layer that ignores h_0 for a batch of one."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        states = super().to_batched_states(hx, batched)
        return torch.zeros_like(states) if batched and states.size(1) == 1 else states


def test_a_batch_of_one_is_blamed_only_if_a_batch_of_two_is_right() -> None:
    assert (
        check_layer(
            "layouts.batch-of-one",
            OneSampleLosesItsState,
            make_case(batch=1, initial_state=InitialState.GIVEN),
        )
        is not None
    )
    assert (
        check_layer(
            "layouts.batch-of-one",
            BUGS["UnbatchedStateIgnored"],
            make_case(batch=1, initial_state=InitialState.GIVEN),
        )
        is None
    )
    assert check_layer("layouts.batch-of-one", BUGS["HiddenBiasLost"], make_case(batch=1)) is None
