"""Capabilities: open refusals make a feature unsupported; other exceptions are faults."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import DType, Feature
from rnnspec.contract.features import OF_DEVICES
from rnnspec.engine.capabilities import (
    ATTEMPTS,
    TOGETHER,
    build_base_case,
    parse_features,
    probe_capabilities,
)
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.selftest import BUGS
from rnnspec.selftest.correct_torch import AsOnCuda
from rnnspec.subjects.subject import Capabilities, TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.engine.subjects import Bare, FailingIfBidirectional, Refusing


def list_unsupported(target: type[nn.Module], **fixed: object) -> dict[Feature, str]:
    subject = TorchSubject(resolve_target(target), fixed=fixed)
    capabilities = probe_capabilities(subject)
    assert capabilities.is_complete
    return dict(capabilities.unsupported)


def test_the_layer_of_torch_offers_everything() -> None:
    assert list_unsupported(nn.RNN) == {}


@pytest.mark.parametrize(
    "fixed",
    [
        {"num_layers": 3},
        {"bias": False},
        {"bidirectional": True},
        {"dropout": 0.25},
        {"batch_first": True},
    ],
    ids=str,
)
def test_arguments_that_the_user_sets_make_no_feature_unsupported(
    fixed: dict[str, object],
) -> None:
    assert list_unsupported(nn.RNN, **fixed) == {}


def test_features_that_work_together_are_not_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    forward = nn.RNN.forward

    def count(self: nn.RNN, *given: Any) -> Any:
        called.append(1)
        return forward(self, *given)

    monkeypatch.setattr(nn.RNN, "forward", count)
    assert list_unsupported(nn.RNN) == {}
    together = {feature for group in TOGETHER for feature in group}
    alone = len(ATTEMPTS) - len(together)
    assert alone + len(TOGETHER) <= len(called) < len(ATTEMPTS)


class RefusesOne(nn.RNN):
    """Openly refuses a single argument or way of calling, and supports everything else."""

    refused = ""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if self.refused and getattr(self, self.refused, False) is True:
            raise NotImplementedError(f"no {self.refused}")

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.refused == "packed" and not isinstance(input, torch.Tensor):
            raise NotImplementedError("no packed")
        if self.refused == "unbatched" and isinstance(input, torch.Tensor) and input.dim() == 2:
            raise NotImplementedError("no unbatched")
        return super().forward(input, hx)


@pytest.mark.parametrize("name", ["bidirectional", "batch_first", "packed", "unbatched"])
def test_one_refusal_among_features_tried_together_leaves_the_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RefusesOne, "refused", name)
    assert [feature.text for feature in list_unsupported(RefusesOne)] == [name]


def test_open_refusals_of_a_call_are_recorded_with_their_reasons() -> None:
    assert list_unsupported(Refusing) == {
        Feature.FLOAT16: "the call raised NotImplementedError: no float16",
        Feature.PACKED: "the call raised NotImplementedError: no packed input",
        Feature.STATE: "the call raised NotImplementedError: no initial state",
    }


def test_the_limits_of_cudnn_make_no_feature_unsupported() -> None:
    assert list_unsupported(AsOnCuda) == {}


@pytest.mark.slow
def test_a_layer_with_the_limits_of_cudnn_conforms() -> None:
    report = rnnspec.check(
        AsOnCuda, profile="quick", rules=["gradients.*", "states.*", "layouts.*"], strict=True
    )
    assert report.verdict is RunVerdict.CONFORMS
    others = [result.rule for result in report.results if result.verdict is not Verdict.PASS]
    # The few cases of a rule may all be in eval mode, in which cuDNN refuses gradients.
    refused = {
        "gradients.second-order",
        "gradients.exact",
        "gradients.detached-state",
        "gradients.transforms",
    }
    assert {"gradients.second-order"} <= {*others} <= refused


def test_features_whose_arguments_a_constructor_does_not_take_are_unsupported() -> None:
    unsupported = list_unsupported(Bare)
    assert set(unsupported) == {
        Feature.NONLINEARITY,
        Feature.NUM_LAYERS,
        Feature.BIDIRECTIONAL,
        Feature.BATCH_FIRST,
        Feature.BIAS,
        Feature.DROPOUT,
        Feature.DTYPE,
    }
    assert unsupported[Feature.BIAS] == (
        "the constructor raised TypeError: "
        "Bare.__init__() got an unexpected keyword argument 'bias'"
    )


def test_another_exception_is_no_open_refusal() -> None:
    assert list_unsupported(FailingIfBidirectional) == {}


class FailingWithoutBias(nn.RNN):
    """Raises a TypeError of its own if it is built without biases."""

    message = ""

    def __init__(self, *given: Any, **named: Any) -> None:
        if not named.get("bias", True):
            raise TypeError(self.message)
        super().__init__(*given, **named)


class Composed(nn.Module):
    """Passes what it is given on to another layer; raises a TypeError if it gets no biases."""

    message = ""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__()
        if not named.get("bias", True):
            raise TypeError(self.message)
        self.inner = nn.RNN(*given, **named)

    def forward(self, *given: Any) -> Any:
        return self.inner(*given)


@pytest.mark.parametrize(
    "message",
    [
        "unsupported operand",
        "cannot assign 'NoneType' object to parameter 'bias'",
        "bias must be a Tensor",
        "Linear.__init__() got an unexpected keyword argument 'biased'",
    ],
)
def test_a_type_error_about_something_else_is_no_open_refusal(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FailingWithoutBias, "message", message)
    assert list_unsupported(FailingWithoutBias) == {}


@pytest.mark.parametrize(
    "message",
    [
        "Base.__init__() got an unexpected keyword argument 'bias'",
        "'bias' is an invalid keyword argument for Base()",
    ],
)
def test_a_keyword_that_is_passed_on_and_not_known_there_is_an_open_refusal(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Composed, "message", message)
    assert list_unsupported(Composed)[Feature.BIAS] == (
        f"the constructor raised TypeError: {message}"
    )


def test_a_keyword_that_a_base_takes_is_no_open_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "RNNCell.__init__() got an unexpected keyword argument 'bias'"
    monkeypatch.setattr(FailingWithoutBias, "message", message)
    assert list_unsupported(FailingWithoutBias) == {}


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        ("NoBiasRaises", "parameters.no-bias"),
        ("InnerKeywordUnknown", "directions.output-order"),
        ("MaskOfIntegers", "dropout.scale"),
        ("PackedInHalf", "packed.output"),
    ],
)
def test_an_error_that_resembles_a_refusal_is_a_fault(bug: str, rule: str) -> None:
    assert list_unsupported(BUGS[bug]) == {}
    report = rnnspec.check(BUGS[bug], profile="quick", rules=[rule])
    assert report.result(rule).verdict is Verdict.FAIL


@pytest.mark.slow
def test_rules_that_need_unsupported_features_do_not_apply_and_the_others_are_checked() -> None:
    report = rnnspec.check(
        Refusing,
        profile="quick",
        cases=60,
        rules=["packed.h-n", "packed.output", "states.initial-state-used", "recurrence.output"],
    )
    packed = [result for result in report.results if result.rule.startswith("packed.")]
    assert {result.verdict for result in packed} == {Verdict.NOT_APPLICABLE}
    state = report.result("states.initial-state-used")
    assert state.verdict is Verdict.NOT_APPLICABLE
    assert "no initial state" in state.message
    assert report.result("recurrence.output").verdict is Verdict.PASS
    reason = report.unsupported[Feature.FLOAT16]
    assert reason == "the call raised NotImplementedError: no float16"


@pytest.mark.slow
def test_a_bare_layer_is_checked_on_its_supported_features() -> None:
    report = rnnspec.check(
        Bare,
        profile="quick",
        cases=60,
        rules=["recurrence.output", "directions.*", "dropout.scale", "states.initial-state-used"],
    )
    verdicts = {result.rule: result.verdict for result in report.results}
    assert verdicts.pop("recurrence.output") is Verdict.PASS
    assert verdicts.pop("states.initial-state-used") is Verdict.PASS
    assert set(verdicts.values()) == {Verdict.NOT_APPLICABLE}


def test_a_plain_call_must_be_supported() -> None:
    class Nothing(nn.RNN):
        def forward(self, *given: Any) -> Any:
            raise NotImplementedError("later")

    report = rnnspec.check(Nothing, profile="quick", cases=10, rules=["recurrence.output"])
    assert report.verdict is RunVerdict.VIOLATES
    assert report.unsupported.keys() == {Feature.TF32}
    assert (
        report.result("recurrence.output").message
        == "the call raised NotImplementedError: later; a plain call must be supported"
    )


def test_every_feature_is_tried_or_depends_on_the_run() -> None:
    tried_by_rules = {Feature.SECOND_ORDER, Feature.META}
    depends_on_the_device = {*OF_DEVICES}
    depends_on_an_adapter = {
        Feature.DROP_IN,
        Feature.FINAL_STATE,
        Feature.STATE_CHECKS,
        Feature.STATE_GRADIENTS,
    }
    known = {*ATTEMPTS} | tried_by_rules | depends_on_the_device | depends_on_an_adapter
    assert known == {*Feature}


def test_features_that_the_user_excludes_must_exist() -> None:
    assert parse_features(("packed", "dropout")) == {
        Feature.PACKED: "excluded by --without packed",
        Feature.DROPOUT: "excluded by --without dropout",
    }
    with pytest.raises(
        SelectionError,
        match=r"^without 'packt': no such feature\. Did you mean 'packed'\? The features are ",
    ):
        parse_features(("packt",))


def test_excluded_features_are_unsupported_and_not_tried() -> None:
    subject = TorchSubject(resolve_target(Refusing))
    excluded = {Feature.PACKED: "excluded by --without packed"}
    capabilities = probe_capabilities(subject, excluded)
    assert capabilities.unsupported[Feature.PACKED] == "excluded by --without packed"
    assert not capabilities.offers(Feature.STATE)
    assert capabilities.offers(Feature.DROPOUT)
    assert capabilities.offers(None)
    assert subject.offers(Feature.PACKED), "a subject does not change"


def test_the_base_case_has_the_users_arguments_and_an_offered_dtype() -> None:
    subject = TorchSubject(
        resolve_target(nn.RNN),
        fixed={"num_layers": 2, "something": 1},
        capabilities=Capabilities({Feature.FLOAT64: "no"}),
    )
    case = build_base_case(subject)
    assert (case.config.num_layers, case.dtype) == (2, DType.FLOAT32)


@pytest.mark.slow
def test_a_subject_without_float64_is_checked_in_the_other_dtypes() -> None:
    class Single(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            if input.data.dtype == torch.float64:
                raise NotImplementedError("float32 only")
            return super().forward(input, hx)

    suite = prepare_suite(Single, CheckOptions(profile="quick", rules=("recurrence.output",)))
    assert {case.dtype for _, case in suite.draw_cases(0, suite.size)} == {
        DType.FLOAT32,
        DType.BFLOAT16,
        DType.FLOAT16,
    }
    report = rnnspec.check(Single, profile="quick", cases=40, rules=["recurrence.output"])
    assert report.verdict is RunVerdict.CONFORMS
