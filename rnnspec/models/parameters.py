"""Group the parameters of a model by their effect on its prediction."""

from __future__ import annotations

import copy
from contextlib import nullcontext, suppress
from dataclasses import replace

import torch
from torch import Tensor

from rnnspec.models.call import find_free_names
from rnnspec.models.closeness import find_changes
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.reach import sum_with_weights
from rnnspec.models.steps import find_gradients, suppress_failures
from rnnspec.readout.map import ParameterGroups
from rnnspec.subjects.failures import Ended, Failure


def group_parameters(copies: list[IsolatedModel], inputs: Inputs) -> ParameterGroups:
    """Group the parameters of a model by their effect in copies with different weights.

    Each copy gets one input. A parameter participates if it does in any of the copies.
    """
    named = dict(copies[0].module.named_parameters())
    frozen = tuple(name for name, parameter in named.items() if not parameter.requires_grad)
    participating: set[str] = set()
    effective: set[str] = set()
    visible: set[str] = set()
    for seed, isolated in enumerate(copies):
        with suppress_failures() if seed else nullcontext():  # some models need certain weights
            participating |= _find_with_gradient(isolated, inputs.draw(seed + 100))
    participating |= _find_with_other_constants(copies, inputs, set(named) - participating)
    elsewhere = _find_elsewhere(copies, inputs, set(named) - participating)
    undecided = set(named) - participating - elsewhere
    for seed, isolated in enumerate(copies):
        with suppress_failures() if seed else nullcontext():
            changed, seen = _find_with_effect(isolated, inputs.draw(seed + 100), undecided)
            effective |= changed
            visible |= seen
    # A parameter that cancels, such as the bias of scores before a softmax, changes a prediction
    # only by rounding. It participates nevertheless.
    participating |= effective - visible - set(frozen)
    trained, detached = _find_trained(copies, inputs, set(named) - set(frozen) - elsewhere)
    participating = (participating | (trained & effective)) - detached
    effective |= detached
    undecided |= detached
    rest = [name for name in named if name in undecided - participating and name not in frozen]
    return ParameterGroups(
        tuple(name for name in named if name in participating),
        tuple(name for name in rest if name not in effective),
        tuple(name for name in rest if name in effective),
        frozen,
        tuple(name for name in frozen if name not in effective | elsewhere),
        _list_misspelt(copies, inputs, {*named} - effective - participating - elsewhere),
        tuple(name for name in named if name in elsewhere),
    )


def _find_trained(
    copies: list[IsolatedModel], inputs: Inputs, names: set[str]
) -> tuple[set[str], set[str]]:
    """Return the given names with a gradient in training mode, and others with an effect.

    Parameters are trained in this mode: a model may compute without gradients in evaluation mode,
    as in `torch.set_grad_enabled(self.training)`. The others are detached in training mode; there
    are none if the call fails in it.
    """
    trained: set[str] = set()
    detached: set[str] = set()
    with suppress_failures():
        visible: set[str] = set()
        training = [isolated.put_into_training() for isolated in copies]
        for seed, isolated in enumerate(training):
            trained |= _find_with_gradient(isolated, inputs.draw(seed + 100)) & names
        for seed, isolated in enumerate(training):
            visible |= _find_with_effect(isolated, inputs.draw(seed + 100), names - trained)[1]
        detached = visible
    return trained, detached


def _find_with_other_constants(
    copies: list[IsolatedModel], inputs: Inputs, names: set[str]
) -> set[str]:
    """Return the given names that participate if random tensors replace constants of the call.

    A weight that multiplies `torch.zeros(batch, 8)`, created by the call expression, is not idle.
    """
    if not names or "torch" not in find_free_names(copies[0].interface.call.expression):
        return set()
    found: set[str] = set()
    for seed, isolated in enumerate(copies):
        varied = copy.copy(isolated)
        call = replace(isolated.interface.call, is_varied=True)
        varied.interface = replace(isolated.interface, call=call)
        with suppress(Exception):  # the model may accept only the constants
            found |= _find_with_gradient(varied, inputs.draw(seed + 100)) & names
    return found


