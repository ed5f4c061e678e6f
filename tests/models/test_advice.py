"""Test the advice on a model: the fault, its line of source, and the replacement."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspec.api.model import check_model
from rnnspec.models import list_advice, measure_readout
from rnnspec.models.kept_state import copy_attributes, find_changed, list_misspelt_attributes
from rnnspec.report.console import format_report
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.report.model import ModelReport
from rnnspec.selftest import model_bugs_calls, model_bugs_readout
from rnnspec.selftest.model_forms import Classifier, LabelsOfLengths, WithLengths
from rnnspec.selftest.model_plain import HIDDEN, LastStep


class StartInFront(Classifier):
    """A start vector stands in front of the sequence, and `batch_first` is missing."""

    settings = {}  # noqa: RUF012 (as in the class that it is derived from)

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, tokens: Tensor) -> Any:
        embedded = self.words(tokens)
        embedded = torch.cat([self.start.expand(len(embedded), -1, -1), embedded], dim=1)
        return self.scores(self.encoder(embedded)[0][:, -1])


class TaggerOverPadding(LabelsOfLengths):
    """The lengths are not used, so that the backward direction starts in the padding."""

    def forward(self, tokens: Tensor, seq_lengths: Tensor) -> Any:  # type: ignore[override]
        return self.scores(self.encoder(self.words(tokens))[0])


class AttentionOverPadding(WithLengths):
    """The lengths are not used, so that padded steps take part in the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Linear(8, 1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        output, _ = self.encoder(self.words(tokens))
        return self.scores((self.weigh(output).softmax(1) * output).sum(1))


class Misspelt(Classifier):
    """Pretrained vectors are assigned to a name that an embedding does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.words.weights = torch.randn(13, 6)
        self.words.weight.require_grad = False  # type: ignore[attr-defined]


class FrozenAndUnused(Classifier):
    """A frozen layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Linear(3, 3).requires_grad_(False)


class Normalised(Classifier):
    """Batch normalisation before the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.norm(self.encoder(self.words(tokens))[1][-1]))


class PairForDirections(Classifier):
    """The pair of states of an LSTM is taken for the states of two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(6, 4, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor) -> Any:
        _, (onwards, back) = self.encoder(self.words(tokens))
        return self.scores(torch.cat([onwards[-1], back[-1]], dim=1))


class LastSample(Classifier):
    """The output of the last sample is read in place of the last step."""

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.encoder(self.words(tokens))[0][-1])


