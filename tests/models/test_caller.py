"""Test that effects of the caller's own expression are not blamed on the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnnspec.api.model import check_model
from rnnspec.errors import SelectionError
from rnnspec.models.call import ModelCall, wrap_states
from rnnspec.report.data import RunVerdict, Verdict

RULES = (
    "model.state-*",
    "model.float64",
    "model.repeatable",
    "model.vocabulary",
    "model.same-in-any-batch",
    "readout.parameters",
    "readout.padding",
)


class Captioner(nn.Module):
    """Features of an image come before the words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 6)
        self.image = nn.Linear(7, 6)
        self.rnn = nn.GRU(6, 8, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def encode(self, tokens: Tensor, features: Tensor) -> Tensor:
        return torch.cat([self.image(features).unsqueeze(1), self.words(tokens)], 1)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        prediction: Tensor = self.fc(self.rnn(self.encode(tokens, features))[1][-1])
        return prediction


class FromState(nn.Module):
    """An LSTM that is given its states under names that say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 8, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor, one: Tensor, other: Tensor) -> Tensor:
        prediction: Tensor = self.fc(self.rnn(x, (one, other))[1][0][-1])
        return prediction


class OfUser(Captioner):
    """The number of a user, and lengths on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        del self.image
        self.user = nn.Embedding(4, 8)

    def forward(self, tokens: Tensor, user: Tensor, ends: Tensor | None = None) -> Tensor:
        embedded = self.words(tokens)
        if ends is not None:
            embedded = nn.utils.rnn.pack_padded_sequence(embedded, ends, batch_first=True)
        prediction: Tensor = self.fc(self.rnn(embedded)[1][-1] + self.user(user))
        return prediction


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("model", "call"),
    [
        (Captioner, "model(x, torch.zeros(batch, 7))"),
        (Captioner, "model(x.clamp(0, 11), torch.empty(batch, 7).uniform_())"),
        (FromState, "model(x.float(), torch.zeros(1, batch, 8), torch.zeros(1, batch, 8))"),
        *(
            pytest.param(model, call, marks=pytest.mark.slow)
            for model, call in (
                (Captioner, "model(x, torch.randn(batch, 7))"),
                (Captioner, "model(x, torch.ones(batch, 7, dtype=torch.float32)).float()"),
                (OfUser, "model(x, torch.arange(batch) % 4)"),
                (
                    OfUser,
                    "model(x, torch.zeros(batch, dtype=torch.long), torch.full((batch,), steps))",
                ),
            )
        ),
    ],
)
def test_the_callers_tensors_are_not_blamed_on_the_model(model: type[nn.Module], call: str) -> None:
    report = check_model(model, call=call, profile="quick", rules=RULES)
    assert report.verdict is RunVerdict.CONFORMS, [each.message for each in report.violations]
    failing = [each.rule for each in report.results if each.verdict is Verdict.FAIL]
    assert failing == []


class HasInitialState(FromState):
    """A method makes the states, as many tutorials have it."""

    def init_hidden(self, batch: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, batch, 8), torch.zeros(1, batch, 8)


@pytest.mark.parametrize(
    "call",
    [
        "model(x, *model.init_hidden(batch))",
        "model(x, model.init_hidden(len(x))[0], model.init_hidden(x.size(0))[1])",
    ],
)
def test_a_state_that_a_method_makes_for_a_call_follows_the_model(call: str) -> None:
    rules = ["model.state-*", "model.float64"]
    report = check_model(HasInitialState, call=call, profile="quick", rules=rules)
    assert {each.verdict for each in report.results} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("expression", "wrapped"),
    [
        ("model(x, model.init(batch))", "model(x, move(model.init(batch), model))"),
        (
            "model(x, h=model.rnn.init(x.shape[0]))",
            "model(x, h=move(model.rnn.init(x.shape[0]), model))",
        ),
        ("model.decode(model.encode(x))", "model.decode(model.encode(x))"),
        ("model.predict(x)", "model.predict(x)"),
        ("model(x,  state)", "model(x,  state)"),
    ],
)
def test_only_tensors_made_without_the_input_are_states(expression: str, wrapped: str) -> None:
    assert wrap_states(expression, "move") == wrapped


class MakesState(Captioner):
    """The model makes an initial state of its own, without regard to the input."""

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        state = torch.zeros(1, len(tokens), 8)
        prediction: Tensor = self.fc(self.rnn(self.encode(tokens, features), state)[1][-1])
        return prediction


