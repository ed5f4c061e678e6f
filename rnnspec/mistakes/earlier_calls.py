"""Values kept from before the call: parameters that were replaced, or the state of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import EarlierCalls, GradMode, InitialState, MemoryLayout, ModuleUses
from rnnspec.cases.axes.prior_use import ParameterUpdates
from rnnspec.cases.axes.prior_use.base import takes_second_way
from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.cases.values import draw_arguments
from rnnspec.mistakes.hypothesis import Hypothesis, always
from rnnspec.mistakes.places import EVERYWHERE, UPPER_BACKWARD, LayerPlaces, list_by_place
from rnnspec.mistakes.situations import has_bias, has_cell_state, has_h_0, is_padded_batch
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import Spot, States, change_values

# Any numbers, as long as they differ.
PLAIN_CALL, SECOND_CALL = 0x5EED, 0xABC
"""Combined with the seed of the case to draw the numbers of earlier calls."""
TWICE = EarlierCalls.CALLED_TWICE
KNOWN = (
    EarlierCalls.FRESH,
    EarlierCalls.CALLED,
    TWICE,
    EarlierCalls.OTHER_GRAD,
    EarlierCalls.THAWED,
)
"""The prior uses with calls that are known here."""


def use_old(rows: Tensor, spot: Spot) -> Tensor:
    """Return a parameter with its values from before it was replaced."""
    old = 0.5 * rows.flatten().roll(1).view(rows.shape) + 0.125
    return old.to(spot.given.case.dtype.torch_dtype).to(rows.dtype)


def keep_state(kept: str = "hc") -> Callable[..., States]:
    """Return a change that starts a call without h_0 from the final states of the call before.

    Only the states with the letters `kept` are kept.
    """

    def start(states: States, spot: Spot) -> States:
        for earlier in _list_earlier_inputs(spot.given):
            named = {f"{letter}_0": state for letter, state in states.items()}
            _, final = Reference(replace(spot.given, input=earlier, states=named)).run()
            states = {letter: each * (letter in kept) for letter, each in final.items()}
        return states

    return start


def _list_earlier_inputs(given: Given) -> list[Tensor]:
    """Return the inputs of the calls before the call of a case."""
    case = given.case
    if case.prior_use is EarlierCalls.CALLED and case.seed % 2 == 0:
        return [] if case.memory_layout.repeats else [-0.5 * given.input]
    plain = [_draw_input(case, PLAIN_CALL)]
    return [*plain, _draw_input(case, SECOND_CALL)][: 1 + (case.prior_use is TWICE)]


def _draw_input(case: Case, change: int) -> Tensor:
    other = case.replace(seed=case.seed ^ change, memory_layout=MemoryLayout.CONTIGUOUS)
    return torch.from_numpy(draw_arguments(other)[0].copy())


REPLACED = (
    ParameterUpdates.RELOADED,
    ParameterUpdates.REPLACED,
    ParameterUpdates.DATA_REPLACED,
    ParameterUpdates.TRAINED,
    ModuleUses.FUNCTIONAL,
    ModuleUses.NESTED,
    ModuleUses.SHARED,
)
"""The prior uses that first give the parameters other values."""


def _is_unclear(case: Case) -> bool:
    """Return whether the layer was trained, or rounds numbers meant for exact sums in 16 bits."""
    rounds = case.dtype.is_half and case.distribution.is_exact
    return rounds or case.prior_use is ParameterUpdates.TRAINED


def _was_called(case: Case) -> bool:
    return not (case.is_fresh or has_h_0(case))


def _was_called_with_cell(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and _was_called(case)


def _was_called_otherwise(case: Case) -> bool:
    is_known = case.prior_use in KNOWN and not case.history
    is_plain = is_known and is_padded_batch(case) and not case.has_active_dropout
    is_unknown = not is_plain or _was_called_in_inference(case)
    return case.initial_state is InitialState.ABSENT and is_unknown


def _was_called_in_inference(case: Case) -> bool:
    """Return whether a value kept from the call before may stop a call that records a graph."""
    is_other = case.prior_use is EarlierCalls.OTHER_GRAD and case.grad_mode is GradMode.GRAD
    return is_other and takes_second_way(case)


def _replaces_and(case: Case, concerns: CaseTest) -> bool:
    return case.prior_use in REPLACED and concerns(case)


ALL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
WITHOUT_PLACE: tuple[
    tuple[str, str, str, tuple[str, ...], tuple[LayerPlaces, ...], CaseTest], ...
] = (
    (
        "parameters",
        "the parameters are",
        "they were",
        ALL,
        (EVERYWHERE, UPPER_BACKWARD),
        always,
    ),
    ("biases", "both biases are", "they were", ALL[2:4], (EVERYWHERE,), has_bias),
    ("weights", "both weights are", "they were", ALL[:2], (EVERYWHERE,), always),
    ("W_hh", "W_hh is", "it was", ALL[1:2], (EVERYWHERE,), always),
)

HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        replace(hypothesis, remembers=True)
        for key, text, were, kinds, places, concerns in WITHOUT_PLACE
        for hypothesis in list_by_place(
            f"{key}.older",
            f"{text} used with the values from before {were} replaced or loaded",
            "read the parameters anew in every call",
            ("modules.replaced-parameters", "modules.load-state-dict"),
            dict.fromkeys(kinds, use_old),
            partial(_replaces_and, concerns=concerns),
            places,
            _is_unclear,
        )
    ),
    Hypothesis(
        "states.kept",
        "without h_0, a call starts from the final state of the call before",
        "start from zeros if no h_0 is passed, and keep no state on the layer",
        ("modules.second-call", "states.absent-is-zero"),
        change_values({"default": keep_state()}),
        _was_called,
        unclear=_was_called_otherwise,
        remembers=True,
    ),
    *(
        Hypothesis(
            f"states.kept-{letter}",
            f"without h_0 and c_0, a call starts from the final {name} state of the call before",
            "start from zeros if no states are passed, and keep no state on the layer",
            ("modules.second-call", "states.absent-is-zero"),
            change_values({"default": keep_state(letter)}),
            _was_called_with_cell,
            unclear=_was_called_otherwise,
            remembers=True,
        )
        for letter, name in (("h", "hidden"), ("c", "cell"))
    ),
)
