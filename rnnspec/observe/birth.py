"""A layer as its constructor returns it, before any use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import Shape
from rnnspec.observe.tensors import to_array
from rnnspec.subjects.settings import SettingValues, read_settings
from rnnspec.subjects.steps import READING_WEIGHTS
from rnnspec.subjects.subject import Subject, observe_step


@dataclass(frozen=True)
class NewParameter:
    """A parameter of a new layer.

    largest   its largest magnitude
    identity  a number shared by all names of the same parameter
    """

    name: str
    shape: Shape
    requires_grad: bool
    largest: float
    identity: int


@dataclass(frozen=True)
class NewLayer:
    """A layer, with facts recorded when its constructor returned.

    named          its parameters, under each of their names
    saved_buffers  the names of the buffers in its state_dict
    settings       the global settings before and after the constructor
    """

    module: torch.nn.Module
    named: tuple[NewParameter, ...]
    saved_buffers: tuple[str, ...]
    settings: tuple[SettingValues, SettingValues]

    @property
    def parameters(self) -> tuple[NewParameter, ...]:
        """Its parameters, each once under the first of its names."""
        return tuple({each.identity: each for each in reversed(self.named)}.values())[::-1]

    @property
    def names(self) -> list[str]:
        """The names of its parameters, in their order."""
        return [parameter.name for parameter in self.parameters]


def build_new_layer(subject: Subject, case: Case) -> NewLayer:
    """Build the layer of a case, and record facts that may change when it is used.

    With these facts, rules about new layers need no layer of their own. Raises Failure.
    """
    noted: list[SettingValues] = []
    module = subject.build(
        case.config,
        case.constructor_style,
        case.dtype,
        note=lambda: noted.append(read_settings()),
    )
    with observe_step(READING_WEIGHTS):
        named = list(module.named_parameters(remove_duplicate=False))
        state = module.state_dict()
        saved = tuple(name for name, _ in module.named_buffers() if name in state)
    return NewLayer(
        module,
        tuple(_describe_parameter(name, parameter) for name, parameter in named),
        saved,
        (noted[0], noted[-1]),
    )


def _describe_parameter(name: str, parameter: torch.nn.Parameter) -> NewParameter:
    return NewParameter(
        name,
        tuple(parameter.shape),
        parameter.requires_grad,
        float(np.max(np.abs(to_array(parameter)), initial=0.0)),
        id(parameter),
    )
