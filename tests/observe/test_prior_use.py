"""Prior uses: the layer then has the weights and the mode of the case, whatever happened before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import (
    PRIOR_USES,
    DType,
    EarlierCalls,
    GradMode,
    InitialState,
    Layout,
    Mode,
    ModuleUses,
    ParameterUpdates,
    PriorUse,
)
from rnnspec.cases.axes.prior_use import parameters
from rnnspec.cases.axes.prior_use.calls import redistribute_lengths, spread_lengths
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS
from rnnspec.observe.call import Surroundings, perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer, prepare_layer
from rnnspec.observe.tensors import build_arguments, make_tensor
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.failures import Raised, Unsupported
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

BASE = Case(
    config=Config(3, 4, num_layers=2, bidirectional=True),
    steps=5,
    batch=3,
    initial_state=InitialState.GIVEN,
    seed=3,
)
EVEN = 4
"""Some prior uses have two ways, of which an even seed chooses the first."""

CASES = {
    "batched": BASE,
    "unbatched": BASE.replace(layout=Layout.UNBATCHED, batch_first=True),
    "packed": BASE.replace(
        layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), initial_state=InitialState.ABSENT
    ),
    "train": BASE.replace(
        mode=Mode.TRAIN, grad_mode=GradMode.NO_GRAD, nonlinearity="relu", bias=False
    ),
    "float32": BASE.replace(dtype=DType.FLOAT32, grad_mode=GradMode.INFERENCE),
    "bfloat16": BASE.replace(dtype=DType.BFLOAT16, num_layers=1, bidirectional=False),
}


class Spied(nn.RNN):
    """Records of every call the shape of the input, the modes, and whether there is a state."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.records: list[tuple[tuple[int, ...], bool, bool, bool]] = []

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> Any:
        data = input.data if isinstance(input, PackedSequence) else input
        self.records.append(
            (tuple(data.shape), self.training, torch.is_grad_enabled(), hx is not None)
        )
        return super().forward(input, hx)


class Uncopyable(nn.RNN):
    """Cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError("one only")


class KeepsOutput(nn.RNN):
    """Keeps the output of its last call, so that it cannot be copied after one with gradients."""

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> Any:
        results = super().forward(input, hx)
        self.last = results[0]
        return results


def make_subject(factory: Any = nn.RNN) -> TorchSubject:
    return TorchSubject(resolve_target(factory))


def call_by_hand(case: Case) -> Any:
    """Return what torch.nn.RNN returns if it is built, loaded and called without rnnspec's help."""
    dtype = case.dtype.torch_dtype
    layer = nn.RNN(**case.config.arguments).to(dtype)
    weights = draw_values(case).weights.items()
    layer.load_state_dict({name: make_tensor(array, "cpu", dtype) for name, array in weights})
    layer.train(case.mode is Mode.TRAIN)
    given = build_arguments(case, draw_values(case).input, draw_values(case).initial, "cpu")
    with torch.no_grad():
        output, h_n = layer(given.input, given.hx)
    return (output.data if case.is_packed else output), h_n


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("prior_use", PRIOR_USES, ids=str)
@pytest.mark.parametrize("seed", [EVEN, EVEN + 1])
def test_every_prior_use_leaves_the_weights_of_the_case(
    seed: int, prior_use: PriorUse, name: str
) -> None:
    case = CASES[name].replace(prior_use=prior_use, seed=seed)
    call = Observation(make_subject(), case).call
    output, h_n = call_by_hand(case)
    # With weights in another memory layout, torch sums in another order.
    rtol, atol = (1e-12, 1e-12) if case.dtype is DType.FLOAT64 else (1e-5, 1e-6)
    torch.testing.assert_close(call.output_tensor.detach(), output, rtol=rtol, atol=atol)
    torch.testing.assert_close(call.state_tensors["h_n"].detach(), h_n, rtol=rtol, atol=atol)


@pytest.mark.parametrize("mode", Mode, ids=str)
@pytest.mark.parametrize("prior_use", PRIOR_USES, ids=str)
def test_every_prior_use_ends_in_the_mode_of_the_case(prior_use: PriorUse, mode: Mode) -> None:
    case = BASE.replace(prior_use=prior_use, mode=mode)
    prepared = prepare_layer(make_subject(), case, draw_values(case))
    assert prepared.module.training == (mode is Mode.TRAIN)