class LayersInList(Classifier):
    """A stack is kept in a plain list, so that torch does not know of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = [nn.GRU(8, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)]
        self.known = [self.words]

    def forward(self, tokens: Tensor) -> Any:
        running, _ = self.encoder(self.words(tokens))
        for layer in self.stack:
            running, _ = layer(running)
        return self.scores(running[:, -1])


class ReadsEndOfPacked(WithLengths):
    """The sequences are packed, and the last step of both directions is read."""

    settings = {"batch_first": True, "bidirectional": True}  # noqa: RUF012 (as in its base)
    units = 2 * WithLengths.units

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(
            self.words(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return self.scores(output[:, -1])


class MeanOfPacked(WithLengths):
    """The sequences are packed, and the mean is taken over all steps of the padded batch."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(
            self.words(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return self.scores(output.mean(1))


class PacksAsFull(WithLengths):
    """The sequences are packed as if all were as long as the batch."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        full = torch.full_like(lengths, tokens.size(1))
        packed = pack_padded_sequence(self.words(tokens), full, batch_first=True)
        return self.scores(self.encoder(packed)[1][-1])


class TwoFaults(model_bugs_readout.LastOfBothDirections, model_bugs_calls.StateInFloat32):
    """Reads the last step of both directions, and makes a float32 state."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        output, states = self.rnn(embedded, torch.zeros(2, embedded.size(0), HIDDEN))
        return output, states


def check(model: Any, **options: Any) -> ModelReport:
    return check_model(model, profile="quick", **options)


def test_a_forgotten_batch_first_is_named_behind_a_step_in_front() -> None:
    (advice,) = list_advice(measure_readout(StartInFront()))
    assert advice.remedy == "self.encoder = GRU(..., batch_first=True)"


def test_an_index_into_the_batch_has_a_remedy_for_both_layouts() -> None:
    (advice,) = list_advice(measure_readout(LastSample()))
    first, second = advice.remedy.split("; ")
    assert first == "self.encoder = GRU(..., batch_first=False)  # if x is (steps, batch)"
    assert "if x is (batch, steps): index encoder's output as output[:, step]" in second


def test_the_remedy_for_padding_fits_the_readout() -> None:
    tagger = list_advice(measure_readout(TaggerOverPadding()))[0]
    assert tagger.remedy.endswith(
        "output, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)"
    )
    attention = list_advice(measure_readout(AttentionOverPadding()))[0]
    assert "scores.masked_fill(~mask, float('-inf')) before softmax" in attention.remedy
    assert "h_n" not in attention.remedy


def test_the_remedy_for_a_layer_that_is_given_a_packed_sequence_keeps_it_packed() -> None:
    by_rule = {each.rule: each.remedy for each in list_advice(measure_readout(ReadsEndOfPacked()))}
    complete = by_rule["readout.complete"]
    assert complete.startswith("_, h_n = self.encoder(packed); features = ")
    assert by_rule["readout.padding"].endswith(complete)


@pytest.mark.parametrize("model", [ReadsEndOfPacked, MeanOfPacked, PacksAsFull])
def test_a_model_that_packs_is_not_advised_to_pack(model: type[WithLengths]) -> None:
    (advice,) = [
        each for each in list_advice(measure_readout(model())) if each.rule == "readout.padding"
    ]
    assert "packed = pack_padded_sequence" not in advice.remedy
    if model is MeanOfPacked:
        assert advice.remedy.startswith("mask = ")
    if model is PacksAsFull:
        assert advice.remedy.startswith("# pack with the length of each sequence")


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("model", "is_ignored"),
    [(TaggerOverPadding, True), (PacksAsFull, True), (MeanOfPacked, False)],
)
def test_lengths_that_are_accepted_and_ignored_are_named(
    model: type[WithLengths], is_ignored: bool
) -> None:
    rule = "readout.padding"
    result = check_model(model, profile="quick", rules=[rule]).result(rule)
    assert result.verdict is Verdict.FAIL
    assert ("The lengths have no effect on any prediction" in result.message) is is_ignored


class CallsLayerInLoop(Classifier):
    """The layer is called once for each step."""

    def forward(self, tokens: Tensor) -> Any:
        first, *others = self.words(tokens).split(1, 1)
        output, state = self.encoder(first)
        for words in others:
            output, state = self.encoder(words, state)
        return self.scores(output[:, -1])


