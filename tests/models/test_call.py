"""Test how a model is called: inferred from its signature and its results, or given."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.api.model import check_model, prepare_model_suite
from rnnspec.cli import commands
from rnnspec.errors import CannotCheck, SelectionError, TargetError
from rnnspec.models import list_advice, measure_readout
from rnnspec.models.call import CallError, ModelCall
from rnnspec.models.forms import Dimension, Readout, find_forms, name_axes
from rnnspec.models.infer import Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.trial import infer_call
from rnnspec.options import ModelOptions
from rnnspec.report.data import Verdict
from rnnspec.selftest import model_forms
from rnnspec.selftest import model_forms_states as states
from rnnspec.selftest.bank import list_classes

FORMS = [form for each in (model_forms, states) for form in list_classes(each, nn.Module).values()]
PADDED = "torch.nn.utils.rnn.pad_packed_sequence(model(x, lengths), batch_first=True)[0]"
CALLS = {
    "Classifier": "model(x)",
    "OneNumber": "model(x).unsqueeze(-1)",
    "NumberAtEveryStep": "model(x).unsqueeze(-1)",
    "Labels": "model(x)",
    "LabelsFlattened": "model(x).reshape(batch, steps, -1)",
    "LabelsBeforeSteps": "model(x).transpose(1, 2)",
    "StepsBeforeSamples": "model(x).transpose(0, 1)",
    "WithLengths": "model(x, lengths)",
    "WithSortedLengths": "model(x, lengths)",
    "LengthsFirst": "model(lengths, x)",
    "LengthsIfGiven": "model(x, input_lengths=lengths)",
    "PairOfInputs": "model((x, lengths))",
    "LabelsOfLengths": "model(x, lengths)[0]",
    "LabelsPacked": PADDED,
    "StateAfter": "model(x, None)[0]",
    "StateBefore": "model(None, x)[1]",
    "StateOfItsOwn": "model(x, state)[0]",
    "StatePair": "model(x, state)[0]",
    "StatesApart": "model(x, state[0], state[1])[0]",
    "BatchSizeAtTheCall": "model(x, batch)",
    "BatchSizeAtConstruction": "model(x)",
    "InDictionary": "model(x)['logits']",
    "InTuple": "model(x)[1]",
    "StateStacked": "model(x)[0]",
    "StepsFirst": "model(x)",
    "LanguageModel": "model(x, None)[0].transpose(0, 1)",
    "LanguageModelFlattened": "model(x, None)[0].reshape(steps, batch, -1).transpose(0, 1)",
    "StepsFirstWithLengths": "model(x, lengths)",
    "OneSentence": "model(x[0])[None]",
    "OneSequence": "model(x[0])[None]",
    "Forecaster": "model(x.squeeze(-1))",
    "ForecasterOfFeatures": "model(x).flatten(1)",
    "ConvolutionBefore": "model(x.transpose(1, 2))",
    "ResetByTheCaller": "(model.init_hidden(batch), model(x))[1]",
    "CellLoopClassifier": "model(x, state[0], state[1])",
}
EVERY = {
    "NumberAtEveryStep",
    "Labels",
    "LabelsFlattened",
    "LabelsBeforeSteps",
    "StepsBeforeSamples",
    "LabelsOfLengths",
    "LabelsPacked",
    "StateAfter",
    "StateBefore",
    "StateOfItsOwn",
    "LanguageModel",
    "LanguageModelFlattened",
    "OneSentence",
}
BY_NAME = {form.__name__: form for form in FORMS}


class StartsInDouble(nn.Module):
    """Makes its initial state in float64, as in an example of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(1, 8)

    def forward(self, x: Tensor) -> Any:
        h = torch.zeros(x.size(0), 8, dtype=torch.double)
        for step in x.split(1, dim=1):
            h = self.cell(step, h)
        return h


class TwoInputs(nn.Module):
    """Takes an image of the speaker too, of which rnnspec knows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 8, batch_first=True)
        self.fc = nn.Linear(8 + 2, 4)

    def forward(self, frames: Tensor, face: Tensor) -> Any:
        return self.fc(torch.cat([self.rnn(frames)[1][-1], face], dim=-1))


class FixedLength(nn.Module):
    """Concatenates the outputs of 28 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 8, batch_first=True)
        self.fc = nn.Linear(28 * 8, 4)

    def forward(self, rows: Tensor) -> Any:
        return self.fc(self.rnn(rows)[0].flatten(1))


class FixedBatch(model_forms.Classifier):
    """Keeps zeros for a batch of seven."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(1, 7, model_forms.UNITS))

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.encoder(self.words(tokens), self.zeros)[1][-1])


class LastSample(nn.Module):
    """The output of the last sample is read in place of the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 6, batch_first=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[0][-1])


