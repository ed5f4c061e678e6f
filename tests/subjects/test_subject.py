"""How a torch subject is built, given weights and asked; what it does wrong is a failure that says where."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

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
from rnnspec.subjects.subject import TorchSubject, observing
from rnnspec.subjects.target import resolve_target
from tests.releases import skip_unless_promised

CONFIG = Config(2, 3, num_layers=2, nonlinearity="relu", dropout=0.25, bidirectional=True)


class Asked(nn.RNN):
    """Notes how its constructor was called."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []  # noqa: RUF012

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.calls.append((given, named))


class Renamed(nn.Module):
    """The documented parameters in their order under other names, and a buffer beside them."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(7))
        for name, shape in zip(
            "abcd", parameter_shapes(Config(input_size, hidden_size)).values(), strict=True
        ):
            setattr(self, name, nn.Parameter(torch.zeros(shape)))


class Fewer(nn.Module):
    """One parameter only."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.zeros(hidden_size, input_size))


class Gated(nn.Module):
    """Four gates where one is documented."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, parameter in nn.LSTM(input_size, hidden_size).named_parameters():
            setattr(self, name, nn.Parameter(parameter.detach()))


class Extra(nn.RNN):
    """Keeps something in its state_dict that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"calls": 3}


def subject(factory: Any, **fixed: Any) -> TorchSubject:
    return TorchSubject(resolve_target(factory), fixed=fixed)


def weights(config: Config) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    return {
        name: np.full(shape, float(place + 1))
        for place, (name, shape) in enumerate(parameter_shapes(config).items())
    }


BUILDS = {
    "changed": (
        (2, 3),
        {"num_layers": 2, "nonlinearity": "relu", "dropout": 0.25, "bidirectional": True},
    ),
    "keywords": ((), CONFIG.arguments),
    "positional": ((2, 3, 2, "relu", True, False, 0.25, True), {}),
    "typed": (
        (2, 3),
        {**dict(list(CONFIG.arguments.items())[2:]), "device": "cpu", "dtype": torch.bfloat16},
    ),
}


@pytest.mark.parametrize("style", BUILDS)
def test_a_style_of_building_decides_how_the_constructor_is_called(style: str) -> None:
    skip_unless_promised(*(["rnn.args.order"] if style == "positional" else []))
    Asked.calls.clear()
    layer = subject(Asked).build(CONFIG, style, "bfloat16")
    assert Asked.calls == [BUILDS[style]]
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}


def test_before_the_order_was_documented_only_sizes_and_layers_are_given_by_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rnnspec.subjects.release.promised", lambda name: name != "rnn.args.order")
    Asked.calls.clear()
    subject(Asked).build(CONFIG, "positional", "float64")
    assert Asked.calls == [
        ((2, 3, 2), {"nonlinearity": "relu", "dropout": 0.25, "bidirectional": True})
    ]


def test_what_is_refused_is_not_passed_and_what_the_user_fixed_always_is() -> None:
    skip_unless_promised("rnn.args.order")
    Asked.calls.clear()
    asked = subject(Asked, bias=False)
    asked.refused["dropout"] = "not here"
    asked.build(Config(2, 3), "positional", "float64")
    asked.build(Config(2, 3), "changed", "float64")
    asked.build(Config(2, 3), "keywords", "float64")
    assert Asked.calls == [
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


def test_weights_are_loaded_by_name() -> None:
    layer = subject(nn.RNN).build(CONFIG, "changed", "float64")
    subject(nn.RNN).load(layer, CONFIG, weights(CONFIG))
    assert {
        name: float(parameter.detach().mean()) for name, parameter in layer.named_parameters()
    } == {name: array.mean() for name, array in weights(CONFIG).items()}


@pytest.mark.parametrize("factory", [Renamed, Extra])
def test_weights_are_loaded_by_order_beside_a_buffer_and_beside_what_is_no_tensor(
    factory: Any,
) -> None:
    config = Config(2, 3)
    layer = subject(factory).build(config, "changed", "float64")
    subject(factory).load(layer, config, weights(config))
    assert [float(parameter.detach().mean()) for parameter in layer.parameters()] == [
        1.0,
        2.0,
        3.0,
        4.0,
    ]


def test_names_that_differ_are_told_beside_each_other() -> None:
    layer = subject(Renamed).build(Config(2, 3), "changed", "float64")
    assert subject(Renamed).own_names(layer, Config(2, 3)) == {
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
def test_parameters_that_do_not_fit_are_told(factory: Any, message: str) -> None:
    with pytest.raises(Unloadable) as raised:
        subject(factory).load(
            subject(factory).build(Config(2, 3), "changed", "float64"),
            Config(2, 3),
            weights(Config(2, 3)),
        )
    assert str(raised.value) == message


def test_a_factory_that_gives_no_module_is_no_target() -> None:
    with pytest.raises(TargetError, match=r"<lambda> returned 5; a torch\.nn\.Module is needed"):
        subject(lambda *sizes: 5).build(Config(2, 3), "changed", "float64")


class Odd(BaseException):
    """Neither an error nor an interrupt."""


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
            RuntimeError("\"addmm\" not implemented for 'Half'"),
            Unsupported,
            "the step raised RuntimeError: \"addmm\" not implemented for 'Half'",
        ),
        (TypeError("'packed'"), Raised, "the step raised TypeError: 'packed'"),
        (Malformed("no pair"), Malformed, "no pair"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_what_a_subject_raises_is_a_failure_of_the_step(
    error: BaseException, kind: type[Failure], message: str
) -> None:
    with pytest.raises(Failure) as raised, observing("the step"):
        raise error
    assert (type(raised.value), str(raised.value)) == (kind, message)
    assert str(classify_error("the step", error)) == message


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), observing("the step"):
        raise KeyboardInterrupt


def test_the_warnings_of_a_subject_stay_quiet_and_its_settings_are_given_back() -> None:
    before = read_settings()
    with warnings.catch_warnings(record=True) as heard, observing("the step"):
        warnings.warn("loud", stacklevel=1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(2)
        np.seterr(all="raise")
        assert read_settings() != before
    assert heard == []
    assert read_settings() == before


def test_settings_are_given_back_after_an_exception_too() -> None:
    def spoil() -> None:
        with restore_settings():
            torch.set_default_dtype(torch.float64)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        spoil()
    assert torch.get_default_dtype() == torch.float32
