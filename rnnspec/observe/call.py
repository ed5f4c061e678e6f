"""One call of a layer: its arguments, its results, and the surroundings before and after it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import equal  # here, so that a subject that replaces it changes no verdict
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import output_shape, packed_output_shape, state_shape
from rnnspec.observe.prepared import PreparedLayer, call_module
from rnnspec.observe.seeding import read_generator_states
from rnnspec.observe.tensors import (
    CallArguments,
    from_layout,
    scatter_rows,
    strip_result,
    to_array,
)
from rnnspec.subjects import settings
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import observe_step

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Surroundings:
    """The random number generators and global settings, which a call must not change."""

    torch_rng: torch.Tensor
    python_rng: Any
    numpy_rng: bytes
    settings: settings.SettingValues

    @classmethod
    def read(cls, device: torch.device) -> Surroundings:
        """Return the present surroundings of a call on a device."""
        numpy_rng: Any = np.random.get_state()
        return cls(
            read_generator_states(device),
            random.getstate(),
            numpy_rng[1].tobytes(),
            settings.read_settings(),
        )

    def list_used_generators(self, after: Surroundings) -> list[str]:
        """Return the owners of the generators that are in another state afterwards.

        They are named torch, Python and NumPy.
        """
        is_same = {
            "torch": equal(self.torch_rng, after.torch_rng),
            "Python": self.python_rng == after.python_rng,
            "NumPy": self.numpy_rng == after.numpy_rng,
        }
        return [name for name, same in is_same.items() if not same]


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    given     the arguments
    copies    copies of the input and of h_0, made before the call
    returned  what the layer returned
    before    the surroundings before the call
    after     the surroundings after it
    """

    case: Case
    given: CallArguments
    copies: tuple[torch.Tensor, torch.Tensor | None]
    returned: Any
    before: Surroundings
    after: Surroundings

    @property
    def raw_output(self) -> torch.Tensor | PackedSequence:
        """The first result as the layer returned it. Raises Malformed if there are not two."""
        return self._get_pair()[0]  # type: ignore[no-any-return]

    @property
    def raw_h_n(self) -> torch.Tensor:
        """The second result as the layer returned it. Raises Malformed if it is not a tensor."""
        state = self._get_pair()[1]
        if not isinstance(state, torch.Tensor):
            raise Malformed(f"h_n is {_describe_type(state)}, expected a Tensor")
        return state

    @property
    def output_tensor(self) -> torch.Tensor:
        """The output as a tensor; if it is packed, its `data`.

        Raises Malformed if its type or its shape is not the documented one.
        """
        output = self.raw_output
        if self.case.is_packed != isinstance(output, PackedSequence):
            given, expected = (
                ("packed", "PackedSequence") if self.case.is_packed else ("padded", "Tensor")
            )
            raise Malformed(
                f"for {given} input, output is {_describe_type(output)}; expected a {expected}"
            )
        tensor = output.data if isinstance(output, PackedSequence) else output
        if not isinstance(tensor, torch.Tensor):
            raise Malformed(f"output is {_describe_type(tensor)}, expected a Tensor")
        _require_shape("output", tensor, self.output_shape)
        return tensor

    @property
    def h_n_tensor(self) -> torch.Tensor:
        """The tensor h_n. Raises Malformed if its type or its shape is not the documented one."""
        state = self.raw_h_n
        _require_shape("h_n", state, self.h_n_shape)
        return state

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The documented shape of the output; of its `data` if it is packed."""
        return (
            packed_output_shape(self.case.config, self.case.lengths)
            if self.case.is_packed
            else output_shape(self.case.config, self.case.shape)
        )

    @property
    def h_n_shape(self) -> tuple[int, ...]:
        """The documented shape of h_n."""
        return state_shape(self.case.config, self.case.shape)

    @property
    def output(self) -> Array:
        """The output as a float64 array (T, N, D * H), zero beyond the end of each sequence."""
        values = to_array(self.output_tensor)
        if self.case.is_packed:
            return scatter_rows(
                values, self.given.steps, self.given.samples, (self.case.steps, self.case.batch)
            )
        return from_layout(self.case, values)

    @property
    def h_n(self) -> Array:
        """The final states h_n as a float64 array (D * num_layers, N, H)."""
        values = to_array(self.h_n_tensor)
        return values if self.case.is_batched else values[:, None]

    def _get_pair(self) -> Any:
        if not isinstance(self.returned, (tuple, list)) or len(self.returned) != 2:
            found = _describe_type(self.returned)
            raise Malformed(f"a call returned {found}, expected a pair of output and h_n")
        return tuple(map(strip_result, self.returned))


def _describe_type(value: Any) -> str:
    if value is None:
        return "None"
    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{size}"


def _require_shape(name: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Raise Malformed if a tensor does not have the expected shape."""
    if tuple(tensor.shape) != expected:
        raise Malformed(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")


def perform_call(prepared: PreparedLayer, case: Case, given: CallArguments) -> Call:
    """Call a layer once in the gradient mode of the case, and record the call."""
    copies = (
        given.leaf.detach().clone(),
        None if given.h_0 is None else given.h_0.detach().clone(),
    )
    with case.grad_mode.enter(), observe_step(CALL, case.dtype):
        before = Surroundings.read(given.leaf.device)
        returned = call_module(prepared.caller, given.input, given.h_0)
        prepared.keep_memory(returned)
        after = Surroundings.read(given.leaf.device)
    return Call(case, given, copies, returned, before, after)
