"""Subjects: how they are built and loaded, and how their exceptions become failures of a step."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.errors import TargetError
from rnnspec.subjects.failures import (
    Failure,
    Malformed,
    Raised,
    Unloadable,
    Unsupported,
    classify_error,
)
from rnnspec.subjects.settings import read_settings, restore_settings
from rnnspec.subjects.subject import Capabilities, TorchSubject, observe_step
from rnnspec.subjects.target import resolve_target
from tests.releases import skip_unless_promised

CONFIG = Config(2, 3, num_layers=2, nonlinearity="relu", dropout=0.25, bidirectional=True)


class Recording(nn.RNN):
    """Records how its constructor is called."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []  # noqa: RUF012

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.calls.append((given, named))


class Renamed(nn.Module):
    """The documented parameters in their order, but with other names, and a buffer."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(7))
        for name, shape in zip(
            "abcd", parameter_shapes(Config(input_size, hidden_size)).values(), strict=True
        ):
            setattr(self, name, nn.Parameter(torch.zeros(shape)))


class Fewer(nn.Module):
    """A layer with one of the documented parameters."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.zeros(hidden_size, input_size))


class Gated(nn.Module):
    """A layer with the parameters of an LSTM."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, parameter in nn.LSTM(input_size, hidden_size).named_parameters():
            setattr(self, name, nn.Parameter(parameter.detach()))


class Extra(nn.RNN):
    """A layer with something in its state_dict that is not a tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"calls": 3}


def make_subject(factory: Any, **fixed: Any) -> TorchSubject:
    return TorchSubject(resolve_target(factory), fixed=fixed)


def make_weights(config: Config) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    return {
        name: np.full(shape, float(place + 1))
        for place, (name, shape) in enumerate(parameter_shapes(config).items())
    }


CALLS = {
    ConstructorStyle.CHANGED: (
        (2, 3),
        {"num_layers": 2, "nonlinearity": "relu", "dropout": 0.25, "bidirectional": True},
    ),
    ConstructorStyle.KEYWORDS: ((), CONFIG.arguments),
    ConstructorStyle.POSITIONAL: ((2, 3, 2, "relu", True, False, 0.25, True), {}),
    ConstructorStyle.TYPED: (
        (2, 3),
        {**dict(list(CONFIG.arguments.items())[2:]), "device": "cpu", "dtype": torch.bfloat16},
    ),
}


@pytest.mark.parametrize("style", ConstructorStyle, ids=str)
def test_the_constructor_is_called_in_the_style_of_the_case(style: ConstructorStyle) -> None:
    skip_unless_promised(*(["rnn.args.order"] if style is ConstructorStyle.POSITIONAL else []))
    Recording.calls.clear()
    layer = make_subject(Recording).build(CONFIG, style, DType.BFLOAT16)
    assert Recording.calls == [CALLS[style]]
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}


def test_only_sizes_and_layers_are_passed_by_position_in_releases_that_document_no_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "rnnspec.subjects.release.is_promised", lambda name: name != "rnn.args.order"
    )
    Recording.calls.clear()
    make_subject(Recording).build(CONFIG, ConstructorStyle.POSITIONAL, DType.FLOAT64)
    assert Recording.calls == [
        ((2, 3, 2), {"nonlinearity": "relu", "dropout": 0.25, "bidirectional": True})
    ]


def test_arguments_of_unsupported_features_are_never_passed_and_those_of_the_user_always() -> None:
    skip_unless_promised("rnn.args.order")
    Recording.calls.clear()
    subject = replace(
        make_subject(Recording, bias=False), capabilities=Capabilities({Feature.DROPOUT: "none"})
    )
    subject.build(Config(2, 3), ConstructorStyle.POSITIONAL, DType.FLOAT64)
    subject.build(Config(2, 3), ConstructorStyle.CHANGED, DType.FLOAT64)
    subject.build(Config(2, 3), ConstructorStyle.KEYWORDS, DType.FLOAT64)
    assert Recording.calls == [
        ((2, 3, 1, "tanh"), {"bias": False}),
        ((2, 3), {"bias": False}),
        (
            (),
            {
                "input_size": 2,
                "hidden_size": 3,
                "num_layers": 1,
                "nonlinearity": "tanh",
                "batch_first": False,
                "bidirectional": False,
                "bias": False,
            },
        ),
    ]


def test_sizes_are_passed_by_keyword_if_the_constructor_takes_nothing_by_position() -> None:
    Recording.calls.clear()
    subject = replace(make_subject(Recording), capabilities=Capabilities(keyword_only=True))
    for style in (ConstructorStyle.CHANGED, ConstructorStyle.TYPED):
        subject.build(Config(2, 3), style, DType.FLOAT64)
    for given, named in Recording.calls:
        assert given == ()
        assert (named["input_size"], named["hidden_size"]) == (2, 3)


def test_weights_are_loaded_by_name() -> None:
    layer = make_subject(nn.RNN).build(CONFIG, ConstructorStyle.CHANGED, DType.FLOAT64)
    make_subject(nn.RNN).load_weights(layer, CONFIG, make_weights(CONFIG))
    assert {
        name: float(parameter.detach().mean()) for name, parameter in layer.named_parameters()
    } == {name: array.mean() for name, array in make_weights(CONFIG).items()}


