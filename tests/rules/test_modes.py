"""Test the rules about modes: each passes for torch.nn.RNN and reports planted bugs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import (
    ConstructorStyle,
    DType,
    GradMode,
    InitialState,
    Layout,
    Mode,
    ModuleUses,
    ParameterUpdates,
)
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.engine.outcome import Finding
from rnnspec.observe.tensors import build_arguments
from rnnspec.rules.modes import move_to_meta
from rnnspec.selftest import BUGS, Plain
from tests.rules.checking import Fails, Passes, check_layer, make_case, make_test_ids

UNSORTED = make_case(
    layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), initial_state=InitialState.GIVEN
)
DROPS = make_case(dropout=1.0, num_layers=2, mode=Mode.TRAIN)
SMALL = make_case(steps=3, initial_state=InitialState.GIVEN, num_layers=2)
PASSES: Passes = {
    "modes.default-device": [
        make_case(),
        UNSORTED,
        DROPS,
        make_case(prior_use=ModuleUses.FUNCTIONAL, grad_mode=GradMode.NO_GRAD),
    ],
    "modes.train": [
        make_case(),
        make_case(mode=Mode.TRAIN),
        UNSORTED,
        make_case(dropout=0.5, num_layers=2),
        make_case(dropout=0.5, mode=Mode.TRAIN),
        make_case(prior_use=ModuleUses.NESTED),
    ],
    "modes.no-grad": [
        make_case(grad_mode=GradMode.NO_GRAD),
        UNSORTED.replace(grad_mode=GradMode.NO_GRAD),
        make_case(grad_mode=GradMode.NO_GRAD, dropout=0.5, num_layers=2, mode=Mode.TRAIN),
    ],
    "modes.inference": [
        make_case(grad_mode=GradMode.INFERENCE),
        UNSORTED.replace(grad_mode=GradMode.INFERENCE),
        make_case(
            grad_mode=GradMode.INFERENCE, layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN
        ),
    ],
    "modes.autocast": [
        make_case(dtype=DType.FLOAT32, seed=1),
        make_case(dtype=DType.FLOAT32, seed=2, initial_state=InitialState.GIVEN),
        UNSORTED.replace(dtype=DType.FLOAT32, seed=3),
        make_case(dtype=DType.FLOAT32, seed=1, layout=Layout.UNBATCHED, batch_first=True),
        *(make_case(dtype=DType.FLOAT32, seed=seed) for seed in range(4, 8)),
    ],
    "modes.meta": [
        SMALL,
        UNSORTED,
        SMALL.replace(grad_mode=GradMode.INFERENCE, dtype=DType.BFLOAT16),
        SMALL.replace(layout=Layout.UNBATCHED),
        make_case(constructor_style=ConstructorStyle.TYPED),
    ],
}
FAILS: Fails = [
    (
        "modes.default-device",
        "OrderOnDefaultDevice",
        make_case(),
        "^while meta is the default device, the call raised",
    ),
    (
        "modes.train",
        "EvalIgnoresState",
        make_case(initial_state=InitialState.GIVEN),
        r"^output\[0, 0, 0\] is .*, expected",
    ),
    (
        "modes.train",
        "EvalIgnoresState",
        make_case(initial_state=InitialState.GIVEN, mode=Mode.TRAIN),
        r"^output\[0, 0, 0\] is .*, expected",
    ),
    ("modes.train", "EvalInHalf", make_case(dtype=DType.FLOAT32), r"^output\["),
    ("modes.no-grad", "FastPathLosesBias", make_case(grad_mode=GradMode.NO_GRAD), r"^output\["),
    (
        "modes.no-grad",
        "NoGradStillRecords",
        make_case(grad_mode=GradMode.NO_GRAD),
        r"^under torch\.no_grad\(\), output requires gradients, expected requires_grad=False$",
    ),
    ("modes.autocast", "AutocastInFiveBits", make_case(dtype=DType.FLOAT32), r"^output\["),
    (
        "modes.autocast",
        "BiasScaledInFloat16",
        make_case(dtype=DType.FLOAT32),
        r"^output\[",
    ),
    (
        "modes.autocast",
        "AutocastGradientDoubled",
        make_case(dtype=DType.FLOAT32, seed=2, num_layers=2),
        "^gradient of weight_ih_l0",
    ),
    ("modes.autocast", "AutocastCopiesKept", make_case(dtype=DType.FLOAT32, seed=2), r"^output\["),
    (
        "modes.inference",
        "InferenceLosesLastStep",
        make_case(grad_mode=GradMode.INFERENCE),
        r"^output\[4, 0, 0\] is .*, expected",
    ),
    (
        "modes.inference",
        "VersionOfInputRead",
        make_case(grad_mode=GradMode.INFERENCE),
        r"^with arguments created in inference mode, the call raised RuntimeError",
    ),
]
RAISED: Fails = [
    (
        "modes.autocast",
        "InputOfWeightsDtypeOnly",
        make_case(dtype=DType.FLOAT32, seed=1),
        r"expected input in torch\.float32, got torch\.bfloat16",
    ),
    (
        "modes.train",
        "TrainingFails",
        make_case(mode=Mode.TRAIN, num_layers=2, dropout=1.0, bidirectional=True),
        "^the call raised",
    ),
    (
        "modes.inference",
        "InferenceFails",
        make_case(grad_mode=GradMode.INFERENCE, dropout=0.5, num_layers=2, batch_first=True),
        "^the call raised RuntimeError",
    ),
    (
        "modes.meta",
        "ZerosOnDefaultDevice",
        make_case(steps=3),
        "^a call on the meta device raised|^a call on the meta device returned",
    ),
    ("modes.meta", "LooksAtValues", make_case(steps=3), "^a call on the meta device raised"),
]

every_failing_call = pytest.mark.parametrize(
    ("name", "bug", "near", "text"), RAISED, ids=make_test_ids(RAISED)
)


def _is_meta_item_unsupported() -> bool:
    """Return whether `item()` on the meta device raises NotImplementedError in this release."""
    try:
        torch.empty(1, device="meta").item()
    except NotImplementedError:
        return True
    except RuntimeError:
        return False
    return False


@every_failing_call
def test_a_call_that_raises_is_reported(name: str, bug: str, near: Case, text: str) -> None:
    if bug == "LooksAtValues" and _is_meta_item_unsupported():
        pytest.skip("reading a meta tensor raises NotImplementedError in this release")
    finding = check_layer(name, BUGS[bug], near, 8)
    assert isinstance(finding, Finding)
    assert re.search(text, finding.message)


@pytest.mark.parametrize("name", PASSES)
def test_a_fault_in_every_mode_is_left_to_other_rules(name: str) -> None:
    assert (
        check_layer(
            name, BUGS["StateIgnored"], PASSES[name][1].replace(initial_state=InitialState.GIVEN)
        )
        is None
    )


class KeptWithoutGradients(Plain):
    """Without gradients, the weights of the first call stay in use."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        weight = super().parameter(kind, layer, direction)
        if torch.is_grad_enabled():
            return weight
        copies: dict[tuple[str, int, int], Tensor] = self.__dict__.setdefault("copies", {})
        return copies.setdefault((kind, layer, direction), weight.detach().clone())