@pytest.mark.parametrize(
    "prior_use", [each for each in PRIOR_USES if each is not ModuleUses.FUNCTIONAL], ids=str
)
def test_gradients_are_those_of_the_parameters_of_the_layer(prior_use: PriorUse) -> None:
    case = BASE.replace(prior_use=prior_use)
    prepared = prepare_layer(make_subject(), case, draw_values(case))
    assert list(prepared.weights()) == list(draw_values(case).weights)
    for name, parameter in prepared.weights().items():
        assert parameter is dict(prepared.module.named_parameters())[name]
        assert parameter.requires_grad
        assert parameter.grad is None


EARLIER_CALLS: dict[PriorUse, list[tuple[tuple[int, ...], bool, bool, bool]]] = {
    EarlierCalls.FRESH: [],
    EarlierCalls.CALLED: [],
    EarlierCalls.CALLED_TWICE: [((5, 3, 3), False, True, True)] * 2,
    EarlierCalls.OTHER_BATCH: [((6, 5, 3), False, True, True), ((12, 3), False, True, True)],
    EarlierCalls.OTHER_STATE: [((7, 3, 3), False, True, False)],
    EarlierCalls.OTHER_GRAD: [((5, 3, 3), False, False, True)],
    EarlierCalls.THAWED: [((5, 3, 3), False, True, True)],
    EarlierCalls.OTHER_MODE: [((5, 3, 3), True, True, True)],
    ParameterUpdates.RELOADED: [((5, 3, 3), False, True, True)],
    ModuleUses.DEEPCOPIED: [((5, 3, 3), False, False, True)],
    ModuleUses.PICKLED: [((5, 3, 3), False, False, True)],
}


