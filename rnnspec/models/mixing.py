"""Find the line of a model that first mixes the samples of a batch, or changes their order."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rnnspec.models.call import is_in_expression
from rnnspec.models.closeness import find_changes
from rnnspec.models.infer import Interface, choose_other_size, list_own_sizes
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.lines import Recorder, find_source_line, is_foreign
from rnnspec.models.padding import can_pad, draw_padded_batch, give_lengths
from rnnspec.models.tensors import list_tensors
from rnnspec.readout.map import SourceLine

PACKING = ("nn/utils/rnn.py", "nn/modules/rnn.py")
"""Files of torch that sort the samples of a packed batch and restore their order."""

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
"""The remedy, by the function that first mixes samples."""


class Mixing(NamedTuple):
    """The place where samples first mix or change their order, and the name of the function.

    `line` is a line of the model, or None if the call expression mixes them itself.
    """

    line: SourceLine | None
    function: str

    @property
    def remedy(self) -> str:
        """The remedy as a comment, or an empty string."""
        return REMEDIES.get(self.function, "")


class _Step(NamedTuple):
    """The result of a function of torch, the function's name, and the line that called it.

    `is_callers` is whether the call expression called it, and `is_hidden` whether it belongs to the
    code for packed sequences. `parents` are the indices of the steps whose results were its
    arguments.
    """

    result: Tensor
    name: str
    line: SourceLine | None
    is_callers: bool
    is_hidden: bool
    parents: tuple[int, ...]


class _StepRecorder(Recorder):
    """Records every tensor that a function of torch returns or writes into, with its line."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self._made: dict[int, tuple[int, Tensor]] = {}  # keeping the tensor keeps its id unique

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and keep a copy of its result."""
        keywords = kwargs or {}
        given = [*list_tensors(list(args)), *list_tensors(list(keywords.values()))]
        parents = tuple(self._made[id(each)][0] for each in given if id(each) in self._made)
        result = function(*args, **keywords)
        name = getattr(function, "__name__", "")
        results = result if isinstance(result, tuple | list) else (result,)
        line, is_callers, is_hidden = find_source_line(), is_in_expression(), _is_packing()
        for each in _list_dense(args[:1] if name == "__setitem__" else results):
            self._made[id(each)] = (len(self.steps), each)
            copy = each.detach().clone()
            self.steps.append(_Step(copy, name, line, is_callers, is_hidden, parents))
        return result

    def find_step(self, result: Tensor) -> int | None:
        """Return the index of the last step that returned or wrote into a tensor, or None."""
        return self._made[id(result)][0] if id(result) in self._made else None


def choose_inputs(model: nn.Module, interface: Interface) -> Inputs:
    """Return inputs whose sizes occur nowhere else in the model, unless it accepts no others."""
    own = {size for size, _ in list_own_sizes(model, interface)}
    own |= {size for each in model.parameters() if not is_lazy(each) for size in each.shape}
    batch = interface.batch or choose_other_size(3, own)
    steps = choose_other_size(batch + 1, own)
    while batch * steps in own:
        steps = choose_other_size(steps + 1, own)
    return Inputs(interface, batch, interface.steps or steps)


def find_mixing(isolated: IsolatedModel, inputs: Inputs, seed: int) -> Mixing | None:
    """Return where samples first mix, or None if it is not found.

    Changes a sample at a time. Samples mix, or have changed their order, in the first result where
    this changes numbers of other samples, in whichever dimension the samples are. Effects that
    cancel before the prediction do not count. If nothing is found, tries a padded batch, which some
    models sort.
    """
    batches: list[tuple[Tensor, Tensor | None]] = [(inputs.draw(seed), None)]
    if can_pad(inputs):
        batches.append((draw_padded_batch(inputs, seed), give_lengths(inputs)))
    # This only improves a message; rules report exceptions.
    with torch.no_grad(), suppress(Exception):
        for x, lengths in batches:
            before, last = _record_steps(isolated, x, lengths)
            changed = [_change_sample(inputs, x, each, seed) for each in range(inputs.batch)]
            after = [_record_steps(isolated, each, lengths)[0] for each in changed]
            mixed, separate = _check_steps(before, after, inputs)
            taken = _list_taken(before, last, separate) & mixed
            if mixed:
                first = before[min(taken or mixed)]
                return Mixing(None if first.is_callers else first.line, first.name)
    return None


def _change_sample(inputs: Inputs, x: Tensor, sample: int, seed: int) -> Tensor:
    for position in range(inputs.steps):
        x = inputs.change_position(x, sample, position, seed + position)
    return x


def _record_steps(
    isolated: IsolatedModel, x: Tensor, lengths: Tensor | None
) -> tuple[list[_Step], int | None]:
    """Return the steps of a call, and the index of the step that made the prediction, if known."""
    recorder = _StepRecorder()
    with recorder:
        prediction = isolated(x, lengths=lengths)
    return recorder.steps, recorder.find_step(prediction)


def _check_steps(
    before: list[_Step], after: list[list[_Step]], inputs: Inputs
) -> tuple[set[int], set[int]]:
    """Return the indices of the steps that mix samples, and of the steps that keep them separate.

    Neither contains steps where no dimension is recognisable as the dimension of samples.
    """
    mixed: set[int] = set()
    separate: set[int] = set()
    for index, (step, *others) in enumerate(zip(before, *after, strict=False)):
        if any(each.line != step.line for each in others):
            break
        sizes = step.result.shape
        dims = [dim for dim, size in enumerate(sizes) if size == inputs.batch]
        is_known = (step.line or step.is_callers) and not step.is_hidden
        if is_known and dims and inputs.batch * inputs.steps not in sizes:
            changes = [_find_changes(step.result, each.result) for each in others]
            is_separate = any(_is_separate(changes, dim) for dim in dims)
            (separate if is_separate else mixed).add(index)
    return mixed, separate


def _list_taken(steps: list[_Step], last: int | None, separate: set[int]) -> set[int]:
    """Return the steps that lead to `last`, except through a step that keeps samples separate."""
    taken: set[int] = set()
    left = [] if last is None else [last]
    while left:
        index = left.pop()
        if index not in taken and index not in separate:
            taken.add(index)
            left += steps[index].parents
    return taken


def _find_changes(before: Tensor, after: Tensor) -> Tensor:
    if before.shape != after.shape:
        return torch.ones_like(before, dtype=torch.bool)
    return find_changes(before, after) if before.is_floating_point() else before != after


def _is_separate(changes: list[Tensor], dim: int) -> bool:
    """Return whether a change of sample i changes only entries at i in a dimension."""
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
    """Return whether torch's functions for packed sequences are running."""
    current = inspect.currentframe()
    frame = current.f_back.f_back if current and current.f_back else None
    while frame is not None and "/torch/" in frame.f_code.co_filename.replace("\\", "/"):
        if frame.f_code.co_filename.replace("\\", "/").endswith(PACKING):
            return True
        frame = frame.f_back
    return False


