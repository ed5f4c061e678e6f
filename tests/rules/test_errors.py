"""The rules about invalid calls: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import DType, EarlierCalls, GradMode, InitialState, Layout, Mode, ModuleUses
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding, UnsupportedCase, check_case
from rnnspec.observe.observation import Observation
from rnnspec.reference.values import change_values
from rnnspec.rulekit.rejections import calls
from rnnspec.rulekit.rejections.calls import (
    InvalidCall,
    build_valid_call,
    list_wrong_sizes,
    resize_dimension,
)
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import Plain
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules import test_cell_state
from tests.rules.checking import check_layer, describe_violation, make_case

BOTH = make_case(num_layers=2, bidirectional=True, initial_state=InitialState.GIVEN)
SORTED = make_case(layout=Layout.PACKED, lengths=(5, 2, 1), num_layers=2)
UNSORTED = make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), num_layers=2)
UNBATCHED = make_case(layout=Layout.UNBATCHED, batch_first=True, num_layers=2)
FIRST = make_case(batch_first=True, initial_state=InitialState.GIVEN, prior_use=EarlierCalls.CALLED)
ONE = make_case(batch=1, steps=1, hidden_size=1, input_size=1)
PADDED = [
    make_case(),
    BOTH,
    UNBATCHED,
    FIRST,
    ONE,
    make_case(grad_mode=GradMode.INFERENCE, mode=Mode.TRAIN, num_layers=2, dropout=0.5),
]
ALL = [*PADDED, SORTED, UNSORTED]
PASSES: dict[str, list[Case]] = {
    "errors.feature-size": ALL,
    "errors.h-0-layers": ALL,
    "errors.h-0-batch": [make_case(), BOTH, FIRST, ONE],
    "errors.h-0-batch-sorted": [SORTED],
    "errors.h-0-size": ALL,
    "errors.empty-sequence": PADDED,
    "errors.dtype": [*ALL, make_case(dtype=DType.BFLOAT16)],
    "errors.rank": PADDED,
    "errors.h-0-rank": PADDED,
    "errors.h-0-rank-packed": [SORTED, UNSORTED],
    "errors.h-0-batch-unsorted": [UNSORTED],
    "errors.types": PADDED,
    "errors.other-types": ALL,
    "errors.leave-no-trace": [*ALL, make_case(prior_use=ModuleUses.FUNCTIONAL)],
}
FAILS = [
    (
        "errors.feature-size",
        "FurtherFeaturesIgnored",
        make_case(),
        "an input with [46] features instead of 3 is accepted, expected an exception",
    ),
    (
        "errors.feature-size",
        "FurtherFeaturesIgnored",
        UNSORTED,
        "an input with [46] features instead of 3 is accepted, expected an exception",
    ),
    (
        "errors.feature-size",
        "OneFeatureBroadcast",
        UNBATCHED,
        "an input with 1 feature instead of 3 is accepted, expected an exception",
    ),
    (
        "errors.h-0-layers",
        "FurtherLayersIgnored",
        BOTH,
        r"an h_0 of shape \([58], 3, 4\) instead of \(4, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-layers",
        "MissingLayersRepeated",
        BOTH,
        r"an h_0 of shape \([123], [34], 4\) instead of \(4, 3, 4\) is accepted, "
        r"expected an exception",
    ),
    (
        "errors.h-0-layers",
        "PackedUnchecked",
        SORTED,
        r"an h_0 of shape \([34], 3, 4\) instead of \(2, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-batch",
        "OneStateBroadcast",
        make_case(),
        r"an h_0 of shape \(1, 1, 4\) instead of \(1, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-batch-sorted",
        "StatesSortedBeforeChecked",
        SORTED,
        r"an h_0 of shape \(2, [456], 4\) instead of \(2, 3, 4\) is accepted, "
        r"expected an exception",
    ),
    (
        "errors.h-0-size",
        "FurtherUnitsIgnored",
        make_case(),
        r"an h_0 of shape \(1, 3, [58]\) instead of \(1, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-size",
        "OneUnitBroadcast",
        UNBATCHED,
        r"an h_0 of shape \(2, 1\) instead of \(2, 4\) is accepted, expected an exception",
    ),
    (
        "errors.empty-sequence",
        "EmptySequenceAccepted",
        UNBATCHED,
        "a sequence of length 0 is accepted, expected an exception",
    ),
    (
        "errors.dtype",
        "InputConverted",
        make_case(),
        "float.* input for float64 parameters is accepted, expected an exception",
    ),
    (
        "errors.rank",
        "VectorAccepted",
        make_case(),
        "a 1-D input is accepted, expected an exception",
    ),
    (
        "errors.h-0-rank",
        "FlatStateAccepted",
        make_case(),
        r"an h_0 of shape \(1, 4\) instead of \(1, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-rank",
        "BatchedStateForUnbatched",
        UNBATCHED,
        r"an h_0 of shape \(2, 1, 4\) instead of \(2, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-rank",
        "StateOfFourAxesFlattened",
        BOTH,
        r"an h_0 of shape \(2, 2, 3, 4\) instead of \(4, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.dtype",
        "IntegersConverted",
        UNSORTED,
        "(int64|bool) input for float64 parameters is accepted, expected an exception",
    ),
    (
        "errors.h-0-rank-packed",
        "FlatStateForPacked",
        SORTED,
        r"an h_0 of shape \(2, 4\) instead of \(2, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.h-0-batch-unsorted",
        "OneStateForUnsorted",
        UNSORTED,
        r"an h_0 of shape \(2, 1, 4\) instead of \(2, 3, 4\) is accepted, expected an exception",
    ),
    (
        "errors.types",
        "FeaturesAsserted",
        make_case(),
        "should raise RuntimeError; it raised AssertionError",
    ),
    (
        "errors.other-types",
        "FeaturesAsserted",
        UNSORTED,
        "should raise RuntimeError; it raised AssertionError",
    ),
    (
        "errors.other-types",
        "RankAsserted",
        make_case(),
        "a .-D input should raise ValueError; it raised AssertionError",
    ),
    (
        "errors.leave-no-trace",
        "RefusalSwitchesGradientsOff",
        BOTH,
        "was rejected, grad mode has changed from True to False",
    ),
    (
        "errors.leave-no-trace",
        "FrozenRefusalSwitchesGradientsOff",
        BOTH,
        "was rejected by a frozen layer, grad mode has changed from True to False",
    ),
]
SEEDS = 12


OF_CELL_STATES = {rule for rule in test_cell_state.PASSES if rule.startswith("errors.")}


class Moving(Plain):
    """A layer that moves its arguments to its own device."""

    def forward_tensor(self, input: torch.Tensor, hx: torch.Tensor | None) -> Any:
        device = self.parameter("weight_ih", 0, 0).device
        return super().forward_tensor(input.to(device), None if hx is None else hx.to(device))


@pytest.mark.slow
def test_devices_are_compared_if_there_are_two() -> None:
    """The meta device stands for a device other than the CPU."""
    near = make_case(seed=0)

    def check(kind: type[nn.Module], device: str) -> Any:
        return check_case(
            find_layer_rule("errors.device"),
            Observation(TorchSubject(resolve_target(kind), device), near),
        )

    assert check(nn.RNN, "meta") is None
    assert (
        check(Moving, "meta").message
        == "an input on cpu for a layer on meta is accepted, expected an exception"
    )
    assert isinstance(check(Moving, "cpu"), UnsupportedCase)


class SideEffects(Plain):
    """A layer with a side effect of every call that it rejects."""

    side_effect = ""

    def check_features(self, input: torch.Tensor) -> None:
        try:
            super().check_features(input)
        except RuntimeError:
            getattr(self, self.side_effect)(input)
            raise

    def draw(self, input: torch.Tensor) -> None:
        torch.rand(1)

    def write(self, input: torch.Tensor) -> None:
        input.data.zero_()

    def train_itself(self, input: torch.Tensor) -> None:
        self.parameter("weight_hh", 0, 0).data.mul_(2)

    def remember(self, input: torch.Tensor) -> None:
        self.input_size = input.size(-1)


@pytest.mark.parametrize(
    ("side_effect", "text"),
    [
        ("draw", "the random number generator of torch was used"),
        ("write", "the input has changed"),
        ("train_itself", "weight_hh_l0 has changed"),
        ("remember", r"the next call \(packed-unsorted\) is wrong: the call raised RuntimeError"),
    ],
)
def test_every_side_effect_is_reported(side_effect: str, text: str) -> None:
    kind = type("Affected", (SideEffects,), {"side_effect": side_effect})
    finding = check_layer("errors.leave-no-trace", kind, UNSORTED, 12)
    assert isinstance(finding, Finding)
    assert re.search(
        f"^after an input with . features instead of 3 was rejected, {text}", finding.message
    )


class DrawsWithoutState(Plain):
    """A layer that draws a random number in each call without an initial state."""

    def forward_tensor(self, input: torch.Tensor, hx: Any) -> Any:
        if hx is None:
            torch.rand(1)
        return super().forward_tensor(input, hx)


def test_an_effect_of_valid_calls_is_no_side_effect_of_rejected_calls() -> None:
    near = make_case(initial_state=InitialState.GIVEN)
    assert check_layer("errors.leave-no-trace", DrawsWithoutState, near, 28) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_state_without_samples_is_tried_in_every_case(seed: int) -> None:
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), make_case(seed=seed))
    shapes = [each.description for each in calls.list_wrong_state_ranks(observation)]
    assert "an h_0 of shape (1, 4) instead of (1, 3, 4)" in shapes


class RightOnlyOnce(Plain):
    """A layer that is right in its first call only, whether it accepts or rejects that."""

    calls = 0

    def forward_tensor(self, input: torch.Tensor, hx: Any) -> Any:
        self.calls += 1
        output, h_n = super().forward_tensor(input, hx)
        return output + (self.calls > 1), h_n


def test_a_call_that_is_wrong_after_any_call_is_not_blamed_on_rejected_calls() -> None:
    assert check_layer("errors.leave-no-trace", RightOnlyOnce, make_case(), 6) is None


def test_a_layer_that_rejects_only_once_is_reported() -> None:
    class Once(Plain):
        """A layer that checks only its first call."""

        checked = False
        changes = change_values(
            {"input": lambda data, spot: resize_dimension(data, -1, spot.module.input_size)}
        )

        def check_features(self, input: torch.Tensor) -> None:
            if not self.checked:
                self.checked = True
                super().check_features(input)

    finding = check_layer("errors.feature-size", Once, make_case(prior_use=EarlierCalls.CALLED))
    assert isinstance(finding, Finding)
    assert "instead of 3 is accepted, expected an exception" in finding.message


class NoPacked(nn.RNN):
    """A layer that raises NotImplementedError for packed input."""

    def forward(self, input: Any, *rest: Any) -> Any:
        if isinstance(input, PackedSequence):
            raise NotImplementedError("packed input")
        return super().forward(input, *rest)


def test_not_implemented_counts_as_unsupported() -> None:
    assert isinstance(check_layer("errors.feature-size", NoPacked, SORTED), UnsupportedCase)


def test_wrong_sizes_leave_out_the_right_one() -> None:
    assert list_wrong_sizes(4, 7) == [5, 1, 3, 8, 0, 7]
    assert list_wrong_sizes(1, 1) == [2, 0]
    assert all(1 not in list_wrong_sizes(1, other) for other in range(4))


def test_a_dimension_is_cut_or_repeated() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert resize_dimension(tensor, -1, 2).tolist() == [[0.0, 1.0], [3.0, 4.0]]
    assert resize_dimension(tensor, -1, 4).tolist() == [[0.0, 1.0, 2.0, 0.0], [3.0, 4.0, 5.0, 3.0]]
    assert resize_dimension(tensor, 0, 0).shape == (0, 3)
    assert resize_dimension(tensor.requires_grad_(), 0, 1).requires_grad


@pytest.mark.parametrize("near", ALL)
def test_the_valid_call_behind_the_invalid_ones_is_accepted(near: Case) -> None:
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), near)
    valid = build_valid_call(observation)
    layer = observation.spare_layer.caller
    state = valid.states["h_0"]
    assert layer(valid.input, state)[1].shape == state.shape
    given = valid.input if valid.hx is None else (valid.input, valid.hx)
    assert given is valid.input or near.initial_state is InitialState.GIVEN


def test_an_invalid_call_is_written_as_code() -> None:
    call = InvalidCall("a fault", torch.zeros(5, 2), torch.zeros(1, 4, dtype=torch.float64))
    assert (
        str(call)
        == "torch.ones((5, 2), dtype=torch.float32), torch.ones((1, 4), dtype=torch.float64)"
    )
    packed = calls.list_wrong_features(Observation(TorchSubject(resolve_target(nn.RNN)), SORTED))[0]
    assert str(packed) == "type(given[0])(torch.ones((8, 4), dtype=torch.float64), *given[0][1:])"


def test_a_pair_of_states_that_are_both_batch_first_is_passed() -> None:
    near = make_case(kind="lstm", batch_first=True, num_layers=2)
    message = describe_violation("errors.h-0-layers", "BatchFirstStateTaken", near)
    assert message == (
        "a pair of states of shapes (3, 2, 4) and (3, 2, 4) instead of (2, 3, 4) and (2, 3, 4) is "
        "accepted, expected an exception"
    )