class Idle(Captioner):
    """The features have no effect."""

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        return super().forward(tokens, features * 0)


class MixesInCall(Captioner):
    """The model normalises over the batch."""

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        return super().forward(tokens, features).softmax(0)


class Noisy(Captioner):
    """The model draws a noise of its own."""

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        return super().forward(tokens, features + torch.randn_like(features))


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("model", "call", "rule"),
    [
        (MakesState, "model(x, torch.zeros(batch, 7))", "model.state-device"),
        (MakesState, "model(x, torch.zeros(batch, 7))", "model.state-dtype"),
        (MixesInCall, "model(x, torch.zeros(batch, 7)).softmax(1)", "model.samples-independent"),
        (Idle, "model(x, torch.zeros(batch, 7))", "readout.parameters"),
        (Noisy, "model(x, torch.randn(batch, 7))", "model.repeatable"),
    ],
)
def test_a_fault_of_the_model_itself_is_blamed_on_it(
    model: type[nn.Module], call: str, rule: str
) -> None:
    report = check_model(model, call=call, profile="quick", rules=[rule])
    result = report.result(rule)
    assert result.verdict is Verdict.FAIL
    assert result.repro is not None
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        exec(compile(result.repro, "program", "exec"), {})
    right = result.repro.replace(f"{model.__name__}()", "Captioner()")
    if rule.startswith("model.state-"):
        exec(compile(right, "program", "exec"), {"Captioner": Captioner})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "model(x, torch.zeros(3, 7))",
            "write batch in place of 3, as in model(x, torch.zeros(batch, 7)); or give the only "
            "size with --batch 3",
        ),
        ("model(x, torch.zeros(4, 7))", "write batch in place of 4"),
    ],
)
def test_a_size_that_the_call_writes_as_a_number_is_refused(call: str, message: str) -> None:
    with pytest.raises(SelectionError) as raised:
        check_model(Captioner, call=call, profile="quick", rules="model.batch-sizes")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("model(x, torch.zeros(batch, 7)).softmax(0)", "softmax"),
        ("model(x.flip(0), torch.zeros(batch, 7))", "flip"),
    ],
)
def test_a_call_that_itself_mixes_samples_is_refused(call: str, function: str) -> None:
    with pytest.raises(SelectionError) as raised:
        check_model(Captioner, call=call, profile="quick", rules="model.samples-independent")
    assert f"itself mixes the samples of a batch, in {function};" in str(raised.value)


def test_a_number_in_a_call_that_is_no_size_is_kept() -> None:
    report = check_model(
        Captioner, call="model(x[:, :3], torch.zeros(batch, 7))", rules="model.batch-sizes"
    )
    assert report.verdict is RunVerdict.CONFORMS


def test_gradients_that_the_call_itself_cuts_off_are_not_checked() -> None:
    call = "model(x, torch.zeros(batch, 7)).detach()"
    rule = "model.gradients-reach"
    result = check_model(Captioner, call=call, profile="quick", rules=rule).result(rule)
    assert result.verdict is Verdict.NOT_APPLICABLE


def test_the_tensors_of_an_expression_follow_the_model_and_the_input() -> None:
    model, x = nn.Linear(5, 2).double(), torch.zeros(2, 3, 5, dtype=torch.float64)

    def evaluate(expression: str) -> Tensor:
        value = ModelCall(f"({expression}, model)[0]").evaluate(model, x, 2, 3)
        assert isinstance(value, Tensor)
        return value

    assert evaluate("torch.zeros(batch)").dtype == torch.float64
    assert evaluate("torch.arange(batch)").dtype == torch.int64
    assert evaluate("torch.zeros(1, dtype=torch.float16)").dtype == torch.float16
    assert evaluate("(x + 1 / 3).float()").eq(1 / 3).all()
    assert torch.equal(evaluate("torch.rand(3)"), evaluate("torch.rand(3)"))
    assert not evaluate("torch.rand(3) - torch.rand(3)").eq(0).any()
    with torch.device("meta"):
        assert evaluate("torch.full((batch,), steps)").tolist() == [3, 3]
        assert evaluate("torch.zeros(batch, 2)").device == x.device
    x = x.to("meta")
    assert evaluate("torch.full((batch,), steps)").tolist() == [3, 3]
    assert evaluate("torch.zeros(batch)").device.type == "meta"
