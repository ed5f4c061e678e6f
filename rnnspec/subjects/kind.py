"""Recognise the kind of layer that a target builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import CELLS, KINDS, UNGATED
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import match_names, observe_step

TRIED_SIZES = (2, 3)
"""The sizes with which the module was built; they differ, so that shapes tell the kinds apart."""


def recognise_kind(module: torch.nn.Module, fixed: Mapping[str, Any]) -> str | None:
    """Return the kind of a layer that was built with `TRIED_SIZES`, or None if nothing tells it.

    It is the kind of the class of torch.nn from which the layer is derived, or else the only one
    that documents parameters of these shapes. `fixed` holds further arguments that it was given.
    """
    derived = _find_kind_of_class(type(module))
    if derived is not None:
        return derived
    fitting = [name for name in KINDS if _has_parameters_of(module, name, fixed)]
    return fitting[0] if len(fitting) == 1 else None


def guess_kind(target: object) -> str:
    """Return the kind of the class of torch.nn from which a target is derived, without building it.

    It is the ungated kind if the target is no such class.
    """
    derived = _find_kind_of_class(target) if isinstance(target, type) else None
    return derived or UNGATED.name


def _find_kind_of_class(layer: type) -> str | None:
    """Return the kind of the class of torch.nn from which a class is derived, or None."""
    kinds = KINDS.items()
    return next((name for name, kind in kinds if issubclass(layer, getattr(nn, kind.title))), None)


def _has_parameters_of(module: torch.nn.Module, kind: str, fixed: Mapping[str, Any]) -> bool:
    """Return whether a layer has the parameters that a kind documents, under whatever names."""
    own = {name: value for name, value in fixed.items() if name in KINDS[kind].arguments}
    try:
        expected = parameter_shapes(Config(*TRIED_SIZES, kind=kind, **own))
        found = {name: tuple(each.shape) for name, each in module.named_parameters()}
        match_names(expected, found, found)
    except (Failure, TypeError, ValueError):
        return False
    return True


def find_cell(module: torch.nn.Module) -> str:
    """Return the class of cells of torch.nn from which a module is derived, or an empty text."""
    return next((name for name in CELLS if isinstance(module, getattr(nn, name))), "")


def find_missing_pair(module: torch.nn.Module) -> str:
    """Return what a plain call returns instead of a pair, or an empty text if it returns one.

    The call is made with a batch in the default layout and no initial state.
    """
    try:
        with observe_step(CALL), torch.no_grad():
            parameter = next(module.parameters(), None)
            like = torch.zeros(()) if parameter is None else parameter.detach()
            returned = module(like.new_zeros(4, 5, TRIED_SIZES[0]))
    except Failure as failure:
        return f"a call fails ({failure})"
    if isinstance(returned, (tuple, list)) and len(returned) == 2:
        return ""
    return f"a call returns a {type(returned).__name__} instead of a pair"