@pytest.mark.parametrize("prior_use", EARLIER_CALLS, ids=str)
def test_earlier_calls_of_a_prior_use(prior_use: PriorUse) -> None:
    case = BASE.replace(prior_use=prior_use, seed=EVEN)
    prepared = prepare_layer(make_subject(Spied), case, draw_values(case))
    assert prepared.module.records == EARLIER_CALLS[prior_use]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_of_every_kind_is_trained(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[bool] = []
    monkeypatch.setattr(
        parameters,
        "take_gradient_step",
        lambda trained: steps.append(all(each.grad is not None for each in trained)),
    )
    case = Case(
        config=Config(3, 4, kind=kind), steps=1, batch=2, prior_use=ParameterUpdates.TRAINED, seed=1
    )
    build: type[nn.Module] = require_documented(KINDS[kind])
    prepare_layer(TorchSubject(resolve_target(build), kind=kind), case, draw_values(case))
    assert steps == [True]
    names: dict[str, Any] = {"torch": torch, "layer": build(3, 4), "reference": build(3, 4)}
    names["given"] = (torch.zeros(2, 3) if KINDS[kind].is_cell else torch.zeros(1, 2, 3),)
    words = {"weights": "reference.named_parameters()"}
    for line in case.prior_use.write_lines(case, words, str):
        exec(line, names)
    for own, other in zip(
        names["layer"].parameters(), names["reference"].parameters(), strict=True
    ):
        assert torch.equal(own, other)


class Resets(nn.RNN):
    """Records when the mode is set, and when it is called."""

    events: list[str]

    def train(self, mode: bool = True) -> Resets:
        self.__dict__.setdefault("events", []).append("mode")
        return super().train(mode)

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> Any:
        self.events.append("call")
        return super().forward(input, hx)


def test_setting_the_mode_does_not_undo_the_effect_of_an_earlier_call() -> None:
    case = BASE.replace(prior_use=EarlierCalls.CALLED_TWICE, seed=EVEN)
    prepared = prepare_layer(make_subject(Resets), case, draw_values(case))
    assert isinstance(prepared.module, Resets)
    assert prepared.module.events[-2:] == ["call", "call"]


def test_a_converted_or_copied_layer_is_another_module_in_the_dtype_of_the_case() -> None:
    for prior_use in (ModuleUses.CONVERTED, ModuleUses.DEEPCOPIED):
        case = BASE.replace(prior_use=prior_use)
        first = PreparedLayer(make_subject(), case, draw_values(BASE)).module
        prepared = prepare_layer(make_subject(), case, draw_values(BASE))
        assert {each.dtype for each in prepared.module.parameters()} == {torch.float64}
        assert prepared.module is not first


def test_a_failure_in_a_prior_use_names_the_step() -> None:
    case = BASE.replace(prior_use=ModuleUses.DEEPCOPIED)
    with pytest.raises(Raised, match=r"^copy\.deepcopy raised ValueError: one only$"):
        _ = Observation(make_subject(Uncopyable), case).call


def test_a_layer_is_also_copied_after_a_call_with_gradients() -> None:
    case = BASE.replace(prior_use=ModuleUses.DEEPCOPIED, grad_mode=GradMode.GRAD, seed=EVEN + 1)
    with pytest.raises(Raised, match=r"^copy\.deepcopy raised "):
        _ = Observation(make_subject(KeepsOutput), case).call
    _ = Observation(make_subject(KeepsOutput), case.replace(seed=EVEN)).call


class NotesVersions(nn.RNN):
    """Notes in every call the version of a parameter, and whether gradients are enabled."""

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> Any:
        noted = vars(self).setdefault("noted", [])
        noted.append((self.weight_hh_l0._version, torch.is_grad_enabled()))
        return super().forward(input, hx)


@pytest.mark.parametrize("seed", [EVEN, EVEN + 1])
def test_without_gradients_no_version_shows_the_last_update(seed: int) -> None:
    case = BASE.replace(
        prior_use=ParameterUpdates.TRAINED, grad_mode=GradMode.NO_GRAD, mode=Mode.EVAL, seed=seed
    )
    observation = Observation(make_subject(NotesVersions), case)
    _ = observation.call
    *earlier, before, checked = vars(observation.prepared.module)["noted"]
    assert before == checked
    assert not checked[1]
    assert earlier[0][0] < checked[0], "the gradient step before it is visible"


def test_pickling_is_unsupported_for_a_class_that_cannot_be_imported() -> None:
    class Local(nn.RNN):
        pass

    case = BASE.replace(prior_use=ModuleUses.PICKLED)
    with pytest.raises(Unsupported, match="Local is not importable, so it cannot be pickled"):
        _ = Observation(make_subject(Local), case).call


@pytest.mark.parametrize(
    ("grad_mode", "enabled", "inference"),
    [
        (GradMode.GRAD, True, False),
        (GradMode.NO_GRAD, False, False),
        (GradMode.INFERENCE, False, True),
    ],
)
def test_gradient_modes(grad_mode: GradMode, enabled: bool, inference: bool) -> None:
    with grad_mode.enter():
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (enabled, inference)


def test_a_call_records_its_surroundings_before_and_after() -> None:
    class Noisy(nn.RNN):
        def forward(self, *given: Any) -> Any:
            torch.rand(3)
            torch.set_default_dtype(torch.float64)
            return super().forward(*given)

    call = Observation(make_subject(Noisy), BASE).call
    assert call.before.list_used_generators(call.after) == ["torch"]
    assert not torch.equal(call.before.torch_rng, call.after.torch_rng)
    assert call.before.settings != call.after.settings
    assert torch.get_default_dtype() == torch.float32
    observation = Observation(make_subject(), BASE)
    quiet = perform_call(observation.prepared, BASE, observation.call.given)
    assert quiet.before.list_used_generators(quiet.after) == []
    assert torch.equal(quiet.before.torch_rng, quiet.after.torch_rng)
    assert quiet.before.settings == quiet.after.settings


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_generator_of_the_device_is_recorded_with_that_of_the_cpu(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.zeros(16, dtype=torch.uint8)
    monkeypatch.setattr(getattr(torch, kind), "get_rng_state", lambda *device: state.clone())
    device = torch.device(kind)
    before = Surroundings.read(device)
    assert torch.equal(Surroundings.read(device).torch_rng, before.torch_rng)
    state[3] = 1
    assert not torch.equal(Surroundings.read(device).torch_rng, before.torch_rng)
    assert torch.equal(Surroundings.read(torch.device("cpu")).torch_rng, torch.get_rng_state())
    assert torch.equal(Surroundings.read(torch.device("meta")).torch_rng, torch.get_rng_state())


def test_an_earlier_call_can_be_on_the_same_tensors_with_other_numbers() -> None:
    class Recording(nn.RNN):
        inputs: list[tuple[int, torch.Tensor]] = []  # noqa: RUF012

        def forward(self, input: Any, hx: Any = None) -> Any:
            self.inputs.append((input.data_ptr(), input.detach().clone()))
            return super().forward(input, hx)

    case = BASE.replace(prior_use=EarlierCalls.CALLED, seed=EVEN)
    call = Observation(make_subject(Recording), case).call
    (before, earlier), (after, later) = Recording.inputs
    assert before == after == call.given.leaf.data_ptr()
    torch.testing.assert_close(earlier, -0.5 * later, rtol=0, atol=0)
    assert (later.numpy() == draw_values(case).input).all()


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((5, 3, 1), (3, 2, 4)),
        ((2, 2, 2), (2, 1, 3)),
        ((3, 2), (1, 4)),
        ((1, 1), (1, 1)),
        ((1, 2, 2), (2, 2, 1)),
        ((4,), (4,)),
    ],
)
def test_lengths_are_redistributed(lengths: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert redistribute_lengths(lengths) == expected


@pytest.mark.parametrize(
    ("steps", "batch", "expected"),
    [(5, 3, (5, 4, 3)), (2, 4, (2, 1, 1, 1)), (1, 2, (1, 1)), (3, 1, (3,))],
)
def test_lengths_are_spread(steps: int, batch: int, expected: tuple[int, ...]) -> None:
    assert spread_lengths(steps, batch) == expected


@pytest.mark.parametrize(
    ("layout", "seed", "shapes"),
    [
        (Layout.BATCHED, EVEN, [(6, 5, 3), (12, 3)]),
        (Layout.BATCHED, EVEN + 1, [(12, 3)]),
        (Layout.BATCHED, EVEN + 2, [(4, 2, 3), (12, 3)]),
        (Layout.PACKED, EVEN, [(22, 3), (10, 3)]),
        (Layout.PACKED, EVEN + 1, [(10, 3), (6, 5, 3)]),
        (Layout.PACKED, EVEN + 2, [(8, 3), (10, 3)]),
        (Layout.PACKED, EVEN + 3, [(10, 3), (4, 2, 3)]),
    ],
    ids=str,
)
def test_earlier_calls_on_another_batch_differ_in_size_length_or_layout(
    layout: Layout, seed: int, shapes: list[tuple[int, ...]]
) -> None:
    case = BASE.replace(
        layout=layout, lengths=(5, 4, 1), prior_use=EarlierCalls.OTHER_BATCH, seed=seed
    )
    prepared = prepare_layer(make_subject(Spied), case, draw_values(case))
    assert isinstance(prepared.module, Spied)
    assert [shape for shape, *_ in prepared.module.records] == shapes


def test_parameters_are_frozen_during_an_earlier_call_only() -> None:
    class Recording(nn.RNN):
        frozen: list[bool] = []  # noqa: RUF012

        def forward(self, input: Any, hx: Any = None) -> Any:
            self.frozen.append(not any(each.requires_grad for each in self.parameters()))
            return super().forward(input, hx)

    _ = Observation(make_subject(Recording), BASE.replace(prior_use=EarlierCalls.THAWED)).call
    assert Recording.frozen == [True, False]


@pytest.mark.parametrize("hidden_size", [1, 2, 3, 4, 6, 12, 30])
def test_the_threads_of_the_checked_call_do_not_divide_the_units_evenly(hidden_size: int) -> None:
    class Recording(nn.RNN):
        threads: list[int] = []  # noqa: RUF012

        def forward(self, input: Any, hx: Any = None) -> Any:
            self.threads.append(torch.get_num_threads())
            return super().forward(input, hx)

    before = torch.get_num_threads()
    for seed in (0, 2):
        Recording.threads.clear()
        case = BASE.replace(
            hidden_size=hidden_size, prior_use=EarlierCalls.OTHER_THREADS, seed=seed
        )
        _ = Observation(make_subject(Recording), case).call
        *earlier, checked = Recording.threads
        assert hidden_size % checked
        assert checked not in earlier
        assert len(earlier) == 2
    assert torch.get_num_threads() == before
