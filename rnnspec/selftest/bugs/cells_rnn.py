"""Planted bugs of the nonlinearity of an RNN cell."""

from __future__ import annotations

import torch

from rnnspec.contract.kinds import RNN_CELL
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted, Planter, is_relu, replace_gradient
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__, RNN_CELL)

ReluSlopeOfTanh = plant(
    "The gradient of relu is computed as that of tanh.",
    "gradients.input gradients.weights gradients.exact",
    {"gate.hidden": lambda h, total: replace_gradient(h, (1 - h.square()).detach() * total)},
    report="pytorch #11662",
    where=is_relu,
)


@seen_by("cells.refuses-nonlinearity")
class OtherNamesTakenForTanh(Planted):
    """Any other nonlinearity is silently treated as tanh."""

    changes = change_values(
        {"gate.hidden": lambda h, total, spot: h if is_relu(spot) else torch.tanh(total)}
    )

    def check_nonlinearity(self, nonlinearity: str) -> None:
        return


plant.name_classes(globals())
