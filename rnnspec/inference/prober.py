"""Call a layer with random numbers to see the form of its results."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.forms import Form
from rnnspec.contract.config import Config
from rnnspec.inference.trial import BATCH, HIDDEN_SIZE, INPUT_SIZE, STEPS
from rnnspec.subjects.subject import observe_step

CALL = "a call of the layer"


class Prober:
    """Calls a layer with random numbers."""

    def __init__(self, module: nn.Module, config: Config, dtype: torch.dtype) -> None:
        self.module, self.config, self.dtype = module, config, dtype
        self.kind, self.rows = config.kind_data, config.num_layers * config.num_directions
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> torch.Tensor:
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
            return (1.8 * drawn - 0.9).to(dtype)

        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(draw(*parameter.shape))
        self.x = draw(STEPS, BATCH, INPUT_SIZE)
        self.states = {each: draw(self.rows, BATCH, HIDDEN_SIZE) for each in self.kind.states}

    def call(self, form: Form, x: torch.Tensor, states: Mapping[str, torch.Tensor]) -> Any:
        """Return the results of a call. Raises Failure."""
        # Copy the inputs: a layer may write into them, and later calls need the same numbers.
        given = {name: each.clone() for name, each in {"x": x, **states}.items()}
        positional, named = form.build(given)
        module = copy.deepcopy(self.module)  # the layer may keep state between calls
        with observe_step(CALL), torch.no_grad():
            return module(*positional, **named)