class EmbedsBeside(nn.Module):
    """A category is embedded and added to what is read of features."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.category = nn.RNN(3, 6, batch_first=True), nn.Embedding(4, 6)

    def forward(self, x: Tensor, category: Tensor) -> Any:
        return self.rnn(x)[0][:, -1] + self.category(category)


class FixedDecoder(nn.Module):
    """A decoder makes four steps, (4, batch, outputs), after an encoder with the steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(3, 6), nn.GRUCell(2, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        state = self.encoder(x)[1][0]
        values = [self.fc(state)]
        for _ in range(3):
            state = self.decoder(values[-1], state)
            values.append(self.fc(state))
        return torch.stack(values)


def find_call(target: Any, **options: Any) -> tuple[Interface, Readout]:
    suite, _ = prepare_model_suite(target, ModelOptions(**options))
    return suite.interface, suite.readout


@pytest.mark.parametrize("name", CALLS)
def test_the_call_is_inferred(name: str) -> None:
    interface, readout = find_call(BY_NAME[name])
    assert interface.call.expression == CALLS[name]
    assert readout is (Readout.EVERY if name in EVERY else Readout.LAST)


def test_every_form_has_a_test() -> None:
    assert set(BY_NAME) == set(CALLS)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_other_numbers_of_outputs_change_nothing(form: type[nn.Module]) -> None:
    for outputs in range(2, 10):
        interface, readout = find_call(form, arguments={"outputs": outputs})
        assert interface.call.expression == CALLS[form.__name__]
        assert readout is (Readout.EVERY if form.__name__ in EVERY else Readout.LAST)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", range(2, 10))
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_correct_model_of_any_form_is_left_alone(form: type[nn.Module], outputs: int) -> None:
    for seed in range(3):
        arguments = {"outputs": outputs}
        report = check_model(form, profile="quick", seed=seed, arguments=arguments, strict=True)
        assert report.ok, [each.message for each in report.violations]


def test_lengths_make_padding_testable_without_a_padding_id() -> None:
    for form in (model_forms.WithLengths, model_forms.LabelsOfLengths, model_forms.PairOfInputs):
        report = check_model(form, profile="quick", rules=["readout.padding"])
        assert report.result("readout.padding").verdict is Verdict.PASS


def test_sorted_lengths_are_given_to_a_model_that_takes_no_other() -> None:
    interface, _ = find_call(model_forms.WithSortedLengths)
    assert interface.call.is_sorted
    assert "lengths in descending order" in interface.inferred[-1]
    assert not find_call(model_forms.WithLengths)[0].call.is_sorted


def test_the_layout_is_found_by_trying_and_reported() -> None:
    interface, _ = find_call(states.LanguageModel)
    assert not interface.batch_first
    assert any(note.startswith("x is (steps, batch)") for note in interface.inferred)
    assert find_call(states.LanguageModel, batch_first=True)[0].batch_first
    assert find_call(model_forms.Labels)[0].batch_first


def test_a_model_of_one_sequence_is_measured_with_one() -> None:
    interface, _ = find_call(states.OneSentence)
    assert interface.batch == 1
    readout = measure_readout(states.OneSentence())
    assert list_advice(readout) == []
    assert len(readout.samples) == 1
    assert len(readout.taps) == 1


def test_a_batch_size_of_the_constructor_is_the_only_one() -> None:
    report = check_model(states.BatchSizeAtConstruction, profile="quick")
    assert report.result("model.batch-sizes").message == "the model takes batches of 3 only"
    given = {"batch_size": 4}
    assert find_call(states.BatchSizeAtConstruction, arguments=given)[0].batch == 4
    assert find_call(states.BatchSizeAtConstruction, batch=6)[0].batch == 6


def test_a_default_batch_size_of_the_constructor_is_tried() -> None:
    class Kept(FixedBatch):
        def __init__(self, batch_size: int = 7) -> None:
            super().__init__()

    interface, _ = find_call(Kept)
    assert interface.batch == 7
    assert "batch=7, the default of batch_size; the model takes no other" in interface.inferred


def test_the_features_of_a_cell_are_inferred() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(1, 6)

        def forward(self, series: Tensor) -> Any:
            state = series.new_zeros(series.size(0), 6)
            for step in series.unsqueeze(-1).unbind(1):
                state = self.cell(step, state)
            return state

    interface, _ = find_call(Loop)
    assert interface.call.expression == "model(x.squeeze(-1))"
    assert interface.inferred[0].startswith("features=1, from cell")


class TwoSentences(nn.Module):
    """Compares two sentences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(9, 4), nn.GRU(4, 6, batch_first=True)

    def encode(self, sentence: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(sentence), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        state: Tensor = self.rnn(packed)[1][-1]
        return state

    def forward(self, s1: Tensor, s2: Tensor, len1: Tensor, len2: Tensor) -> Any:
        return self.encode(s1, len1) - self.encode(s2, len2)


class FlatWindow(nn.Module):
    """Takes windows of the length that the constructor has as a default, and does not keep it."""

    def __init__(self, window: int = 11) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 8, batch_first=True)
        self.fc = nn.Linear(window * 8, 4)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[0].flatten(1))


class ManyParts(nn.Module):
    """Encodes each step together with the state, and returns a penalty before the predictions."""

    def __init__(self, x_dim: int) -> None:
        super().__init__()
        self.embed, self.embed_code = nn.Linear(x_dim, 8), nn.Linear(3, 8)
        self.encode, self.spread = nn.Linear(8 + 8, 3), nn.Linear(8 + 8, 3)
        self.decode = nn.Linear(8 + 8, x_dim)
        self.cell = nn.GRUCell(8 + 8, 8)

    def forward(self, x: Tensor) -> Any:
        h, penalty, decoded = x.new_zeros(x.size(0), 8), x.new_zeros(()), []
        for step in x.unbind(1):
            seen = torch.cat([self.embed(step), h], dim=1)
            code, spread = self.encode(seen), self.spread(seen)
            penalty = penalty + (spread.exp() + code**2).sum()
            h = self.cell(torch.cat([self.embed(step), self.embed_code(code)], dim=1), h)
            decoded.append(self.decode(torch.cat([self.embed_code(code), h], dim=1)))
        return penalty, torch.stack(decoded, dim=1)


class Documents(nn.Module):
    """Reads the words of sentences, and then the sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.words = nn.GRU(4, 6, batch_first=True)
        self.sentences = nn.GRU(6, 6, batch_first=True)

    def forward(self, documents: Tensor) -> Any:
        batch, number, words = documents.size()
        states = self.words(self.embed(documents.view(batch * number, words)))[1][-1]
        return self.sentences(states.view(batch, number, -1))[1][-1]


class TransitionTagger(nn.Module):
    """Returns scores, or with tags a loss that also takes the transitions between them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(9, 4), nn.GRU(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)
        self.transitions = nn.Parameter(torch.randn(3, 3))
        self.idle = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor, tags: Tensor | None = None) -> Any:
        scores = self.fc(self.rnn(self.embed(x))[0])
        if tags is None:
            return scores
        moves = self.transitions[tags[:, :-1], tags[:, 1:]].sum()
        return -moves - scores.gather(2, tags.unsqueeze(2)).sum()


def test_numbered_lengths_are_lengths() -> None:
    interface, _ = find_call(TwoSentences)
    assert interface.call.expression == "model(x, torch.ones_like(x), lengths, lengths)"


def test_a_default_number_of_steps_is_tried() -> None:
    assert find_call(FlatWindow)[0].steps == 11


def test_features_of_the_constructor_are_tried_before_the_model_is_repaired() -> None:
    interface, readout = find_call(ManyParts)
    assert interface.inferred[0] == f"features={interface.features}, from the argument x_dim"
    assert (interface.call.expression, readout) == ("model(x)[1]", Readout.EVERY)


def test_documents_have_several_sentences() -> None:
    interface, readout = find_call(Documents)
    assert interface.call.expression == "model(x.unsqueeze(1).repeat(1, 2, 1))"
    assert readout is Readout.LAST


def test_a_parameter_of_the_loss_alone_is_not_idle() -> None:
    report = check_model(TransitionTagger, profile="quick", rules=["readout.parameters"])
    message = report.result("readout.parameters").message
    assert message.startswith("idle cannot change any prediction")
    assert "transitions" not in message


def test_the_call_can_be_given() -> None:
    expression = "model(x, torch.zeros(batch, 2).to(x))"
    report = check_model(TwoInputs, profile="quick", call=expression)
    assert report.ok, [each.message for each in report.violations]
    assert report.call == expression
    interface, readout = find_call(states.LanguageModel, call="model(x, state)[0][-1]")
    assert interface.call.state == f"torch.zeros(1, batch, {model_forms.UNITS})"
    assert readout is Readout.LAST


def test_a_decoder_of_fixed_length_makes_one_prediction_per_sequence() -> None:
    interface, readout = find_call(FixedDecoder)
    assert interface.call.expression == "model(x).transpose(0, 1).flatten(1)"
    assert (interface.batch_first, readout) == (False, Readout.LAST)
    report = check_model(FixedDecoder, profile="quick")
    assert not report.faults, [each.message for each in report.violations]


@pytest.mark.slow
def test_sizes_can_be_given() -> None:
    report = check_model(FixedLength, profile="quick", steps=28, rules=["model.*"])
    assert report.ok, [each.message for each in report.violations]
    assert report.result("model.lengths").message == "the model takes sequences of 28 steps only"
    assert find_call(FixedBatch, batch=7)[0].batch == 7
    assert find_call(FixedLength, steps=28, readout="last")[1] is Readout.LAST


@pytest.mark.mostly_slow(
    usual="FixedLength-options4-SelectionError-steps must be at least 1, got 0"
)
@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (TwoInputs, {}, TargetError, "forward also takes 'face'"),
        (FixedLength, {}, TargetError, "add --steps N"),
        (FixedBatch, {}, TargetError, "--batch N"),
        (FixedLength, {"steps": 27}, TargetError, "mat1 and mat2 shapes"),
        (FixedLength, {"steps": 0}, SelectionError, "steps must be at least 1, got 0"),
        (TwoInputs, {"call": "model(x, faces)"}, SelectionError, "there is no 'faces'"),
        (TwoInputs, {"call": "model(x, length)"}, SelectionError, "Did you mean 'lengths'?"),
        (TwoInputs, {"call": "model(x,"}, SelectionError, "is no Python expression"),
        (
            TwoInputs,
            {"call": "model(x, torch.zeros(batch, 2).to(x))[1:]"},
            TargetError,
            "Complete the expression",
        ),
        (LastSample, {"batch_first": True}, TargetError, "returns (5, 2) for 3 samples of 5 steps"),
        (
            EmbedsBeside,
            {"call": "model(x, x[:, 0])"},
            TargetError,
            "for features, add --features N",
        ),
        (LastSample, {"batch_first": True}, TargetError, "With --sequence-first it can be called."),
        (
            model_forms.WithLengths,
            {"batch_first": False},
            TargetError,
            ". With --batch-first it can be called.",
        ),
        (
            model_forms.WithLengths,
            {"features": 7},
            SelectionError,
            "features 7: the model has an nn.Embedding and can be called with token ids; "
            "leave out --features.",
        ),
        (
            model_forms.WithLengths,
            {"features": 7, "batch_first": False},
            TargetError,
            "The model has an nn.Embedding; if x is token ids, leave out --features.",
        ),
        (StartsInDouble, {}, TargetError, "In float64 it can be called: name a function"),
        (TwoInputs, {"call": "model(x)"}, TargetError, "missing 1 required positional argument"),
        (
            model_forms.Classifier,
            {"vocabulary": 50},
            SelectionError,
            "vocabulary 50: the model's own Embedding(13, 6) takes token ids below 13 only.",
        ),
    ],
)
def test_a_model_that_cannot_be_called_is_not_checked(
    target: Any, options: dict[str, Any], error: type[CannotCheck], message: str
) -> None:
    with pytest.raises(error) as raised:
        check_model(target, **options)
    assert message in str(raised.value)


def test_a_refusal_does_not_name_arguments_that_are_given() -> None:
    with pytest.raises(TargetError) as raised:
        check_model(model_forms.WithLengths, features=7, batch_first=False)
    assert "model(x, lengths) raises" in str(raised.value)
    assert "forward also takes" not in str(raised.value)
    with pytest.raises(TargetError, match="forward also takes 'lengths'"):
        check_model(model_forms.WithLengths, call="model(x)")


def test_the_command_takes_the_options_and_prints_the_call() -> None:
    target = f"{__name__}:TwoInputs"
    given = ["--call=model(x, torch.zeros(batch, 2).to(x))", "--rule=model.output-shape"]
    run = CliRunner().invoke(
        commands, ["check-model", target, "--profile=quick", *given], standalone_mode=False
    )
    assert run.return_value == 0, run.output
    assert "\ncalled as  model(x, torch.zeros(batch, 2).to(x))\n" in run.output


def test_an_expression_is_checked_when_it_is_made() -> None:
    assert ModelCall("model(x, lengths)[0]").takes_lengths
    assert ModelCall("torch.stack([model(each) for each in x])").expression.startswith("torch")
    with pytest.raises(CallError, match="'hidden'"):
        ModelCall("model(x, hidden)")


def test_axes_are_distinguished_by_two_sizes() -> None:
    assert name_axes({(3, 5): (3, 5), (4, 7): (4, 7)}) == (Dimension.BATCH, Dimension.STEPS)
    assert name_axes({(3, 5): (3, 5), (4, 7): (4, 5)}) == (Dimension.BATCH, Dimension.OTHER)
    assert name_axes({(3, 5): (15, 5), (4, 7): (28, 5)}) == (Dimension.BOTH, Dimension.OTHER)
    assert name_axes({(3, 5): (3, 6), (4, 7): (4, 8)}) is None


def test_with_one_number_of_steps_every_step_needs_three_axes() -> None:
    assert name_axes({(3, 5): (3, 5), (4, 5): (4, 5)}) == (Dimension.BATCH, Dimension.OTHER)
    assert name_axes({(3, 5): (3, 5, 2)}) == (Dimension.BATCH, Dimension.STEPS, Dimension.OTHER)
    assert find_forms({(3, 5): (2,)}) == ()


class ReturnsPackedData(nn.Module):
    """Returns one row for each step of each sequence, as `PackedSequence.data` has them."""

    is_sorted: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.rnn = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        words = self.words(x)
        packed = pack_padded_sequence(words, lengths, True, enforce_sorted=self.is_sorted)
        return self.rnn(packed)[0].data


class ReturnsSortedData(ReturnsPackedData):
    is_sorted: ClassVar[bool] = True


class TakesPacked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8)

    def forward(self, packed: PackedSequence) -> Any:
        data, *rest = packed
        return self.rnn(PackedSequence(data, *rest))[0]


class ReturnsMixture(nn.Module):
    """Returns the means of two outputs for each of three parts of a mixture, at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 6)

    def forward(self, x: Tensor) -> Any:
        return self.rnn(x)[0].unflatten(-1, (3, 2))


