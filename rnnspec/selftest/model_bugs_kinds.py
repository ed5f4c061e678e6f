"""Models that read an LSTM, a GRU or a stack wrongly."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_plain import HIDDEN, EveryStep, LastStep

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


@seen_by("readout.complete")
class FirstStepGRU(LastStep, layer=nn.GRU):
    """The model reads step 0 of a GRU, which has seen only the first id."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


@seen_by("readout.complete")
class MiddleStep(LastStep, layer=nn.LSTM):
    """The model reads the middle step of an LSTM, which has seen no later id."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, output.size(1) // 2]


@seen_by("readout.complete")
class LastThreeIds(LastStep, layer=nn.LSTM):
    """The model reads only the last three ids."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, -3:])


@seen_by("readout.complete")
class EverySecondId(LastStep, layer=nn.GRU):
    """A stride leaves out every second id."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, ::2])


@seen_by("readout.complete")
class LowerStateLSTM(LastStep, layer=nn.LSTM, options=DEEP):
    """The model reads `h_n[0]` of a stack of LSTM layers, which is the state of the lower layer."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        state: Tensor = states[0][0]
        return state


@seen_by("readout.complete")
class LowerStateGRU(LastStep, layer=nn.GRU, options=DEEP):
    """The model reads `h_n[0]` of a stack of GRU layers."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[0]


@seen_by("readout.complete")
class LowerCellState(LastStep, layer=nn.LSTM, options=DEEP):
    """The model reads `c_n[0]` of a stack of LSTM layers, which is the state of the lower layer."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        cell: Tensor = states[1][0]
        return cell


@seen_by("readout.complete")
class OneDirectionLSTM(LastStep, layer=nn.LSTM, options=BOTH):
    """The model reads `h_n[-1]` of a bidirectional LSTM, which is the backward direction only."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        state: Tensor = states[0][-1]
        return state


@seen_by("readout.complete")
class OneDirectionOfThree(LastStep, options={**BOTH, "num_layers": 3}):
    """The model reads `h_n[-2]` of a bidirectional stack of three, the forward direction only."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-2]


@seen_by("readout.complete")
class PairOfStates(LastStep, options=BOTH):
    """The h_n of a bidirectional RNN is unpacked as a pair."""

    def read(self, output: Tensor, states: Tensor) -> Any:
        hidden, _ = states
        return hidden


@seen_by("readout.complete")
class PairOfLayers(LastStep, layer=nn.GRU, options=DEEP):
    """The h_n of two GRU layers is unpacked as a pair, so that the upper layer is not read."""

    def read(self, output: Tensor, states: Tensor) -> Any:
        hidden, _ = states
        return hidden


@seen_by("readout.complete")
class SumOfDirectionsAtLast(LastStep, layer=nn.GRU, options={**BOTH, **DEEP}):
    """The two halves of the last step are added, although the backward half has seen only the last
    id.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, -1, :HIDDEN] + output[:, -1, HIDDEN:]


@seen_by("readout.complete")
class LastOfProjected(LastStep, layer=nn.LSTM, options={**BOTH, "proj_size": 3}):
    """The last step of a bidirectional LSTM with a projection is read."""


@seen_by("readout.complete")
class LowerStateOfProjected(LastStep, layer=nn.LSTM, options={**DEEP, "proj_size": 3}, width=3):
    """The model reads `h_n[0]` of a stack of LSTM layers with a projection."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        state: Tensor = states[0][0]
        return state


@seen_by("readout.complete")
class BackwardHalfOnly(EveryStep, layer=nn.LSTM, options=BOTH):
    """A tagger reads only the backward half of the output."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[..., HIDDEN:]


@seen_by("readout.samples")
class StatesViewedLSTM(LastStep, layer=nn.LSTM, options=BOTH, width=2 * HIDDEN):
    """`h_n.view(batch, -1)` of an LSTM puts states of different samples into one row."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        viewed: Tensor = states[0].view(output.size(0), -1)
        return viewed


@seen_by("readout.samples")
class CellStatesViewed(StatesViewedLSTM):
    """`c_n.view(batch, -1)` puts states of different samples into one row."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        viewed: Tensor = states[1].view(output.size(0), -1)
        return viewed


@seen_by("readout.samples")
class StatesReshapedDeep(LastStep, layer=nn.GRU, options=DEEP, width=2 * HIDDEN):
    """`h_n.reshape(-1, layers * units)` of a stack mixes samples."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.reshape(-1, 2 * HIDDEN)


@seen_by("readout.samples")
class AlongTheBatchLSTM(LastStep, layer=nn.LSTM, options={"batch_first": False}):
    """`batch_first` is missing in an LSTM that reads the last step."""


@seen_by("readout.samples")
class AlongTheBatchGRU(
    LastStep, layer=nn.GRU, options={**BOTH, "batch_first": False}, width=2 * HIDDEN
):
    """`batch_first` is missing in a bidirectional GRU."""


@seen_by("readout.samples")
class OutputFlipped(LastStep, layer=nn.GRU):
    """The samples of the output come in reverse order."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output.flip(0), states)


@seen_by("model.samples-independent")
class DividedByTheNorm(LastStep, layer=nn.LSTM):
    """The features are divided by the norm of all features in the batch."""

    def read(self, output: Tensor, states: Tensor) -> Any:
        features = super().read(output, states)
        return features / features.norm()


@seen_by("model.samples-independent")
class DividedByTheSum(LastStep, layer=nn.GRU):
    """The predictions are divided by the sum of all predictions in the batch."""

    def predict(self, features: Tensor) -> Tensor:
        scores = super().predict(features)
        return scores / scores.abs().sum()
