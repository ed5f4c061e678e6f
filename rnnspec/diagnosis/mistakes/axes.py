"""Mistakes with the axes of input, output and states."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, always
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import (
    is_batch_first,
    is_batch_first_or_packed,
    is_padded_batch,
    is_time_first,
)

Rearrange = Callable[[Tensor], Tensor]


@dataclass
class OtherAxes(Reference):
    """Input or output has the axes in the other order."""

    input: bool = True
    output: bool = True

    def read_input(self) -> Tensor:
        raw = self.given.raw_input
        if not self.input:
            return super().read_input()
        return raw if self.given.is_batch_first else raw.transpose(0, 1)

    def write_output(self, output: Tensor) -> Tensor:
        if not self.output:
            return super().write_output(output)
        return output if self.given.is_batch_first else output.transpose(0, 1)


@dataclass
class Reshaped(OtherAxes):
    """With batch_first, batch and time are exchanged by a reshape."""

    def read_input(self) -> Tensor:
        raw = self.given.raw_input
        shape = (raw.shape[1], raw.shape[0], raw.shape[2])
        return raw.reshape(shape) if self.input else Reference.read_input(self)

    def write_output(self, output: Tensor) -> Tensor:
        shape = (output.shape[1], output.shape[0], output.shape[2])
        return output.reshape(shape) if self.output else Reference.write_output(self, output)


@dataclass
class StatesBatchFirst(Reference):
    """The batch is the first axis of h_0 or h_n."""

    h_0: bool = True
    h_n: bool = True

    def arrange_initial(self) -> Tensor:
        states = super().arrange_initial()
        return states.transpose(0, 1) if self.h_0 else states

    def write_states(self, h_n: Tensor) -> Tensor:
        return h_n.transpose(0, 1) if self.h_n else super().write_states(h_n)


@dataclass
class StatesReshaped(StatesBatchFirst):
    """The batch is the first axis of h_0 or h_n, by a reshape."""

    def arrange_initial(self) -> Tensor:
        states = Reference.arrange_initial(self)
        rows, batch, hidden = states.shape
        return states.reshape(batch, rows, hidden) if self.h_0 else states

    def write_states(self, h_n: Tensor) -> Tensor:
        rows, batch, hidden = h_n.shape
        return h_n.reshape(batch, rows, hidden) if self.h_n else super().write_states(h_n)


BATCH_FIRST = ("layouts.batch-first", "shapes.output")
LAYER_FIRST = ("layouts.states-stay-layer-first", "shapes.h-n")


def _has_other_axes(case: Case) -> bool:
    return not is_padded_batch(case)


def _list_batch_first() -> list[Hypothesis]:
    transpose = "transpose the first two axes of {} if batch_first=True"
    ignored = "batch_first=True is ignored: {} (L, N, features)"
    return [
        Hypothesis(
            ignored.format("input and output are both"),
            transpose.format("input and output"),
            BATCH_FIRST,
            OtherAxes,
            is_batch_first,
        ),
        Hypothesis(
            ignored.format("the input is read as"),
            transpose.format("the input"),
            BATCH_FIRST,
            partial(OtherAxes, output=False),
            is_batch_first,
            "input axes",
        ),
        Hypothesis(
            ignored.format("the output is returned as"),
            transpose.format("the output"),
            BATCH_FIRST,
            partial(OtherAxes, input=False),
            is_batch_first,
            "output axes",
        ),
    ]


def _list_time_first() -> list[Hypothesis]:
    return [
        Hypothesis(
            "input and output are taken as batch first although batch_first=False",
            "read input as (L, N, features) and return output so if batch_first=False",
            BATCH_FIRST,
            OtherAxes,
            is_time_first,
        ),
        Hypothesis(
            "the input is read as batch first although batch_first=False",
            "read the input as (L, N, features) if batch_first=False",
            BATCH_FIRST,
            partial(OtherAxes, output=False),
            is_time_first,
            "input axes",
        ),
        Hypothesis(
            "the output is returned batch first although batch_first=False",
            "return the output as (L, N, features) if batch_first=False",
            BATCH_FIRST,
            partial(OtherAxes, input=False),
            is_time_first,
            "output axes",
        ),
    ]


def _list_exchanged_axes() -> list[Hypothesis]:
    return [
        Hypothesis(
            "batch and time of the input are exchanged, whatever batch_first is",
            "read the input as batch_first says",
            BATCH_FIRST,
            partial(OtherAxes, output=False),
            always,
            "input axes",
            1,
            _has_other_axes,
        ),
        Hypothesis(
            "batch and time of the output are exchanged, whatever batch_first is",
            "return the output as batch_first says",
            BATCH_FIRST,
            partial(OtherAxes, input=False),
            always,
            "output axes",
            1,
            _has_other_axes,
        ),
    ]


def _list_reshaped() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"with batch_first=True, {what} reshaped instead of transposed",
            "exchange the axes by transpose(0, 1) instead of reshape or view",
            BATCH_FIRST,
            partial(Reshaped, input=input_, output=output),
            is_batch_first,
        )
        for what, input_, output in (
            ("the input is", True, False),
            ("the output is", False, True),
            ("input and output are", True, True),
        )
    ]


def _list_states() -> list[Hypothesis]:
    parts = (
        ("h_n is", "h_n", False, True, 0),
        ("h_0 is", "h_0", True, False, 0),
        ("h_0 and h_n are both", "h_0 and h_n", True, True, 1),
    )
    return [
        Hypothesis(
            _describe_states(what, when),
            f"transpose {names} back: states.transpose(0, 1)",
            LAYER_FIRST,
            partial(StatesBatchFirst, h_0=h_0, h_n=h_n),
            concerns,
            "states batch first",
            rank + extra,
        )
        for when, concerns, extra in (
            ("when batch_first=True", is_batch_first, 0),
            ("although batch_first=False", is_time_first, 0),
            ("whatever batch_first is", is_padded_batch, 2),
            ("when batch_first=True, even if packed", is_batch_first_or_packed, 4),
        )
        for what, names, h_0, h_n, rank in parts
    ]


def _describe_states(what: str, when: str) -> str:
    if what.startswith("h_0 and"):
        return f"the states are batch first {when}, both h_0 and h_n"
    return f"{what} batch first {when}"


def _list_reshaped_states() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{what} reshaped to (N, D * num_layers, H) when batch_first=True",
            "leave the states as they are: (D * num_layers, N, H) whatever batch_first is",
            LAYER_FIRST,
            partial(StatesReshaped, h_0=h_0, h_n=h_n),
            is_batch_first,
            "states reshaped",
            rank,
        )
        for what, h_0, h_n, rank in (
            ("h_n is", False, True, 0),
            ("h_0 is", True, False, 0),
            ("h_0 and h_n are", True, True, 1),
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_batch_first(),
    *_list_time_first(),
    *_list_exchanged_axes(),
    *_list_reshaped(),
    *_list_states(),
    *_list_reshaped_states(),
)
