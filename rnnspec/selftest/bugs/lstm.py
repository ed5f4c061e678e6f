"""Planted bugs in the cell of an LSTM: its gates, and how they update and show the cell state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import hardsigmoid, hardtanh

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.gated import GATES, JoinedLSTM
from rnnspec.selftest.bugs.planted import (
    Planted,
    Planter,
    change_rows,
    replace_gradient,
    use_in_gates,
)

plant = Planter(__name__, LSTM)
SIGMOIDS = ("input", "forget", "output")


class PlantedLSTM(Planted, JoinedLSTM):
    """The plain LSTM with a bug in its cell."""


ForgetGateInverted = plant(
    "The cell state is multiplied by `1 - f`.",
    "recurrence.output",
    {"c": lambda c, i, f, g, before: (1 - f) * before["c"] + i * g},
)
ForgetBiasOfOne = plant(
    "The forget gate adds 1 to its sum, as in other libraries.",
    "gates.alone recurrence.output",
    {"sum.forget": lambda total: total + 1},
    report="clab/dynet #807",
)
InputGateCoupled = plant(
    "The input gate is `1 - f`.",
    "gates.alone recurrence.output",
    {"c": lambda c, f, g, before: f * before["c"] + (1 - f) * g},
)
PeepholeToInputGate = plant(
    "The input gate reads the cell state too.",
    "gates.alone recurrence.output",
    {"sum.input": lambda total, before: total + 0.5 * before["c"]},
)
OutputOfOldMemory = plant(
    "The output shows the cell state before the step.",
    "recurrence.output",
    {"shown": lambda shown, before: torch.tanh(before["c"])},
    report="borelien/entailment-neural-attention-lstm-tf #3",
)
MemoryShownAsItIs = plant(
    "The hidden state is `o c`, without tanh.",
    "recurrence.output",
    {"shown": lambda shown, c: c},
    report="nicodjimenez/lstm #47",
)
CellGateBySigmoid = plant(
    "The cell gate is a sigmoid.",
    "recurrence.output",
    use_in_gates(torch.sigmoid, "cell"),
)
OutputGateIgnored = plant(
    "The hidden state is `tanh(c)`.",
    "gates.alone recurrence.output",
    {"h": lambda h, shown: shown},
)
OutputGateTwice = plant(
    "The hidden state is `o (o tanh(c))`.",
    "gates.alone recurrence.output",
    {"h": lambda h, o: o * h},
)
MemoryGatedBySquare = plant(
    "The forget gate acts twice.",
    "gates.alone recurrence.output",
    {"c": lambda c, i, f, g, before: f * f * before["c"] + i * g},
)
HardSigmoidInLSTM = plant(
    "The gates are hard sigmoids, as in other libraries.",
    "gates.alone recurrence.output",
    use_in_gates(hardsigmoid, *SIGMOIDS),
    report="tensorflow/tensorflow #47495",
)
HardSigmoidAboveFirst = plant(
    "The gates of layers above the first are hard sigmoids.",
    "gates.alone recurrence.output stacking.composition",
    use_in_gates(hardsigmoid, *SIGMOIDS),
    where=lambda spot: spot.layer > 0,
    beyond_cells=True,
    narrow=True,
)
HardTanhShown = plant(
    "The cell state is shown by a hard tanh.",
    "recurrence.output gates.alone nonlinearity.large",
    {"shown": lambda shown, c: hardtanh(c)},
)
MemoryClipped = plant(
    "The cell state is clipped to [-3, 3].",
    "cell-state.final recurrence.output",
    {"c": lambda c: c.clamp(-3, 3)},
)
MemoryClippedFar = plant(
    "The cell state is clipped to [-20, 20].",
    "cell-state.final cell-state.packed",
    {"c": lambda c: c.clamp(-20, 20)},
    narrow=True,
)
MemoryInFloat32 = plant(
    "The cell state of a float64 layer is kept in float32.",
    "cell-state.final recurrence.output",
    {"c": lambda c: c.float().double() if c.dtype == torch.float64 else c},
    report="uxlfoundation/oneDNN #976",
    narrow=True,
)
MemoryForgottenAfterEight = plant(
    "The cell state is set to zero before every eighth step.",
    "recurrence.output cell-state.final",
    {"before.c": torch.zeros_like},
    where=lambda spot: spot.time % 8 == 7,
    beyond_cells=True,
    narrow=True,
)
MemoryOfWideLayersNotForgotten = plant(
    "Units from the 33rd on do not forget.",
    "recurrence.output cell-state.final gates.alone",
    {"c": lambda c, i, g, before: torch.cat([c[:, :32], (before["c"] + i * g)[:, 32:]], dim=1)},
    report="FlagGems PR #5015",
    narrow=True,
)
ForgetGateWithoutRecurrentBias = plant(
    "The forget gate lacks `b_hf`.",
    "recurrence.two-biases gates.alone recurrence.output",
    {"bias_hh": change_rows(1, GATES, torch.zeros_like)},
)
CellGateBiasInEveryGate = plant(
    "`b_ig` is added once more in every gate.",
    "recurrence.two-biases recurrence.output",
    {"bias_ih": lambda rows: rows + rows.chunk(GATES)[2].repeat(GATES)},
    report="onnx/keras-onnx #98",
)
NanForgotten = plant(
    "NaN in the cell state becomes zero.",
    "nonlinearity.nan states.routing samples.independent recurrence.output",
    {"c": lambda c: torch.where(c.isnan(), torch.zeros_like(c), c)},
    narrow=True,
)
ForgetGateDetached = plant(
    "No gradient flows through the forget gate.",
    "gradients.weights gradients.input",
    {"gate.forget": torch.detach},
    narrow=True,
)
MemoryDetachedBetweenSteps = plant(
    "No gradient flows along the cell state.",
    "gradients.c-0 gradients.weights gradients.reach-first-step gradients.input",
    {"before.c": torch.detach},
    report="apache/mxnet #4057",
    narrow=True,
)


def quantise(weight: Tensor) -> Tensor:
    """Return a weight rounded to 127 steps on each side of zero."""
    if not weight.numel():
        return weight
    scale = weight.detach().abs().amax() / 127
    return replace_gradient((weight.detach() / scale).round().nan_to_num() * scale, weight)


WeightsIn8BitsInEvaluation = plant(
    "In evaluation mode, both weights are rounded to 8 bits, with one scale for each of them.",
    "recurrence.output recurrence.dtypes modes.train",
    {"weight_ih": quantise, "weight_hh": quantise},
    where=lambda spot: not spot.module.training,
    narrow=True,
)
OutputGateGradientHalved = plant(
    "The gradient through the output gate is halved.",
    "gradients.weights gradients.input",
    {"gate.output": lambda o: replace_gradient(o, 0.5 * o)},
    narrow=True,
)
plant.name_classes(globals())
