"""One call of a layer: what it was given, what it returned, and the surroundings before and after."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import output_shape, packed_output_shape, state_shape
from rnnspec.observe.prepared import PreparedLayer, call_module
from rnnspec.observe.seeding import generator_state
from rnnspec.observe.tensors import Arguments, from_layout, scatter_rows, to_array
from rnnspec.subjects import settings
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.subject import observing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Surroundings:
    """What a call must leave alone: random number generators and global settings."""

    torch_rng: torch.Tensor
    python_rng: Any
    numpy_rng: bytes
    settings: settings.Values

    @classmethod
    def now(cls, device: torch.device) -> Surroundings:
        """The surroundings of a call on a device at this moment."""
        numpy_rng: Any = np.random.get_state()
        return cls(
            generator_state(device),
            random.getstate(),
            numpy_rng[1].tobytes(),
            settings.read_settings(),
        )

    def drawn(self, after: Surroundings) -> list[str]:
        """Whose random number generators are in another state afterwards."""
        same = {
            "torch": torch.equal(self.torch_rng, after.torch_rng),
            "Python": self.python_rng == after.python_rng,
            "NumPy": self.numpy_rng == after.numpy_rng,
        }
        return [name for name, unused in same.items() if not unused]


@dataclass(frozen=True)
class Call:
    """What one call was given and returned; `output` and `h_n` are time-major, padded and float64."""

    case: Case
    given: Arguments
    copies: tuple[torch.Tensor, torch.Tensor | None]
    returned: Any
    before: Surroundings
    after: Surroundings

    @property
    def raw_output(self) -> torch.Tensor | PackedSequence:
        """The first of the two results, as returned; raises Malformed where there are not two."""
        return self._pair()[0]  # type: ignore[no-any-return]

    @property
    def raw_h_n(self) -> torch.Tensor:
        """The second of the two results, as returned; raises Malformed where it is no tensor."""
        state = self._pair()[1]
        if not isinstance(state, torch.Tensor):
            raise Malformed(f"h_n is {type(state).__name__}, expected a tensor")
        return state

    @property
    def output_tensor(self) -> torch.Tensor:
        """The output, or its `data` where it is packed, of the documented shape; raises Malformed else."""
        output = self.raw_output
        if self.case.is_packed != isinstance(output, PackedSequence):
            raise Malformed(
                f"output is {type(output).__name__} for {'packed' if self.case.is_packed else 'padded'} input"
            )
        tensor = output.data if isinstance(output, PackedSequence) else output
        if not isinstance(tensor, torch.Tensor):
            raise Malformed(f"output is {type(tensor).__name__}, expected a tensor")
        _same_shape("output", tensor, self.output_shape)
        return tensor

    @property
    def h_n_tensor(self) -> torch.Tensor:
        """h_n of the documented shape; raises Malformed else."""
        state = self.raw_h_n
        _same_shape("h_n", state, self.h_n_shape)
        return state

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The documented shape of the output, of its `data` where it is packed."""
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
        """The output as (T, N, D * H) float64, zero beyond each sequence's end."""
        values = to_array(self.output_tensor)
        if self.case.is_packed:
            return scatter_rows(
                values, self.given.steps, self.given.samples, (self.case.steps, self.case.batch)
            )
        return from_layout(self.case, values)

    @property
    def h_n(self) -> Array:
        """h_n as (D * num_layers, N, H) float64."""
        values = to_array(self.h_n_tensor)
        return values if self.case.is_batched else values[:, None]

    def _pair(self) -> Any:
        if not isinstance(self.returned, (tuple, list)) or len(self.returned) != 2:
            raise Malformed(
                f"a call returned {_described(self.returned)}, expected a pair of output and h_n"
            )
        return self.returned


def _described(value: Any) -> str:
    return (
        f"{type(value).__name__} of {len(value)}"
        if isinstance(value, (tuple, list))
        else type(value).__name__
    )


def _same_shape(name: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise Malformed(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")


def perform_call(prepared: PreparedLayer, case: Case, given: Arguments) -> Call:
    """Call the layer once in the case's gradient mode, with the surroundings noted before and after."""
    copies = (
        given.leaf.detach().clone(),
        None if given.h_0 is None else given.h_0.detach().clone(),
    )
    with case.grad_mode.enter():
        before = Surroundings.now(given.leaf.device)
        with observing("the call"):
            returned = call_module(prepared.caller, given.input, given.h_0)
            after = Surroundings.now(given.leaf.device)
    return Call(case, given, copies, returned, before, after)

