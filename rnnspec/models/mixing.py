"""Find the line of a model in which samples of a batch are first mixed, or change their places."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnnspec.models.infer import Interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.own_sizes import choose_other_size, list_own_sizes
from rnnspec.models.padding import can_pad, draw_padded_batch, give_lengths
from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line
from rnnspec.readout.map import SourceLine

PACKING = ("nn/utils/rnn.py", "nn/modules/rnn.py")
"""Files of torch that sort the samples of a packed batch, and put them back."""

RESHAPED = (
    "# exchange dimensions with transpose or permute: view and reshape give the numbers of one "
    "sample to others"
)
SORTED = "# put the predictions back in the order of the batch: prediction[order.argsort()]"
FLIPPED = "# flip the dimension of the steps, not that of the batch"
SUMMED = "# dim is the dimension of the classes, or of the steps for attention, not of the batch"
REMEDIES = {
    **dict.fromkeys(("view", "reshape"), RESHAPED),
    **dict.fromkeys(("__getitem__", "index_select", "gather", "sort"), SORTED),
    **dict.fromkeys(("flip", "roll"), FLIPPED),
    **dict.fromkeys(("softmax", "log_softmax", "mean", "sum", "cumsum"), SUMMED),
}
"""What to write instead, by the function in which samples first mix."""


class Mixing(NamedTuple):
    """Where samples first mix or change their places, and the name of the function that does it."""

    line: SourceLine
    function: str

    @property
    def remedy(self) -> str:
        """What to write instead, as a comment, or an empty string."""
        return REMEDIES.get(self.function, "")


class _Step(NamedTuple):
    """What a function of torch returned, its name, and the line that called it."""

    result: Tensor
    name: str
    line: SourceLine | None


class _StepRecorder(Recorder):
    """Records every tensor that a function of torch returns, with its line."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[_Step] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and keep a copy of what it returns."""
        result = function(*args, **(kwargs or {}))
        results = result if isinstance(result, tuple | list) else (result,)
        if not _is_packing():
            name, line = getattr(function, "__name__", ""), find_source_line()
            for each in _list_dense(results):
                self.steps.append(_Step(each.detach().clone(), name, line))
        return result


def choose_inputs(model: nn.Module, interface: Interface) -> Inputs:
    """Return inputs of sizes that nothing else in the model has, unless it takes others only."""
    own = {size for size, _ in list_own_sizes(model, interface)}
    batch = interface.batch or choose_other_size(3, own)
    steps = choose_other_size(batch + 1, own)
    while batch * steps in own:
        steps = choose_other_size(steps + 1, own)
    return Inputs(interface, batch, interface.steps or steps)


def find_mixing(isolated: IsolatedModel, inputs: Inputs, seed: int) -> Mixing | None:
    """Return where samples first mix, or None if that is not found.

    One sample is changed at a time. In the first result in which this changes numbers that are not
    the sample's own, whichever dimension holds the samples, they mix or have changed their places.
    If there is none, the same is done in a padded batch, which some models sort.
    """
    batches: list[tuple[Tensor, Tensor | None]] = [(inputs.draw(seed), None)]
    if can_pad(inputs):
        batches.append((draw_padded_batch(inputs, seed), give_lengths(inputs)))
    with torch.no_grad(), suppress(Exception):  # this only helps; rules say what is raised
        for x, lengths in batches:
            before = _record_steps(isolated, x, lengths)
            changed = [_change_sample(inputs, x, each, seed) for each in range(inputs.batch)]
            after = [_record_steps(isolated, each, lengths) for each in changed]
            found = next(_list_mixing(before, after, inputs), None)
            if found is not None:
                return found
    return None


def _change_sample(inputs: Inputs, x: Tensor, sample: int, seed: int) -> Tensor:
    for position in range(inputs.steps):
        x = inputs.change_position(x, sample, position, seed + position)
    return x


def _record_steps(isolated: IsolatedModel, x: Tensor, lengths: Tensor | None) -> list[_Step]:
    recorder = _StepRecorder()
    with recorder:
        isolated(x, lengths=lengths)
    return recorder.steps


def _list_mixing(before: list[_Step], after: list[list[_Step]], inputs: Inputs) -> Iterator[Mixing]:
    for step, *others in zip(before, *after, strict=False):
        if any(each.line != step.line for each in others):
            return
        changes = [_find_changes(step.result, each.result) for each in others]
        sizes = step.result.shape
        dims = [dim for dim, size in enumerate(sizes) if size == inputs.batch]
        is_flat = inputs.batch * inputs.steps in sizes
        if (
            step.line
            and dims
            and not is_flat
            and not any(_is_separate(changes, dim) for dim in dims)
        ):
            yield Mixing(step.line, step.name)


def _find_changes(before: Tensor, after: Tensor) -> Tensor:
    if before.shape != after.shape:
        return torch.ones_like(before, dtype=torch.bool)
    return (before != after) & ~(before.isnan() & after.isnan())


def _is_separate(changes: list[Tensor], dim: int) -> bool:
    """Return whether a change of sample i changes nothing but what is at i in a dimension."""
    for sample, changed in enumerate(changes):
        rows = changed.unsqueeze(-1).movedim(dim, 0).flatten(1).any(-1)
        rows[sample] = False
        if bool(rows.any()):
            return False
    return True


def _list_dense(results: Any) -> Iterator[Tensor]:
    for each in results:
        if isinstance(each, Tensor) and each.layout == torch.strided and each.dim() > 0:
            yield each


def _is_packing() -> bool:
    """Return whether torch's functions for packed sequences are being executed."""
    current = inspect.currentframe()
    frame = current.f_back.f_back if current and current.f_back else None
    while frame is not None and "/torch/" in frame.f_code.co_filename.replace("\\", "/"):
        if frame.f_code.co_filename.replace("\\", "/").endswith(PACKING):
            return True
        frame = frame.f_back
    return False
