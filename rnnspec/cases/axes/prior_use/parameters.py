"""Updated parameters: the values of the axis `prior_use` that are about parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch

from rnnspec.cases.axes.modes import GradMode
from rnnspec.cases.axes.prior_use.base import (
    FOR_EACH_WEIGHT,
    LOAD,
    LayerInPreparation,
    PriorUse,
    PriorUseMeaning,
    takes_second_way,
)
from rnnspec.contract.features import Feature

if TYPE_CHECKING:
    from rnnspec.cases.case import Case


def take_gradient_step(parameters: Iterable[torch.Tensor]) -> None:
    """Take one step of gradient descent in place.

    torch.optim does the same but imports torch's compiler first.
    """
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-0.125)


def differentiate_state(layer: LayerInPreparation) -> bool:
    """Call a layer and differentiate its hidden state with respect to its parameters.

    Return False if that is not possible. Rules check the returned values elsewhere.
    """
    state = _find_state(layer.case, layer.call(grad_mode=GradMode.GRAD))
    if not (layer.offers(Feature.GRADIENTS) and isinstance(state, torch.Tensor)):
        return False
    if not state.requires_grad:
        return False
    with layer.step("backward"):
        torch.autograd.backward(state.sum())
    return True


def _train(layer: LayerInPreparation) -> None:
    layer.load_others()
    parameters = [each for each in layer.module.parameters() if each.requires_grad]
    if differentiate_state(layer):
        take_gradient_step(parameters)
        layer.module.zero_grad()
    if not layer.case.grad_mode.builds_graph:
        layer.call()
    with torch.no_grad():
        for name, parameter in layer.parameters().items():
            updated = parameter.data if _writes_data(layer.case) else parameter
            updated.copy_(layer.case_weight(name))


def _writes_data(case: Case) -> bool:
    """Return whether the parameters of a case are updated through `.data`."""
    # Writing to `.data` does not increase the version, so a layer that keeps a copy misses it.
    # Layers keep copies in calls without gradients above all.
    return takes_second_way(case) or not case.grad_mode.builds_graph


def _locate_state(case: Case) -> tuple[int, ...]:
    """Return the indices of the hidden state in the result of a call."""
    kind = case.config.kind_data
    return (*(() if kind.is_cell else (1,)), *((0,) if kind.has_several_states else ()))


def _find_state(case: Case, result: Any) -> Any:
    """Return the hidden state in the result of a call, or None if the result has another form."""
    for index in _locate_state(case):
        if not isinstance(result, (tuple, list)) or len(result) <= index:
            return None
        result = result[index]
    return result


def locate_state(case: Case) -> str:
    """Return the code after a call that reads the hidden state of its result."""
    return "".join(f"[{index}]" for index in _locate_state(case))


def _write_training(case: Case) -> tuple[str, ...]:
    data = ".data" if _writes_data(case) else ""
    return (
        f"layer(*given){locate_state(case)}.sum().backward()",
        *(() if case.grad_mode.builds_graph else ("{call}",)),
        "with torch.no_grad():\n"
        f"    {FOR_EACH_WEIGHT}"
        f"        layer.get_parameter(name){data}.copy_(parameter)",
        "layer.zero_grad()",
    )


_TRAINED = PriorUseMeaning(
    "trained",
    "called and differentiated, then its parameters were updated in place, in half of the cases, "
    "and in those without gradients, through .data",
    _train,
    _write_training,
)


def _reload(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    if layer.takes_second_way and _can_assign():
        with layer.step("load_state_dict(..., assign=True)"):
            state = {**layer.module.state_dict(), **layer.tensors()}
            layer.module.load_state_dict(state, assign=True)
    else:
        layer.load()


def _can_assign() -> bool:
    """Return whether this release of torch can assign the entries of a `state_dict`."""
    return "assign" in inspect.signature(torch.nn.Module.load_state_dict).parameters


def _write_reload(case: Case) -> tuple[str, ...]:
    # Without a copy, the layer would hold the parameters of the reference.
    assigned = "layer.load_state_dict(copy.deepcopy({entries}), assign=True)"
    return ("{call}", assigned if takes_second_way(case) and _can_assign() else LOAD)


_RELOADED = PriorUseMeaning(
    "reloaded",
    "called with other weights, then load_state_dict, in half of the cases with assign=True",
    _reload,
    _write_reload,
    imports=("copy",),
)


def _replace_parameters(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    for name, tensor in layer.tensors().items():
        holder, _, leaf = name.rpartition(".")
        with layer.step("assigning a parameter"):
            if layer.takes_second_way:
                delattr(find_holder(layer.module, holder), leaf)
                tensor = _transpose_in_memory(tensor)
            setattr(find_holder(layer.module, holder), leaf, torch.nn.Parameter(tensor))


def find_holder(module: torch.nn.Module, path: str) -> torch.nn.Module:
    """Return a module inside another one, or itself for an empty path.

    Scripted modules have no `get_submodule`.
    """
    holder: torch.nn.Module = attrgetter(path)(module) if path else module
    return holder


def _transpose_in_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same numbers with the axes in reverse order in memory."""
    return tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor


