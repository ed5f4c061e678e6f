"""The rules about packed sequences: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import GradMode, InitialState, Layout
from rnnspec.engine.outcome import Finding
from rnnspec.selftest import BUGS, Plain
from tests.rules.checking import Fails, Passes, check_layer, make_case

SORTED = make_case(layout=Layout.PACKED, lengths=(5, 4, 2))
UNSORTED = make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1))
STATED = make_case(
    layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), initial_state=InitialState.GIVEN
)
FOUR = make_case(layout=Layout.PACKED_UNSORTED, batch=4, lengths=(2, 5, 1, 4))
EQUAL = make_case(layout=Layout.PACKED, lengths=(5, 5, 5), initial_state=InitialState.GIVEN)
BOTH = make_case(
    layout=Layout.PACKED,
    lengths=(5, 4, 2),
    bidirectional=True,
    initial_state=InitialState.GIVEN,
    num_layers=2,
)
PASSES: Passes = {
    "packed.returns-packed": [SORTED, UNSORTED, EQUAL],
    "packed.indices": [SORTED, UNSORTED, EQUAL],
    "packed.pad-back": [
        SORTED,
        UNSORTED,
        make_case(
            layout=Layout.PACKED_UNSORTED,
            lengths=(2, 5, 1),
            batch_first=True,
            grad_mode=GradMode.INFERENCE,
        ),
    ],
    "packed.unsorted": [
        UNSORTED,
        make_case(
            layout=Layout.PACKED_UNSORTED,
            lengths=(2, 5, 1),
            bidirectional=True,
            initial_state=InitialState.GIVEN,
        ),
    ],
    "packed.padding": [SORTED, UNSORTED, BOTH],
    "packed.h-n": [SORTED, UNSORTED, BOTH],
    "packed.output": [SORTED, UNSORTED, BOTH],
    "packed.batch-first-ignored": [
        make_case(
            layout=Layout.PACKED_UNSORTED,
            lengths=(2, 5, 1),
            batch_first=True,
            initial_state=InitialState.GIVEN,
        )
    ],
    "packed.full-length": [
        EQUAL,
        make_case(layout=Layout.PACKED, lengths=(5, 5, 5), batch_first=True, bidirectional=True),
    ],
    "packed.sequences": [SORTED, UNSORTED, BOTH],
    "packed.one-step": [make_case(layout=Layout.PACKED, steps=1, lengths=(1, 1, 1))],
    "packed.one-sequence": [
        make_case(layout=Layout.PACKED, batch=1, lengths=(5,), bidirectional=True)
    ],
    "packed.ties": [
        make_case(layout=Layout.PACKED, lengths=(5, 2, 2)),
        make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 2), bidirectional=True),
    ],
}
FAILS: Fails = [
    (
        "packed.indices",
        "IndicesNarrowed",
        UNSORTED,
        "^sorted_indices of the output is torch.int32 on cpu; expected torch.int64 on cpu$",
    ),
    (
        "packed.returns-packed",
        "ReturnsPadded",
        SORTED,
        "for packed input, output is a Tensor; expected PackedSequence",
    ),
    (
        "packed.indices",
        "IndicesLost",
        UNSORTED,
        r"sorted_indices of the output is None; expected \[1, 0, 2\]",
    ),
    ("packed.indices", "ReturnsPadded", UNSORTED, "output is a Tensor; expected PackedSequence"),
    (
        "packed.pad-back",
        "IndicesLost",
        UNSORTED,
        r"returns the lengths \[5, 2, 1\]; expected \[2, 5, 1\]",
    ),
    (
        "packed.unsorted",
        "GivenStatesNotSorted",
        make_case(
            layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), initial_state=InitialState.GIVEN
        ),
        "^h_0.order-unsorted$",
    ),
    (
        "packed.unsorted",
        "FinalStatesStaySorted",
        UNSORTED,
        "^h_n.order-unsorted$",
    ),
    (
        "packed.unsorted",
        "FinalStatesSortedTwice",
        FOUR,
        "^h_n.order-other-indices$",
    ),
    (
        "packed.unsorted",
        "FinalCellStateSorted",
        make_case(kind="lstm", layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
        "^c_n.sorted$",
    ),
    ("packed.padding", "PaddingChangesBackwardState", BOTH, r"h_n\[1, 0, 0\] is .*, expected"),
    ("packed.padding", "FinalStateAfterPadding", SORTED, r"h_n\[0, 0, 0\] is .*, expected"),
    ("packed.h-n", "FinalStateAfterPadding", SORTED, r"h_n\[0, 1, 0\] is .*, expected"),
    ("packed.h-n", "EndedSequencesForgotten", SORTED, "is 0, expected"),
    ("packed.output", "BackwardStartsInPadding", BOTH, "output"),
    ("packed.output", "LastStepWithoutState", SORTED, r"output\[4, 0, 0\] is .*, expected"),
    ("packed.output", "BackwardStateForLongestOnly", BOTH, "output"),
    (
        "packed.batch-first-ignored",
        "LastStepWithoutState",
        make_case(layout=Layout.PACKED, lengths=(5, 4, 2), batch_first=True),
        "output",
    ),
    (
        "packed.one-sequence",
        "StateNeverAdvances",
        make_case(layout=Layout.PACKED, batch=1, lengths=(5,)),
        "output",
    ),
    (
        "packed.one-step",
        "HiddenBiasLost",
        make_case(layout=Layout.PACKED, steps=1, lengths=(1, 1, 1)),
        "output",
    ),
    (
        "packed.ties",
        "TiesExchanged",
        make_case(layout=Layout.PACKED, lengths=(5, 2, 2)),
        r"h_n\[0, 1, 0\] is .*, expected",
    ),
]

WITHOUT_PLANTED_BUG = {"packed.full-length", "packed.sequences"}


class StateLostInPacked(Plain):
    """A layer that ignores h_0 if the input is packed."""

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        return super().forward_packed(input, None)


class StateLostWithoutGradient(Plain):
    """A layer that ignores h_0 if the packed data requires no gradient."""

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        return super().forward_packed(input, hx if input.data.requires_grad else None)


def test_faulty_code_path_for_packed_input_is_reported() -> None:
    finding = check_layer("packed.full-length", StateLostInPacked, EQUAL)
    assert isinstance(finding, Finding)
    assert finding.message.startswith("output[0, 0, 0] is ")


def test_dependence_on_where_the_data_comes_from_is_reported() -> None:
    assert check_layer("packed.sequences", StateLostWithoutGradient, EQUAL) is not None


def test_other_faults_are_not_blamed_on_the_order() -> None:
    assert check_layer("packed.unsorted", BUGS["LastStepWithoutState"], UNSORTED) is None