@pytest.mark.parametrize("name", ["modes.no-grad", "modes.inference"])
def test_a_fault_that_needs_an_earlier_use_is_left_to_the_rule_about_that_use(name: str) -> None:
    mode = {"modes.no-grad": GradMode.NO_GRAD, "modes.inference": GradMode.INFERENCE}[name]
    near = make_case(grad_mode=mode, prior_use=ParameterUpdates.REPLACED)
    assert check_layer(name, KeptWithoutGradients, near, 8) is None
    finding = check_layer("modules.replaced-parameters", KeptWithoutGradients, near, 8)
    assert isinstance(finding, Finding)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda result: result.double(),
            "^a call on the meta device returned output in torch.float64, expected torch.float32$",
        ),
        (
            lambda result: torch.zeros(result.shape),
            "^a call on the meta device returned output on cpu, expected meta$",
        ),
        (lambda result: result[:, :1], r"^output has shape \(3, 1, 4\), expected \(3, 3, 4\)$"),
    ],
)
def test_shape_dtype_and_device_of_meta_results_are_compared(change: Any, text: str) -> None:
    class Changed(Plain):
        def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
            output, h_n = super().forward_tensor(input, hx)
            return (change(output) if input.is_meta else output), h_n

    finding = check_layer("modes.meta", Changed, make_case(steps=3, dtype=DType.FLOAT32))
    assert isinstance(finding, Finding)
    assert re.search(text, finding.message)


def test_batch_sizes_stay_on_the_cpu() -> None:
    values = draw_values(UNSORTED)
    moved = move_to_meta(build_arguments(UNSORTED, values.input, values.initial, "cpu"))
    assert isinstance(moved.input, PackedSequence)
    assert moved.leaf.is_meta
    assert [state.is_meta for state in moved.initial.values()] == [True]
    assert moved.input.batch_sizes.tolist() == [3, 2, 1, 1, 1]
