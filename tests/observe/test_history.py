"""Whatever has happened to a layer before, the case's weights are in force and its mode is set when it is judged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import (
    HISTORIES,
    DType,
    EarlierCalls,
    GradMode,
    InitialState,
    Layout,
    Mode,
    ModuleUses,
)
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.observe.call import Surroundings, perform_call, set_gradient_mode
from rnnspec.observe.history import PreparedLayer, prepare_layer, redistribute_lengths
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import build_arguments, make_tensor
from rnnspec.subjects.failures import Raised, Unsupported
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

BASE = Case(
    config=Config(3, 4, num_layers=2, bidirectional=True), steps=5, batch=3, initial_state=InitialState.GIVEN, seed=3
)
EVEN = 4
"""Some histories have two variants, which the parity of the seed decides."""

CASES = {
    "batched": BASE,
    "unbatched": BASE.replace(layout=Layout.UNBATCHED, batch_first=True),
    "packed": BASE.replace(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), initial_state=InitialState.ABSENT),
    "train": BASE.replace(mode=Mode.TRAIN, grad_mode=GradMode.NO_GRAD, nonlinearity="relu", bias=False),
    "float32": BASE.replace(dtype=DType.FLOAT32, grad_mode=GradMode.INFERENCE),
    "bfloat16": BASE.replace(dtype=DType.BFLOAT16, num_layers=1, bidirectional=False),
}


class Spied(nn.RNN):
    """Notes the shape and the mode of every call."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.notes: list[tuple[tuple[int, ...], bool, bool, bool]] = []

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> Any:
        data = input.data if isinstance(input, PackedSequence) else input
        self.notes.append(
            (tuple(data.shape), self.training, torch.is_grad_enabled(), hx is not None)
        )
        return super().forward(input, hx)


