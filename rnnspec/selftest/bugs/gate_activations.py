"""Planted bugs in how the gates of a GRU are activated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import hardsigmoid

from rnnspec.contract.kinds import GRU
from rnnspec.reference.values import Functions
from rnnspec.selftest.bugs.planted import Planter, replace_gradient, use_in_gates
from rnnspec.selftest.bugs.second_order import apply_function

plant = Planter(__name__, GRU)


def use_for_sigmoid(function: Callable[[Tensor], Tensor]) -> Functions:
    """Return changes that compute the reset and the update gate by another function."""
    return use_in_gates(function, "reset", "update")


HardSigmoid = plant(
    "Gates are `clip(x / 6 + 1/2, 0, 1)`.",
    "gates.alone recurrence.output",
    use_for_sigmoid(hardsigmoid),
    report="tensorflow/tensorflow #45705",
)
ActivationsExchanged = plant(
    "Gates are activated by tanh, and the new gate by the sigmoid.",
    "recurrence.output gates.alone nonlinearity.tanh",
    {**use_for_sigmoid(torch.tanh), **use_in_gates(torch.sigmoid, "new")},
    report="tflearn/tflearn PR #200",
)
NewGateBySigmoid = plant(
    "The new gate is activated by the sigmoid.",
    "recurrence.output nonlinearity.tanh",
    use_in_gates(torch.sigmoid, "new"),
    report="keras-team/keras #1286",
)
GatesActivatedTwice = plant(
    "The sigmoid of the gates is taken twice.",
    "recurrence.output gates.alone",
    use_for_sigmoid(lambda x: torch.sigmoid(torch.sigmoid(x))),
    report="chnsh/DCRNN_PyTorch #12",
)
SigmoidWithinTanh = plant(
    "The new gate is the tanh of a sigmoid.",
    "recurrence.output nonlinearity.tanh gates.alone",
    use_in_gates(lambda x: torch.tanh(torch.sigmoid(x)), "new"),
    report="malmaud/TensorFlow.jl PR #384",
)
GatesClipped = plant(
    "The arguments of the gates are limited to -4 and 4.",
    "recurrence.exact nonlinearity.large recurrence.output gates.alone",
    use_for_sigmoid(lambda x: torch.sigmoid(x.clamp(-4, 4))),
    report="onnxruntime #4628",
    narrow=True,
)
SigmoidOverflows = plant(
    "Gates are `exp(x) / (1 + exp(x))`, which is NaN for large arguments.",
    "recurrence.exact nonlinearity.large dropout.place recurrence.output gates.alone",
    use_for_sigmoid(lambda x: x.exp() / (1 + x.exp())),
    report="clab/dynet #1525",
    narrow=True,
)
SlopeOverflows = plant(
    "Gates are `1 / (1 + exp(-x))`, whose derivative is NaN if the exponential overflows.",
    "gradients.saturated gradients.half-precision",
    use_for_sigmoid(lambda x: 1 / (1 + (-x).exp())),
    narrow=True,
)
SlopeOfHardSigmoid = plant(
    "The gradient of the gates is that of the hard sigmoid.",
    "gradients.input gradients.weights gradients.biases gradients.h-0",
    use_for_sigmoid(lambda x: replace_gradient(torch.sigmoid(x), hardsigmoid(x))),
    narrow=True,
)
GatesRoundedTo16Bits = plant(
    "Gates are computed in bfloat16.",
    "gates.alone recurrence.output",
    use_for_sigmoid(lambda x: torch.sigmoid(x.bfloat16()).to(x.dtype)),
    narrow=True,
)


class SigmoidOverwritten(torch.autograd.Function):
    """The sigmoid, with a backward pass that stores the gradient over the saved result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the sigmoid."""
        ctx.saved = torch.sigmoid(x)
        saved: Tensor = ctx.saved.clone()
        return saved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Return the gradient of the sums, computed using the result or an earlier gradient."""
        ctx.saved = gradient * ctx.saved * (1 - ctx.saved)
        return ctx.saved


GatesOverwrittenByBackward = plant(
    "The backward pass stores gradients over the gates, so a second one through the same graph is "
    "wrong.",
    "gradients.second-backward",
    use_for_sigmoid(lambda x: apply_function(SigmoidOverwritten, x)),
    report="pytorch #1532",
    narrow=True,
)
plant.name_classes(globals())