class SkipsFirstStep(CallsLayerInLoop):
    """The same, without the first step."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens[:, 1:])


def test_a_layer_that_is_called_several_times_is_not_passed_unseen() -> None:
    rule = "readout.complete"
    result = check_model(CallsLayerInLoop, profile="quick", rules=[rule]).result(rule)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "encoder is called 5 times in one call of the model" in result.message
    call = "model(x) if steps > 1 else model(torch.cat([x, x], 1))"
    report = check_model(SkipsFirstStep, profile="quick", rules=[rule], call=call)
    assert report.result(rule).verdict is Verdict.FAIL


@pytest.mark.slow
def test_left_padded_data_is_not_checked_at_its_end() -> None:
    assert check(TaggerOverPadding).verdict is RunVerdict.VIOLATES
    report = check(TaggerOverPadding, padding_side="left")
    assert report.ok
    assert "padded on the left" in report.result("readout.padding").message


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (model_bugs_calls.StateCarried, "self.state is kept from one call to the next"),
        (model_bugs_calls.RandomState, ""),
    ],
)
def test_a_state_that_is_kept_has_its_own_remedy(model: type[LastStep], name: str) -> None:
    message = check(model, rules=["model.repeatable"]).result("model.repeatable").message
    assert name in message
    assert ("detach()" in message) is bool(name)


def test_initial_states_get_a_remedy_as_code() -> None:
    for model, rule in (
        (model_bugs_calls.StateInFloat32, "model.state-dtype"),
        (model_bugs_calls.StateOnDefaultDevice, "model.state-device"),
    ):
        message = check(model, rules=["model.state-*"]).result(rule).message
        assert "try            x.new_zeros(1, x.size(0), 6), x being the input of rnn" in message


def test_attributes_without_effect_are_listed_with_the_intended_names() -> None:
    message = check(Misspelt).result("readout.parameters").message
    assert "self.words.weights is assigned, and torch reads no such attribute" in message
    assert "# assign to self.words.weight\n" in message
    assert "# assign to self.words.weight.requires_grad" in message


def test_weights_under_a_new_name_are_not_called_misspelt() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    lstm = nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    own = nn.Sequential(normed, lstm, nn.LSTMCell(3, 4), nn.Embedding(4, 3, padding_idx=0))
    assert list_misspelt_attributes(own) == []


def test_frozen_parameters_without_effect_are_listed() -> None:
    report = check(FrozenAndUnused)
    assert report.ok
    message = report.result("readout.parameters").message
    assert message.startswith("Frozen, extra.weight and extra.bias cannot change any prediction")


@pytest.mark.parametrize("model", [Misspelt, FrozenAndUnused])
def test_the_program_shows_the_parameter_without_effect(model: type[nn.Module]) -> None:
    program = check(model, rules=["readout.parameters"]).result("readout.parameters").repro
    assert program is not None
    with pytest.raises(AssertionError):
        exec(compile(program, "program", "exec"), {})
    correct = program.replace(f"import {model.__name__}", f"import Classifier as {model.__name__}")
    correct = correct.replace("['extra.weight', 'extra.bias']", "[]")
    exec(compile(correct, "program", "exec"), {})


def test_attention_after_one_direction_may_look_ahead() -> None:
    class Attending(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Any:
            output, _ = self.encoder(self.words(tokens))
            return self.scores(self.attention(output, output, output)[0])

    report = check(Attending)
    assert report.ok
    assert report.result("model.causal").verdict is Verdict.NOT_APPLICABLE


def test_batch_statistics_are_a_note() -> None:
    report = check(Normalised, strict=True)
    assert report.ok
    result = report.result("model.samples-in-training")
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert result.message.startswith("nn.BatchNorm1d takes statistics over the batch")


def test_the_line_of_the_models_own_source_is_reported() -> None:
    message = check(model_bugs_readout.StatesViewed).result("readout.samples").message
    assert "of model_bugs_readout.py: return states.view(output.size(0), -1)\n" in message
    (advice,) = list_advice(measure_readout(model_bugs_readout.LastOfBothDirections()))
    assert advice.where.endswith("model_plain.py: return output[:, -1]")
    assert advice.problem.endswith("rnn.weight_hh_l0_reverse is never trained.")


def test_the_readout_comes_before_portability() -> None:
    report = check(TwoFaults)
    assert [fault.rule for fault in report.faults] == [
        "readout.complete",
        "model.state-device",
        "model.state-dtype",
    ]
    text = format_report(report)
    assert text.index("FAIL  readout.complete") < text.index("FAIL  model.state-dtype")


def test_modules_in_a_plain_list_are_one_fault_with_its_remedy() -> None:
    report = check(LayersInList)
    assert [fault.rule for fault in report.faults] == ["model.state-dict"]
    message = report.result("model.state-dict").message
    assert "self.stack is a list of modules, of which torch does not know" in message
    assert message.endswith("try            self.stack = torch.nn.ModuleList(...)")
    assert "model.state-dict" in report.result("model.float64").message


def test_two_states_of_one_direction_are_named_as_such() -> None:
    (advice,) = list_advice(measure_readout(PairForDirections()))
    assert "the forward direction is unused. What is read is h_n and c_n of one" in advice.problem


def test_attributes_that_a_call_changes_are_found() -> None:
    model = model_bugs_calls.StateCarried()
    before = copy_attributes(model)
    model(torch.zeros(2, 3, dtype=torch.long))
    assert find_changed(before, copy_attributes(model)) == ["state"]
    assert find_changed(before, before) == []
