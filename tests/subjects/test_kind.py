"""Recognising the kind of layer that a target builds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.api import prepare_suite
from rnnspec.api.building import build_subject
from rnnspec.errors import SelectionError, TargetError
from rnnspec.options import CheckOptions
from rnnspec.plain.cells import PlainGRUCell
from rnnspec.plain.gated import PlainLSTM
from rnnspec.plain.layer import Plain
from rnnspec.subjects.kind import guess_kind
from rnnspec.subjects.target import resolve_target


class OwnGRU(nn.Module):
    """The parameters of a GRU under other names; how they are used does not matter here."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.reading = nn.Parameter(torch.zeros(3 * hidden_size, input_size))
        self.carrying = nn.Parameter(torch.zeros(3 * hidden_size, hidden_size))
        self.first = nn.Parameter(torch.zeros(3 * hidden_size))
        self.second = nn.Parameter(torch.zeros(3 * hidden_size))

    def forward(self, input: Any, hx: Any = None) -> Any:
        return input, hx


class OwnGRUCell(OwnGRU):
    """A cell with the same parameters: it takes a batch without time steps, and no sequence."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        assert input.dim() == 2
        return input.new_zeros(len(input), self.carrying.size(1)) if hx is None else hx


class LinearLSTMCell(nn.Module):
    """A cell of two linear maps, whose parameters have other names and another order."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.read = nn.Linear(input_size, 4 * hidden_size)
        self.carry = nn.Linear(hidden_size, 4 * hidden_size)
        self.peephole = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, input: Any, hx: Any = None) -> Any:
        zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
        h, c = hx or (zeros, zeros)
        parts = (self.read(input) + self.carry(h)).chunk(4, -1)
        c = torch.sigmoid(parts[1] + self.peephole * c) * c + parts[0].sigmoid() * parts[2].tanh()
        return parts[3].sigmoid() * c.tanh(), c


class LayerOfOneBias(nn.Module):
    """A layer with the shapes of a cell, as quantised layers have: it also takes one sequence."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(input_size, hidden_size)
        self.carry = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, input: Any, hx: Any = None) -> Any:
        output = torch.tanh(self.read(input))
        return output, output[-1:]


class TransposedGRUCell(OwnGRUCell):
    """A cell whose weights are transposed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.reading = nn.Parameter(self.reading.detach().t().contiguous())
        self.carrying = nn.Parameter(self.carrying.detach().t().contiguous())

    def forward(self, input: Any, hx: Any = None) -> Any:
        assert input.dim() == 2
        return input.new_zeros(len(input), self.carrying.size(0)) if hx is None else hx