def _find_elsewhere(copies: list[IsolatedModel], inputs: Inputs, names: set[str]) -> set[str]:
    """Return the given names whose parameters affect any other result of the call."""
    found = names & copies[0].interface.used_besides
    for seed, isolated in enumerate(copies if names else []):
        x = inputs.draw(seed + 100)
        for other in isolated.list_others():
            with suppress_failures():  # the cases of the other prediction report exceptions
                found |= _find_with_gradient(other, x) & names
                frozen = {name for name in names - found if _is_frozen(other, name)}
                found |= _find_with_effect(other, x, frozen)[0]
    return found


def _is_frozen(isolated: IsolatedModel, name: str) -> bool:
    return not dict(isolated.module.named_parameters())[name].requires_grad


def _list_misspelt(
    copies: list[IsolatedModel], inputs: Inputs, idle: set[str]
) -> tuple[tuple[str, str], ...]:
    """Return the attributes that look misspelt, except parameters that have an effect."""
    first = copies[0]
    return tuple(
        (name, meant)
        for name, meant in first.misspelt
        if name in idle or not _has_effect(first, inputs.draw(100), name)
    )


def _has_effect(isolated: IsolatedModel, x: Tensor, name: str) -> bool:
    """Return whether another value of an attribute changes the prediction."""
    module = isolated.make_module()
    prefix, _, attribute = name.rpartition(".")
    if attribute in dict(module.named_parameters()) or name in dict(module.named_parameters()):
        return True
    try:
        owner = dict(module.named_modules())[prefix]
    except KeyError:  # an attribute of a parameter, which has no effect
        return False
    with torch.no_grad():
        before = isolated.run_module(module, x)
        setattr(owner, attribute, getattr(owner, attribute) + 1.0)
        try:
            return not torch.equal(before, isolated.run_module(module, x))
        except Ended:
            raise
        except Failure:  # the model used the other value and refused it
            return True


def _find_with_gradient(isolated: IsolatedModel, x: Tensor) -> set[str]:
    """Return the names of the parameters whose gradient is not zero."""
    module = isolated.prepare_module()
    prediction = isolated.run_module(module, x)
    named = {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }
    if not named or not prediction.requires_grad:
        return set()
    total = sum_with_weights(prediction)
    gradients = find_gradients(total, list(named.values()))
    return {
        name
        for name, gradient in zip(named, gradients, strict=True)
        if gradient is not None and bool((gradient != 0).any())
    }


def _find_with_effect(
    isolated: IsolatedModel, x: Tensor, names: set[str]
) -> tuple[set[str], set[str]]:
    """Return the given names whose parameters change the prediction if they change.

    The second set contains the parameters that change it by more than cancellation explains.
    """
    changed: set[str] = set()
    visible: set[str] = set()
    with torch.no_grad():
        unchanged = isolated(x) if names else None
        for name in sorted(names):
            other = _predict_with_other_value(isolated, x, name)
            if unchanged is None or other is None:  # the model used the other value and refused it
                changed.add(name)
                visible.add(name)
            elif not torch.equal(unchanged, other):
                changed.add(name)
                if bool(find_changes(unchanged, other).any()):
                    visible.add(name)
    return changed, visible


def _predict_with_other_value(isolated: IsolatedModel, x: Tensor, name: str) -> Tensor | None:
    """Return the prediction with another value of a parameter, or None if the model refuses it."""
    module = isolated.prepare_module()
    if name not in dict(module.named_parameters()):  # a call creates it
        isolated.run_module(module, x)
    parameter = dict(module.named_parameters())[name]
    kept = parameter.detach().clone()
    parameter.copy_(_choose_other_value(parameter))
    try:
        return isolated.run_module(module, x)
    except Ended:
        raise
    except Failure:
        return None
    finally:
        parameter.copy_(kept)


def _choose_other_value(parameter: Tensor) -> Tensor:
    """Return different values for a parameter, which may hold integers or booleans."""
    if parameter.dtype is torch.bool:
        return ~parameter
    generator = torch.Generator().manual_seed(7)
    noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    is_exact = not parameter.is_floating_point() and not parameter.is_complex()
    return parameter + (1 if is_exact else noise.to(parameter) + 0.5)
