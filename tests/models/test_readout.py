"""The read-out map and its advice, measured on models whose answer is known."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from rnnspec.contract.clauses import Level
from rnnspec.models import (
    RNN1,
    RNN2,
    CannotInfer,
    Columns,
    DeepBiRNN,
    Interface,
    format_readout_map,
    list_advice,
    measure_readout,
)
from rnnspec.selftest import model_bugs_readout as bugs
from rnnspec.selftest.model_bugs_calls import (
    NoisyPrediction,
    OutputDetached,
    StateCarried,
    StateInFloat32,
)
from rnnspec.selftest.model_correct import (
    Cells,
    FromFeatures,
    MaskedAttention,
    MaximumOverSteps,
    SequenceFirst,
    Tied,
)
from rnnspec.selftest.model_correct_other import CellState
from rnnspec.selftest.model_plain import HIDDEN, EveryStep, LastStep, Padded


def test_one_direction_at_the_last_step_sees_all() -> None:
    readout = measure_readout(RNN1(10, 4, 6, 1))
    assert readout.columns is Columns.FEATURES
    assert readout.source == "the input of fc"
    assert readout.reach == ((True,) * 6,) * 5
    assert not readout.samples_mix
    assert readout.parameters.idle == ()
    assert readout.padding is None


def test_every_step_sees_all_earlier_steps() -> None:
    readout = measure_readout(RNN2(10, 4, 6, 1))
    assert readout.columns is Columns.STEPS
    assert readout.reach == tuple(
        tuple(position <= step for step in range(5)) for position in range(5)
    )
    assert readout.nan == readout.reach


def test_the_backward_half_of_one_layer_sees_the_last_position_alone() -> None:
    readout = measure_readout(DeepBiRNN(10, 4, 6, 1, num_layers=1))
    assert [readout.list_visible_positions(column) for column in (0, 5, 6, 11)] == [
        (0, 1, 2, 3, 4)
    ] * 2 + [(4,)] * 2
    assert readout.parameters.idle == ("rnn.weight_hh_l0_reverse",)
    assert readout.taps[0].steps == ((4, 0), (4, 1))


@pytest.mark.parametrize("layers", [2, 3])
def test_the_top_backward_recurrence_of_a_stack_takes_no_part(layers: int) -> None:
    readout = measure_readout(DeepBiRNN(10, 4, 6, 1, layers))
    assert all(all(row) for row in readout.reach)
    assert readout.parameters.idle == (f"rnn.weight_hh_l{layers - 1}_reverse",)
    (advice,) = list_advice(readout)
    assert (advice.rule, advice.level) == ("readout.complete", Level.SHOULD)
    assert f"the backward recurrence of layer {layers - 1} is unused" in advice.problem
    assert advice.explains == readout.parameters.idle


@pytest.mark.parametrize("layers", [1, 2])
def test_the_remedy_leaves_no_advice(layers: int) -> None:
    assert (
        list_advice(measure_readout(DeepBiRNN(10, 4, 6, 1, layers, readout="final-states"))) == []
    )


LAST_STATES = "features = torch.cat([h_n[-2], h_n[-1]], dim=-1)"
REMEDIES = {
    bugs.LastOfBothDirections: f"_, h_n = self.rnn(x); {LAST_STATES}",
    bugs.LastOfBothDirectionsGRU: f"_, h_n = self.rnn(x); {LAST_STATES}",
    bugs.LastOfBothDirectionsLSTM: f"_, (h_n, c_n) = self.rnn(x); {LAST_STATES}",
    bugs.FirstLayerState: "_, h_n = self.rnn(x); features = h_n[-1]",
    bugs.StatesViewed: f"_, h_n = self.rnn(x); {LAST_STATES}",
    bugs.AlongTheBatch: "self.rnn = RNN(..., batch_first=True)",
}


@pytest.mark.parametrize("bug", REMEDIES, ids=lambda bug: bug.__name__)
def test_the_remedy_fits_the_layer(bug: type[LastStep]) -> None:
    assert list_advice(measure_readout(bug()))[0].remedy == REMEDIES[bug]


def test_the_remedy_for_padding_is_packing() -> None:
    (advice,) = list_advice(measure_readout(bugs.LastIsPadding()))
    assert advice.level is Level.MUST
    assert advice.remedy.startswith(
        "packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False); "
    )
    assert advice.remedy.endswith("_, h_n = self.rnn(packed); features = h_n[-1]")


def test_a_gru_unpacked_as_a_pair_is_explained() -> None:
    (advice,) = list_advice(measure_readout(bugs.StatesUnpackedAsPair()))
    assert advice.problem.endswith(
        "GRU returns a single state h_n, not a pair (h, c), and only its first entry is read. "
        "rnn.weight_ih_l0_reverse and 3 others are never trained."
    )


def test_samples_that_mix_are_shown_and_nothing_else_is_advised() -> None:
    readout = measure_readout(bugs.AlongTheBatch())
    assert readout.samples == ((True, True, True), (False, True, True), (False, False, True))
    (advice,) = list_advice(readout)
    assert (advice.rule, advice.level) == ("readout.samples", Level.MUST)
    assert (
        "Samples: which input (row) can change which prediction (column)\n"
        "  0  # # #\n"
        "  1  . # #\n"
        "  2  . . #\n" in format_readout_map(readout)
    )


def test_a_zero_times_nan_is_no_proof() -> None:
    class TimesZero(LastStep):
        def embed(self, tokens: Tensor) -> Tensor:
            kept = torch.arange(tokens.size(1)) > 0
            return super().embed(tokens) * kept.unsqueeze(-1)

    readout = measure_readout(TimesZero())
    assert not any(readout.reach[0])
    assert all(readout.nan[0])
    assert readout.unread == ()
    assert "? # # # #" in format_readout_map(readout)
    assert "undecided" in format_readout_map(readout)


def test_nan_of_another_sample_is_not_taken_for_the_own() -> None:
    class MaskedNeighbour(LastStep):
        def embed(self, tokens: Tensor) -> Tensor:
            embedded = super().embed(tokens)
            self.neighbour = embedded[:, 0].roll(1, 0)
            return embedded[:, 1:]

        def read(self, output: Tensor, states: Tensor) -> Tensor:
            return output[:, -1] + 0 * self.neighbour.sum(-1, keepdim=True)

    readout = measure_readout(MaskedNeighbour())
    assert [any(row) for row in readout.nan] == [False, True, True, True, True]


def test_replacing_nan_does_not_hide_a_change() -> None:
    class Cleaned(LastStep):
        def read(self, output: Tensor, states: Tensor) -> Tensor:
            return output[:, -1].nan_to_num().clamp(-1, 1)

    readout = measure_readout(Cleaned())
    assert all(all(row) for row in readout.reach)
    assert not any(any(row) for row in readout.nan)
    assert list_advice(readout) == []


@pytest.mark.parametrize(
    "model", [MaximumOverSteps, MaskedAttention, Cells, FromFeatures, SequenceFirst, Tied]
)
def test_other_builds_get_no_advice(model: type[nn.Module]) -> None:
    interface = Interface(12, batch_first=False) if model is SequenceFirst else None
    assert list_advice(measure_readout(model(), interface)) == []


def test_padding_is_measured_if_the_model_declares_it() -> None:
    assert measure_readout(Padded()).padding is False
    assert measure_readout(bugs.MeanOverPadding()).padding is True
    assert measure_readout(LastStep()).padding is None


def test_cut_and_idle_parameters_are_distinguished() -> None:
    readout = measure_readout(OutputDetached())
    assert readout.parameters.cut[0] == "embedding.weight"
    assert readout.parameters.idle == ()
    assert readout.parameters.participating == ("fc.weight", "fc.bias")
    assert measure_readout(bugs.NeverUsed()).parameters.idle == ("spare.weight", "spare.bias")


def test_frozen_parameters_give_no_advice() -> None:
    model = LastStep()
    model.embedding.weight.requires_grad_(False)
    readout = measure_readout(model)
    assert readout.parameters.frozen == ("embedding.weight",)
    assert list_advice(readout) == []


def test_a_black_box_of_functions_is_measured_at_its_prediction() -> None:
    class Functional(LastStep):
        def predict(self, features: Tensor) -> Tensor:
            return features @ self.fc.weight.T

    readout = measure_readout(Functional())
    assert readout.source == "the prediction"
    assert all(all(row) for row in readout.reach)
    (advice,) = list_advice(readout)
    assert advice.problem.startswith("fc.bias cannot change any prediction")


def test_a_bidirectional_model_of_cells_is_measured_without_a_layer() -> None:
    class Loops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.forwards, self.backwards = nn.RNNCell(3, HIDDEN), nn.RNNCell(3, HIDDEN)
            self.fc = nn.Linear(2 * HIDDEN, 1)

        def forward(self, features: Tensor) -> Tensor:
            steps = features.unbind(1)
            state = features.new_zeros(features.size(0), HIDDEN)
            for step in steps:
                state = self.forwards(step, state)
            last = self.backwards(steps[-1], features.new_zeros(features.size(0), HIDDEN))
            prediction: Tensor = self.fc(torch.cat([state, last], dim=-1))
            return prediction

    readout = measure_readout(Loops(), Interface(features=3))
    assert [readout.list_visible_positions(column) for column in (0, HIDDEN)] == [
        (0, 1, 2, 3, 4),
        (4,),
    ]
    (advice,) = list_advice(readout)
    assert (
        advice.problem
        == f"{HIDDEN} of the read-out's features have read only one end of the sequence."
    )


@pytest.mark.parametrize("features", [3, 5, 6])
@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell])
def test_an_embedding_may_be_called_step_by_step(features: int, cell: type[nn.Module]) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.cell = nn.Embedding(20, features), cell(features, HIDDEN)
            self.fc = nn.Linear(HIDDEN, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            state = None
            for step in tokens.unbind(1):
                state = self.cell(self.embedding(step), state)
            prediction: Tensor = self.fc(state[0] if isinstance(state, tuple) else state)
            return prediction

    readout = measure_readout(Loop(), Interface(vocabulary=20), steps=5)
    assert all(all(row) for row in readout.reach)
    assert not readout.samples_mix
    assert list_advice(readout) == []


def test_a_model_that_remembers_is_copied_for_every_call() -> None:
    readout = measure_readout(StateCarried())
    assert not readout.samples_mix
    assert "each call used a fresh copy" in readout.notes[0]


def test_noise_is_the_same_in_every_call() -> None:
    assert not measure_readout(NoisyPrediction()).samples_mix


def test_a_model_that_cannot_be_float64_is_measured_as_it_is() -> None:
    readout = measure_readout(StateInFloat32())
    assert readout.notes[0].startswith(
        "measured in torch.float32, because the model fails in float64"
    )
    assert all(all(row) for row in readout.reach)


def test_the_given_model_is_left_alone() -> None:
    model = LastStep().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_readout(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(
        parameter.grad is None and parameter.dtype == torch.float32
        for parameter in model.parameters()
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_map_is_data() -> None:
    data = json.loads(json.dumps(measure_readout(DeepBiRNN(10, 4, 6, 1, 2)).as_dict()))
    assert data["samples_mix"] is False
    assert data["parameters"]["idle"] == ["rnn.weight_hh_l1_reverse"]
    assert data["taps"][0]["layer"]["directions"] == 2
    assert len(data["reach"]) == 5


def test_the_map_as_text() -> None:
    torch.manual_seed(0)
    assert format_readout_map(measure_readout(DeepBiRNN(10, 4, 3, 1, 1))) == (
        "Read-out: the input of fc, 6 features\n"
        "  input position      0 1 2 3 4\n"
        "  features 0-2        # # # # #\n"
        "  features 3-5        . . . . #\n"
        "  its own prediction  # # # # #\n"
        "  # can change it   . cannot\n"
        "Samples: each prediction depends only on its own sample.\n"
        "Parameters: 10 of 11 take part.\n"
        "  idle        rnn.weight_hh_l0_reverse\n"
        "SHOULD  readout.complete\n"
        "  The backward half of rnn's output at the last step has read only the last position; "
        "what the backward direction computes from the earlier positions is lost. "
        "rnn.weight_hh_l0_reverse is never trained.\n"
        "  line 147 of tutorial.py: return output[:, -1, :]\n"
        "  try  _, h_n = self.rnn(x); features = torch.cat([h_n[-2], h_n[-1]], dim=-1)\n"
    )


@pytest.mark.parametrize(("batch", "steps"), [(4, 4), (3, 2), (1, 5)])
def test_sizes_that_hide_the_axes_are_refused(batch: int, steps: int) -> None:
    with pytest.raises(ValueError, match=f"batch={batch}, steps={steps}"):
        measure_readout(LastStep(), batch=batch, steps=steps)


def test_predictions_that_do_not_start_with_the_batch_are_refused() -> None:
    class Total(LastStep):
        def predict(self, features: Tensor) -> Tensor:
            return super().predict(features).sum(0)

    with pytest.raises(ValueError, match=r"returns \(2,\) for 3 samples"):
        measure_readout(Total())


def test_a_vocabulary_of_one_id_is_refused() -> None:
    with pytest.raises(CannotInfer, match="at least two token ids besides padding, and there is 1"):
        measure_readout(RNN1(1, 4, 6, 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_map_does_not_depend_on_the_seed(seed: int) -> None:
    torch.manual_seed(seed)
    readout = measure_readout(EveryStep(), seed=seed)
    assert readout.reach == tuple(
        tuple(position <= step for step in range(5)) for position in range(5)
    )


class PairRead(LastStep):
    """A model that takes the two states of an LSTM for those of two directions."""

    layer: ClassVar[Any] = nn.LSTM
    width: ClassVar[int] = 2 * HIDDEN

    def read(self, output: Tensor, states: Any) -> Tensor:
        return torch.cat([state[-1] for state in states], dim=-1)


class HiddenRead(LastStep):
    """A model that takes the hidden state of an LSTM."""

    layer: ClassVar[Any] = nn.LSTM

    def read(self, output: Tensor, states: Any) -> Tensor:
        h: Tensor = states[0][-1]
        return h


def test_a_cell_state_that_is_read_is_noted() -> None:
    (note,) = measure_readout(CellState()).notes
    assert note.startswith("the prediction takes c_n of rnn and no hidden state")
    (note,) = measure_readout(PairRead()).notes
    assert note.endswith("these are its two states, not those of two directions")
    assert measure_readout(HiddenRead()).notes == ()
