"""The rules of side effects: each passes for torch.nn.RNN and tells what a planted bug does."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnspec.cases.axes import GradMode, InitialState, Layout, MemoryLayout, Mode, ModuleUses
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest import Plain
from rnnspec.subjects import settings
from tests.rules.judged import Fails, Passes, make_case, make_test_ids, judge_layer
from tests.rules.proven import prove_violation

GIVEN = make_case(initial_state=InitialState.GIVEN, batch_first=True)
PACKED = make_case(initial_state=InitialState.GIVEN, layout=Layout.PACKED, lengths=(5, 3, 1))
UNSORTED = make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), bidirectional=True, num_layers=2)
QUIET = make_case(grad_mode=GradMode.NO_GRAD)
TURNED = make_case(batch_first=True, grad_mode=GradMode.NO_GRAD)
INFERENCE = make_case(grad_mode=GradMode.INFERENCE, initial_state=InitialState.GIVEN, num_layers=2)
LAID_OUT = [make_case(layout=Layout.UNBATCHED), make_case(memory_layout=MemoryLayout.SLICED, initial_state=InitialState.GIVEN), make_case(memory_layout=MemoryLayout.EXPANDED)]
EVERYWHERE = [GIVEN, PACKED, UNSORTED, QUIET, INFERENCE, *LAID_OUT]
PASSES: Passes = {
    "side-effects.arguments": EVERYWHERE,
    "side-effects.parameters": [
        *EVERYWHERE,
        make_case(prior_use=ModuleUses.FUNCTIONAL),
        make_case(prior_use=ModuleUses.SHARED),
        make_case(num_layers=2, dropout=0.5, mode=Mode.TRAIN),
    ],
    "side-effects.random-generators": [
        *EVERYWHERE,
        make_case(num_layers=2, dropout=0.5),
        make_case(dropout=0.5, mode=Mode.TRAIN),
    ],
    "side-effects.repeatable": EVERYWHERE,
    "side-effects.global-settings": EVERYWHERE,
    "side-effects.earlier-results": EVERYWHERE,
    "side-effects.results-not-aliased": [*EVERYWHERE, make_case(steps=1), make_case(steps=1, batch=1)],
    "side-effects.backward": [GIVEN, PACKED, UNSORTED, *LAID_OUT],
}
FAILS: Fails = [
    (
        "side-effects.arguments",
        "InputTransposedInPlace",
        make_case(batch_first=True, grad_mode=GradMode.NO_GRAD),
        r"^the shape of input was \(3, 5, 3\) before the call and is \(5, 3, 3\)",
    ),
    (
        "side-effects.arguments",
        "StateWrittenInPlace",
        GIVEN,
        r"^h_0 after the call\[0, 0, 0\]   expected",
    ),
    (
        "side-effects.arguments",
        "PackedDataRounded",
        PACKED,
        r"^input after the call\[0, \d\]   expected",
    ),
    (
        "side-effects.parameters",
        "BiasReshaped",
        make_case(),
        r"^bias_ih_l0 has shape \(1, 4\) after a call, expected \(4,\)$",
    ),
    (
        "side-effects.parameters",
        "WeightsDropped",
        make_case(num_layers=2, dropout=0.5, mode=Mode.TRAIN),
        r"^weight_hh_l0 after a call\[",
    ),
    (
        "side-effects.random-generators",
        "Reseeds",
        make_case(),
        "^a call without dropout changed the state of torch's random number generator$",
    ),
    (
        "side-effects.random-generators",
        "DrawsInVain",
        make_case(),
        "changed the state of torch's random number generator$",
    ),
    (
        "side-effects.repeatable",
        "NoiseOfItsOwn",
        make_case(),
        r"^output of a second call\[0, 0, 0\]   expected",
    ),
    (
        "side-effects.global-settings",
        "DefaultDtypeChanged",
        make_case(),
        r"^a call changed the default dtype from torch.float32 to torch.float64$",
    ),
    (
        "side-effects.global-settings",
        "GradModeOff",
        make_case(),
        "^a call changed the grad mode from True to False$",
    ),
    (
        "side-effects.earlier-results",
        "BufferReused",
        QUIET,
        r"^output after a later call\[0, 0, 0\]   expected",
    ),
    (
        "side-effects.results-not-aliased",
        "StateSharesOutput",
        make_case(),
        r"^h_n after writing to output\[0, 0, 0\]   expected .* got 7 ",
    ),
    (
        "side-effects.backward",
        "GradientOverwritten",
        make_case(),
        "^a backward pass changed the gradient of result 0$",
    ),
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
    assert {rule.id for rule in list_layer_rules() if rule.theme == "effects"} == set(PASSES)


class DoesAfterwards(Plain):
    """A layer that does something more when a call is over."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        result = super().forward(input, hx)
        self.afterwards(input, hx, result)
        return result

    def afterwards(self, input: Any, hx: Tensor | None, result: Any) -> None:
        """Nothing."""


def doing(action: Callable[..., Any]) -> type[nn.Module]:
    """A layer that does this with itself, its arguments and its results when a call is over."""
    return type("Doing", (DoesAfterwards,), {"afterwards": action})


def told(name: str, action: Callable[..., Any], near: Case) -> str:
    """What a rule has to say of a layer that does this, with one of nine seeds."""
    finding = judge_layer(name, doing(action), near, 9)
    assert isinstance(finding, Finding), finding
    return finding.message


def around(layer: Any, x: Tensor, hx: Any, result: Any) -> None:
    if x._base is not None:
        x._base.data.fill_(1.0)


def swapped(layer: Any, x: Any, hx: Any, result: Any) -> None:
    x.sorted_indices.copy_(x.sorted_indices.flip(0))