@pytest.mark.parametrize("factory", [Renamed, Extra])
def test_weights_are_loaded_by_order_if_there_are_buffers_and_extra_state(
    factory: Any,
) -> None:
    config = Config(2, 3)
    layer = make_subject(factory).build(config, ConstructorStyle.CHANGED, DType.FLOAT64)
    make_subject(factory).load_weights(layer, config, make_weights(config))
    assert [float(parameter.detach().mean()) for parameter in layer.parameters()] == [
        1.0,
        2.0,
        3.0,
        4.0,
    ]


def test_parameters_with_other_names_are_found_by_order() -> None:
    layer = make_subject(Renamed).build(Config(2, 3), ConstructorStyle.CHANGED, DType.FLOAT64)
    assert make_subject(Renamed).find_own_names(layer, Config(2, 3)) == {
        "weight_ih_l0": "a",
        "weight_hh_l0": "b",
        "bias_ih_l0": "c",
        "bias_hh_l0": "d",
    }


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (Fewer, "the state_dict has no weight_hh_l0; it has weight_ih_l0"),
        (Gated, "weight_ih_l0 has shape (12, 2), expected (3, 2)"),
        (lambda *sizes: nn.Identity(), "the state_dict has no weight_ih_l0; it has nothing"),
    ],
)
def test_other_parameters_than_the_documented_ones_are_unloadable(
    factory: Any, message: str
) -> None:
    with pytest.raises(Unloadable) as raised:
        make_subject(factory).load_weights(
            make_subject(factory).build(Config(2, 3), ConstructorStyle.CHANGED, DType.FLOAT64),
            Config(2, 3),
            make_weights(Config(2, 3)),
        )
    assert str(raised.value) == message


def test_a_factory_must_return_a_module() -> None:
    with pytest.raises(TargetError, match=r"<lambda> returned 5; expected a torch\.nn\.Module"):
        make_subject(lambda *sizes: 5).build(Config(2, 3), ConstructorStyle.CHANGED, DType.FLOAT64)


class Odd(BaseException):
    """An exception that is neither an Exception nor a KeyboardInterrupt."""


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("two\n  lines"), Raised, "the step raised ValueError: two lines"),
        (SystemExit(0), Raised, "the step raised SystemExit: 0"),
        (Odd("x"), Raised, "the step raised Odd: x"),
        (RecursionError("deep"), Raised, "the step raised RecursionError: deep"),
        (ValueError("x" * 300), Raised, f"the step raised ValueError: {'x' * 200}..."),
        (
            NotImplementedError("not yet"),
            Unsupported,
            "the step raised NotImplementedError: not yet",
        ),
        (NotImplementedError(), Unsupported, "the step raised NotImplementedError"),
        (
            RuntimeError("torch.compile with aot_autograd does not support double backward"),
            Unsupported,
            "the step raised RuntimeError: "
            "torch.compile with aot_autograd does not support double backward",
        ),
        *(
            (RuntimeError(text), Unsupported, f"the step raised RuntimeError: {text}")
            for text in (
                "rnn: hx is not contiguous",
                "rnn: cx is not contiguous",
                "miopen_rnn : cx is not contiguous.",
                "cudnn RNN backward can only be called in training mode",
                "miopen RNN backward can only be called in training mode",
            )
        ),
        (
            NotImplementedError("Cannot copy out of meta tensor; no data!"),
            Raised,
            "the step raised NotImplementedError: Cannot copy out of meta tensor; no data!",
        ),
        (TypeError("'packed'"), Raised, "the step raised TypeError: 'packed'"),
        (Malformed("no pair", "pair"), Malformed, "no pair"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_an_exception_of_the_subject_becomes_a_failure_of_the_step(
    error: BaseException, kind: type[Failure], message: str
) -> None:
    with pytest.raises(Failure) as raised, observe_step("the step"):
        raise error
    assert (type(raised.value), str(raised.value)) == (kind, message)
    assert str(classify_error("the step", error)) == message


@pytest.mark.parametrize(
    ("lacking", "given", "kind"),
    [
        ("Half", DType.FLOAT16, Unsupported),
        ("BFloat16", DType.BFLOAT16, Unsupported),
        ("Double", DType.FLOAT64, Unsupported),
        ("Half", DType.FLOAT64, Raised),
        ("Half", None, Raised),
        ("Float", DType.FLOAT64, Raised),
        ("Long", DType.FLOAT16, Raised),
        ("Bool", DType.FLOAT64, Raised),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_dtype_that_a_kernel_lacks_is_a_refusal_only_if_it_was_given(
    lacking: str, given: DType | None, kind: type[Failure], error: type[Exception]
) -> None:
    with pytest.raises(Failure) as raised, observe_step("the step", given):
        raise error(f"\"addmm_impl_cpu_\" not implemented for '{lacking}'")
    assert type(raised.value) is kind


def test_an_interrupt_is_not_a_failure() -> None:
    with pytest.raises(KeyboardInterrupt), observe_step("the step"):
        raise KeyboardInterrupt


def test_warnings_of_a_subject_are_ignored_and_its_changes_of_settings_undone() -> None:
    before = read_settings()
    with warnings.catch_warnings(record=True) as caught, observe_step("the step"):
        warnings.warn("loud", stacklevel=1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(2)
        np.seterr(all="raise")
        assert read_settings() != before
    assert caught == []
    assert read_settings() == before


def test_settings_are_restored_after_an_exception_too() -> None:
    def fail() -> None:
        with restore_settings():
            torch.set_default_dtype(torch.float64)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert torch.get_default_dtype() == torch.float32


def test_an_attribute_of_a_class_without_an_adapter_is_ignored() -> None:
    class Own(nn.RNN):
        unsupported = 3

    assert resolve_target(Own).unsupported == {}