RESHAPES = ("view", "reshape")


class _ReshapeRecorder(Recorder):
    """Records the lines of the model where a tensor gets the same sizes in another order."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch
        self.lines: dict[SourceLine, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch; if it exchanges sizes, keep its line and the two shapes."""
        result = function(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") in RESHAPES and isinstance(result, Tensor):
            before, after = tuple(args[0].shape), tuple(result.shape)
            line = find_source_line() if _is_called_by_model() else None
            if line is not None and exchanges_sizes(before, after, self.batch):
                self.lines.setdefault(line, (before, after))
        return result


def _is_called_by_model() -> bool:
    current = inspect.currentframe()
    caller = current.f_back.f_back if current and current.f_back else None
    return caller is not None and not is_foreign(caller.f_code.co_filename)


def exchanges_sizes(before: Sequence[int], after: Sequence[int], batch: int) -> bool:
    """Return whether a shape has the sizes of another in a different order.

    Sizes of 1 do not count, as they move no number. Rules about samples cover an exchange with the
    batch.
    """
    old, new = [size for size in before if size != 1], [size for size in after if size != 1]
    moved = [size for size, other in zip(old, new, strict=False) if size != other]
    return sorted(old) == sorted(new) and bool(moved) and batch not in moved


def describe_reshapes(isolated: IsolatedModel, seed: int) -> list[str]:
    """Return a note for each line where view or reshape exchange sizes.

    Such a line moves the numbers of a step to other steps.
    """
    inputs = choose_inputs(isolated.module, isolated.interface)
    recorder = _ReshapeRecorder(inputs.batch)
    with torch.no_grad(), suppress(Exception), recorder:  # rules report exceptions
        isolated(inputs.draw(seed))
    return [
        f"{line} makes {after} of {before}: it exchanges two sizes, not two dimensions, so the "
        "numbers of one step are given to others; if dimensions were meant, write transpose or "
        "permute"
        for line, (before, after) in recorder.lines.items()
    ]
