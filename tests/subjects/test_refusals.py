"""Test that an exception counts as an open refusal only if the layer itself declares the lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rnnspec.contract.features import Feature
from rnnspec.subjects.failures import Ended, Raised, Unsupported, classify_error, generalise_message
from rnnspec.subjects.refusals import is_refused, requires_state


def catch(raise_it: Callable[[], Any]) -> Any:
    try:
        raise_it()
    except Exception as error:
        return classify_error("a call", error)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("feature", "error"),
    [
        (Feature.NUM_LAYERS, ValueError("Only one layer is supported")),
        (Feature.NUM_LAYERS, ValueError("num_layers must be 1")),
        (Feature.BIDIRECTIONAL, RuntimeError("bidirectional mode isn't implemented yet")),
        (Feature.BIDIRECTIONAL, NotImplementedError()),
        (Feature.NONLINEARITY, ValueError("Unknown activation: relu")),
        (Feature.NONLINEARITY, KeyError("relu")),
        (Feature.BIAS, ValueError("bias should be True")),
        (Feature.DROPOUT, AssertionError("dropout is not supported")),
        (Feature.FLOAT64, TypeError("the kernel takes only float32")),
        (Feature.PACKED, TypeError("PackedSequence is not supported")),
    ],
    ids=repr,
)
def test_a_message_about_the_feature_is_a_refusal(feature: Feature, error: Exception) -> None:
    assert is_refused(classify_error("building it", error), feature)


@pytest.mark.parametrize(
    ("feature", "error"),
    [
        (Feature.NUM_LAYERS, IndexError("index 1 is out of range in layers, only 1 available")),
        (Feature.NUM_LAYERS, AttributeError("'Stack' object has no attribute 'num_layers'")),
        (Feature.NUM_LAYERS, ValueError("num_layers must be greater than zero")),
        (Feature.NUM_LAYERS, KeyError("weight_ih_l1")),
        (Feature.NUM_LAYERS, UnboundLocalError("cannot access local variable 'layer'")),
        (Feature.BIAS, TypeError("cannot assign 'NoneType' object to parameter 'bias'")),
        (Feature.BIAS, TypeError("unsupported operand type(s) for +: 'Tensor' and 'NoneType'")),
        (
            Feature.BIDIRECTIONAL,
            TypeError("f() got an unexpected keyword argument 'bidirectional'"),
        ),
        (Feature.DROPOUT, RuntimeError("the layer is not supported on this device")),
        (Feature.FLOAT64, RuntimeError("expected scalar type Double but found Float")),
        (Feature.NONLINEARITY, ZeroDivisionError("float division by zero in relu, only")),
    ],
    ids=repr,
)
def test_an_accident_is_no_refusal(feature: Feature, error: Exception) -> None:
    assert not is_refused(Raised("building it", error), feature)


def test_a_process_that_ends_refuses_nothing() -> None:
    assert not is_refused(Ended("a call", "ended the process: not supported"), Feature.PACKED)
    assert is_refused(Unsupported("anything"), Feature.PACKED)


def test_the_own_name_of_a_feature_counts() -> None:
    failure = Raised("building it", ValueError("rows > 1 are not supported"))
    assert not is_refused(failure, Feature.NUM_LAYERS)
    assert is_refused(failure, Feature.NUM_LAYERS, "rows")


class Asserting:
    """Asserts something about its arguments without a message."""

    num_layers, rows = 2, [1]

    def assert_argument(self) -> None:
        assert self.num_layers == 1

    def assert_consistency(self) -> None:
        assert len(self.rows) == self.num_layers

    def assert_variable(self) -> None:
        assert self.num_layers == len(self.rows)


def test_an_assertion_refuses_if_it_restricts_an_argument_to_a_constant() -> None:
    asserting = Asserting()
    assert is_refused(catch(asserting.assert_argument), Feature.NUM_LAYERS)
    assert not is_refused(catch(asserting.assert_argument), Feature.BIAS)
    assert not is_refused(catch(asserting.assert_consistency), Feature.NUM_LAYERS)
    assert not is_refused(catch(asserting.assert_variable), Feature.NUM_LAYERS)


def assert_given(hx: Any = None) -> None:
    assert hx is not None


@pytest.mark.parametrize(
    ("failure", "is_needed"),
    [
        (Raised("a call", ValueError("the hidden state must be given")), True),
        (Raised("a call", ValueError("`prev` is required")), True),
        (Raised("a call", TypeError("'NoneType' object is not subscriptable")), False),
        (Raised("a call", RuntimeError("mat1 and mat2 must have the same dtype")), False),
        (Raised("a call", AttributeError("missing attribute 'state'")), False),
        (Unsupported("later"), True),
    ],
)
def test_a_state_is_required_by_a_message_alone(failure: Any, is_needed: bool) -> None:
    assert requires_state(failure, ["prev"]) is is_needed


def test_a_state_is_required_by_an_assertion_about_its_argument() -> None:
    assert requires_state(catch(assert_given), ["hx"])
    assert not requires_state(catch(assert_given), ["c0"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mat1 and mat2 must have the same dtype, but got Float and Half", "Float and BFloat16"),
        (
            "expected m1 and m2 to have the same dtype, but got: c10::Half != float",
            "double != float",
        ),
        ("x is torch.float16", "torch.float64"),
    ],
)
def test_messages_that_differ_by_a_dtype_are_of_one_kind(one: str, other: str) -> None:
    first = generalise_message(one)
    assert first.endswith(generalise_message(other))
    assert first != generalise_message("mat1 and mat2 must have the same size")
