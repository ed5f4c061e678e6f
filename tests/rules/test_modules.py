"""The rules of modules: each passes for torch.nn.RNN and tells what a planted bug does."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.cases.axes import (
    DType,
    EarlierCalls,
    GradMode,
    InitialState,
    Layout,
    Mode,
    ModuleUses,
    ParameterUpdates,
)
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.engine.outcome import Finding, UnsupportedCase
from rnnspec.observe.history import prepare_layer
from rnnspec.rulekit.fixtures.parametrized import Doubled, Normalised, NormalisedByHook
from rnnspec.rulekit.fixtures.tied import list_tieable_pairs
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest import BUGS, Plain
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.judged import Fails, Passes, make_case, make_test_ids, judge_layer
from tests.rules.proven import prove_violation


def situations(history: str, **given: Any) -> list[Case]:
    """A history in a few situations."""
    near = make_case(history=history, **given)
    stack = near.replace(num_layers=2, bidirectional=True, initial_state=InitialState.GIVEN, batch_first=True)
    return [
        near,
        stack,
        near.replace(grad_mode=GradMode.INFERENCE, nonlinearity="relu", bias=False),
        near.replace(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1), dtype=DType.FLOAT32),
        stack.replace(layout=Layout.UNBATCHED, dtype=DType.BFLOAT16, grad_mode=GradMode.NO_GRAD),
        near.replace(mode=Mode.TRAIN, num_layers=2, dropout=1.0, dtype=DType.FLOAT16),
    ]


EARLIER_CALLS = (
    "called",
    "called-twice",
    "other-batch",
    "other-state",
    "other-grad",
    "other-mode",
    "thawed",
)
PASSES: Passes = {
    "modules.state-dict": situations("fresh"),
    "modules.deepcopy": situations("deepcopied"),
    "modules.pickle": situations("pickled"),
    "modules.refuses-state-dict": [make_case(), make_case(num_layers=2, bidirectional=True)],
    "modules.replaced-parameters": [
        *situations("replaced"),
        *situations("data-replaced"),
        *situations("trained"),
    ],
    "modules.functional-call": situations("functional"),
    "modules.second-call": [each for history in EARLIER_CALLS for each in situations(history)],
    "modules.nested": situations("nested"),
    "modules.dtype-conversion": situations("converted"),
    "modules.load-state-dict": situations("reloaded"),
    "modules.shared-parameters": situations("shared"),
    "modules.tied-parameters": [
        each
        for each in situations("called")
        if each.dtype in (DType.FLOAT64, DType.FLOAT32) and list_tieable_pairs(each.config)
    ],
    "modules.parametrized": [
        each for each in situations("called") if each.dtype in (DType.FLOAT64, DType.FLOAT32)
    ],
    "modules.weight-norm": [
        each for each in situations("called") if each.dtype in (DType.FLOAT64, DType.FLOAT32)
    ],
    "modules.flatten-parameters": situations("called"),
}
STACK = make_case(num_layers=2, bidirectional=True)
FAILS: Fails = [
    (
        "modules.state-dict",
        "ExtraBuffer",
        make_case(),
        "^the state_dict has calls besides the parameters$",
    ),
    (
        "modules.deepcopy",
        "CopySharesParameters",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^weight_ih_l0 of the original after changing the copy\[",
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
        "^a layer in eval mode has training=True after pickle",
    ),
    ("modules.replaced-parameters", "WeightsTakenOnce", make_case(prior_use=ParameterUpdates.REPLACED), r"^output\["),
    ("modules.functional-call", "FunctionalCallIgnored", make_case(prior_use=ModuleUses.FUNCTIONAL), r"^output\["),
    ("modules.second-call", "RemembersState", make_case(prior_use=EarlierCalls.CALLED), r"^output\["),
    ("modules.second-call", "ThirdCallDiffers", make_case(prior_use=EarlierCalls.CALLED_TWICE), r"^output\["),
    (
        "modules.nested",
        "ParentModeIgnored",
        make_case(prior_use=ModuleUses.NESTED),
        "^the parent is in eval mode, the layer has training=True$",
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
        r"^weight_ih_l1_reverse after load_state_dict\(\)\[",
    ),
    (
        "modules.shared-parameters",
        "TiesCutByConversion",
        make_case(prior_use=ModuleUses.SHARED),
        "^weight_ih_l0, shared by two layers, is no longer shared",
    ),
    (
        "modules.tied-parameters",
        "TieWithinCut",
        make_case(),
        "^bias_ih_l0 and bias_hh_l0, made one parameter, are two after a conversion$",
    ),
    (
        "modules.tied-parameters",
        "TieCountsOnce",
        make_case(),
        r"^gradient of bias_ih_l0 and bias_hh_l0\[0\]   expected",
    ),
    ("modules.parametrized", "ParametrizationIgnored", make_case(), r"^output\["),
    (
        "modules.flatten-parameters",
        "FlattenedByDirection",
        STACK,
        r"^weight_hh_l0_reverse after flatten_parameters\(\)\[",
    ),
]
TOLD: Fails = [
    (
        "modules.dtype-conversion",
        "DtypeOfConstruction",
        make_case(prior_use=ModuleUses.CONVERTED, steps=2),
        "raised RuntimeError",
    ),
    ("modules.second-call", "BatchSizeBaked", make_case(prior_use=EarlierCalls.OTHER_BATCH), "raised|shape"),
    (
        "modules.refuses-state-dict",
        "LoadsWhatIsThere",
        STACK,
        "^a state_dict without .* is loaded without a word$",
    ),
    (
        "modules.refuses-state-dict",
        "BiasFilledOnLoad",
        STACK,
        "^a state_dict with one number for bias_.*_l.* is loaded without a word$",
    ),
    (
        "modules.deepcopy",
        "CopyInTrainMode",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"has training=True after copy.deepcopy\(layer\)$",
    ),
    (
        "modules.deepcopy",
        "CopyThaws",
        make_case(prior_use=ModuleUses.DEEPCOPIED),
        r"^weight_ih_l0, which was frozen, requires gradients after copy",
    ),
    (
        "modules.dtype-conversion",
        "ConversionThaws",
        make_case(prior_use=ModuleUses.CONVERTED),
        r"requires gradients after layer.to\(torch.float32\)$",
    ),
    ("modules.second-call", "FrozenForGood", make_case(prior_use=EarlierCalls.THAWED, grad_mode=GradMode.GRAD), "gradient"),
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

every_rule = pytest.mark.parametrize("name", PASSES)
every_bug = pytest.mark.parametrize(("name", "bug", "near", "text"), FAILS, ids=make_test_ids(FAILS))
every_other = pytest.mark.parametrize(("name", "bug", "near", "text"), TOLD, ids=make_test_ids(TOLD))


@every_rule
def test_torch_passes(name: str) -> None:
    assert [judge_layer(name, nn.RNN, near) for near in PASSES[name]] == [None] * len(PASSES[name])


@every_bug
def test_a_planted_bug_is_told_and_proven(name: str, bug: str, near: Case, text: str) -> None:
    assert re.search(text, prove_violation(name, bug, near))


@every_other
def test_a_planted_bug_is_told(name: str, bug: str, near: Case, text: str) -> None:
    finding = judge_layer(name, BUGS[bug], near, 8)
    assert isinstance(finding, Finding)
    assert re.search(text, finding.message)


def test_every_rule_is_tried() -> None:
    assert {rule.id for rule in list_layer_rules() if rule.theme == "modules"} == set(PASSES)


@pytest.mark.parametrize(
    "name",
    [name for name in PASSES if name not in ("modules.state-dict", "modules.load-state-dict")],
)
def test_a_bug_that_a_fresh_layer_has_too_is_no_matter_of_what_happened_before(name: str) -> None:
    assert judge_layer(name, BUGS["StateIgnored"], PASSES[name][1]) is None


def test_a_layer_without_flatten_parameters_is_not_judged_by_it() -> None:
    class Bare(Plain):
        flatten_parameters = None  # type: ignore[assignment]

    refusal = judge_layer("modules.flatten-parameters", Bare, make_case())
    assert isinstance(refusal, UnsupportedCase)
    assert refusal.reason == "the layer has no flatten_parameters()"


def test_a_conversion_that_leaves_a_parameter_behind_is_told() -> None:
    class Stubborn(Plain):
        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            kept: nn.Parameter = getattr(self, "weight_hh_l0")  # noqa: B009
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            setattr(self, "weight_hh_l0", nn.Parameter(kept.detach().float()))  # noqa: B010
            return self

    finding = judge_layer(
        "modules.dtype-conversion", Stubborn, make_case(prior_use=ModuleUses.CONVERTED, dtype=DType.BFLOAT16)
    )
    assert isinstance(finding, Finding)
    assert finding.message == "after .to(bfloat16) weight_hh_l0 has another dtype"


def test_entries_of_a_state_dict_that_are_copies_are_told() -> None:
    class Copies(Plain):
        def state_dict(self, *rest: Any, **others: Any) -> Any:
            found = super().state_dict(*rest, **others)
            return type(found)((name, value.clone()) for name, value in found.items())

    finding = judge_layer("modules.state-dict", Copies, make_case())
    assert isinstance(finding, Finding)
    assert finding.message.startswith(
        "weight_ih_l0 after writing to its entry of the state_dict[0, 0]   expected 0.5   got"
    )


@pytest.mark.parametrize("kind", [Doubled, Normalised, NormalisedByHook])
def test_a_reparametrized_weight_is_what_it_was_until_it_is_halved(kind: Any) -> None:
    near = make_case(num_layers=2)
    values = draw_values(near)
    made = kind(prepare_layer(TorchSubject(resolve_target(nn.RNN)), near, values), "weight_hh_l1")
    torch.testing.assert_close(
        torch.from_numpy(made.weight()), torch.tensor(values.weights["weight_hh_l1"])
    )
    made.halve()
    made.prepared.call()
    torch.testing.assert_close(
        torch.from_numpy(made.weight()), torch.tensor(values.weights["weight_hh_l1"] / 2)
    )
