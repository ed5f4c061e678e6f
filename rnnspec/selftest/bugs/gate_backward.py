"""Planted bugs in a hand-written backward pass for the gates of an LSTM or a GRU."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.contract.kinds import GRU, LSTM
from rnnspec.plain.call import Here
from rnnspec.plain.gated import GATES
from rnnspec.reference.steps import States, SumsByName
from rnnspec.selftest.bugs.planted import Planter, change_rows, replace_gradient

plant = Planter(__name__, LSTM)
plant_in_gru = Planter(__name__, GRU)


def slope(y: Tensor) -> Tensor:
    """Return the slope of a sigmoid from its result, as a constant."""
    return (y * (1 - y)).detach()


OutputGateWithSlopeOfInputGate = plant(
    "The backward pass multiplies by the slope of the input gate where that of the output gate is "
    "required.",
    "gradients.weights gradients.input gradients.biases",
    {"gate.output": lambda o, total, i: replace_gradient(o, total * slope(i))},
    narrow=True,
)
CellGateWithSlopeOfSigmoid = plant(
    "The backward pass uses y (1 - y) for the tanh of the cell gate.",
    "gradients.weights gradients.input gradients.biases",
    {"gate.cell": lambda g, total: replace_gradient(g, total * slope(g))},
    narrow=True,
)
ForgetGradientOfNewMemory = plant(
    "The gradient of the forget gate is multiplied by the new cell state.",
    "gradients.weights gradients.input gradients.biases gradients.h-0",
    {
        "c": lambda c, i, f, g, before: replace_gradient(
            c, f * c.detach() + f.detach() * before["c"] + i * g
        )
    },
    narrow=True,
)
MemoryGradientOfInputGate = plant(
    "The gradient of the cell state before a step is multiplied by the input gate.",
    "gradients.c-0 gradients.weights gradients.input gradients.biases",
    {
        "c": lambda c, i, f, g, before: replace_gradient(
            c, f * before["c"].detach() + i.detach() * before["c"] + i * g
        )
    },
    narrow=True,
)
MemoryGradientOfForgetSquared = plant(
    "The gradient of the cell state before a step is multiplied by the square of the forget gate.",
    "gradients.c-0 gradients.weights gradients.input gradients.biases",
    {
        "c": lambda c, i, f, g, before: replace_gradient(
            c, f * before["c"].detach() + torch.square(f.detach()) * before["c"] + i * g
        )
    },
    narrow=True,
)
ForgetRowsNotLearned = plant(
    "The rows of `W_hh` for the forget gate receive no gradient.",
    "gradients.weights",
    {"weight_hh": change_rows(1, GATES, torch.detach)},
    narrow=True,
)
ForgetGateForItsSlope = plant(
    "The backward pass multiplies by f where the slope f (1 - f) of the forget gate is required.",
    "gradients.weights gradients.input gradients.biases gradients.h-0",
    {"gate.forget": lambda f, total: replace_gradient(f, total * f.detach())},
    report="CaptainE/RNN-LSTM-in-numpy #1",
    narrow=True,
)


def take_sum(y: Tensor) -> Tensor:
    """Return a sum that is mistaken for its sigmoid, with the slope that this would have."""
    return replace_gradient(y, y * slope(y))


def renew_by_sums(c: Tensor, sums: SumsByName, before: States) -> Tensor:
    """Return the cell state, with the gradient that it has if sums are mistaken for gates."""
    i, f, y = take_sum(sums["input"]), take_sum(sums["forget"]), sums["cell"]
    g = replace_gradient(y, y * (1 - y * y).detach())
    return replace_gradient(c, f * before["c"] + i * g)


SumsReadAsGates = plant(
    "The backward pass takes the sums that were kept before the activations for the gates.",
    "gradients.weights gradients.input gradients.biases gradients.c-0",
    {
        "c": renew_by_sums,
        "h": lambda h, sums, shown: replace_gradient(h, take_sum(sums["output"]) * shown),
    },
    report="FlagGems #5014",
    narrow=True,
)


def share_gradient(bias: Tensor) -> Tensor:
    """Return the same bias, with the gradient of the forget gate's bias for three gates."""
    i, f, g, o = bias.chunk(GATES)
    return replace_gradient(bias, torch.cat([0 * i.detach(), i + f + o, g, 0 * o.detach()]))


