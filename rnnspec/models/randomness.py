"""Find the line of a model that draws random numbers in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.lines import Recorder, find_source_line
from rnnspec.readout.map import SourceLine

DRAWN = "The model draws random numbers in evaluation mode."
CREATED = ("rand", "randn", "randint", "normal", "rand_like", "randn_like", "normal_", "uniform_")
"""Functions of torch that return only random numbers."""

REMEDIES = {
    "dropout": "torch.nn.functional.dropout(x, p, training=self.training), or a module nn.Dropout",
    "state": (
        "output, state = self.{layer}(x) starts from zeros: give no initial state, or "
        "torch.zeros in place of random numbers"
    ),
    "other": "# draw random numbers only if self.training",
}


class _DrawRecorder(Recorder):
    """Records the name of the first function of torch that draws random numbers, and its line."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.line: SourceLine | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and detect whether it changed the state of the generator."""
        if self.name:
            return function(*args, **(kwargs or {}))
        before = torch.default_generator.get_state()
        result = function(*args, **(kwargs or {}))
        if not self.name and not torch.equal(before, torch.default_generator.get_state()):
            self.name = getattr(function, "__name__", "function")
            self.line = find_source_line()
        return result


def describe_drawn_numbers(call: Callable[[], object], layer: str) -> str:
    """Return lines about the random numbers that a call draws: the place and the remedy.

    `layer` is the name of the model's first recurrent layer. Raises any exception of the call.
    """
    recorder = _DrawRecorder()
    with torch.no_grad(), fork_random_numbers(1), recorder:
        call()
    where = f"\n  {recorder.line}" if recorder.line else ""
    return f"\n  {DRAWN}{where}\n  try            {_choose_remedy(recorder.name, layer)}"


def name_draw(call: Callable[[], object]) -> str:
    """Return the function of torch that draws a call's random numbers, and its line, as text.

    The text is empty if no function of torch draws them. Raises any exception of the call.
    """
    recorder = _DrawRecorder()
    with torch.no_grad(), fork_random_numbers(1), recorder:
        call()
    where = f", {recorder.line}" if recorder.line else ""
    return f" with {recorder.name}{where}" if recorder.name else ""


def _choose_remedy(name: str, layer: str) -> str:
    if "dropout" in name:
        return REMEDIES["dropout"]
    is_state = name in CREATED and layer
    return REMEDIES["state"].format(layer=layer) if is_state else REMEDIES["other"]
