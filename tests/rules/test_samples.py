"""The rules of samples: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnnspec.cases.axes import Distribution, DType, InitialState, Layout, MemoryLayout
from rnnspec.engine.outcome import Finding, check_case
from rnnspec.observe.observation import Observation
from rnnspec.reference.values import change_values
from rnnspec.rulekit.assertions.nan_propagation import call_with_planted_input, choose_spot
from rnnspec.rulekit.rule import Theme
from rnnspec.rules.catalogue import find_layer_rule, list_layer_rules
from rnnspec.rules.samples import HUGE_VALUES
from rnnspec.selftest import Plain
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, find_applicable_cases, make_case

UNSORTED = make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1))
PASSES: Passes = {
    "samples.independent": [
        make_case(),
        UNSORTED,
        make_case(bidirectional=True, num_layers=2, batch_first=True),
        make_case(distribution=Distribution.TERNARY),
    ],
    "samples.huge": [
        make_case(),
        UNSORTED,
        make_case(nonlinearity="relu", dtype=DType.FLOAT16),
        make_case(dtype=DType.BFLOAT16, bidirectional=True),
    ],
    "samples.permuted": [
        make_case(),
        UNSORTED,
        make_case(batch=2, initial_state=InitialState.GIVEN, batch_first=True),
        make_case(batch=9, memory_layout=MemoryLayout.TRANSPOSED),
    ],
    "samples.alone": [
        make_case(),
        UNSORTED,
        make_case(layout=Layout.PACKED, lengths=(5, 4, 2), initial_state=InitialState.GIVEN),
        make_case(batch_first=True),
    ],
}
FAILS: Fails = [
    ("samples.independent", "BatchLeaks", make_case(), "of the other samples.* is nan, expected"),
    (
        "samples.independent",
        "NeighbourLeaks",
        make_case(batch=17),
        "of the other samples.* is nan, expected",
    ),
    ("samples.permuted", "SamplesInOneBlock", make_case(batch=17), "output"),
    ("samples.permuted", "NeighbourLeaks", make_case(batch=17), "output"),
    ("samples.permuted", "NeighbourLeaks", make_case(kind="lstm", batch=17), "output"),
    ("samples.alone", "SamplesInOneBlock", make_case(batch=40), "output"),
    ("samples.alone", "BatchLeaks", make_case(), "output"),
]


def test_no_rule_applies_to_samples_that_share_memory() -> None:
    applied = [
        rule.id
        for rule in list_layer_rules()
        if rule.theme is Theme.SAMPLES
        for seed in range(40)
        if rule.when(make_case(memory_layout=MemoryLayout.EXPANDED, seed=seed))
    ]
    assert applied == []


class BatchNormalised(Plain):
    """All samples are scaled by the norm of the whole batch if it exceeds 100."""

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return steps * torch.clamp(100 / (steps.norm() + 1), max=1)


def test_a_scale_shared_by_all_samples_is_reported() -> None:
    finding = check_layer("samples.huge", BatchNormalised, make_case())
    assert isinstance(finding, Finding)
    assert finding.message.startswith("output[0, 0, 0] is ")


class InfinityNextDoor(Plain):
    """In 16-bit dtypes, an infinity in one row of the states reaches the row before, times zero.

    Some kernels for 16-bit numbers do that.
    """

    changes = change_values(
        {"updated.h": lambda h: h + 0.0 * h.roll(-1, 0)},
        lambda spot: spot.call.input.dtype in (torch.bfloat16, torch.float16),
    )


def test_infinities_that_16_bit_kernels_carry_to_other_rows_are_not_reported() -> None:
    steep = make_case(
        nonlinearity="relu",
        distribution=Distribution.INTEGER,
        dtype=DType.FLOAT16,
        steps=40,
        num_layers=3,
    )
    subject = TorchSubject(resolve_target(InfinityNextDoor))
    observations = [
        Observation(subject, candidate)
        for candidate in find_applicable_cases(find_layer_rule("samples.huge"), steep, 8)
    ]
    spoiled = [
        call_with_planted_input(
            each, (slice(None), choose_spot(each.case).sample), HUGE_VALUES[DType.FLOAT16]
        )
        for each in observations
    ]
    assert any(np.isinf(each.output).any() or np.isnan(each.output).any() for each in spoiled), (
        "no infinity arises, so these cases test nothing"
    )
    assert [check_case(find_layer_rule("samples.huge"), each) for each in observations] == [
        None
    ] * len(observations)
