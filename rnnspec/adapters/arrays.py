"""Functions on NumPy arrays as layers: values are judged, and gradients are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnspec.adapters.adapter import Adapter, module, name_target
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS, UNGATED
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.options import check_choice

Compute = Callable[..., tuple[Any, Any]]
"""A function (config, x, h_0, weights) that returns output and h_n; an LSTM has pairs of states."""
ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
LACKS = {
    "gradients": "it computes with NumPy arrays",
    "second-order": "it computes with NumPy arrays",
    "bfloat16": "NumPy has no bfloat16",
    "packed": "it takes arrays",
    "meta": "it takes arrays",
    "functional": "it computes with NumPy arrays",
}
"""What a function on arrays lacks."""


class ArrayLayer(nn.Module):
    """A module with the documented parameters, which hands arrays to a function."""

    def __init__(self, compute: Compute, config: Config) -> None:
        super().__init__()
        self.compute, self.config = compute, config
        for name, shape in parameter_shapes(config).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the output and the final states as new tensors."""
        names = parameter_shapes(self.config)
        weights = {name: _to_array(getattr(self, name)) for name in names}
        given = tuple(map(_to_array, states))
        first: Any = None if not given else given[0] if len(given) == 1 else given
        output, finals = self.compute(self.config, _to_array(x), first, weights)
        ends = finals if isinstance(finals, tuple | list) else (finals,)
        return tuple(torch.tensor(np.asarray(each)).to(x) for each in (output, *ends))


def function(
    compute: Compute,
    *,
    kind: str = UNGATED.name,
    fixed: Mapping[str, Any] | None = None,
    lacks: Mapping[str, str] | None = None,
) -> Adapter:
    """Return an adapter for a function on NumPy arrays that computes a whole layer.

    It is called as `compute(config, x, h_0, weights)` and returns `output` and `h_n`, all with the
    documented shapes. `h_0` is None if no state is given, and `weights` has the documented names;
    for an LSTM, states are pairs. `config` has the constructor's arguments. `fixed` has those that
    cannot be chosen, and `lacks` what the function does not do, each with the reason. It is given
    the memory of tensors, so that writing into its arguments is noticed. Raises AdapterError.
    """
    check_choice("kind", kind, LAYER_KINDS)
    states = ", ".join(LAYER_KINDS[kind].states)
    adapter = module(
        build=lambda config: ArrayLayer(compute, config),
        kind=kind,
        weights={f"{role}_l{{layer}}{{suffix}}": role for role in ROLES},
        fixed=fixed,
        call=f"x, {states}",
        returns=f"output, {states}",
        lacks={**LACKS, **(lacks or {})},
    )
    return replace(adapter, label=name_target(compute))


def _to_array(tensor: torch.Tensor) -> Any:
    return tensor.detach().numpy()
