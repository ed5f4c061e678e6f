"""One call of a layer: its arguments, its results, and the surroundings before and after it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import equal  # bound at import, since a subject may replace torch.equal
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import output_shape, packed_output_shape, state_shape
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import (
    CallArguments,
    flatten_results,
    from_layout,
    from_state_layout,
    scatter_rows,
    strip_result,
    to_array,
)
from rnnspec.oracle import Array
from rnnspec.subjects import settings
from rnnspec.subjects.devices import blame_device, read_generator_states, read_numpy_generator
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.steps import CALL, MAKING_TENSORS
from rnnspec.subjects.subject import observe_step


@dataclass(frozen=True)
class Surroundings:
    """The random number generators and global settings, which a call must not change."""

    torch_rng: torch.Tensor
    python_rng: Any
    numpy_rng: tuple[Any, ...]
    settings: settings.SettingValues

    @classmethod
    def read(cls, device: torch.device) -> Surroundings:
        """Return the current surroundings of a call on a device."""
        return cls(
            read_generator_states(device),
            random.getstate(),
            read_numpy_generator(),
            settings.read_settings(),
        )

    def list_used_generators(self, after: Surroundings) -> list[str]:
        """Return the owners of the generators whose state has changed: torch, Python or NumPy."""
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
    copies    copies of the input and of the initial states by name, made before the call
    returned  the object returned by the layer
    before    the surroundings before the call
    after     the surroundings after the call
    names     the names of the results to check
    arranges  whether to rearrange the results into the documented form, as `arrange_results` does
    """

    case: Case
    given: CallArguments
    copies: Mapping[str, torch.Tensor]
    returned: Any
    before: Surroundings
    after: Surroundings
    names: tuple[str, ...]
    arranges: bool = False

    def __post_init__(self) -> None:
        if self.arranges:
            object.__setattr__(self, "returned", arrange_results(self))

    @property
    def raw_output(self) -> torch.Tensor | PackedSequence:
        """The first result, as returned by the layer. Raises Malformed if there are not two."""
        return self._get_pair()[0]  # type: ignore[no-any-return]

    @property
    def raw_states(self) -> dict[str, torch.Tensor]:
        """The final states in the form returned by the layer, by name.

        They are the second result, or all that a cell returns. Raises Malformed if this is not a
        single tensor, or not a pair of tensors for a layer with two states.
        """
        kind = self.case.config.kind_data
        names, given = kind.final, self.returned if kind.is_cell else self._get_pair()[1]
        if len(names) > 1 and not (isinstance(given, (tuple, list)) and len(given) == len(names)):
            what = "a call returned" if kind.is_cell else "the second result is"
            expected = f"({', '.join(names)})"
            message = f"{what} {_describe_type(given)}, expected {expected}"
            raise Malformed(message, _name_type("states", given))
        states = given if len(names) > 1 else (given,)
        for name, state in zip(names, states, strict=True):
            if not isinstance(state, torch.Tensor):
                message = f"{name} is {_describe_type(state)}, expected a Tensor"
                raise Malformed(message, _name_type(name, state))
        return {name: strip_result(state) for name, state in zip(names, states, strict=True)}

    @property
    def output_tensor(self) -> torch.Tensor:
        """The output as a tensor; if it is packed, its `data`.

        Raises Malformed if it does not have the documented type and shape.
        """
        output = self.raw_output
        if self.case.is_packed != isinstance(output, PackedSequence):
            given, expected = (
                ("packed", "PackedSequence") if self.case.is_packed else ("padded", "Tensor")
            )
            raise Malformed(
                f"for {given} input, output is {_describe_type(output)}; expected a {expected}",
                _name_type(f"{given}-output", output),
            )
        tensor = _get_data(output)
        if not isinstance(tensor, torch.Tensor):
            raise Malformed(
                f"output is {_describe_type(tensor)}, expected a Tensor",
                _name_type("output", tensor),
            )
        _require_form("output", tensor, self.output_shape)
        return tensor

    @property
    def state_tensors(self) -> dict[str, torch.Tensor]:
        """The final states by name: h_n, and for an LSTM also c_n.

        Raises Malformed if a state does not have the documented type and shape.
        """
        states = self.raw_states
        for name, state in states.items():
            _require_form(name, state, self.state_shapes[name])
        return states

    @property
    def result_tensors(self) -> dict[str, torch.Tensor]:
        """The results by name: output, unless it is a cell, and the final states.

        Raises Malformed if a result does not have the documented type and shape.
        """
        return {name: self._get_tensor(name) for name in self.names}

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The documented shape of the output, or of its `data` if it is packed."""
        return (
            packed_output_shape(self.case.config, self.case.lengths)
            if self.case.is_packed
            else output_shape(self.case.config, self.case.shape)
        )

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The documented shapes of the final states by name."""
        config = self.case.config
        return {
            name: state_shape(config, self.case.shape, letter)
            for name, letter in zip(config.kind_data.final, config.kind_data.states, strict=True)
        }

    @property
    def output(self) -> Array:
        """The output as a float64 array (T, N, D * H), zero beyond the end of each sequence."""
        values = _read_values("output", self.output_tensor)
        if self.case.is_packed:
            return scatter_rows(
                values, self.given.steps, self.given.samples, (self.case.steps, self.case.batch)
            )
        return from_layout(self.case, values)

    @property
    def states(self) -> dict[str, Array]:
        """The final states by name as float64 arrays: h_n, and for an LSTM also c_n.

        Their shapes are (D * num_layers, N, H_out) and (D * num_layers, N, H).
        """
        return {
            name: from_state_layout(self.case, _read_values(name, state))
            for name, state in self.state_tensors.items()
        }

    @property
    def results(self) -> dict[str, Array]:
        """The results by name: output, unless it is a cell, and the final states."""
        states = self.states
        return {name: self.output if name == "output" else states[name] for name in self.names}

    def _get_tensor(self, name: str) -> torch.Tensor:
        return self.output_tensor if name == "output" else self.state_tensors[name]

    def _get_pair(self) -> Any:
        if not isinstance(self.returned, (tuple, list)) or len(self.returned) != 2:
            found = _describe_type(self.returned)
            states = " and ".join(self.case.config.kind_data.final)
            message = f"a call returned {found}, expected a pair of output and {states}"
            raise Malformed(message, _name_type("results", self.returned))
        return tuple(map(strip_result, self.returned))