def _write_replacement(case: Case) -> tuple[str, ...]:
    plain = (
        f"{FOR_EACH_WEIGHT}    setattr({{place}}, torch.nn.Parameter(parameter.detach().clone()))"
    )
    transposed = (
        f"{FOR_EACH_WEIGHT}"
        "    moved = parameter.detach().t().contiguous().t()\n"
        "    delattr({place})\n"
        "    setattr({place}, torch.nn.Parameter(moved))"
    )
    return ("{call}", transposed if takes_second_way(case) else plain)


_REPLACED = PriorUseMeaning(
    "replaced",
    "called with other weights, then every parameter was replaced, in half of the cases after "
    "deletion, by one that is not contiguous",
    _replace_parameters,
    _write_replacement,
    replaces=True,
)


def _replace_data(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    own = layer.tensors()
    for name, parameter in layer.module.named_parameters():
        if name in own:
            parameter.data = own[name]


_DATA_REPLACED = PriorUseMeaning(
    "data-replaced",
    "called with other weights, then the .data of every parameter was replaced",
    _replace_data,
    (
        "{call}",
        f"{FOR_EACH_WEIGHT}    layer.get_parameter(name).data = parameter.detach().clone()",
    ),
)


def _move_data(layer: LayerInPreparation) -> None:
    layer.start()
    for parameter in layer.module.parameters():
        parameter.data = (
            _put_in_larger_tensor(parameter.data)
            if layer.takes_second_way
            else _transpose_in_memory(parameter.data)
        )


def _put_in_larger_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same numbers as the end of a larger tensor, which holds NaN elsewhere."""
    larger = tensor.new_full([size + 1 for size in tensor.shape], float("nan"))
    view = larger[(slice(1, None),) * tensor.dim()]
    view.copy_(tensor)
    return view


def _write_move(case: Case) -> tuple[str, ...]:
    transposed = (
        "for parameter in layer.parameters():\n"
        "    if parameter.dim() > 1:\n"
        "        parameter.data = parameter.data.t().contiguous().t()"
    )
    sliced = (
        "for parameter in layer.parameters():\n"
        "    larger = parameter.data.new_full([n + 1 for n in parameter.shape], float('nan'))\n"
        "    view = larger[1:, 1:] if parameter.dim() > 1 else larger[1:]\n"
        "    parameter.data = view.copy_(parameter.data)"
    )
    return (LOAD, sliced if takes_second_way(case) else transposed)


_DATA_MOVED = PriorUseMeaning(
    "data-moved",
    "the .data of every parameter was replaced by the same numbers elsewhere in memory, transposed "
    "or as a part of a larger tensor",
    _move_data,
    _write_move,
    calls=False,
)


class ParameterUpdates(PriorUse):
    """How the parameters were updated, loaded or replaced."""

    TRAINED = _TRAINED
    RELOADED = _RELOADED
    REPLACED = _REPLACED
    DATA_REPLACED = _DATA_REPLACED
    DATA_MOVED = _DATA_MOVED
