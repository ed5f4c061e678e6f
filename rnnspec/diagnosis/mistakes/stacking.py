"""Mistakes with what a layer reads from the layer below, and with dropout."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.axes import Mode
from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, always
from rnnspec.diagnosis.mistakes.reference import Reference, Refused
from rnnspec.diagnosis.mistakes.situations import is_ragged, is_stack

Read = Callable[[Sequence[Tensor], int], Tensor]
Finish = Callable[[Sequence[Tensor]], Tensor]


@dataclass
class ReadsOther(Reference):
    """A layer above the first reads something else than the output of the layer below."""

    read: Read = lambda below, layer: below[-1]

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        other = self.read([*below[:-1], right], layer) if layer else right
        return other if other.shape == right.shape else right


@dataclass
class FinishedOther(Reference):
    """The output is something else than that of the last layer."""

    change: Finish = lambda below: below[-1]

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        other = self.change(below)
        if other.shape != below[-1].shape and len(below) < 2:
            raise Refused("the shapes differ")
        return other


@dataclass
class Residual(Reference):
    """What a layer reads is added to its output, if both have the same width."""

    from_layer: int = 1

    def run_layer(self, data: Tensor, h_0: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        output, states = super().run_layer(data, h_0, layer)
        adds = output.shape == data.shape and layer >= self.from_layer
        return output + data if adds else output, states


@dataclass
class Dropped(Reference):
    """What dropout leaves of the layer below is something else."""

    change: Callable[[Tensor, float], Tensor] = lambda data, p: data

    def drop(self, data: Tensor, layer: int) -> Tensor:
        return self.change(data, self.given.case.config.dropout)


@dataclass
class DroppedOutput(Reference):
    """Dropout of probability one acts on other values too."""

    input: bool = False
    output: bool = False
    states: bool = False
    between: bool = True
    recurrent: bool = False

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        if layer == 0:
            return below[-1] * (0 if self.input else 1)
        return super().read_below(below, layer) if self.between else below[-1]

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return state * 0 if self.recurrent else state

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return below[-1] * 0 if self.output else below[-1]

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        right = super().stack_states(states, output)
        return right * 0 if self.states else right


def _exchange_time(below: Sequence[Tensor], layer: int) -> Tensor:
    data = below[-1]
    return data.transpose(0, 1).reshape(data.shape)


def _drops_everything(case: Case) -> bool:
    return case.has_active_dropout and case.config.dropout == 1


def _is_trained_single_layer(case: Case) -> bool:
    single = case.config.num_layers == 1 and case.config.dropout == 1
    return single and case.mode is Mode.TRAIN


def _has_dropout_of_one(case: Case) -> bool:
    return case.config.dropout == 1 and case.mode is Mode.TRAIN


def _drops_some(case: Case) -> bool:
    return 0 < case.config.dropout < 1 and case.mode is Mode.TRAIN


def _is_eval_with_some(case: Case) -> bool:
    return 0 < case.config.dropout < 1 and case.mode is Mode.EVAL and is_stack(case)


def _is_undropped_stack(case: Case) -> bool:
    return is_stack(case) and case.config.dropout > 0 and case.mode is Mode.EVAL


READS: tuple[tuple[str, Condition, Read], ...] = (
    (
        "the layers above the first read the layer below with batch and time exchanged",
        is_stack,
        _exchange_time,
    ),
    (
        "every layer reads the input if that is as wide as the output of a layer",
        is_stack,
        lambda below, layer: below[0],
    ),
    (
        "the layers above the first read the input and the layer below added, if equally wide",
        is_stack,
        lambda below, layer: (
            below[-1] + below[0] if below[0].shape == below[-1].shape else below[-1]
        ),
    ),
    (
        "the layers above the second read the output of the first layer",
        is_stack,
        lambda below, layer: below[1],
    ),
    (
        "the third layer reads the output of the first layer instead of the second",
        is_stack,
        lambda below, layer: below[1] if layer == 2 else below[-1],
    ),
    (
        "each layer above the second reads the layer two below",
        is_stack,
        lambda below, layer: below[-2] if layer > 1 else below[-1],
    ),
    (
        "the layers above the first read the layer below turned round in time",
        is_stack,
        lambda below, layer: below[-1].flip(0),
    ),
    (
        "the layers above the first read only the last step of the layer below",
        is_stack,
        lambda below, layer: below[-1][-1:].expand_as(below[-1]),
    ),
    (
        "the layers above the first read zeros",
        is_stack,
        lambda below, layer: below[-1] * 0,
    ),
    (
        "the layers above the first read the layer below with its units in the opposite order",
        is_stack,
        lambda below, layer: below[-1].flip(-1),
    ),
    (
        "the layers above the first read the layer below one step late",
        is_stack,
        lambda below, layer: torch.cat([below[-1][:1] * 0, below[-1][:-1]]),
    ),
    (
        "the layers above the first read the nonlinearity of the layer below a second time",
        is_stack,
        lambda below, layer: torch.tanh(below[-1]),
    ),
)
FINISHES: tuple[tuple[str, Finish], ...] = (
    ("the output is that of the first layer", lambda below: below[1]),
    ("the output is that of the layer below the last", lambda below: below[-2]),
    (
        "the output is the sum of the outputs of all layers",
        lambda b: torch.stack(list(b[1:])).sum(0),
    ),
    ("the output holds the outputs of all layers", lambda b: torch.cat(list(b[1:]), dim=-1)),
)
PLACES: tuple[tuple[str, str, dict[str, Any], Condition], ...] = (
    (
        "dropout acts on the input of the first layer instead of between layers",
        "dropout.place",
        {"input": True, "between": False},
        _drops_everything,
    ),
    (
        "dropout acts on the input of the first layer instead of between layers, even with a"
        " single layer",
        "dropout.place",
        {"input": True, "between": False},
        _has_dropout_of_one,
    ),
    (
        "dropout also acts on the input of the first layer",
        "dropout.place",
        {"input": True},
        _drops_everything,
    ),
    (
        "dropout also acts on the output of the last layer",
        "dropout.not-on-output",
        {"output": True},
        _drops_everything,
    ),
    (
        "dropout also acts on the output of the last layer, even with a single layer",
        "dropout.not-on-output",
        {"output": True},
        _has_dropout_of_one,
    ),
    (
        "dropout acts on the output of the last layer instead of between layers",
        "dropout.not-on-output",
        {"output": True, "between": False},
        _drops_everything,
    ),
    ("dropout also acts on h_n", "dropout.not-in-states", {"states": True}, _drops_everything),
    (
        "dropout also acts on the state that each step reads",
        "dropout.place",
        {"recurrent": True},
        _drops_everything,
    ),
)


def _list_dropout() -> list[Hypothesis]:
    scales: tuple[tuple[str, Callable[[Tensor, float], Tensor], Condition], ...] = (
        (
            "in evaluation mode, what passes from layer to layer is multiplied by 1 - p",
            lambda data, p: data * (1 - p),
            _is_undropped_stack,
        ),
        (
            "in evaluation mode, what passes from layer to layer is divided by 1 - p",
            lambda data, p: data / (1 - p) if p < 1 else data * 0,
            _is_undropped_stack,
        ),
    )
    remedy = "apply dropout to the output of each layer but the last, in training mode only"
    return [
        *(
            Hypothesis(
                text,
                remedy,
                (rule, "dropout.place", "dropout.not-in-states", "dropout.p-one"),
                partial(DroppedOutput, **options),
                concerns,
                "dropout place",
                2 * (concerns is _has_dropout_of_one),
                unclear=_drops_some,
            )
            for text, rule, options, concerns in PLACES
        ),
        Hypothesis(
            "dropout is never applied",
            remedy,
            ("dropout.place", "dropout.rate"),
            partial(DroppedOutput, between=False),
            lambda case: case.has_active_dropout,
            "no dropout",
            is_certain=always,
            shown_by=lambda case: case.is_random,
        ),
        Hypothesis(
            "with dropout=1, nothing is dropped",
            remedy,
            ("dropout.place", "dropout.rate", "dropout.p-one"),
            partial(DroppedOutput, between=False),
            _drops_everything,
            "no dropout",
            1,
            _drops_some,
        ),
        *(
            Hypothesis(
                text,
                remedy,
                ("dropout.eval",),
                partial(Dropped, change=change),
                concerns,
                "dropout in eval",
                shown_by=_is_eval_with_some,
            )
            for text, change, concerns in scales
        ),
        Hypothesis(
            "with dropout=1, dropped values are NaN",
            "return zeros if p is 1, instead of dividing by 1 - p",
            ("dropout.p-one",),
            partial(Dropped, change=lambda data, p: data * float("nan")),
            _drops_everything,
        ),
        Hypothesis(
            "dropout also acts in evaluation mode, as dropout=1 shows",
            remedy,
            ("dropout.eval",),
            partial(Dropped, change=lambda data, p: data * 0),
            lambda case: _is_undropped_stack(case) and case.config.dropout == 1,
            "dropout in eval",
            1,
            unclear=_is_eval_with_some,
        ),
        Hypothesis(
            "with a single layer, dropout acts on the output",
            "do not apply dropout if there is only one layer",
            ("dropout.single-layer",),
            partial(DroppedOutput, output=True),
            _is_trained_single_layer,
            "dropout place",
            1,
            _drops_some,
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            text,
            "let each layer above the first read the output of the one below",
            ("stacking.composition",),
            partial(ReadsOther, read=read),
            concerns,
            unclear=is_ragged,
        )
        for text, concerns, read in READS
    ),
    *(
        Hypothesis(
            text,
            "return the output of the last layer",
            ("stacking.composition", "recurrence.output"),
            partial(FinishedOther, change=change),
            is_stack,
        )
        for text, change in FINISHES
    ),
    *(
        Hypothesis(
            text,
            "return the states alone",
            ("stacking.composition", "recurrence.output"),
            partial(Residual, from_layer=start),
            concerns,
        )
        for text, start, concerns in (
            ("each layer above the first adds what it reads to its output", 1, is_stack),
            (
                "each layer adds what it reads to its output, if both are equally wide",
                0,
                lambda case: True,
            ),
        )
    ),
    *_list_dropout(),
)