def _describe_type(value: Any) -> str:
    if value is None:
        return "None"
    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{size}"


def _name_type(name: str, value: Any) -> str:
    """Return the key of a result that does not have the documented type."""
    return f"type@{name}:{type(value).__name__}"


def _require_form(name: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Raise Malformed if a tensor is not dense, numeric and of the expected shape."""
    if tensor.is_nested:
        message = f"{name} is a nested tensor, expected one tensor"
        raise Malformed(message, f"nested@{name}")
    if tensor.layout is not torch.strided:
        message = f"{name} has the layout {tensor.layout}, expected {torch.strided}"
        raise Malformed(message, f"layout@{name}:{tensor.layout}")
    if tensor.is_quantized:
        message = f"{name} is quantized to {tensor.dtype}, expected floating-point numbers"
        raise Malformed(message, f"quantized@{name}:{tensor.dtype}")
    if tuple(tensor.shape) != expected:
        message = f"{name} has shape {tuple(tensor.shape)}, expected {expected}"
        raise Malformed(message, f"shape@{name}")


def _read_values(name: str, tensor: torch.Tensor) -> Array:
    """Return the values of a result. Raises Malformed if its device holds no values."""
    if tensor.is_meta:
        message = f"{name} is on the device {tensor.device}, which holds no values"
        raise Malformed(message, f"device@{name}")
    return to_array(tensor)


def perform_call(prepared: PreparedLayer, case: Case, given: CallArguments) -> Call:
    """Call a layer once in the gradient mode of the case, and record the call."""
    with blame_device(MAKING_TENSORS):
        copies = {name: tensor.detach().clone() for name, tensor in given.tensors.items()}
    with case.grad_mode.enter(), observe_step(CALL, case.dtype):
        before = Surroundings.read(given.leaf.device)
        returned = prepared.caller(*given.positional)
        prepared.keep_memory(returned)
        after = Surroundings.read(given.leaf.device)
    names = prepared.subject.capabilities.list_results(case.config.kind_data)
    arranges = prepared.subject.arranges_results
    return Call(case, given, copies, returned, before, after, names, arranges)


def arrange_results(call: Call) -> Any:
    """Rearrange the results of a call into the documented form, or return them unchanged.

    They are rearranged only if exactly one run of consecutive tensors among the results has the
    documented shapes, except for dimensions of size 1.
    """
    kind = call.case.config.kind_data
    shapes = [*(() if kind.is_cell else (call.output_shape,)), *call.state_shapes.values()]
    given = filter(_is_dense, flatten_results(call.returned))
    tensors = list({id(each): each for each in given}.values())
    runs = (tensors[start : start + len(shapes)] for start in range(len(tensors)))
    fitting = [run for run in runs if len(run) == len(shapes) and all(map(_fits, run, shapes))]
    if len(fitting) != 1:
        return call.returned
    results = list(map(_reshape, fitting[0], shapes))
    states = results if kind.is_cell else results[1:]
    joined = states[0] if len(states) == 1 else tuple(states)
    return joined if kind.is_cell else (results[0], joined)


def _is_dense(result: Any) -> bool:
    data = _get_data(result)
    is_tensor = isinstance(data, torch.Tensor) and not data.is_nested
    return is_tensor and data.layout is torch.strided


def _fits(result: torch.Tensor | PackedSequence, shape: tuple[int, ...]) -> bool:
    """Return whether a result has a shape, except for dimensions of size 1."""
    given = _get_data(result).shape
    return [size for size in given if size != 1] == [size for size in shape if size != 1]


def _reshape(
    result: torch.Tensor | PackedSequence, shape: tuple[int, ...]
) -> torch.Tensor | PackedSequence:
    data = _get_data(result)
    if data.shape == shape:
        return result
    made = data.reshape(shape)
    return PackedSequence(made, *result[1:]) if isinstance(result, PackedSequence) else made


def _get_data(result: Any) -> Any:
    return result.data if isinstance(result, PackedSequence) else result
