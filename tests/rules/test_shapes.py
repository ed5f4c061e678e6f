"""Test the rules about shapes: each passes for torch.nn.RNN and reports planted bugs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

import rnnspec
from rnnspec.cases.axes import (
    DType,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    ParameterUpdates,
)
from rnnspec.cases.case import Case
from rnnspec.reference.values import change_values
from rnnspec.report.data import RunVerdict
from rnnspec.selftest import Plain
from tests.rules.checking import check_layer, make_case

BOTH = make_case(num_layers=2, bidirectional=True, initial_state=InitialState.GIVEN)
PACKED = make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), bidirectional=True)
UNBATCHED = make_case(layout=Layout.UNBATCHED, batch_first=True)
EVERYWHERE = [
    make_case(),
    BOTH,
    PACKED,
    UNBATCHED,
    make_case(batch_first=True, steps=1, batch=1),
    make_case(dtype=DType.BFLOAT16, grad_mode=GradMode.INFERENCE),
]
PASSES: dict[str, list[Case]] = {
    "shapes.returns-pair": EVERYWHERE,
    "shapes.output": EVERYWHERE,
    "shapes.h-n": EVERYWHERE,
    "shapes.dtype": EVERYWHERE,
    "shapes.empty-batch": [
        make_case(),
        BOTH,
        make_case(batch_first=True, memory_layout=MemoryLayout.EXPANDED),
        make_case(grad_mode=GradMode.NO_GRAD, prior_use=ParameterUpdates.TRAINED),
        make_case(num_layers=2, dropout=1.0, mode=Mode.TRAIN, nonlinearity="relu"),
    ],
}
FAILS = [
    ("shapes.returns-pair", "StateInTuple", make_case(), "h_n is a tuple of 1, expected a Tensor"),
    (
        "shapes.output",
        "ForwardHalfOnly",
        BOTH,
        r"output has shape \(5, 3, 4\), expected \(5, 3, 8\)",
    ),
    (
        "shapes.output",
        "ForwardHalfOnly",
        PACKED,
        r"the data of output has shape \(8, 4\), expected \(8, 8\)",
    ),
    (
        "shapes.output",
        "StepsJoined",
        make_case(),
        r"output has shape \(1, 3, 20\), expected \(5, 3, 4\)",
    ),
    (
        "shapes.output",
        "BatchAndTimeExchanged",
        make_case(steps=34),
        r"output has shape \(3, 34, 4\), expected \(34, 3, 4\)",
    ),
    (
        "shapes.h-n",
        "StatesWithoutBatch",
        make_case(),
        r"h_n has shape \(1, 4\), expected \(1, 3, 4\)",
    ),
    (
        "shapes.h-n",
        "SingleStateSqueezed",
        make_case(),
        r"h_n has shape \(3, 4\), expected \(1, 3, 4\)",
    ),
    (
        "shapes.h-n",
        "OneStateForBothDirections",
        BOTH,
        r"h_n has shape \(2, 3, 4\), expected \(4, 3, 4\)",
    ),
    ("shapes.h-n", "StatesOfFourAxes", BOTH, r"h_n has shape \(2, 2, 3, 4\), expected \(4, 3, 4\)"),
    (
        "shapes.dtype",
        "BfloatStateWidened",
        make_case(dtype=DType.BFLOAT16),
        "h_n is torch.float32, expected torch.bfloat16",
    ),
    (
        "shapes.dtype",
        "HalfStateWidened",
        make_case(dtype=DType.FLOAT16),
        "h_n is torch.float32, expected torch.float16",
    ),
    (
        "shapes.empty-batch",
        "EmptyBatchRefused",
        make_case(),
        "with zero sequences, the call raised RuntimeError",
    ),
    (
        "shapes.empty-batch",
        "EmptyBatchDivides",
        make_case(),
        r"^with zero sequences, the gradient of weight_ih_l0 has an element nan, expected 0$",
    ),
]


class Alone(nn.RNN):
    """A layer that returns only its output."""

    def forward(self, *given: Any) -> Any:
        return super().forward(*given)[0]


class Unpacked(nn.RNN):
    """A layer that returns the bare data of a packed output."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return getattr(output, "data", output), h_n


class OneStateForNone(Plain):
    """A layer that returns a state for one sample if there are none."""

    changes = change_values(
        {"final.h": lambda h: h if h.size(1) else h.new_zeros(h.size(0), 1, h.size(2))}
    )


class BackwardNeedsSamples(Plain):
    """A layer whose results do not require gradients if there are no samples."""

    changes = change_values(dict.fromkeys(("output", "final.h"), torch.detach)).require(
        lambda spot: not spot.call.sizes[0]
    )


@pytest.mark.parametrize(
    ("name", "kind", "near", "text"),
    [
        (
            "shapes.returns-pair",
            Alone,
            make_case(),
            "a call returned a Tensor, expected a pair of output and h_n",
        ),
        ("shapes.returns-pair", Unpacked, PACKED, "output is a Tensor, expected a PackedSequence"),
        (
            "shapes.empty-batch",
            OneStateForNone,
            make_case(),
            r"a batch of zero sequences gives shapes \(\(5, 0, 4\), \(1, 1, 4\)\), "
            r"expected \(\(5, 0, 4\), \(1, 0, 4\)\)",
        ),
        (
            "shapes.empty-batch",
            BackwardNeedsSamples,
            make_case(),
            "with zero sequences, backward raised RuntimeError",
        ),
    ],
)
def test_other_faults_are_reported(name: str, kind: type[nn.Module], near: Case, text: str) -> None:
    assert re.search(text, str(check_layer(name, kind, near)))


class PlainTuple(nn.RNN):
    """A layer that returns packed output as a tuple of another type."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return (tuple(output), h_n) if isinstance(output, PackedSequence) else (output, h_n)


def test_packed_output_of_another_type_is_no_error_of_the_checker() -> None:
    chosen = ["shapes.output", "shapes.dtype", "states.h-n-is-last-output"]
    report = rnnspec.check(PlainTuple, profile="quick", kind="rnn", rules=chosen, cases=40)
    assert "'tuple' object has no attribute" not in str(report)
    assert report.verdict is RunVerdict.VIOLATES
