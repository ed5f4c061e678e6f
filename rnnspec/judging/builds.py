"""Layers that a rule builds for itself, and how their building is written down."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Refused, failure_of


@dataclass(frozen=True)
class Construction:
    """The arguments of a constructor; as text it is the call, with `build` for the subject."""

    positional: Sequence[Any]
    named: Mapping[str, Any]

    def __str__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.named.items()]
        return f"build({', '.join([*map(repr, self.positional), *named])})"


@dataclass(frozen=True)
class Built:
    """What came of a construction: a layer or an exception, and the warnings that were given."""

    module: Any
    error: Exception | None
    warned: tuple[str, ...]


def construction(seen: Observation, **changes: Any) -> Construction:
    """The case's own arguments where they differ from their defaults, with some changed; both sizes by position."""
    config, subject = seen.case.config, seen.subject
    own = {name: value for name, value in config.changed.items() if name not in subject.refused}
    arguments = {**own, **subject.fixed, **changes}
    sizes = (arguments.pop("input_size"), arguments.pop("hidden_size"))
    return Construction(sizes, arguments)


def built(seen: Observation, wanted: Construction) -> Built:
    """What the subject makes of a construction; raises Refused where it refuses openly (NotImplementedError)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = Built(seen.subject.target.factory(*wanted.positional, **wanted.named), None, ())
        except Exception as error:
            failure = failure_of("the constructor", error)
            if isinstance(failure, Refused):
                raise failure from error
            made = Built(None, error, ())
    return Built(made.module, made.error, tuple(warning.category.__name__ for warning in caught))


def new_layer(seen: Observation, wanted: Construction) -> torch.nn.Module:
    """A new layer; raises Refused or Raised where there is none."""
    made = built(seen, wanted)
    if made.error is not None:
        raise failure_of(f"{wanted}", made.error) from made.error
    return made.module  # type: ignore[no-any-return]


def works(module: torch.nn.Module, features: int) -> bool:
    """Whether a layer takes two steps of two vectors of zeros; raises Refused where it refuses openly."""
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.get_default_dtype())
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    try:
        module(torch.zeros(2, 2, features, dtype=dtype, device=device))
    except Exception as error:
        failure = failure_of("the call", error)
        if isinstance(failure, Refused):
            raise failure from error
        return False
    return True


def pick(seen: Observation, values: list[Any], count: int) -> list[Any]:
    """Some of the values, others with every seed."""
    start = seen.case.seed % max(1, len(values))
    return [*values[start:], *values[:start]][:count]


def refused(call: str, due: tuple[type[Exception], ...] = ()) -> str:
    """A proof that a call is refused, by one of these types where some are named."""
    types = ", ".join(kind.__name__ for kind in due)
    last = f"assert isinstance(refusal(), ({types},))" if due else "assert refusal() is not None"
    return f"def refusal():\n    try:\n        {call}\n    except Exception as error:\n        return error\n{last}"


def written(tensor: Tensor) -> str:
    """A tensor of ones of the same shape, dtype and device, as Python."""
    device = "" if tensor.device.type == "cpu" else f", device={tensor.device.type!r}"
    return f"torch.ones({tuple(tensor.shape)}, dtype={tensor.dtype}{device})"