class Picky(nn.RNN):
    """Cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError("one only")


def subject(factory: Any = nn.RNN) -> TorchSubject:
    return TorchSubject(resolve_target(factory))


def directly(case: Case) -> Any:
    """What torch.nn.RNN returns when it is built, loaded and called by hand."""
    dtype = getattr(torch, case.dtype)
    layer = nn.RNN(**case.config.arguments).to(dtype)
    layer.load_state_dict(
        {
            name: make_tensor(array, "cpu", dtype)
            for name, array in draw_values(case).weights.items()
        }
    )
    layer.train(case.mode is Mode.TRAIN)
    given = build_arguments(case, draw_values(case).input, draw_values(case).h_0, "cpu")
    with torch.no_grad():
        output, h_n = layer(given.input, given.h_0)
    return (output.data if case.is_packed else output), h_n


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("seed", [EVEN, EVEN + 1])
def test_every_history_leaves_the_weights_of_the_case_in_force(
    seed: int, history: str, name: str
) -> None:
    case = CASES[name].replace(history=history, seed=seed)
    call = Observation(subject(), case).call
    output, h_n = directly(case)
    torch.testing.assert_close(
        call.output_tensor.detach(),
        output,
        rtol=1e-12 if case.dtype is DType.FLOAT64 else 1e-5,
        atol=1e-12,
    )
    torch.testing.assert_close(
        call.h_n_tensor.detach(), h_n, rtol=1e-12 if case.dtype is DType.FLOAT64 else 1e-5, atol=1e-12
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("history", HISTORIES)
def test_every_history_ends_in_the_mode_of_the_case(history: str, mode: str) -> None:
    prepared = prepare_layer(
        subject(),
        BASE.replace(history=history, mode=mode),
        draw_values(BASE.replace(history=history, mode=mode)),
    )
    assert prepared.module.training == (mode == "train")


@pytest.mark.parametrize("history", sorted(set(HISTORIES) - {"functional"}))
def test_the_parameters_that_are_differentiated_are_those_of_the_layer(history: str) -> None:
    case = BASE.replace(history=history)
    prepared = prepare_layer(subject(), case, draw_values(case))
    assert list(prepared.weights()) == list(draw_values(case).weights)
    for name, parameter in prepared.weights().items():
        assert parameter is dict(prepared.module.named_parameters())[name]
        assert parameter.requires_grad
        assert parameter.grad is None


CALLS_BEFORE = {
    "fresh": [],
    "called": [],
    "called-twice": [((5, 3, 3), False, True, True)] * 2,
    "other-batch": [((6, 5, 3), False, True, True)],
    "other-state": [((7, 3, 3), False, True, False)],
    "other-grad": [((5, 3, 3), False, False, True)],
    "thawed": [((5, 3, 3), False, True, True)],
    "other-mode": [((5, 3, 3), True, True, True)],
    "reloaded": [((5, 3, 3), False, True, True)],
    "deepcopied": [((5, 3, 3), False, False, True)],
    "pickled": [((5, 3, 3), False, False, True)],
}


@pytest.mark.parametrize("history", CALLS_BEFORE)
def test_what_a_history_calls_before(history: str) -> None:
    case = BASE.replace(history=history, seed=EVEN)
    prepared = prepare_layer(subject(Spied), case, draw_values(case))
    assert prepared.module.notes == CALLS_BEFORE[history]


def test_a_conversion_starts_in_another_dtype_and_a_copy_is_another_layer() -> None:
    prepared = PreparedLayer(subject(), BASE.replace(prior_use=ModuleUses.CONVERTED), draw_values(BASE))
    first = prepared.module
    prepared_stage = prepare_layer(subject(), BASE.replace(prior_use=ModuleUses.DEEPCOPIED), draw_values(BASE))
    assert {parameter.dtype for parameter in prepared_stage.module.parameters()} == {torch.float64}
    assert prepared_stage.module is not first


def test_what_goes_wrong_in_a_history_is_told_with_its_step() -> None:
    with pytest.raises(Raised, match=r"^copy\.deepcopy raised ValueError: one only$"):
        _ = Observation(subject(Picky), BASE.replace(prior_use=ModuleUses.DEEPCOPIED)).call


def test_a_class_that_cannot_be_found_again_refuses_pickling() -> None:
    class Local(nn.RNN):
        pass

    with pytest.raises(Unsupported, match="Local is not importable, so it cannot be pickled"):
        _ = Observation(subject(Local), BASE.replace(prior_use=ModuleUses.PICKLED)).call


@pytest.mark.parametrize(
    ("name", "enabled", "inference"),
    [("grad", True, False), ("no_grad", False, False), ("inference", False, True)],
)
def test_the_gradient_modes(name: str, enabled: bool, inference: bool) -> None:
    with set_gradient_mode(name):
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (enabled, inference)


def test_a_call_notes_its_surroundings_before_and_after() -> None:
    class Noisy(nn.RNN):
        def forward(self, *given: Any) -> Any:
            torch.rand(3)
            torch.set_default_dtype(torch.float64)
            return super().forward(*given)

    call = Observation(subject(Noisy), BASE).call
    assert not torch.equal(call.before.torch_rng, call.after.torch_rng)
    assert call.before.settings != call.after.settings
    assert torch.get_default_dtype() == torch.float32
    quiet = Observation(subject(), BASE)
    again = perform_call(quiet.prepared, BASE, quiet.call.given)
    assert torch.equal(again.before.torch_rng, again.after.torch_rng)
    assert again.before.settings == again.after.settings


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_generator_of_the_device_is_noted_beside_that_of_the_cpu(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = torch.zeros(16, dtype=torch.uint8)
    monkeypatch.setattr(getattr(torch, kind), "get_rng_state", lambda *device: own.clone())
    device = torch.device(kind)
    before = Surroundings.now(device)
    assert torch.equal(Surroundings.now(device).torch_rng, before.torch_rng)
    own[3] = 1
    assert not torch.equal(Surroundings.now(device).torch_rng, before.torch_rng)
    assert torch.equal(Surroundings.now(torch.device("cpu")).torch_rng, torch.get_rng_state())
    assert torch.equal(Surroundings.now(torch.device("meta")).torch_rng, torch.get_rng_state())


def test_half_of_the_earlier_calls_are_on_the_very_tensors_of_the_call_with_other_numbers_in_them() -> (
    None
):
    class Noting(nn.RNN):
        seen: list[tuple[int, torch.Tensor]] = []  # noqa: RUF012

        def forward(self, input: Any, hx: Any = None) -> Any:
            self.seen.append((input.data_ptr(), input.detach().clone()))
            return super().forward(input, hx)

    case = BASE.replace(prior_use=EarlierCalls.CALLED, seed=EVEN)
    call = Observation(subject(Noting), case).call
    (before, earlier), (after, later) = Noting.seen
    assert before == after == call.given.leaf.data_ptr()
    torch.testing.assert_close(earlier, -0.5 * later, rtol=0, atol=0)
    assert (later.numpy() == draw_values(case).input).all()


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((5, 3, 1), (3, 2, 4)), ((2, 2, 2), (2, 2, 2)), ((1, 2, 2), (2, 2, 1)), ((4,), (4,))],
)
def test_steps_are_shared_out_otherwise(
    lengths: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert redistribute_lengths(lengths) == expected


def test_a_layer_is_frozen_in_an_earlier_call_and_thawed_after_it() -> None:
    class Noting(nn.RNN):
        frozen: list[bool] = []  # noqa: RUF012

        def forward(self, input: Any, hx: Any = None) -> Any:
            self.frozen.append(not any(parameter.requires_grad for parameter in self.parameters()))
            return super().forward(input, hx)

    _ = Observation(subject(Noting), BASE.replace(prior_use=EarlierCalls.THAWED)).call
    assert Noting.frozen == [True, False]
