"""Find the line of a model in which samples of a batch are first mixed, or change their places."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rnnspec.models.caller import is_in_expression
from rnnspec.models.closeness import find_changes
from rnnspec.models.infer import Interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.own_sizes import choose_other_size, list_own_sizes
from rnnspec.models.padding import can_pad, draw_padded_batch, give_lengths
from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line
from rnnspec.models.tensors import list_tensors
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
    """Where samples first mix or change their places, and the name of the function that does it.

    `line` is a line of the model, or None if the expression that calls it does that.
    """

    line: SourceLine | None
    function: str

    @property
    def remedy(self) -> str:
        """What to write instead, as a comment, or an empty string."""
        return REMEDIES.get(self.function, "")


class _Step(NamedTuple):
    """What a function of torch returned, its name, and the line that called it.

    `is_callers` says that the expression called it, and `is_hidden` that a packed sequence was made
    or read. `parents` are the indices of the steps whose results it was given.
    """

    result: Tensor
    name: str
    line: SourceLine | None
    is_callers: bool
    is_hidden: bool
    parents: tuple[int, ...]


class _StepRecorder(Recorder):
    """Records every tensor that a function of torch returns or writes to, with its line."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self._made: dict[int, tuple[int, Tensor]] = {}  # a tensor that is kept keeps its id

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and keep a copy of what it returns."""
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
        """Return the index of the last step that returned or wrote to a tensor, or None."""
        return self._made[id(result)][0] if id(result) in self._made else None


def choose_inputs(model: nn.Module, interface: Interface) -> Inputs:
    """Return inputs of sizes that nothing else in the model has, unless it takes others only."""
    own = {size for size, _ in list_own_sizes(model, interface)}
    own |= {size for each in model.parameters() if not is_lazy(each) for size in each.shape}
    batch = interface.batch or choose_other_size(3, own)
    steps = choose_other_size(batch + 1, own)
    while batch * steps in own:
        steps = choose_other_size(steps + 1, own)
    return Inputs(interface, batch, interface.steps or steps)


def find_mixing(isolated: IsolatedModel, inputs: Inputs, seed: int) -> Mixing | None:
    """Return where samples first mix, or None if that is not found.

    One sample is changed at a time. In the first result in which this changes numbers that are not
    the sample's own, whichever dimension holds the samples, they mix or have changed their places.
    What cancels before it reaches the prediction does not count. If there is none, the same is done
    in a padded batch, which some models sort.
    """
    batches: list[tuple[Tensor, Tensor | None]] = [(inputs.draw(seed), None)]
    if can_pad(inputs):
        batches.append((draw_padded_batch(inputs, seed), give_lengths(inputs)))
    with torch.no_grad(), suppress(Exception):  # this only helps; rules say what is raised
        for x, lengths in batches:
            before, last = _record_steps(isolated, x, lengths)
            changed = [_change_sample(inputs, x, each, seed) for each in range(inputs.batch)]
            after = [_record_steps(isolated, each, lengths)[0] for each in changed]
            mixed, separate = _judge_steps(before, after, inputs)
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
    """Return the steps of a call, and the index of the one that made the prediction, if known."""
    recorder = _StepRecorder()
    with recorder:
        prediction = isolated(x, lengths=lengths)
    return recorder.steps, recorder.find_step(prediction)


def _judge_steps(
    before: list[_Step], after: list[list[_Step]], inputs: Inputs
) -> tuple[set[int], set[int]]:
    """Return the indices of the steps in which samples mix, and of those that keep them apart.

    Steps whose dimensions do not show which one holds the samples are in neither.
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
    """Return the steps from which a step is made, but not through one that keeps samples apart."""
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