BiasGradientOfForgetGate = plant(
    "The biases of the input and the output gate receive the gradient of the forget gate's.",
    "gradients.biases",
    {"bias_ih": share_gradient, "bias_hh": share_gradient},
    report="hanbt/learn_dl #53",
    narrow=True,
)
UpdateGateWithSlopeOfResetGate = plant_in_gru(
    "The backward pass multiplies by the slope of the reset gate where that of the update gate is "
    "required.",
    "gradients.weights gradients.input gradients.biases gradients.h-0",
    {"gate.update": lambda z, total, r: replace_gradient(z, total * slope(r))},
    narrow=True,
)
NewGradientOfUpdateGate = plant_in_gru(
    "The gradient of the new gate is multiplied by z instead of 1 - z.",
    "gradients.weights gradients.input gradients.biases gradients.h-0",
    {
        "h": lambda h, z, n, before: replace_gradient(
            h, (1 - z) * n.detach() + z * before["h"] + z.detach() * n
        )
    },
    narrow=True,
)
ResetGradientOfState = plant_in_gru(
    "The gradient of the reset gate is multiplied by the hidden state, not by what the gate "
    "multiplies.",
    "gradients.weights gradients.input gradients.biases gradients.h-0",
    {
        "inside": lambda inside, r, sums, before: replace_gradient(
            inside, r * before["h"].detach() + r.detach() * sums["part"]
        )
    },
    narrow=True,
)
ResetGradientOfSquare = plant_in_gru(
    "The gradient of the reset gate is multiplied by the square of the hidden state.",
    "gradients.weights gradients.input gradients.biases gradients.h-0",
    {
        "inside": lambda inside, r, sums, before: replace_gradient(
            inside, r * torch.square(before["h"].detach()) + r.detach() * sums["part"]
        )
    },
    narrow=True,
)


def find_share(before: States, weight: Tensor) -> Tensor:
    """Return zeros with the gradient that a product with rows of `W_hh` has for the state."""
    h = before["h"]
    return (h - h.detach()) @ weight.detach()


ResetGradientNotToState = plant_in_gru(
    "No gradient flows through the reset gate to the state before the step, although it flows to "
    "the weights.",
    "gradients.h-0 gradients.input gradients.weights gradients.biases",
    {
        "sum.reset": lambda total, before, weight: replace_gradient(
            total, total - find_share(before, weight["reset"])
        )
    },
    narrow=True,
)


def keep_share(part: Tensor, before: States, weight: SumsByName, spot: Here) -> Tensor:
    """Return `W_hn h + b_hn`, and keep zeros that have its gradient for the state."""
    spot.memo["share"] = find_share(before, weight["part"])
    return part


StateGradientWithoutReset = plant_in_gru(
    "The gradient that `W_hn h + b_hn` passes on to the state lacks the factor of the reset gate.",
    "gradients.h-0 gradients.input gradients.weights gradients.biases",
    {
        "sum.part": keep_share,
        "inside": lambda inside, r, spot: replace_gradient(
            inside, inside + (1 - r.detach()) * spot.memo["share"]
        ),
    },
    narrow=True,
)
InsideGradientOfRawReset = plant_in_gru(
    "The gradient of `W_hn h + b_hn` is multiplied by the reset gate before its activation.",
    "gradients.weights gradients.biases gradients.h-0 gradients.input",
    {
        "inside": lambda inside, r, sums: replace_gradient(
            inside, r * sums["part"].detach() + sums["reset"].detach() * sums["part"]
        )
    },
    report="microsoft/onnxruntime #16862",
    narrow=True,
)
StateGradientOfKeptPart = plant_in_gru(
    "The gradient of the state before a step lacks what flows through `W_hh`: only the part that "
    "the update gate keeps is passed on.",
    "gradients.h-0 gradients.input gradients.weights gradients.biases",
    {"hidden_read": torch.detach},
    report="ooples/AiDotNet PR #722",
    narrow=True,
)
plant.name_classes(globals())
