"""The rules about side effects: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnspec.cases.axes import (
    ConstructorStyle,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    ModuleUses,
)
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding
from rnnspec.report.execution import is_failing_program
from rnnspec.report.program import write_program
from rnnspec.selftest import BUGS, Plain
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects import settings
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, find_violation, make_case

GIVEN = make_case(initial_state=InitialState.GIVEN, batch_first=True)
PACKED = make_case(initial_state=InitialState.GIVEN, layout=Layout.PACKED, lengths=(5, 3, 1))
UNSORTED = make_case(
    layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), bidirectional=True, num_layers=2
)
WITHOUT_GRADIENTS = make_case(grad_mode=GradMode.NO_GRAD)
INFERENCE = make_case(grad_mode=GradMode.INFERENCE, initial_state=InitialState.GIVEN, num_layers=2)
LAID_OUT = [
    make_case(layout=Layout.UNBATCHED),
    make_case(memory_layout=MemoryLayout.SLICED, initial_state=InitialState.GIVEN),
    make_case(memory_layout=MemoryLayout.EXPANDED),
]
EVERYWHERE = [GIVEN, PACKED, UNSORTED, WITHOUT_GRADIENTS, INFERENCE, *LAID_OUT]
DROPS = make_case(num_layers=2, dropout=0.5, mode=Mode.TRAIN)
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
    "side-effects.results-not-aliased": [
        *EVERYWHERE,
        make_case(steps=1),
        make_case(steps=1, batch=1),
        *(make_case(kind=kind) for kind in ("gru", "lstm")),
        make_case(kind="lstm-cell", steps=1),
    ],
    "side-effects.same-bits": [*EVERYWHERE, DROPS],
    "side-effects.deterministic": [*EVERYWHERE, DROPS],
    "side-effects.restored-generator": [DROPS, DROPS.replace(dropout=1.0)],
    "side-effects.other-generators": [DROPS, DROPS.replace(dropout=1.0)],
    "side-effects.backward": [GIVEN, PACKED, UNSORTED, *LAID_OUT],
}
FAILS: Fails = [
    (
        "side-effects.restored-generator",
        "StreamOfItsOwn",
        DROPS,
        r"^output\[.*\] after fork_rng is .*, expected",
    ),
    (
        "side-effects.other-generators",
        "DropoutSeedsFromPython",
        DROPS,
        "^a call with dropout changed the state of Python's random number generator; ",
    ),
    (
        "side-effects.arguments",
        "InputTransposedInPlace",
        make_case(batch_first=True, grad_mode=GradMode.NO_GRAD),
        r"^a call changed the shape of input from \(3, 5, 3\) to \(5, 3, 3\)$",
    ),
    (
        "side-effects.arguments",
        "StateWrittenInPlace",
        GIVEN,
        r"^h_0\[0, 0, 0\] after the call is .*, expected",
    ),
    (
        "side-effects.arguments",
        "PackedDataRounded",
        PACKED,
        r"^input\[0, \d\] after the call is .*, expected",
    ),
    (
        "side-effects.parameters",
        "BiasReshaped",
        make_case(),
        r"^after a call, bias_ih_l0 has shape \(1, 4\); expected \(4,\)$",
    ),
    (
        "side-effects.parameters",
        "WeightsDropped",
        make_case(num_layers=2, dropout=0.5, mode=Mode.TRAIN),
        r"^weight_hh_l0\[\d, \d\] after a call is ",
    ),
    (
        "side-effects.random-generators",
        "Reseeds",
        make_case(),
        "^a call without active dropout changed the state of torch's random number generator$",
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
        r"^output of a second call\[0, 0, 0\] is .*, expected",
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
        "side-effects.global-settings",
        "DenormalsFlushed",
        make_case(),
        "^a call changed the flushing of denormal numbers from False to True$",
    ),
    (
        "side-effects.global-settings",
        "WarningsReset",
        make_case(),
        "^a call changed the warning filters from those that begin with 'ignore' "
        "to those that begin with 'default'$",
    ),
    (
        "side-effects.global-settings",
        "PrecisionLoweredWhenBuilt",
        make_case(),
        "^the constructor changed the float32 matmul precision from highest to high$",
    ),
    (
        "side-effects.same-bits",
        "AddsInAnyOrderByDefault",
        make_case(),
        r"^output of a repeated call\[.* is .*, expected",
    ),
    (
        "side-effects.same-bits",
        "AddsInAnyOrderByDefault",
        make_case(kind="lstm"),
        r"^output of a repeated call\[.* is .*, expected",
    ),
    (
        "side-effects.deterministic",
        "AddsInAnyOrder",
        make_case(),
        r"^output of a repeated call\[.* is .*, expected",
    ),
    (
        "side-effects.earlier-results",
        "BufferReused",
        WITHOUT_GRADIENTS,
        r"^output\[0, 0, 0\] after a later call is .*, expected",
    ),
    (
        "side-effects.results-not-aliased",
        "OwnCopyOfState",
        WITHOUT_GRADIENTS,
        r"^with states changed in place, output\[0, 0, 0\] is .*, expected",
    ),
    (
        "side-effects.results-not-aliased",
        "StateSharesOutput",
        make_case(),
        r"^h_n\[0, 0, 0\] after writing to output is 7, expected ",
    ),
    (
        "side-effects.backward",
        "GradientOverwritten",
        make_case(),
        "^a backward pass changed the gradient of output$",
    ),
]


class DoesAfterwards(Plain):
    """A layer that does something else at the end of a call."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        result = super().forward(input, hx)
        self.afterwards(input, hx, result)
        return result

    def afterwards(self, input: Any, hx: Tensor | None, result: Any) -> None:
        """Do nothing."""


