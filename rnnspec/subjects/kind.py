"""Recognise the kind of layer that a target builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, UNGATED, Kind
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.errors import TargetError
from rnnspec.subjects.documented import find_documented_kind
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import match_names, observe_step
from rnnspec.subjects.target import Target

TORCH_NN = "torch.nn:"
"""The prefix of texts that name a class of torch.nn."""
TRIED_SIZES = (2, 3)
"""The sizes with which the module was built; they differ, so that shapes distinguish the kinds."""


def recognise_kind(module: torch.nn.Module, fixed: Mapping[str, Any]) -> str | None:
    """Return the kind of a layer that was built with `TRIED_SIZES`, or None if it is unclear.

    It is the kind of the torch.nn class from which the layer is derived, otherwise the only kind
    that documents parameters of these shapes. A layer and a cell have the same shapes; they are
    distinguished by the calls that work, otherwise by the names of the parameters. `fixed` holds
    further constructor arguments. A cell may have these parameters in another order and have
    additional parameters, provided that a call returns a state: it is a wrong cell, or it needs an
    adapter.
    """
    derived = find_documented_kind(type(module))
    if derived is not None:
        return derived.name
    found = {name: tuple(each.shape) for name, each in module.named_parameters()}
    documented = {name: _list_documented(name, fixed) for name in KINDS}
    fitting = [KINDS[name] for name, each in documented.items() if _can_match(each, found)]
    if len({kind.layer for kind in fitting}) != 1:
        return _recognise_cell(module, documented, found)
    called = [kind for kind in fitting if is_called_as(module, kind)]
    named = [kind for kind in fitting if documented[kind.name] == found]
    return [*called, *named, *fitting][0].name


def has_documented_parameters(module: torch.nn.Module, kind: str, fixed: Mapping[str, Any]) -> bool:
    """Return whether the parameters of a kind can be loaded into a module of `TRIED_SIZES`."""
    found = {name: tuple(each.shape) for name, each in module.named_parameters()}
    return _can_match(_list_documented(kind, fixed), found)


def _recognise_cell(
    module: torch.nn.Module,
    documented: Mapping[str, Mapping[str, Shape] | None],
    found: Mapping[str, Shape],
) -> str | None:
    """Return the only kind of cell with these weights whose call works, or None.

    The weights may be transposed, and other parameters are ignored. A module that returns an output
    and a state for several steps is a layer, even if it can be called as a cell.
    """
    if _returns_sequence(module):
        return None
    weights = Counter(map(_sort_axes, found.values()))
    fitting = [
        name
        for name, shapes in documented.items()
        if KINDS[name].is_cell
        and shapes is not None
        and Counter(_sort_axes(each) for each in shapes.values() if len(each) > 1) <= weights
    ]
    called = [name for name in fitting if is_called_as(module, KINDS[name])]
    return called[0] if len(called) == 1 else None


def _sort_axes(shape: Shape) -> Shape:
    return tuple(sorted(shape))


def is_called_as(module: torch.nn.Module, kind: Kind) -> bool:
    """Return whether a plain call as a layer or cell of this kind returns the right form."""
    return not (find_missing_state(module, kind) if kind.is_cell else find_missing_pair(module))


def _call_with_steps(module: torch.nn.Module) -> Any:
    """Call a module with a batch of several steps in the default layout. Raises Failure."""
    with observe_step(CALL), torch.no_grad():
        return module(_make_zeros(module, 4, 5, TRIED_SIZES[0]))


def _returns_sequence(module: torch.nn.Module) -> bool:
    """Return whether a call with several steps returns an output and a state of other sizes.

    A cell that accepts three axes returns states of equal size.
    """
    try:
        returned = _call_with_steps(module)
    except Failure:
        return False
    is_pair = isinstance(returned, (tuple, list)) and len(returned) == 2
    shapes = [getattr(each, "shape", None) for each in returned] if is_pair else []
    return is_pair and (None in shapes or shapes[0] != shapes[1])


def guess_kind(target: object) -> str:
    """Return the kind of the torch.nn class from which a target is derived, without building it.

    A class of torch.nn can be given as text, such as "torch.nn:GRU". For any other target, it is
    the ungated kind.
    """
    if isinstance(target, str) and target.startswith(TORCH_NN):
        target = getattr(nn, target.removeprefix(TORCH_NN), None)
    derived = find_documented_kind(target) if isinstance(target, type) else None
    return (derived or UNGATED).name


def find_layers_inside(module: nn.Module) -> tuple[list[str], bool]:
    """Return the names of torch's recurrent layers inside a module.

    The second value is whether the module has parameters outside of these layers.
    """
    kinds = (nn.RNNBase, nn.RNNCellBase)
    inside = [each for each in module.modules() if isinstance(each, kinds) and each is not module]
    own = {id(parameter) for each in inside for parameter in each.parameters()}
    found = [find_documented_kind(type(each)) or UNGATED for each in inside]
    return [kind.title for kind in found], any(
        id(parameter) not in own for parameter in module.parameters()
    )


def _list_documented(kind: str, fixed: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Return the parameter shapes that a kind documents, or None for wrong arguments."""
    own = {name: value for name, value in fixed.items() if name in KINDS[kind].arguments}
    try:
        return parameter_shapes(Config(*TRIED_SIZES, kind=kind, **own))
    except (TypeError, ValueError):
        return None


def _can_match(expected: Mapping[str, Shape] | None, found: Mapping[str, Shape]) -> bool:
    """Return whether a module has the documented parameters, under any names."""
    if expected is None:
        return False
    try:
        match_names(expected, found, found)
    except Failure:
        return False
    return True


def find_missing_state(module: torch.nn.Module, kind: Kind) -> str:
    """Return a phrase for the result of a plain call that is no state, otherwise an empty string.

    The call uses a batch without time steps, and the states of a kind of cells. A layer also
    accepts input of two axes, as unbatched input, and then returns a pair with an output.
    """
    features, units = TRIED_SIZES
    states = tuple(_make_zeros(module, 4, units) for _ in kind.states)
    try:
        with observe_step(CALL), torch.no_grad():
            hx = states if kind.has_several_states else states[0]
            returned = module(_make_zeros(module, 4, features), hx)
    except Failure as failure:
        return f"a call fails ({failure})"
    state = returned[0] if isinstance(returned, (tuple, list)) and returned else returned
    if isinstance(state, torch.Tensor) and state.shape[-1:] == (TRIED_SIZES[1],):
        return ""
    return f"a call returns a {type(returned).__name__} instead of a state"


def _make_zeros(module: torch.nn.Module, *shape: int) -> torch.Tensor:
    """Return zeros with the dtype and the device of a module's parameters."""
    parameter = next(module.parameters(), None)
    like = torch.zeros(()) if parameter is None else parameter.detach()
    return like.new_zeros(shape)


def find_missing_pair(module: torch.nn.Module) -> str:
    """Return a phrase for the result of a plain call that is no pair, otherwise an empty string.

    The call uses a batch in the default layout and no initial state.
    """
    try:
        returned = _call_with_steps(module)
    except Failure as failure:
        return f"a call fails ({failure})"
    if isinstance(returned, (tuple, list)) and len(returned) == 2:
        return ""
    return f"a call returns a {type(returned).__name__} instead of a pair"


def refuse_instance(target: Target) -> None:
    """Raise TargetError if a target is a module instead of a class or factory."""
    if isinstance(target.factory, torch.nn.Module):
        raise TargetError(
            f"{target.label} is a layer already; name its class or a factory that builds a new one."
        )
