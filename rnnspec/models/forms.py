"""Forms of predictions, and the expressions that turn each into a row per sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.text import TextEnum


class Readout(TextEnum):
    """How often a model predicts: once per sequence, or at every time step."""

    LAST = "last"
    EVERY = "every"


class Dimension(Enum):
    """The meaning of a dimension of a prediction."""

    BATCH = "N"
    STEPS = "L"
    BOTH = "N*L"
    OTHER = "K"


class PredictionForm(NamedTuple):
    """A form of predictions.

    `suffix` is the end of an expression that turns the results into (batch, outputs) or (batch,
    steps, outputs).
    """

    readout: Readout
    suffix: str


N, L, B, K = Dimension.BATCH, Dimension.STEPS, Dimension.BOTH, Dimension.OTHER
FORMS: dict[tuple[Dimension, ...], tuple[PredictionForm, ...]] = {
    (N, K): (PredictionForm(Readout.LAST, ""),),
    (N,): (PredictionForm(Readout.LAST, ".unsqueeze(-1)"),),
    (N, L, K): (PredictionForm(Readout.EVERY, ""),),
    (N, L): (PredictionForm(Readout.EVERY, ".unsqueeze(-1)"),),
    (L, N, K): (PredictionForm(Readout.EVERY, ".transpose(0, 1)"),),
    (L, N): (PredictionForm(Readout.EVERY, ".T.unsqueeze(-1)"),),
    (N, L, K, K): (PredictionForm(Readout.EVERY, ".flatten(2)"),),
    (L, N, K, K): (PredictionForm(Readout.EVERY, ".transpose(0, 1).flatten(2)"),),
    (N, K, L): (PredictionForm(Readout.EVERY, ".transpose(1, 2)"),),
    (B, K): (
        PredictionForm(Readout.EVERY, ".reshape(batch, steps, -1)"),
        PredictionForm(Readout.EVERY, ".reshape(steps, batch, -1).transpose(0, 1)"),
    ),
    (B,): (
        PredictionForm(Readout.EVERY, ".reshape(batch, steps, 1)"),
        PredictionForm(Readout.EVERY, ".reshape(steps, batch, 1).transpose(0, 1)"),
    ),
    (N, K, K): (PredictionForm(Readout.LAST, ".flatten(1)"),),
}
"""Forms by their dimensions. If there are several, use the first that does not mix samples."""

PACKED_DATA = (
    "torch.nn.utils.rnn.pad_packed_sequence(torch.nn.utils.rnn.PackedSequence({access}, "
    "*torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(batch, steps), lengths, "
    "batch_first=True{order})[1:]), batch_first=True, total_length=steps)[0]"
)
"""The access to the data of a packed sequence, with as many rows as all lengths together.

`{order}` is `UNSORTED`, or nothing if the lengths are in descending order. Sorting may exchange
sequences of equal length, so both have to be packed in the same way.
"""
UNSORTED = ", enforce_sorted=False"

STACKED: dict[tuple[Dimension, ...], tuple[PredictionForm, ...]] = {
    (K, N, K): (PredictionForm(Readout.LAST, "[0]"),),
    (K, N, L, K): (PredictionForm(Readout.EVERY, "[0]"),),
    (K, L, N, K): (PredictionForm(Readout.EVERY, "[0].transpose(0, 1)"),),
    (K, N): (PredictionForm(Readout.LAST, "[0].unsqueeze(-1)"),),
}
"""Forms with an extra first dimension of size 1, as in h_n; used only if no other form fits."""

DECODED: dict[tuple[Dimension, ...], tuple[PredictionForm, ...]] = {
    (K, N, K): (PredictionForm(Readout.LAST, ".transpose(0, 1).flatten(1)"),)
}
"""The form of a decoder that makes a fixed number of steps for all samples.

