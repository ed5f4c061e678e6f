"""What a subject refuses openly is not judged; what it breaks is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import FEATURES
from rnnspec.engine.capabilities import TRIALS, build_base_case, parse_features, probe_capabilities
from rnnspec.errors import SelectionError
from rnnspec.selftest.correct_torch import AsOnCuda
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.engine.subjects import Bare, Ignoring, Refusing


def refused(target: type[nn.Module], **fixed: object) -> dict[str, str]:
    return probe_capabilities(TorchSubject(resolve_target(target), fixed=fixed))


def test_the_layer_of_torch_refuses_nothing() -> None:
    assert refused(nn.RNN) == {}


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
def test_the_users_own_arguments_refuse_nothing(fixed: dict[str, object]) -> None:
    assert refused(nn.RNN, **fixed) == {}


def test_open_refusals_of_a_call_are_noted_with_their_reason() -> None:
    assert refused(Refusing) == {
        "float16": "the call raised NotImplementedError: no float16",
        "packed": "the call raised NotImplementedError: no packed input",
        "state": "the call raised NotImplementedError: no initial state",
    }


def test_what_cudnn_alone_cannot_do_refuses_no_feature() -> None:
    assert refused(AsOnCuda) == {}


def test_a_layer_with_the_limits_of_cudnn_is_not_accused() -> None:
    report = rnnspec.check(
        AsOnCuda, profile="quick", rules=["gradients.*", "states.*", "layouts.*"], strict=True
    )
    assert report.verdict == "conforms"
    assert [found.rule for found in report.results if found.verdict != "pass"] == [
        "gradients.second-order"
    ]


def test_arguments_that_a_constructor_does_not_take_are_noted() -> None:
    found = refused(Bare)
    assert set(found) == {
        "nonlinearity",
        "num_layers",
        "bidirectional",
        "batch_first",
        "bias",
        "dropout",
        "dtype",
    }
    assert (
        found["bias"]
        == "the constructor raised TypeError: Bare.__init__() got an unexpected keyword argument 'bias'"
    )


def test_another_exception_is_no_refusal() -> None:
    assert refused(Ignoring) == {}


class Confused(nn.RNN):
    """Raises a TypeError about something else where it is built without biases."""

    def __init__(self, *given: Any, **named: Any) -> None:
        if not named.get("bias", True):
            raise TypeError("unsupported operand")
        super().__init__(*given, **named)


def test_a_type_error_that_does_not_name_the_argument_is_no_refusal() -> None:
    assert refused(Confused) == {}


def test_rules_that_need_what_is_refused_do_not_apply_and_the_rest_is_judged() -> None:
    report = rnnspec.check(
        Refusing,
        profile="quick",
        cases=60,
        rules=["packed.h-n", "packed.output", "states.initial-state-used", "recurrence.output"],
    )
    assert {result.verdict for result in report.results if result.rule.startswith("packed.")} == {
        "not-applicable"
    }
    assert report.result("states.initial-state-used").verdict == "not-applicable"
    assert "no initial state" in report.result("states.initial-state-used").message
    assert report.result("recurrence.output").verdict == "pass"
    assert report.refused["float16"] == "the call raised NotImplementedError: no float16"


def test_a_bare_layer_is_judged_in_what_it_has() -> None:
    report = rnnspec.check(
        Bare,
        profile="quick",
        cases=60,
        rules=["recurrence.output", "directions.*", "dropout.scale", "states.initial-state-used"],
    )
    verdicts = {result.rule: result.verdict for result in report.results}
    assert verdicts.pop("recurrence.output") == verdicts.pop("states.initial-state-used") == "pass"
    assert set(verdicts.values()) == {"not-applicable"}


def test_the_plain_call_cannot_be_refused() -> None:
    class Nothing(nn.RNN):
        def forward(self, *given: Any) -> Any:
            raise NotImplementedError("later")

    report = rnnspec.check(Nothing, profile="quick", cases=10, rules=["recurrence.output"])
    assert report.verdict == "violates"
    assert report.refused.keys() == {"tf32"}
    assert (
        report.result("recurrence.output").message
        == "the call raised NotImplementedError: later; the plain call cannot be refused"
    )


def test_features_have_trials_or_are_set_by_the_run() -> None:
    assert set(TRIALS) <= set(FEATURES)


def test_what_the_user_leaves_out_is_checked_for_existence() -> None:
    assert parse_features(("packed", "dropout")) == {
        "packed": "excluded by --without packed",
        "dropout": "excluded by --without dropout",
    }
    with pytest.raises(
        SelectionError,
        match=r"^--without 'packt': no such feature\. Did you mean 'packed'\? There are ",
    ):
        parse_features(("packt",))


def test_the_base_case_has_the_users_arguments_and_a_dtype_that_is_not_refused() -> None:
    subject = TorchSubject(
        resolve_target(nn.RNN), fixed={"num_layers": 2, "something": 1}, refused={"float64": "no"}
    )
    assert (build_base_case(subject).config.num_layers, build_base_case(subject).dtype) == (
        2,
        "float32",
    )


def test_a_subject_without_float64_is_judged_in_float32() -> None:
    class Single(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            if input.data.dtype == torch.float64:
                raise NotImplementedError("float32 only")
            return super().forward(input, hx)

    campaign = prepare_suite(Single, profile="quick", rules=["recurrence.output"])
    assert {case.dtype for _, case in campaign.cases(0, campaign.size)} == {
        "float32",
        "bfloat16",
        "float16",
    }
    assert (
        rnnspec.check(Single, profile="quick", cases=40, rules=["recurrence.output"]).verdict
        == "conforms"
    )