def make_layer_that(action: Callable[..., Any]) -> type[nn.Module]:
    """Return a layer that runs an action at the end of each call."""
    return type("Doing", (DoesAfterwards,), {"afterwards": action})


def describe_finding(name: str, action: Callable[..., Any], case: Case) -> str:
    """Return the finding of a rule on a layer with an action, with one of the first nine seeds."""
    finding = check_layer(name, make_layer_that(action), case, 9)
    assert isinstance(finding, Finding), finding
    return finding.message


def overwrite_buffer(layer: Any, x: Tensor, hx: Any, result: Any) -> None:
    if x._base is not None:
        x._base.data.fill_(1.0)


def reverse_indices(layer: Any, x: Any, hx: Any, result: Any) -> None:
    x.sorted_indices.copy_(x.sorted_indices.flip(0))


def require_gradient(layer: Any, x: Tensor, hx: Any, result: Any) -> None:
    x.requires_grad_(True)


def set_gradient(layer: Any, x: Tensor, hx: Any, result: Any) -> None:
    x.grad = torch.zeros_like(x)


@pytest.mark.parametrize(
    ("action", "case", "text"),
    [
        (
            overwrite_buffer,
            make_case(memory_layout=MemoryLayout.SLICED, grad_mode=GradMode.NO_GRAD),
            r"^(the memory around )?input\[[\d, ]+\] after the call",
        ),
        (reverse_indices, UNSORTED, r"^sorted_indices\[\d\] after the call"),
        (
            require_gradient,
            WITHOUT_GRADIENTS,
            "^a call changed the requires_grad of input from False to True$",
        ),
        (set_gradient, make_case(), r"^a call set input\.grad; expected None$"),
        (
            lambda layer, x, hx, result: x.data.nan_to_num_(),
            make_case(),
            r"^input\[[\d, ]+\] after the call.*expected (nan|inf)",
        ),
    ],
    ids=["memory-around", "indices", "requires-grad", "grad", "nan"],
)
def test_every_change_of_the_arguments_is_reported(
    action: Callable[..., Any], case: Case, text: str
) -> None:
    assert re.search(text, describe_finding("side-effects.arguments", action, case))


def replace_parameter(layer: Any, *rest: Any) -> None:
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach().clone())


def freeze_parameter(layer: Any, *rest: Any) -> None:
    layer.weight_hh_l0.requires_grad_(not layer.weight_hh_l0.requires_grad)


def change_parameter_gradient(layer: Any, *rest: Any) -> None:
    layer.weight_hh_l0.grad = torch.full_like(
        layer.weight_hh_l0,
        1.0 + (0 if layer.weight_hh_l0.grad is None else layer.weight_hh_l0.grad[0, 0]),
    )


def register_counter(layer: Any, *rest: Any) -> None:
    layer.register_buffer(f"calls_{len(list(layer.buffers()))}", torch.zeros(1))


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (replace_parameter, "^a call changed which objects the parameters are: weight_hh_l0$"),
        (freeze_parameter, "^a call changed which parameters require gradients: weight_hh_l0$"),
        (
            change_parameter_gradient,
            "^a call changed the gradients of the parameters: weight_hh_l0$",
        ),
        (register_counter, "^a call changed the buffers"),
        (lambda layer, *rest: layer.train(not layer.training), "^a call changed the mode"),
        (
            lambda layer, *rest: layer._parameters.pop("bias_hh_l0", None),
            "^a call removed the parameter bias_hh_l0$",
        ),
    ],
)
def test_every_change_of_the_parameters_is_reported(action: Callable[..., Any], text: str) -> None:
    assert re.search(text, describe_finding("side-effects.parameters", action, WITHOUT_GRADIENTS))


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (lambda *rest: random.random(), "Python"),
        (lambda *rest: np.random.random(), "NumPy"),
        (lambda *rest: torch.rand(1), "torch"),
    ],
)
@pytest.mark.parametrize("drawn", [0, 1])
def test_every_generator_is_watched(action: Callable[..., Any], name: str, drawn: int) -> None:
    """NumPy's generator is in the middle of its key, or needs a new one."""
    np.random.seed(1)
    np.random.random(drawn)
    assert (
        describe_finding("side-effects.random-generators", action, make_case())
        == f"a call without active dropout changed the state of {name}'s random number generator"
    )