Used only if no other form fits, because the states of a stack have this form too.
"""

SINGLE = {
    (K,): (PredictionForm(Readout.LAST, "[None]"),),
    (L, K): (PredictionForm(Readout.EVERY, "[None]"),),
    (L,): (PredictionForm(Readout.EVERY, "[None, :, None]"),),
    (L, K, K): (PredictionForm(Readout.EVERY, ".flatten(1)[None]"),),
    (K, K): (PredictionForm(Readout.LAST, ".flatten()[None]"),),
    (K, L, K): (PredictionForm(Readout.EVERY, ""),),
    (): (PredictionForm(Readout.LAST, ".reshape(1, 1)"),),
}
"""Forms of the prediction for a single sequence without a batch dimension."""

PREFERRED = ("logits", "prediction", "predictions", "output", "outputs", "scores", "probs", "y")
"""Keys of dictionaries that are searched first for a prediction."""

BatchAndSteps = tuple[int, int]
"""A batch size and a number of steps."""


class ResultTensor(NamedTuple):
    """A tensor in the results of a call: the expression that extracts it, and its dimensions."""

    access: str
    shape: tuple[int, ...]


WHOLE = "{call}"
"""The access to all results of a call."""


def list_entries(value: Any, access: str = WHOLE) -> Iterator[ResultTensor]:
    """Yield the floating-point tensors in nested tuples, lists, dictionaries and dataclasses.

    `{call}` in the access stands for the call.
    """
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield ResultTensor(access, tuple(value.shape))
    elif isinstance(value, PackedSequence):
        padded = "torch.nn.utils.rnn.pad_packed_sequence"
        lengths, data = value.batch_sizes, value.data
        shape = (int(lengths[0]), len(lengths), *data.shape[1:])
        yield ResultTensor(f"{padded}({access}, batch_first=True)[0]", shape)
    elif isinstance(value, Mapping):
        keys = sorted(value, key=_rank_key)
        for key in keys:
            yield from list_entries(value[key], f"{access}[{key!r}]")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from list_entries(item, f"{access}[{index}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from list_entries(getattr(value, field.name), f"{access}.{field.name}")


def _rank_key(key: object) -> int:
    return PREFERRED.index(key) if key in PREFERRED else len(PREFERRED)


def find_forms(shapes: Mapping[BatchAndSteps, tuple[int, ...]]) -> tuple[PredictionForm, ...]:
    """Return the possible forms of predictions, given their shapes for sizes (batch, steps).

    Returns an empty tuple if no form fits.
    """
    axes = name_axes(shapes)
    if axes is None:
        return ()
    is_single = all(batch == 1 for batch, _ in shapes)
    found = FORMS.get(axes, ()) or (SINGLE.get(axes, ()) if is_single else ())
    is_stacked = all(shape[:1] == (1,) for shape in shapes.values())
    return found or (STACKED if is_stacked else DECODED).get(axes, ())


def is_form_of_states(form: PredictionForm) -> bool:
    """Return whether final states, with the layers as first dimension, have this form too."""
    return any(form in forms for forms in (*STACKED.values(), *DECODED.values()))


def joins_axes(form: PredictionForm) -> bool:
    """Return whether predictions of this form have a joint axis for the batch and the steps."""
    return any(Dimension.BOTH in axes and form in forms for axes, forms in FORMS.items())


def name_axes(shapes: Mapping[BatchAndSteps, tuple[int, ...]]) -> tuple[Dimension, ...] | None:
    """Return the meaning of each dimension, given the shapes for several sizes (batch, steps).

    Returns None if a dimension changes with the sizes in another way, or if the number of
    dimensions differs.
    """
    ranks = {len(shape) for shape in shapes.values()}
    if len(ranks) != 1:
        return None
    axes: list[Dimension] = []
    for index in range(len(next(iter(shapes.values())))):
        lengths = {size: shape[index] for size, shape in shapes.items()}
        axis = next((each for each in Dimension if _is_axis(each, lengths, axes, shapes)), None)
        if axis is None:
            return None
        axes.append(axis)
    return tuple(axes)


def _is_axis(
    axis: Dimension,
    lengths: Mapping[BatchAndSteps, int],
    earlier: Sequence[Dimension],
    shapes: Mapping[BatchAndSteps, tuple[int, ...]],
) -> bool:
    """Return whether a dimension with these lengths can be an axis, after the earlier axes.

    If all calls had the same number of steps, a second dimension of that size may also be the
    outputs.
    """
    if axis is Dimension.OTHER:
        return len(set(lengths.values())) == 1
    if axis in earlier or Dimension.BOTH in earlier:
        return False
    if axis is Dimension.BATCH:
        return all(length == batch for (batch, _), length in lengths.items())
    if axis is Dimension.BOTH:
        return not earlier and all(
            length == batch * steps for (batch, steps), length in lengths.items()
        )
    is_constant = len({steps for _, steps in lengths}) == 1
    rank = len(next(iter(shapes.values())))
    is_proven = not is_constant or rank > 2 or not earlier
    return is_proven and all(length == steps for (_, steps), length in lengths.items())
