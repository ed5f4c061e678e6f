"""Whose code a candidate runs: its own, the library's layer, or the reference's."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from rnnspec.comparing.evaluation import Case, Pair
from rnnspec.models.recorder import Recorder
from rnnspec.models.steps import suppress_failures

LAYERS = {
    *("lstm", "gru", "rnn_tanh", "rnn_relu"),
    *("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
}
"""The functions of torch that compute a recurrent layer or a cell, by their names."""


class _LayerRecorder(Recorder):
    """Notes whether a function of torch computes a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.is_used = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and note which."""
        self.is_used |= getattr(function, "__name__", "") in LAYERS
        return function(*args, **(kwargs or {}))


def uses_library(pair: Pair, case: Case) -> bool:
    """Return whether the candidate computes with a recurrent layer of torch in a case."""
    recorder = _LayerRecorder()
    with suppress_failures():
        module = pair.build_candidate(case)
        with recorder:
            pair.call(pair.recipe.candidate, module, pair.make_given(case), case)
    return recorder.is_used


def calls_reference(pair: Pair, case: Case) -> bool:
    """Return whether the candidate calls the class of the reference in a case."""
    owner = pair.recipe.reference.target.factory
    if not isinstance(owner, type) or "forward" not in vars(owner):
        return False
    forward, calls = vars(owner)["forward"], []

    def note_call(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(*arguments, **named)

    with suppress_failures():
        module = pair.build_candidate(case)
        given = pair.make_given(case)
        with patch.object(owner, "forward", note_call):
            pair.call(pair.recipe.candidate, module, given, case)
    return bool(calls)
