"""The rules about modules: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.cases.axes import (
    HISTORY_USES,
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
from rnnspec.cases.axes.prior_use import PassingUses
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.engine.outcome import Finding, UnsupportedCase
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import prepare_layer
from rnnspec.rulekit.fixtures.modules import choose_entries
from rnnspec.rulekit.fixtures.parametrized import (
    DoubledWeight,
    NormalisedWeight,
    NormalisedWeightByHook,
)
from rnnspec.rulekit.fixtures.tied import list_tieable_pairs
from rnnspec.selftest import BUGS, Plain
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, make_case, make_test_ids


def make_cases(prior_use: PriorUse) -> list[Case]:
    """Return a few different cases with a prior use."""
    case = make_case(prior_use=prior_use)
    stack = case.replace(
        num_layers=2, bidirectional=True, initial_state=InitialState.GIVEN, batch_first=True
    )
    return [
        case,
        stack,
        case.replace(grad_mode=GradMode.INFERENCE, nonlinearity="relu", bias=False),
        case.replace(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), dtype=DType.FLOAT32),
        stack.replace(layout=Layout.UNBATCHED, dtype=DType.BFLOAT16, grad_mode=GradMode.NO_GRAD),
        case.replace(mode=Mode.TRAIN, num_layers=2, dropout=1.0, dtype=DType.FLOAT16),
    ]


MOVED = make_case(prior_use=ParameterUpdates.DATA_MOVED)
EARLIER_CALLS = [use for use in EarlierCalls if use is not EarlierCalls.FRESH]
PASSES: Passes = {
    "modules.dtype-methods": make_cases(EarlierCalls.FRESH),
    "modules.device-methods": make_cases(EarlierCalls.FRESH),
    "modules.extra-entries": make_cases(EarlierCalls.CALLED),
    "modules.state-dict-options": make_cases(EarlierCalls.FRESH),
    "modules.methods": make_cases(EarlierCalls.FRESH),
    "modules.to-empty": make_cases(EarlierCalls.FRESH),
    "modules.set-from-vector": make_cases(EarlierCalls.FRESH),
    "modules.user-parameter": make_cases(EarlierCalls.FRESH),
    "modules.pruned": [
        case
        for case in make_cases(EarlierCalls.CALLED)
        if case.dtype in (DType.FLOAT64, DType.FLOAT32)
    ],
    "modules.state-dict": make_cases(EarlierCalls.FRESH),
    "modules.deepcopy": make_cases(ModuleUses.DEEPCOPIED),
    "modules.pickle": make_cases(ModuleUses.PICKLED),
    "modules.refuses-state-dict": [make_case(), make_case(num_layers=2, bidirectional=True)],
    "modules.replaced-parameters": [
        *make_cases(ParameterUpdates.REPLACED),
        *make_cases(ParameterUpdates.DATA_REPLACED),
        *make_cases(ParameterUpdates.TRAINED),
        *make_cases(ParameterUpdates.DATA_MOVED),
    ],
    "modules.functional-call": make_cases(ModuleUses.FUNCTIONAL),
    "modules.second-call": [case for use in EARLIER_CALLS for case in make_cases(use)],
    "modules.history": [
        case.replace(history=(before, use))
        for before, use in zip(HISTORY_USES, reversed(HISTORY_USES), strict=True)
        for case in make_cases(EarlierCalls.FRESH)[:2]
    ],
    "modules.nested": make_cases(ModuleUses.NESTED),
    "modules.dtype-conversion": make_cases(ModuleUses.CONVERTED),
    "modules.load-state-dict": make_cases(ParameterUpdates.RELOADED),
    "modules.shared-parameters": make_cases(ModuleUses.SHARED),
    "modules.tied-parameters": [
        case
        for case in make_cases(EarlierCalls.CALLED)
        if case.dtype in (DType.FLOAT64, DType.FLOAT32) and list_tieable_pairs(case.config)
    ],
    "modules.parametrized": [
        case
        for case in make_cases(EarlierCalls.CALLED)
        if case.dtype in (DType.FLOAT64, DType.FLOAT32)
    ],
    "modules.weight-norm": [
        case
        for case in make_cases(EarlierCalls.CALLED)
        if case.dtype in (DType.FLOAT64, DType.FLOAT32)
    ],
    "modules.flatten-parameters": make_cases(EarlierCalls.CALLED),
}
STACK = make_case(num_layers=2, bidirectional=True)
FAILS: Fails = [
    (
        "modules.dtype-methods",
        "MethodsConvertWeightsOnly",
        make_case(),
        r"^after \.double\(\), bias_ih_l0 is torch\.float32; expected torch\.float64$",
    ),
    (
        "modules.device-methods",
        "CpuReturnsCopy",
        make_case(),
        r"^\.cpu\(\) returned another CpuReturnsCopy, expected the layer$",
    ),
    (
        "modules.extra-entries",
        "ExtraEntriesSwallowed",
        make_case(),
        r"of a module that holds the layer silently accepts an additional entry part\.\w+_more; ",
    ),
    (
        "modules.extra-entries",
        "LoadReturnsNothing",
        make_case(),
        r"missing_keys of load_state_dict\(\) with strict=False is None; expected \['\w+'\]$",
    ),
    (
        "modules.dtype-methods",
        "TypeWithoutEffect",
        make_case(),
        r"^after \.type\(torch\.float64\), weight_ih_l0 is torch\.float32; expected ",
    ),
    (
        "modules.dtype-methods",
        "ToReturnsCopy",
        make_case(),
        r"^\.to\(torch\.empty\(.*\)\) returned another ToReturnsCopy, expected the layer$",
    ),
    (
        "modules.dtype-methods",
        "TiesCutByConversion",
        make_case(),
        r"^after \.\w+\(.*\), weight_ih_l0 is another object; expected the parameter that",
    ),
    (
        "modules.methods",
        "ZeroGradOfWeights",
        make_case(),
        r"^after zero_grad\(set_to_none=True\), the gradient of bias_ih_l0 is not None$",
    ),
    (
        "modules.methods",
        "ApplyReturnsNothing",
        make_case(),
        r"^apply\(\) did not return the layer$",
    ),
    ("modules.to-empty", "BiasesForgottenOnMeta", make_case(), r"^output\["),
    ("modules.pruned", "MaskIgnored", make_case(), r"^output\["),
    ("modules.set-from-vector", "PlacesInMemoryKept", make_case(), r"^output\["),
    (
        "modules.user-parameter",
        "OwnEntriesOnly",
        make_case(),
        "^the state_dict lacks added_by_user, which was registered with the layer; expected it$",
    ),
    (
        "modules.extra-entries",
        "PartialLoadGivenUp",
        make_case(),
        "with strict=False changes .* or does not load the other entries$",
    ),
    (
        "modules.state-dict-options",
        "KeepVarsIgnored",
        make_case(),
        r"^state_dict\(\) ignores the argument keep_vars$",
    ),
    (
        "modules.state-dict-options",
        "LoadHooksSkipped",
        make_case(),
        r"^a hook after load_state_dict\(\) was called 0 times; expected once$",
    ),
    (
        "modules.state-dict",
        "ExtraBuffer",
        make_case(),
        "^the state_dict has an entry calls; expected only the parameters$",
    ),
    (
        "modules.deepcopy",
        "CopySharesParameters",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^weight_ih_l0\[0, 0\] of the original after changing the copy is ",
    ),
    (
        "modules.deepcopy",
        "CopySharesWorkspace",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^after a later call of the original, gradient of input\[",
    ),
    (
        "modules.deepcopy",
        "CopyUntiesWeights",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^after copy.deepcopy\(\) of a model, \w+ is not shared with another module; ",
    ),
    (
        "modules.deepcopy",
        "CopyRebuilt",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        "an attribute that was set on the layer is gone; expected it to stay$",
    ),
    (
        "modules.deepcopy",
        "CopyForgetsArguments",
        make_case(prior_use=ModuleUses.DEEPCOPIED, nonlinearity="relu"),
        r"^output\[",
    ),
    ("modules.pickle", "PickleLosesBiases", make_case(prior_use=ModuleUses.PICKLED), r"^output\["),
    (
        "modules.pickle",
        "PickleTrains",
        make_case(prior_use=ModuleUses.PICKLED),
        r"^after pickle.*, a layer in eval mode has training=True; expected False$",
    ),
    (
        "modules.replaced-parameters",
        "WeightsTakenOnce",
        make_case(prior_use=ParameterUpdates.REPLACED),
        r"^output\[",
    ),
    ("modules.replaced-parameters", "ParameterOffsetIgnored", MOVED, r"^output\[.*\] is nan, "),
    (
        "modules.functional-call",
        "FunctionalCallIgnored",
        make_case(prior_use=ModuleUses.FUNCTIONAL),
        r"^output\[",
    ),
    (
        "modules.second-call",
        "RemembersState",
        make_case(prior_use=EarlierCalls.CALLED),
        r"^output\[",
    ),
    (
        "modules.second-call",
        "ThirdCallDiffers",
        make_case(prior_use=EarlierCalls.CALLED_TWICE),
        r"^output\[",
    ),
    (
        "modules.second-call",
        "StateKeptUntilModeIsSet",
        make_case(prior_use=EarlierCalls.CALLED_TWICE),
        r"^output\[",
    ),
    (
        "modules.history",
        "RefusedCallLeavesMark",
        make_case(history=(PassingUses.REFUSED,), initial_state=InitialState.GIVEN),
        r"^output\[",
    ),
    (
        "modules.history",
        "HookedOnceIgnoresState",
        make_case(history=(PassingUses.HOOKED,), initial_state=InitialState.GIVEN),
        r"^output\[",
    ),
    (
        "modules.history",
        "PassedBiasesKept",
        make_case(history=(PassingUses.CALLED_FUNCTIONALLY,)),
        r"^output\[",
    ),
    (
        "modules.history",
        "BiasesFadeAfterManyCalls",
        make_case(history=(PassingUses.LOOPED,)),
        r"^output\[",
    ),
    (
        "modules.nested",
        "ParentModeIgnored",
        make_case(prior_use=ModuleUses.NESTED),
        r"^after train\(False\) of a module that holds the layer, the layer has training=True; "
        "expected False$",
    ),
    ("modules.nested", "PrefixIgnored", make_case(prior_use=ModuleUses.NESTED), r"^output\["),
    (
        "modules.load-state-dict",
        "FusedBiasKept",
        make_case(prior_use=ParameterUpdates.RELOADED, grad_mode=GradMode.NO_GRAD),
        r"^output\[",
    ),
    (
        "modules.load-state-dict",
        "LoadedWithoutReverse",
        STACK.replace(prior_use=ParameterUpdates.RELOADED),
        r"^weight_ih_l1_reverse\[.*\] after load_state_dict\(\)",
    ),
    (
        "modules.shared-parameters",
        "TiesCutByConversion",
        make_case(prior_use=ModuleUses.SHARED),
        "^two layers shared weight_ih_l0; after a conversion each has its own$",
    ),
    (
        "modules.tied-parameters",
        "TieWithinCut",
        make_case(),
        "^bias_ih_l0 and bias_hh_l0 were tied to one parameter; after a conversion they are two$",
    ),
    (
        "modules.tied-parameters",
        "TieCountsOnce",
        make_case(),
        r"^gradient of bias_ih_l0 and bias_hh_l0\[0\] is .*, expected",
    ),
    (
        "modules.tied-parameters",
        "TiedLayerDetached",
        make_case(num_layers=3),
        r"^gradient of weight_.*, expected",
    ),
    ("modules.parametrized", "ParametrizationKept", make_case(), r"^output\["),
    ("modules.parametrized", "ParametrizationIgnored", make_case(), r"^output\["),
    (
        "modules.flatten-parameters",
        "FlattenedByDirection",
        STACK,
        r"^weight_hh_l0_reverse\[.*\] after flatten_parameters\(\)",
    ),
]
WITHOUT_PROGRAM: Fails = [
    (
        "modules.dtype-conversion",
        "DtypeOfConstruction",
        make_case(prior_use=ModuleUses.CONVERTED, steps=2),
        "raised RuntimeError",
    ),
    (
        "modules.second-call",
        "BatchSizeBaked",
        make_case(prior_use=EarlierCalls.OTHER_BATCH),
        "raised|shape",
    ),
    (
        "modules.refuses-state-dict",
        "LoadsWhatIsThere",
        STACK,
        r"^load_state_dict\(\) silently accepts a state_dict without .*; expected an exception$",
    ),
    (
        "modules.refuses-state-dict",
        "TransposesOnLoad",
        STACK,
        r"^load_state_dict\(\) silently accepts a state_dict with weight_ih_l.* transposed"
        "; expected an exception$",
    ),
    (
        "modules.refuses-state-dict",
        "BiasFilledOnLoad",
        STACK,
        r"^load_state_dict\(\) silently accepts a state_dict with a single element for bias_.*_l.*"
        "; expected an exception$",
    ),
    (
        "modules.deepcopy",
        "CopyInTrainMode",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^after copy.deepcopy\(layer\), a layer in eval mode has training=True; expected False$",
    ),
    (
        "modules.deepcopy",
        "CopyThaws",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^after copy.deepcopy\(layer\), weight_ih_l0 requires gradients; "
        "expected it to stay frozen$",
    ),
    (
        "modules.dtype-conversion",
        "ConversionThaws",
        make_case(prior_use=ModuleUses.CONVERTED),
        r"^after layer.to\(torch.float32\), .* requires gradients; expected it to stay frozen$",
    ),
    (
        "modules.second-call",
        "FrozenForGood",
        make_case(prior_use=EarlierCalls.THAWED, grad_mode=GradMode.GRAD),
        "gradient",
    ),
    (
        "modules.second-call",
        "RemembersByAddress",
        make_case(prior_use=EarlierCalls.CALLED, grad_mode=GradMode.NO_GRAD),
        r"^output\[",
    ),
    (
        "modules.second-call",
        "PlanByTotals",
        make_case(prior_use=EarlierCalls.OTHER_BATCH, layout=Layout.PACKED, lengths=(4, 2, 1)),
        r"^output\[|raised",
    ),
    ("modules.weight-norm", "AttributeKept", make_case(), r"^output\["),
]

every_other = pytest.mark.parametrize(
    ("name", "bug", "case", "text"), WITHOUT_PROGRAM, ids=make_test_ids(WITHOUT_PROGRAM)
)


@every_other
def test_planted_bug_is_reported(name: str, bug: str, case: Case, text: str) -> None:
    finding = check_layer(name, BUGS[bug], case, 8)
    assert isinstance(finding, Finding)
    assert re.search(text, finding.message)


@pytest.mark.parametrize(
    "name",
    [name for name in PASSES if name not in ("modules.state-dict", "modules.load-state-dict")],
)
def test_a_bug_of_a_fresh_layer_is_not_blamed_on_the_prior_use(name: str) -> None:
    assert check_layer(name, BUGS["StateIgnored"], PASSES[name][1]) is None


def test_a_layer_without_flatten_parameters_is_not_checked_by_that_rule() -> None:
    class Bare(Plain):
        flatten_parameters = None  # type: ignore[assignment]

    refusal = check_layer("modules.flatten-parameters", Bare, make_case())
    assert isinstance(refusal, UnsupportedCase)
    assert refusal.reason == "the layer has no flatten_parameters()"


def test_loading_that_reorders_is_not_blamed_on_flatten_parameters() -> None:
    class Turned(Plain):
        def _load_from_state_dict(self, state_dict: Any, *rest: Any) -> None:
            super()._load_from_state_dict(
                {name: value.flip(0) for name, value in state_dict.items()}, *rest
            )

    assert check_layer("modules.flatten-parameters", Turned, make_case()) is None


def test_the_method_that_raises_is_named() -> None:
    class Unprintable(Plain):
        def extra_repr(self) -> str:
            raise AttributeError("no activation")

    finding = check_layer("modules.methods", Unprintable, make_case(), 1)
    assert isinstance(finding, Finding)
    assert finding.message == "repr() raised AttributeError: no activation"


def test_a_parameter_with_the_old_dtype_after_a_conversion_is_reported() -> None:
    class Stubborn(Plain):
        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            kept: nn.Parameter = getattr(self, "weight_hh_l0")  # noqa: B009
            super()._apply(fn, recurse)
            setattr(self, "weight_hh_l0", nn.Parameter(kept.detach().float()))  # noqa: B010
            return self

    finding = check_layer(
        "modules.dtype-conversion",
        Stubborn,
        make_case(prior_use=ModuleUses.CONVERTED, dtype=DType.BFLOAT16),
    )
    assert isinstance(finding, Finding)
    assert finding.message == (
        "after .to(torch.bfloat16), weight_hh_l0 is torch.float32; expected torch.bfloat16"
    )


def test_state_dict_entries_that_are_copies_are_reported() -> None:
    class Copies(Plain):
        def state_dict(self, *rest: Any, **others: Any) -> Any:
            found = super().state_dict(*rest, **others)
            return type(found)((name, value.clone()) for name, value in found.items())

    finding = check_layer("modules.state-dict", Copies, make_case())
    assert isinstance(finding, Finding)
    assert re.search(
        r"^weight_ih_l0\[0, 0\] after writing to its entry of the state_dict is .*, expected 0\.5 ",
        finding.message,
    )


@pytest.mark.parametrize(
    ("rule", "prior_use"),
    [
        ("modules.deepcopy", ModuleUses.DEEPCOPIED),
        ("modules.pickle", ModuleUses.PICKLED),
        ("modules.dtype-conversion", ModuleUses.CONVERTED),
    ],
)
def test_a_mode_that_was_never_set_is_kept(rule: str, prior_use: PriorUse) -> None:
    """That `eval()` has no effect is a fault of `modes.train`, and not of what comes later."""
    case = make_case(prior_use=prior_use, mode=Mode.EVAL)
    assert check_layer(rule, BUGS["ParentModeIgnored"], case) is None


@pytest.mark.parametrize("kind", [DoubledWeight, NormalisedWeight, NormalisedWeightByHook])
def test_a_parametrized_weight_keeps_its_value_until_it_is_halved(kind: Any) -> None:
    case = make_case(num_layers=2)
    values = draw_values(case)
    weight = kind(prepare_layer(TorchSubject(resolve_target(nn.RNN)), case, values), "weight_hh_l1")
    torch.testing.assert_close(
        torch.from_numpy(weight.read_weight()), torch.tensor(values.weights["weight_hh_l1"])
    )
    weight.halve_source()
    weight.prepared.call()
    torch.testing.assert_close(
        torch.from_numpy(weight.read_weight()), torch.tensor(values.weights["weight_hh_l1"] / 2)
    )


@pytest.mark.parametrize("seed", range(3))
def test_state_dicts_without_a_parameter_of_any_kind_are_tried(seed: int) -> None:
    case = make_case(num_layers=2, bidirectional=True, seed=8 * seed)
    chosen = choose_entries(Observation(TorchSubject(resolve_target(nn.RNN)), case))
    assert [name.partition("_l")[0] for name in chosen] == [
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "bias_hh",
    ]


def test_biases_that_are_filled_in_when_a_state_dict_lacks_them_are_reported() -> None:
    class Filling(nn.RNN):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            if f"{prefix}bias_hh_l0" not in state_dict:
                state_dict[f"{prefix}bias_hh_l0"] = torch.zeros(self.hidden_size)
            super()._load_from_state_dict(state_dict, prefix, *rest)

    finding = check_layer("modules.refuses-state-dict", Filling, make_case(), seeds=1)
    assert isinstance(finding, Finding)
    assert "silently accepts a state_dict without bias_hh_l0" in finding.message


class LikeScripted(nn.RNN):
    """A layer without two methods that a scripted module does not have."""

    def get_submodule(self, target: str) -> nn.Module:
        raise RuntimeError("get_submodule is not supported on ScriptModules")

    def requires_grad_(self, requires_grad: bool = True) -> LikeScripted:
        raise RuntimeError("requires_grad_ is not supported on ScriptModules")


@pytest.mark.parametrize(
    ("rule", "prior_use"),
    [
        ("modules.dtype-conversion", ModuleUses.CONVERTED),
        ("modules.replaced-parameters", ParameterUpdates.REPLACED),
    ],
)
def test_scripted_modules_need_no_feature_that_they_lack(rule: str, prior_use: Any) -> None:
    for seed in range(2):
        case = make_case(prior_use=prior_use, seed=seed)
        assert check_layer(rule, LikeScripted, case) is None