@pytest.mark.parametrize(
    ("model", "shape", "part"),
    [
        (ReturnsPackedData, (4, 7, 6), "batch_first=True, enforce_sorted=False)[1:]"),
        (ReturnsSortedData, (4, 7, 6), "batch_first=True)[1:]"),
        (TakesPacked, (4, 7, 8), "model(torch.nn.utils.rnn.pack_padded_sequence(x, lengths"),
        (ReturnsMixture, (4, 7, 6), "model(x).transpose(0, 1).flatten(2)"),
    ],
)
def test_packed_data_and_mixtures_become_predictions_at_every_step(
    model: type[nn.Module], shape: tuple[int, ...], part: str
) -> None:
    interface, readout = infer_call(model(), infer_interface(model()))
    x = Inputs(interface, 4, 7).draw(0, torch.float32)
    predicted = interface.predict(model(), x, torch.tensor([7, 6, 6, 2]))
    assert (readout, tuple(predicted.shape)) == (Readout.EVERY, shape)
    assert part in interface.call.expression


class Attention(nn.Module):
    """Pools over the steps at which a mask is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.score = nn.Linear(6, 1)

    def is_hidden(self, mask: Tensor) -> Tensor:
        return mask == 0

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        output, _ = self.rnn(self.words(x))
        scores = self.score(output).squeeze(-1).masked_fill(self.is_hidden(mask), -1e9)
        return (scores.softmax(1).unsqueeze(-1) * output).sum(1)


class AttentionOverUnmasked(Attention):
    """Its mask is 1 in the padding."""

    def is_hidden(self, mask: Tensor) -> Tensor:
        return mask == 1


class PacksUnmasked(AttentionOverUnmasked):
    """Raises if a mask is 1 everywhere."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        lengths = (mask == 0).sum(1)
        pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return super().forward(x, mask)


class AttentionOverAll(Attention):
    """Reads padding, whatever the mask is."""

    def is_hidden(self, mask: Tensor) -> Tensor:
        return mask != mask


@pytest.mark.parametrize(
    ("model", "is_inverse"),
    [
        (Attention, False),
        (AttentionOverUnmasked, True),
        (PacksUnmasked, True),
        (AttentionOverAll, False),
    ],
)
def test_a_mask_is_read_so_that_padding_is_not(model: type[nn.Module], is_inverse: bool) -> None:
    interface, _ = infer_call(model(), infer_interface(model()))
    assert (">=" in interface.call.expression) is is_inverse


class HasTwoStateMethods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 8)

    def init_hidden(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, 8)

    init_cell = init_hidden

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> Any:
        return self.rnn(x, (hidden, cell))[0]


def test_the_cell_state_has_a_method_of_its_own() -> None:
    interface, _ = infer_call(HasTwoStateMethods(), infer_interface(HasTwoStateMethods()))
    assert interface.call.state == "(model.init_hidden(batch), model.init_cell(batch))"
