"""Put leaves of the graph in place of tensors of a model, whatever the model does with them."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.models.isolated import HookInstaller, IsolatedModel
from rnnspec.models.steps import find_gradients
from rnnspec.subjects.failures import Ended, Failure


def make_leaf(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf of the graph with the values of a tensor, and what a model is given for it.

    The model is given the result of an operation on the leaf. So it may change that in place or
    detach it, as it may what a layer returns, even if the layer was called without gradients.
    """
    with torch.enable_grad():
        leaf = tensor.detach().clone().requires_grad_()
        return leaf, leaf.clone()


def call_differently(
    isolated: IsolatedModel, x: Tensor, *installers: HookInstaller
) -> Tensor | None:
    """Return the prediction of a model that is given other tensors than usual, or None.

    If the model raises, it may be because these tensors require gradients, or have another graph.
    So that says nothing about the model, unless it also raises without them.
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

    Call it if gradients of other tensors raise: that says nothing about the model, unless these
    raise, too.
    """
    module = isolated.prepare_module()
    prediction = isolated.run_module(module, x.detach())
    parameters = [each for each in module.parameters() if each.requires_grad]
    if parameters and prediction.requires_grad:
        find_gradients(prediction.sum(), parameters)
