"""Which parameters of a model take part in its prediction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.reach import mixed


@dataclass(frozen=True)
class Parameters:
    """The names of a model's parameters, each in one of four groups.

    `participating`: a gradient that is not zero. `cut`: no gradient, yet another value changes the prediction, so something detaches it.
    `idle`: a gradient of exactly zero, and another value changes no bit of the prediction. `frozen`: requires_grad is False.
    """

    participating: tuple[str, ...]
    idle: tuple[str, ...]
    cut: tuple[str, ...]
    frozen: tuple[str, ...]


def group_parameters(probes: list[IsolatedModel], inputs: Inputs) -> Parameters:
    """The groups over all the probes and one input each: what takes part in one of them takes part."""
    named = dict(probes[0].module.named_parameters())
    frozen = tuple(name for name, parameter in named.items() if not parameter.requires_grad)
    active: set[str] = set()
    moved: set[str] = set()
    for seed, probe in enumerate(probes):
        x = inputs.draw(seed + 100)
        active |= _with_gradient(probe, x)
    for seed, probe in enumerate(probes):
        moved |= _with_effect(probe, inputs.draw(seed + 100), set(named) - active - set(frozen))
    rest = [name for name in named if name not in active and name not in frozen]
    return Parameters(
        tuple(name for name in named if name in active),
        tuple(name for name in rest if name not in moved),
        tuple(name for name in rest if name in moved),
        frozen,
    )


def _with_gradient(probe: IsolatedModel, x: Tensor) -> set[str]:
    module = probe.instance()
    prediction = probe.run(module, x)
    named = {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }
    if not named or not prediction.requires_grad:
        return set()
    gradients = torch.autograd.grad(mixed(prediction), list(named.values()), allow_unused=True)
    return {
        name
        for name, gradient in zip(named, gradients, strict=True)
        if gradient is not None and bool((gradient != 0).any())
    }


def _with_effect(probe: IsolatedModel, x: Tensor, names: set[str]) -> set[str]:
    if not names:
        return set()
    with torch.no_grad():
        base = probe(x)
        return {
            name
            for name in sorted(names)
            if not torch.equal(base, _with_other_value(probe, x, name))
        }


def _with_other_value(probe: IsolatedModel, x: Tensor, name: str) -> Tensor:
    module = probe.instance()
    parameter = module.get_parameter(name)
    kept = parameter.detach().clone()
    noise = torch.rand(
        parameter.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )
    parameter.add_(noise.to(parameter) + 0.5)
    try:
        return probe.run(module, x)
    finally:
        parameter.copy_(kept)