def wanting(layer: Any, x: Tensor, hx: Any, result: Any) -> None:
    x.requires_grad_(True)


def with_gradient(layer: Any, x: Tensor, hx: Any, result: Any) -> None:
    x.grad = torch.zeros_like(x)


@pytest.mark.parametrize(
    ("action", "near", "text"),
    [
        (
            around,
            make_case(memory_layout=MemoryLayout.SLICED, grad_mode=GradMode.NO_GRAD),
            r"^input after the call|^the memory around input after the call",
        ),
        (swapped, UNSORTED, "^sorted_indices after the call"),
        (
            wanting,
            QUIET,
            "^the requires_grad of input was False before the call and is True after it$",
        ),
        (with_gradient, make_case(), r"^after the call input has a \.grad$"),
        (
            lambda layer, x, hx, result: x.data.nan_to_num_(),
            make_case(),
            r"^input after the call.*expected (nan|inf)",
        ),
    ],
    ids=["memory-around", "indices", "requires-grad", "grad", "nan"],
)
def test_every_trace_on_the_arguments_is_seen(
    action: Callable[..., Any], near: Case, text: str
) -> None:
    assert re.search(text, told("side-effects.arguments", action, near))


def renewed(layer: Any, *rest: Any) -> None:
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach().clone())


def thawed(layer: Any, *rest: Any) -> None:
    layer.weight_hh_l0.requires_grad_(not layer.weight_hh_l0.requires_grad)


def given_gradient(layer: Any, *rest: Any) -> None:
    layer.weight_hh_l0.grad = torch.full_like(
        layer.weight_hh_l0,
        1.0 + (0 if layer.weight_hh_l0.grad is None else layer.weight_hh_l0.grad[0, 0]),
    )


def counted(layer: Any, *rest: Any) -> None:
    layer.register_buffer(f"calls_{len(list(layer.buffers()))}", torch.zeros(1))


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (renewed, "^a call changed which objects the parameters are"),
        (thawed, "^a call changed which parameters require gradients"),
        (given_gradient, "^a call changed the gradients of parameters"),
        (counted, "^a call changed the buffers"),
        (lambda layer, *rest: layer.train(not layer.training), "^a call changed the mode"),
        (
            lambda layer, *rest: layer._parameters.pop("bias_hh_l0", None),
            "^after a call there is no parameter bias_hh_l0$",
        ),
    ],
)
def test_every_trace_on_the_parameters_is_seen(action: Callable[..., Any], text: str) -> None:
    assert re.search(text, told("side-effects.parameters", action, QUIET))


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (lambda *rest: random.random(), "Python"),
        (lambda *rest: np.random.random(), "NumPy"),
        (lambda *rest: torch.rand(1), "torch"),
    ],
)
def test_every_generator_is_watched(action: Callable[..., Any], name: str) -> None:
    assert (
        told("side-effects.random-generators", action, make_case())
        == f"a call without dropout changed the state of {name}'s random number generator"
    )


CHANGES: dict[str, Callable[..., Any]] = {
    "default dtype": lambda *rest: torch.set_default_dtype(torch.float64),
    "deterministic algorithms": lambda *rest: torch.use_deterministic_algorithms(True),
    "anomaly detection": lambda *rest: torch.autograd.set_detect_anomaly(True),
    "number of threads": lambda *rest: torch.set_num_threads(torch.get_num_threads() + 1),
    "numpy error state": lambda *rest: np.seterr(over="raise"),
    "recursion limit": lambda *rest: __import__("sys").setrecursionlimit(4321),
    "default device": lambda *rest: torch.set_default_device("meta"),
    "cudnn.benchmark": lambda *rest: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn.deterministic": lambda *rest: setattr(torch.backends.cudnn, "deterministic", True),
    "cudnn.enabled": lambda *rest: setattr(torch.backends.cudnn, "enabled", False),
}


@pytest.mark.parametrize("setting", CHANGES)
def test_every_setting_is_watched_and_put_back(setting: str) -> None:
    before = settings.read_settings()
    assert told("side-effects.global-settings", CHANGES[setting], make_case()).startswith(
        f"a call changed the {setting} from "
    )
    assert settings.read_settings() == before


def test_results_may_lie_side_by_side_in_one_memory() -> None:
    class Joint(Plain):
        def run(self, *arguments: Any) -> tuple[Tensor, Tensor]:
            output, h_n = super().run(*arguments)
            buffer = torch.cat([output.reshape(-1), h_n.reshape(-1)])
            return buffer[: output.numel()].view(output.shape), buffer[output.numel() :].view(
                h_n.shape
            )

    assert judge_layer("side-effects.results-not-aliased", Joint, make_case(), 9) is None


def test_an_output_in_the_memory_of_the_input_is_seen() -> None:
    class InPlace(Plain):
        def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
            output, h_n = super().forward_tensor(input, hx)
            return input.data.copy_(output), h_n

    finding = judge_layer(
        "side-effects.results-not-aliased", InPlace, make_case(hidden_size=3, grad_mode=GradMode.NO_GRAD), 9
    )
    assert isinstance(finding, Finding)
    assert finding.message == "writing to the results of a call changed input"


def test_results_changed_by_a_backward_pass_are_seen() -> None:
    class Overwritten(Plain):
        def run(self, *arguments: Any) -> tuple[Tensor, Tensor]:
            output, h_n = super().run(*arguments)
            if output.requires_grad:
                output.register_hook(lambda gradient: output.data.zero_() * 0 + gradient)  # type: ignore[no-untyped-call]
            return output, h_n

    finding = judge_layer("side-effects.backward", Overwritten, make_case(), 9)
    assert isinstance(finding, Finding)
    assert finding.message == "a backward pass changed result 0"
