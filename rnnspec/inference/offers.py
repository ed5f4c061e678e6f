"""Try which inputs an adapted layer accepts: packed and single sequences, dtypes, no state.

A layer with its own form promises neither packed nor single sequences. If no such call works, for
whatever reason, the feature is lacking, unless the layer reads attributes that only packed input
has. Every torch module promises the dtypes to which it can be converted, so it lacks a dtype only
if it refuses it openly.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.adapters.adapter import Adapter
from rnnspec.adapters.layer import AdaptedLayer
from rnnspec.cases.axes import DType
from rnnspec.contract.config import Config
from rnnspec.contract.features import Feature
from rnnspec.contract.shapes import state_shape
from rnnspec.inference.trial import BATCH, BUILDING, HIDDEN_SIZE, INPUT_SIZE, STEPS
from rnnspec.inference.verify import NO_STATE
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.subjects.refusals import is_refused
from rnnspec.subjects.subject import observe_step

LENGTHS = [STEPS, *[1] * (BATCH - 1)]
PACKED_CALL = "a call with packed input"
UNBATCHED_CALL = "a call with a single sequence"
MOST_CHARACTERS = 84
CLOSE = 1e-2
"""Results of the order of 1 that differ by more than this are different numbers in any dtype."""


@dataclass
class Offers:
    """The features that a layer lacks, and the failures of features that it promises.

    lacks   reasons by feature
    faults  failures by the input that caused them
    """

    lacks: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Caller:
    """An adapted layer in a configuration and dtype."""

    adapter: Adapter
    config: Config
    dtype: DType

    @property
    def batch_axis(self) -> int:
        """The axis of the samples in the input."""
        return 0 if self.config.batch_first else 1

    @property
    def is_state_free(self) -> bool:
        """Whether the state is optional."""
        return self.adapter.takes_state and not self.adapter.needs_state

    def build(self) -> AdaptedLayer:
        """Return a new layer. Raises Failure."""
        with observe_step(BUILDING, self.dtype), torch.random.fork_rng(devices=[]):
            return self.adapter(**self.config.arguments).to(self.dtype.torch_dtype).eval()

    def call(self, layer: AdaptedLayer, given: Any, hx: Any, step: str) -> Any:
        """Return the results of a layer. Raises Failure."""
        with observe_step(step, self.dtype), torch.no_grad(), torch.random.fork_rng(devices=[]):
            return layer(given, hx)

    def make_input(self) -> Tensor:
        """Return a batch of ones."""
        axes = (BATCH, STEPS) if self.config.batch_first else (STEPS, BATCH)
        return torch.ones(*axes, INPUT_SIZE, dtype=self.dtype.torch_dtype)

    def make_state(self, shape: Sequence[int]) -> Any:
        """Return initial states of zeros for an input of some shape."""
        states = [
            torch.zeros(state_shape(self.config, shape, letter), dtype=self.dtype.torch_dtype)
            for letter in self.config.kind_data.states
        ]
        return states[0] if len(states) == 1 else tuple(states)


def list_offers(adapter: Adapter, dtype: torch.dtype) -> Offers:
    """Try the inputs, and return which features a layer lacks and which calls fail.

    The layer works in `dtype`.
    """
    config = Config(INPUT_SIZE, HIDDEN_SIZE, **dict(adapter.fixed), kind=adapter.kind.name)
    found, known = Offers(), next(each for each in DType if each.torch_dtype is dtype)
    for other in DType:
        _try_dtype(_Caller(adapter, config, other), found, is_known=other is known)
    gives_state = NO_STATE in found.faults  # without it, the calls below would fail for that reason
    _try_packed(_Caller(adapter, config, known), found, gives_state=gives_state)
    _try_unbatched(_Caller(adapter, config, known), found, gives_state=gives_state)
    return found


def shorten(text: str) -> str:
    """Return a reason cut to the length of a line."""
    return textwrap.shorten(text, MOST_CHARACTERS, placeholder=" ...")


class _WatchedPacked(PackedSequence):
    """A packed sequence that records whether the layer reads the lengths of its sequences.

    Reads by a recurrent layer of torch inside the user's layer do not count: it reads the lengths
    of any packed sequence that it is given.
    """

    seen: list[str]

    @property
    def batch_sizes(self) -> Tensor:
        """The number of samples in each step."""
        self._note(inspect.currentframe())
        return self[1]

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            if index > 1:  # a loop that takes it for a tensor fails before index 2
                self._note(inspect.currentframe())
            yield self[index]

    def _note(self, frame: FrameType | None) -> None:
        reader = None if frame is None else frame.f_back
        if reader is None or reader.f_globals.get("__name__") != nn.RNNBase.__module__:
            self.seen.append("lengths")


_WatchedPacked.__name__ = PackedSequence.__name__  # error messages show this name


def _watch(packed: PackedSequence, seen: list[str]) -> PackedSequence:
    made = _WatchedPacked(*packed)
    made.seen = seen
    return made


def _try_packed(caller: _Caller, found: Offers, *, gives_state: bool) -> None:
    """Call the layer with packed input.

    If the layer reads the lengths of the sequences, it supports packed input, so an error is a
    fault.
    """
    x, seen = caller.make_input(), list[str]()
    packed = pack_padded_sequence(x, LENGTHS, batch_first=caller.config.batch_first)
    try:
        layer = caller.build()
        layer.own.register_forward_pre_hook(
            lambda module, given: tuple(
                _watch(each, seen) if isinstance(each, PackedSequence) else each for each in given
            )
        )
        hx = caller.make_state(x.shape) if gives_state else None
        output, _ = caller.call(layer, packed, hx, PACKED_CALL)
    except Failure as failure:
        is_broken = isinstance(failure, Ended) or bool(seen)
        is_fault = is_broken and not is_refused(failure, Feature.PACKED)
        (found.faults if is_fault else found.lacks)["packed"] = shorten(str(failure))
        return
    if not isinstance(output, PackedSequence):
        found.lacks["packed"] = f"{PACKED_CALL} returns a tensor"


def _try_unbatched(caller: _Caller, found: Offers, *, gives_state: bool) -> None:
    """Call the layer with a single sequence, and compare the results with a batch of it."""
    x = torch.rand(STEPS, INPUT_SIZE, dtype=torch.float64, generator=torch.Generator())
    x, axis = x.to(caller.dtype.torch_dtype), caller.batch_axis
    try:
        layer = caller.build()
        (output, finals), (batch, _) = (
            caller.call(layer, each, caller.make_state(each.shape) if gives_state else None, step)
            for each, step in ((x, UNBATCHED_CALL), (x.unsqueeze(axis), "the same as a batch"))
        )
    except Failure as failure:
        (found.faults if isinstance(failure, Ended) else found.lacks)["unbatched"] = shorten(
            str(failure)
        )
        return
    # A layer that uses the sequence as something else, such as a batch, never promised to take it.
    if said := _compare_unbatched(caller.config, output, finals, batch.squeeze(axis)):
        found.lacks["unbatched"] = shorten(said)


def _compare_unbatched(config: Config, output: Any, finals: Any, in_batch: Tensor) -> str:
    """Return how the results differ from correct results of a single sequence, or an empty text."""
    rows = config.num_layers * config.num_directions
    expected = {"output": (STEPS, config.num_directions * config.output_size)}
    expected |= dict.fromkeys(config.kind_data.final, (rows, config.output_size))
    ends = finals if isinstance(finals, tuple) else (finals,)
    for (name, shape), result in zip(expected.items(), (output, *ends), strict=True):
        if tuple(result.shape) != shape:
            return f"{UNBATCHED_CALL} returns {name} of shape {tuple(result.shape)}"
    if not torch.allclose(output, in_batch, atol=CLOSE):
        return f"{UNBATCHED_CALL} returns other numbers than in a batch"
    return ""


def _try_dtype(caller: _Caller, found: Offers, *, is_known: bool) -> None:
    """Call the layer in a dtype, with a state if it takes one, and without.

    A call that fails only without a state is not a problem of the dtype.
    """
    name, x = caller.dtype.text, caller.make_input()
    feature, step = caller.dtype.needs or Feature.DTYPE, f"a call in {name}"
    try:
        layer = caller.build()
        if not is_known:
            hx = caller.make_state(x.shape) if caller.is_state_free else None
            caller.call(layer, x, hx, step)
    except Failure as failure:
        is_lacking = is_refused(failure, feature)
        (found.lacks if is_lacking else found.faults)[name] = shorten(str(failure))
        return
    if caller.is_state_free and NO_STATE not in found.faults:
        try:
            caller.call(caller.build(), x, None, f"{step} {NO_STATE}")
        except Failure as failure:
            if not is_refused(failure, feature):
                found.faults[NO_STATE] = shorten(str(failure))
