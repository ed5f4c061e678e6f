"""The subject behind a small protocol: build it from a configuration, give it torch-layout weights, call it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.contract.config import Config
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.errors import TargetError
from rnnspec.subjects.failures import Malformed, Unloadable, Unsupported, classify_error
from rnnspec.subjects.release import list_positional_arguments
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.target import Target

Array = NDArray[np.float64]


class Subject(Protocol):
    """What the rest of rnnspec needs of an implementation under test."""

    kind: str
    device: str
    target: Target
    fixed: dict[str, Any]
    refused: dict[str, str]
    settled: bool

    def arguments(self, config: Config, style: str) -> tuple[list[Any], dict[str, Any]]:
        """What the constructor is given in a style of building: by position and by keyword."""

    def build(self, config: Config, style: str, dtype: str) -> torch.nn.Module:
        """A new layer, in eval or train mode as its constructor leaves it, on the subject's device and in the dtype."""

    def load(self, module: torch.nn.Module, config: Config, weights: Mapping[str, Array]) -> None:
        """Give a layer torch-layout weights."""

    def own_names(self, module: torch.nn.Module, config: Config) -> dict[str, str]:
        """From each documented parameter name to the subject's own."""


@dataclass
class TorchSubject:
    """A class or factory of torch modules that takes the documented constructor arguments.

    `by_name` says that it takes even the sizes by keyword alone. `fixed` are further constructor arguments; `refused` holds the
    features that it refuses openly, with the reason, and `settled` tells that these are all, so that the plain call cannot be
    refused.
    """

    target: Target
    device: str = "cpu"
    kind: str = "rnn"
    fixed: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    settled: bool = False
    by_name: bool = False

    def build(self, config: Config, style: str, dtype: str) -> torch.nn.Module:
        """A new layer; raises Refused or Raised with the step named."""
        positional, named = self.arguments(config, style)
        if style == "typed":
            named |= {"device": self.device, "dtype": getattr(torch, dtype)}
        with observing("the constructor"):
            module = self.target.factory(*positional, **named)
        if not isinstance(module, torch.nn.Module):
            raise TargetError(
                f"{self.target.label} returned {module!r}; a torch.nn.Module is needed"
            )
        if style == "typed":
            return module
        with observing(f".to({dtype})"):
            return module.to(device=self.device, dtype=getattr(torch, dtype))

    def arguments(self, config: Config, style: str) -> tuple[list[Any], dict[str, Any]]:
        """What the constructor is given: by position and by keyword."""
        wanted = {
            name: value for name, value in config.arguments.items() if name not in self.refused
        }
        changed = {"input_size", "hidden_size", *config.changed}
        if style == "changed":
            wanted = {name: value for name, value in wanted.items() if name in changed}
        wanted = {name: value for name, value in wanted.items() if name not in self.fixed}
        if style == "keywords":
            return [], {**wanted, **self.fixed}
        if style == "positional":
            leading = list_positional_arguments(_leading(config.arguments, wanted))
            rest = {
                name: value
                for name, value in wanted.items()
                if name not in leading and name in changed
            }
            return [wanted[name] for name in leading], {**rest, **self.fixed}
        if self.by_name:
            return [], {
                "input_size": config.input_size,
                "hidden_size": config.hidden_size,
                **wanted,
                **self.fixed,
            }
        return [config.input_size, config.hidden_size], {
            name: value
            for name, value in {**wanted, **self.fixed}.items()
            if name not in ("input_size", "hidden_size")
        }

    def load(self, module: torch.nn.Module, config: Config, weights: Mapping[str, Array]) -> None:
        """Give a layer torch-layout weights through load_state_dict; raises Unloadable where its parameters do not fit."""
        names = self.own_names(module, config)
        with observing("state_dict()"):
            state = dict(module.state_dict())
        for name, own in names.items():
            state[own] = torch.from_numpy(weights[name].copy()).to(
                device=state[own].device, dtype=state[own].dtype
            )
        with observing("load_state_dict()"):
            module.load_state_dict(state)

    def own_names(self, module: torch.nn.Module, config: Config) -> dict[str, str]:
        """From each documented parameter name to the subject's own: the same, or where only names differ, by order.

        Raises Unloadable where a parameter is missing or has another shape.
        """
        with observing("state_dict()"):
            shapes = _shapes(module.state_dict())
            parameters = _shapes(dict(module.named_parameters()))
        return match_names(parameter_shapes(config), shapes, parameters)


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor)
    }


def match_names(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], parameters: Mapping[str, Shape]
) -> dict[str, str]:
    """From each expected name to the one found in the state_dict: the same, or by order where the parameters have the same shapes."""
    if all(found.get(name) == shape for name, shape in expected.items()):
        return {name: name for name in expected}
    missing = [name for name in expected if name not in found]
    if missing and list(expected.values()) == list(parameters.values()):
        return dict(zip(expected, parameters, strict=True))
    if missing:
        raise Unloadable(
            f"the state_dict has no {missing[0]}; it has {', '.join(found) or 'nothing'}"
        )
    wrong = next(name for name, shape in expected.items() if found[name] != shape)
    raise Unloadable(f"{wrong} has shape {found[wrong]}, expected {expected[wrong]}")


def _leading(documented: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The documented arguments up to the first that cannot be passed."""
    leading = []
    for name in documented:
        if name not in wanted:
            break
        leading.append(name)
    return leading


@contextmanager
def observing(step: str) -> Iterator[None]:
    """Turn whatever the subject raises in a step into a failure; its warnings stay quiet, its changes to settings are undone."""
    with warnings.catch_warnings(), restore_settings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (TargetError, Unsupported, Unloadable, Malformed, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise classify_error(step, error) from error
