"""Models with a planted bug in what they read of an LSTM, a GRU or a stack."""

# ruff: noqa: D102  (the class docstring says what its methods do wrong)

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from rnnspec.selftest.model_plain import HIDDEN, EveryStep, LastStep, Layer
from rnnspec.selftest.seen import seen_by

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


@seen_by("readout.complete")
class FirstStepGRU(LastStep):
    """The model reads step 0 of a GRU, which has seen only the first id."""

    layer: ClassVar[Layer] = nn.GRU

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


@seen_by("readout.complete")
class MiddleStep(LastStep):
    """The model reads the middle step of an LSTM, which has seen no later id."""

    layer: ClassVar[Layer] = nn.LSTM

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, output.size(1) // 2]


@seen_by("readout.complete")
class LastThreeIds(LastStep):
    """The model reads only the last three ids."""

    layer: ClassVar[Layer] = nn.LSTM

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, -3:])


@seen_by("readout.complete")
class EverySecondId(LastStep):
    """A stride leaves out every second id."""

    layer: ClassVar[Layer] = nn.GRU

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, ::2])


@seen_by("readout.complete")
class LowerStateLSTM(LastStep):
    """The model reads `h_n[0]` of a stack of LSTM layers, which is the state of the lower layer."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Any) -> Tensor:
        state: Tensor = states[0][0]
        return state


@seen_by("readout.complete")
class LowerStateGRU(LastStep):
    """The model reads `h_n[0]` of a stack of GRU layers."""

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[0]


@seen_by("readout.complete")
class LowerCellState(LastStep):
    """The model reads `c_n[0]` of a stack of LSTM layers, which is that of the lower layer."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Any) -> Tensor:
        cell: Tensor = states[1][0]
        return cell


@seen_by("readout.complete")
class OneDirectionLSTM(LastStep):
    """The model reads `h_n[-1]` of a bidirectional LSTM, which is the backward direction only."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Any) -> Tensor:
        state: Tensor = states[0][-1]
        return state


@seen_by("readout.complete")
class OneDirectionOfThree(LastStep):
    """The model reads `h_n[-2]` of a bidirectional stack of three, the forward direction only."""

    options: ClassVar[dict[str, Any]] = {**BOTH, "num_layers": 3}

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-2]


@seen_by("readout.complete")
class PairOfStates(LastStep):
    """The h_n of a bidirectional RNN is unpacked as a pair."""

    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Any:
        hidden, _ = states
        return hidden


@seen_by("readout.complete")
class PairOfLayers(LastStep):
    """The h_n of two GRU layers is unpacked as a pair, so that the upper one is not read."""

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Tensor) -> Any:
        hidden, _ = states
        return hidden


@seen_by("readout.complete")
class SumOfDirectionsAtLast(LastStep):
    """The two halves of the last step are added, of which the backward one has seen one id."""

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = {**BOTH, **DEEP}

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, -1, :HIDDEN] + output[:, -1, HIDDEN:]


@seen_by("readout.complete")
class LastOfProjected(LastStep):
    """The last step of a bidirectional LSTM with a projection is read."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = {**BOTH, "proj_size": 3}


@seen_by("readout.complete")
class LowerStateOfProjected(LastStep):
    """The model reads `h_n[0]` of a stack of LSTM layers with a projection."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = {**DEEP, "proj_size": 3}
    width: ClassVar[int] = 3

    def read(self, output: Tensor, states: Any) -> Tensor:
        state: Tensor = states[0][0]
        return state


@seen_by("readout.complete")
class BackwardHalfOnly(EveryStep):
    """A tagger reads only the backward half of the output."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[..., HIDDEN:]


@seen_by("readout.samples")
class StatesViewedLSTM(LastStep):
    """`h_n.view(batch, -1)` of an LSTM puts states of different samples into one row."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN

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
class StatesReshapedDeep(LastStep):
    """`h_n.reshape(-1, layers * units)` of a stack mixes samples."""

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = DEEP
    width: ClassVar[int] = 2 * HIDDEN

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.reshape(-1, 2 * HIDDEN)


@seen_by("readout.samples")
class AlongTheBatchLSTM(LastStep):
    """`batch_first` is missing in an LSTM that reads the last step."""

    layer: ClassVar[Layer] = nn.LSTM
    options: ClassVar[dict[str, Any]] = {"batch_first": False}


@seen_by("readout.samples")
class AlongTheBatchGRU(LastStep):
    """`batch_first` is missing in a bidirectional GRU."""

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = {**BOTH, "batch_first": False}
    width: ClassVar[int] = 2 * HIDDEN


@seen_by("readout.samples")
class OutputFlipped(LastStep):
    """The samples of the output come in reverse order."""

    layer: ClassVar[Layer] = nn.GRU

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output.flip(0), states)


@seen_by("model.samples-independent")
class DividedByTheNorm(LastStep):
    """The features are divided by the norm of all in the batch."""

    layer: ClassVar[Layer] = nn.LSTM

    def read(self, output: Tensor, states: Tensor) -> Any:
        features = super().read(output, states)
        return features / features.norm()


@seen_by("model.samples-independent")
class DividedByTheSum(LastStep):
    """The predictions are divided by the sum of all in the batch."""

    layer: ClassVar[Layer] = nn.GRU

    def predict(self, features: Tensor) -> Tensor:
        scores = super().predict(features)
        return scores / scores.abs().sum()