CHANGES: dict[str, Callable[..., Any]] = {
    "default dtype": lambda *rest: torch.set_default_dtype(torch.float64),
    "deterministic algorithms": lambda *rest: torch.use_deterministic_algorithms(True),
    "anomaly detection": lambda *rest: torch.autograd.set_detect_anomaly(True),
    "number of threads": lambda *rest: torch.set_num_threads(torch.get_num_threads() + 1),
    "numpy error state": lambda *rest: np.seterr(over="raise"),
    "recursion limit": lambda *rest: __import__("sys").setrecursionlimit(4321),
    "default device": lambda *rest: torch.set_default_device("meta"),
    "float32 matmul precision": lambda *rest: torch.set_float32_matmul_precision("medium"),
    "flushing of denormal numbers": lambda *rest: torch.set_flush_denormal(True),
    "warning filters": lambda *rest: warnings.simplefilter("error", SyntaxWarning),
    "cudnn.benchmark": lambda *rest: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn.deterministic": lambda *rest: setattr(torch.backends.cudnn, "deterministic", True),
    "cudnn.enabled": lambda *rest: setattr(torch.backends.cudnn, "enabled", False),
}


@pytest.mark.parametrize("setting", CHANGES)
def test_every_setting_is_watched_and_restored(setting: str) -> None:
    before = settings.read_settings()
    assert describe_finding(
        "side-effects.global-settings", CHANGES[setting], make_case()
    ).startswith(f"a call changed the {setting} from ")
    assert settings.read_settings() == before


def test_a_setting_changed_by_the_constructor_is_reported_with_a_program() -> None:
    name, bug = "side-effects.global-settings", "DefaultDtypeSetWhenBuilt"
    before = settings.read_settings()
    finding = find_violation(name, bug, make_case(constructor_style=ConstructorStyle.TYPED))
    assert settings.read_settings() == before
    assert finding.message == (
        "the constructor changed the default dtype from torch.float32 to torch.float64"
    )
    for kind, expected in ((BUGS[bug], True), (nn.RNN, False)):
        target = resolve_target(kind)
        assert is_failing_program(write_program(target, finding), target) is expected


def test_results_may_be_parts_of_one_buffer() -> None:
    class Joint(Plain):
        def compute(self, *arguments: Any) -> tuple[Tensor, Tensor]:
            output, h_n = super().compute(*arguments)
            buffer = torch.cat([output.reshape(-1), h_n.reshape(-1)])
            return buffer[: output.numel()].view(output.shape), buffer[output.numel() :].view(
                h_n.shape
            )

    assert check_layer("side-effects.results-not-aliased", Joint, make_case(), 9) is None


class ViewsOfOutput(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (output[-1:] if len(output) == 4 else h_n, c_n)


def test_a_layer_whose_page_promises_no_copies_may_return_views() -> None:
    case = make_case(kind="lstm", steps=4)
    assert check_layer("side-effects.results-not-aliased", ViewsOfOutput, case) is None


def test_returning_one_result_in_place_of_another_is_not_shared_memory() -> None:
    case = make_case(kind="lstm", proj_size=2)
    layer = find_bank("lstm").bugs["CellStateCutForHidden"]
    assert check_layer("side-effects.results-not-aliased", layer, case) is None
    assert find_violation("recurrence.h-n", "CellStateCutForHidden", case).message


def test_an_output_in_the_memory_of_the_input_is_reported() -> None:
    class InPlace(Plain):
        def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
            output, h_n = super().forward_tensor(input, hx)
            return input.data.copy_(output), h_n

    finding = check_layer(
        "side-effects.results-not-aliased",
        InPlace,
        make_case(hidden_size=3, grad_mode=GradMode.NO_GRAD),
        9,
    )
    assert isinstance(finding, Finding)
    assert finding.message == "writing to the results of a call changed input"


def test_a_constructor_that_silences_all_warnings_is_reported() -> None:
    class Silent(nn.RNN):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            warnings.filterwarnings("ignore")

    finding = check_layer("side-effects.global-settings", Silent, make_case(), 9)
    assert isinstance(finding, Finding)
    assert finding.message == "the constructor changed the warning filters"


def test_results_changed_by_a_backward_pass_are_reported() -> None:
    class Overwritten(Plain):
        def compute(self, *arguments: Any) -> tuple[Tensor, Tensor]:
            output, h_n = super().compute(*arguments)
            if output.requires_grad:
                output.register_hook(lambda gradient: output.data.zero_() * 0 + gradient)
            return output, h_n

    finding = check_layer("side-effects.backward", Overwritten, make_case(), 9)
    assert isinstance(finding, Finding)
    assert finding.message == "a backward pass changed output"


def test_another_order_of_additions_is_no_other_mask() -> None:
    layer = BUGS["AddsInAnyOrderByDefault"]
    assert isinstance(check_layer("side-effects.same-bits", layer, DROPS, 9), Finding)
    assert check_layer("side-effects.restored-generator", layer, DROPS, 9) is None
