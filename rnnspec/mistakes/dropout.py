"""Mistakes with dropout where the probability is 1, or where no value is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from rnnspec.cases.axes import Mode
from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, always, every
from rnnspec.mistakes.situations import has_cell_state, is_packed, is_stack, is_unbatched
from rnnspec.mistakes.steps import change_in_first_layer
from rnnspec.reference.values import Functions, Spot, change_values


def drop_otherwise(change: Callable[[Tensor, float], Tensor]) -> Functions:
    """Return a change of the result of dropout, as a function of the data and the probability."""

    def drop(dropped: Tensor, below: Sequence[Tensor], spot: Spot) -> Tensor:
        return change(below[-1], spot.given.case.config.dropout)

    return {"dropped": drop}


def _clear(value: Tensor) -> Tensor:
    return value * 0


NOT_BETWEEN: Functions = {"drops": lambda drops: False}
OF_INPUT: Functions = {"read": change_in_first_layer(_clear)}
OF_OUTPUT: Functions = {"output": _clear}
"""Dropout of probability 1 at a place where it does not act, or acts as well."""


def _drop_states(name: str, letters: str) -> Functions:
    """Return changes that clear states with some letters."""
    # Without a cell state, an LSTM shows no hidden state either, so dropping c clears both.
    return {f"{name}.{letter}": _clear for letter in letters}


def _drops_by_grad_mode(drops: bool, spot: Spot) -> bool:
    """Return whether gradients are enabled, in any mode."""
    return spot.given.case.grad_mode.builds_graph


def _has_active_dropout(case: Case) -> bool:
    return case.has_active_dropout


def _drops_and(concerns: CaseTest, case: Case) -> bool:
    return case.has_active_dropout and concerns(case)


def _has_no_graph(case: Case) -> bool:
    return not case.grad_mode.builds_graph


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


def _is_in_other_mode(case: Case) -> bool:
    """Return whether dropout acts with gradients disabled, or does not act with them enabled."""
    is_trained = case.mode is Mode.TRAIN
    return is_stack(case) and case.config.dropout > 0 and is_trained != case.grad_mode.builds_graph


def _is_eval_with_some_and_gradients(case: Case) -> bool:
    return _is_eval_with_some(case) and case.grad_mode.builds_graph


def _is_undropped_stack(case: Case) -> bool:
    return is_stack(case) and case.config.dropout > 0 and case.mode is Mode.EVAL


PLACES: tuple[tuple[str, str, str, Functions, KindCondition], ...] = (
    (
        "on-input-only",
        "dropout acts on the input of the first layer instead of between layers",
        "dropout.place",
        {**OF_INPUT, **NOT_BETWEEN},
        every,
    ),
    (
        "on-input",
        "dropout also acts on the input of the first layer",
        "dropout.place",
        OF_INPUT,
        every,
    ),
    (
        "on-output",
        "dropout also acts on the output of the last layer",
        "dropout.not-on-output",
        OF_OUTPUT,
        every,
    ),
    (
        "on-output-only",
        "dropout acts on the output of the last layer instead of between layers",
        "dropout.not-on-output",
        {**OF_OUTPUT, **NOT_BETWEEN},
        every,
    ),
    (
        "on-h_n",
        "dropout also acts on h_n",
        "dropout.not-in-states",
        _drop_states("final", "h"),
        every,
    ),
    (
        "on-c_n",
        "dropout also acts on c_n",
        "dropout.not-in-states",
        _drop_states("final", "c"),
        has_cell_state,
    ),
    (
        "on-states",
        "dropout also acts on h_n and c_n",
        "dropout.not-in-states",
        _drop_states("final", "hc"),
        has_cell_state,
    ),
    (
        "on-read-state",
        "dropout also acts on the state that each step reads",
        "dropout.place",
        _drop_states("before", "hc"),
        every,
    ),
    (
        "on-read-h",
        "dropout also acts on the hidden state that each step reads, but not on the cell state",
        "dropout.place",
        _drop_states("before", "h"),
        has_cell_state,
    ),
    (
        "on-read-c",
        "dropout also acts on the cell state that each step reads, but not on the hidden state",
        "dropout.place",
        _drop_states("before", "c"),
        has_cell_state,
    ),
    (
        "on-new-h",
        "dropout also acts on the hidden state after each step",
        "dropout.not-in-states",
        _drop_states("updated", "h"),
        every,
    ),
    (
        "on-new-c",
        "dropout also acts on the cell state after each step",
        "dropout.not-in-states",
        _drop_states("updated", "hc"),
        has_cell_state,
    ),
)
WITH_LAYERS: tuple[tuple[str, str, CaseTest, int], ...] = (
    ("", "", _drops_everything, 0),
    (".single-layer", ", even with a single layer", _has_dropout_of_one, 2),
)
"""Whether dropout also acts in a layer without other layers above it, and the rank of that
mistake."""


REMEDY = "apply dropout to the output of each layer but the last, in training mode only"
SCALES: tuple[tuple[str, str, Callable[[Tensor, float], Tensor], CaseTest], ...] = (
    (
        "eval-multiplied",
        "in evaluation mode, what passes from layer to layer is multiplied by 1 - p",
        lambda data, p: data * (1 - p),
        _is_undropped_stack,
    ),
    (
        "eval-divided",
        "in evaluation mode, what passes from layer to layer is divided by 1 - p",
        lambda data, p: data / (1 - p) if p < 1 else data * 0,
        _is_undropped_stack,
    ),
)


def _list_places() -> list[Hypothesis]:
    return [
        *(
            Hypothesis(
                f"dropout.{key}{end}",
                text + with_layers,
                REMEDY,
                (rule, "dropout.place", "dropout.not-in-states", "dropout.p-one"),
                change_values(changes),
                concerns,
                "dropout.place",
                rank,
                unclear=_drops_some,
                of=of,
            )
            for key, text, rule, changes, of in PLACES
            for end, with_layers, concerns, rank in WITH_LAYERS
        ),
        Hypothesis(
            "dropout.single-layer",
            "with a single layer, dropout acts on the output",
            "do not apply dropout if there is only one layer",
            ("dropout.single-layer",),
            change_values(OF_OUTPUT),
            _is_trained_single_layer,
            "dropout.place",
            1,
            _drops_some,
        ),
    ]


UNDROPPED: tuple[tuple[str, str, str, CaseTest, str], ...] = (
    ("not-if-packed", "to packed input", "dropout.place", is_packed, "dropout.none"),
    ("not-if-unbatched", "to unbatched input", "layouts.unbatched", is_unbatched, "dropout.none"),
    (
        "not-without-gradients",
        "if gradients are disabled",
        "modes.no-grad",
        _has_no_graph,
        "dropout.evaluation",
    ),
)
"""Places where dropout may be missing."""


BOUNDARIES: tuple[tuple[str, str, Callable[[Spot], bool]], ...] = (
    ("first", "the first two", lambda spot: spot.layer == 1),
    ("last", "the last two", lambda spot: spot.layer == spot.given.case.config.num_layers - 1),
)
"""The only boundary between layers where dropout may act."""


def _drop_only_where(acts: Callable[[Spot], bool]) -> Functions:
    return {"drops": lambda drops, spot: drops and acts(spot)}


def _list_boundaries() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"dropout.{key}-boundary-only",
            f"dropout acts between {text} layers only",
            REMEDY,
            ("dropout.place", "dropout.p-one"),
            change_values(_drop_only_where(acts)),
            lambda case: _drops_everything(case) and case.config.num_layers > 2,
            unclear=lambda case: _drops_some(case) and case.config.num_layers > 2,
        )
        for key, text, acts in BOUNDARIES
    ]


def _list_undropped() -> list[Hypothesis]:
    return [
        Hypothesis(
            "dropout.never",
            "dropout is never applied",
            REMEDY,
            ("dropout.place", "dropout.rate"),
            change_values(NOT_BETWEEN),
            _has_active_dropout,
            "dropout.none",
            is_certain=always,
            shown_by=lambda case: case.is_random,
        ),
        *(
            Hypothesis(
                f"dropout.{key}",
                f"dropout is not applied {text}",
                REMEDY,
                (rule, "dropout.place", "dropout.rate"),
                change_values(NOT_BETWEEN),
                partial(_drops_and, concerns),
                family,
                1,
                is_certain=always,
            )
            for key, text, rule, concerns, family in UNDROPPED
        ),
        Hypothesis(
            "dropout.nothing-if-one",
            "with dropout=1, nothing is dropped",
            REMEDY,
            ("dropout.place", "dropout.rate", "dropout.p-one"),
            change_values(NOT_BETWEEN),
            _drops_everything,
            "dropout.none",
            2,
            _drops_some,
        ),
        Hypothesis(
            "dropout.nan-if-one",
            "with dropout=1, dropped values are NaN",
            "return zeros if p is 1, instead of dividing by 1 - p",
            ("dropout.p-one",),
            change_values(drop_otherwise(lambda data, p: data * float("nan"))),
            _drops_everything,
        ),
    ]


def _list_evaluation() -> list[Hypothesis]:
    return [
        *(
            Hypothesis(
                f"dropout.{key}",
                text,
                REMEDY,
                ("dropout.eval",),
                change_values(drop_otherwise(change)),
                concerns,
                "dropout.evaluation",
                shown_by=_is_eval_with_some,
            )
            for key, text, change, concerns in SCALES
        ),
        Hypothesis(
            "dropout.in-evaluation",
            "dropout also acts in evaluation mode, as dropout=1 shows",
            REMEDY,
            ("dropout.eval",),
            change_values(drop_otherwise(lambda data, p: data * 0)),
            lambda case: _is_undropped_stack(case) and case.config.dropout == 1,
            "dropout.evaluation",
            1,
            unclear=_is_eval_with_some,
        ),
    ]


BY_GRAD_MODE = Hypothesis(
    "dropout.by-grad-mode",
    "dropout acts if gradients are enabled, and not by whether the layer is in training mode",
    "ask self.training whether to apply dropout, not torch.is_grad_enabled()",
    ("dropout.eval", "dropout.place"),
    change_values({"drops": _drops_by_grad_mode}),
    _is_in_other_mode,
    "dropout.evaluation",
    2,
    _is_eval_with_some_and_gradients,
    lambda case: case.is_random,
)
"""A layer that was written for training with gradients and evaluation without them."""

HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_places(),
    *_list_undropped(),
    *_list_boundaries(),
    *_list_evaluation(),
    BY_GRAD_MODE,
)