class Unusual(nn.Module):
    """A layer whose parameters no page documents, but which returns a pair."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.all = nn.Parameter(torch.zeros(7, input_size))

    def forward(self, input: Any, hx: Any = None) -> Any:
        return input, hx


def find_kind(target: Any, **options: Any) -> str:
    return prepare_suite(target, CheckOptions(profile="quick", **options)).kind


class CountsCalls(nn.RNN):
    """A right layer that counts its calls."""

    calls = 0

    def forward(self, *given: Any, **named: Any) -> Any:
        CountsCalls.calls += 1
        return super().forward(*given, **named)


@pytest.mark.parametrize("kind", ["auto", "rnn"])
def test_a_kind_that_the_layer_shows_costs_no_call(kind: str) -> None:
    CountsCalls.calls = 0
    build_subject(resolve_target(CountsCalls), "cpu", kind, {})
    assert CountsCalls.calls == 0


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (nn.RNN, "rnn"),
        (nn.GRU, "gru"),
        (nn.LSTM, "lstm"),
        (Plain, "rnn"),
        (PlainLSTM, "lstm"),
        (OwnGRU, "gru"),
        (OwnGRUCell, "gru-cell"),
        (LinearLSTMCell, "lstm-cell"),
        (TransposedGRUCell, "gru-cell"),
        (nn.RNNCell, "rnn-cell"),
        (nn.LSTMCell, "lstm-cell"),
        (PlainGRUCell, "gru-cell"),
        (LayerOfOneBias, "rnn"),
        (Unusual, "rnn"),
    ],
)
def test_the_kind_is_that_of_the_class_or_of_the_shapes(target: Any, kind: str) -> None:
    assert find_kind(target) == kind


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("torch.nn:GRU", "gru"),
        (torch.nn.LSTMCell, "lstm-cell"),
        ("mypkg:Fast", "rnn"),
        (int, "rnn"),
    ],
)
def test_the_kind_is_guessed_from_the_class_alone(target: Any, kind: str) -> None:
    assert guess_kind(target) == kind


def test_the_user_can_state_the_kind_of_a_layer_that_does_not_show_it() -> None:
    assert find_kind(Unusual, kind="gru") == "gru"


def test_arguments_of_the_user_change_the_shapes_that_are_expected() -> None:
    assert find_kind(Plain, arguments={"bidirectional": True, "bias": False}) == "rnn"


REFUSED: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (nn.GRU, {"kind": "rnn"}, SelectionError, "builds a layer like nn.GRU. Check it with --kind g"),
    (nn.RNN, {"kind": "lstm"}, SelectionError, "like nn.RNN. Check it with --kind rnn, or leave"),
    (nn.RNN, {"kind": "gtu"}, SelectionError, "Did you mean 'gru'?"),
    (nn.GRUCell, {"kind": "gru"}, SelectionError, "builds a cell like nn.GRUCell. Check it with"),
    (nn.Linear, {"kind": "rnn-cell"}, TargetError, "a call fails"),
    (nn.Linear, {}, TargetError, "a call returns a Tensor instead of a pair"),
    (nn.Conv1d, {"arguments": {"kernel_size": 1}}, TargetError, "no recurrent layer"),
    (nn.GRU, {"arguments": {"nonlinearity": "relu"}}, TargetError, "nonlinearity"),
]


@pytest.mark.parametrize(("target", "options", "error", "text"), REFUSED)
def test_a_target_that_cannot_be_checked_as_that_kind_is_refused_with_the_reason(
    target: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text.replace("?", r"\?")):
        find_kind(target, **options)


class Tagger(nn.Module):
    """A model: the sizes that a layer takes are the numbers of its words and units."""

    def __init__(self, words: int, units: int, *, has_head: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 4) if has_head else nn.Identity()
        self.lstm = nn.LSTM(4, units)

    def forward(self, words: Any) -> Any:
        raise NotImplementedError


def build_encoder(words: int, units: int) -> Tagger:
    return Tagger(words, units, has_head=False)


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (Tagger, "It contains nn.LSTM; a model is checked by `rnnspec check-model {}`."),
        (
            build_encoder,
            "If it computes the same in another form, `rnnspec adapt {}` looks for an adapter; a "
            "model that contains a layer is checked by `rnnspec check-model {}`.",
        ),
    ],
)
def test_a_model_is_refused_with_a_hint_how_to_check_it(target: Any, hint: str) -> None:
    found = resolve_target(target)
    with pytest.raises(TargetError) as raised:
        build_subject(found, "cpu", "auto", {})
    assert str(raised.value).endswith(hint.replace("{}", found.label))
    assert "builds no recurrent layer" in str(raised.value)


@pytest.mark.parametrize("layer", [nn.Conv1d, nn.Transformer, nn.ReLU, nn.RNNBase])
def test_another_module_of_torch_is_reported_as_no_recurrent_layer(layer: Any) -> None:
    """Its constructor takes other arguments, which is no fault of it."""
    with pytest.raises(TargetError) as raised:
        build_subject(resolve_target(layer), "cpu", "auto", {})
    text = str(raised.value)
    assert "builds no recurrent layer: building it with (2, 3) raised" in text
    assert text.endswith(
        "The contracts are those of nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell and nn.LSTMCell"
    )


def test_a_recurrent_layer_of_torch_with_a_wrong_argument_is_still_one() -> None:
    with pytest.raises(TargetError) as raised:
        build_subject(resolve_target(nn.GRU), "cpu", "auto", {"gates": 3})
    assert "builds no recurrent layer" not in str(raised.value)
