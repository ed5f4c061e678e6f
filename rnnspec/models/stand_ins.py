"""Replace tensors of a model by leaves of the graph, whatever the model does with them."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.models.isolated import HookInstaller, IsolatedModel
from rnnspec.models.steps import find_gradients
from rnnspec.subjects.failures import Ended, Failure


def make_leaf(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf of the graph with the values of a tensor, and its stand-in for the model.

    The stand-in is the result of an operation on the leaf. So the model may change it in place or
    detach it, like any result of a layer, even if the layer was called without gradients.
    """
    with torch.enable_grad():
        leaf = tensor.detach().clone().requires_grad_()
        return leaf, leaf.clone()


def call_differently(
    isolated: IsolatedModel, x: Tensor, *installers: HookInstaller
) -> Tensor | None:
    """Return the prediction of a model with unusual tensors as input, or None if it raises.

    The model may raise because these tensors require gradients or have another graph. That is no
    fault of the model, unless it also raises without them.
    """
    try:
        return isolated(x, *installers)
    except Ended:
        raise
    except Failure:
        isolated(x.detach())
        return None


def check_backward(isolated: IsolatedModel, x: Tensor) -> None:
    """Compute the gradients of a model's parameters, as its training does.

    Use this if gradients of other tensors raise: that is no fault of the model, unless this raises
    too.
    """
    module = isolated.prepare_module()
    prediction = isolated.run_module(module, x.detach())
    parameters = [each for each in module.parameters() if each.requires_grad]
    if parameters and prediction.requires_grad:
        find_gradients(prediction.sum(), parameters)
