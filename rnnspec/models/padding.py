"""Measure whether padding reaches a prediction, and whether samples mix in a padded batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.reach import ReadoutReader

# The same sequence in a batch of another size may take a kernel that adds in another order, and no
# error bound is known for a user's model. The tolerances for float64 and float32 are far above that
# difference, and far below the effect of padding that is read.
TOLERANCE = {torch.float64: 1e-9}
"""The largest difference of equal predictions, relative to 1 + |prediction|, by dtype."""

DEFAULT_TOLERANCE = 1e-3
"""The tolerance for every dtype that is not in `TOLERANCE`."""


def draw_padded_batch(inputs: Inputs, seed: int) -> Tensor:
    """Draw a batch of token ids with different lengths, each sequence followed by padding.

    The first sequence is the shortest, and the lengths are not sorted.
    """
    x = inputs.draw(seed)
    for sample, length in enumerate(_list_lengths(inputs)):
        for position in range(length, inputs.steps):
            x[inputs.index_of(sample, position)] = inputs.interface.padding or 0
    return x


def is_padding_read(isolated: IsolatedModel, reader: ReadoutReader, seed: int) -> bool | None:
    """Return whether a prediction depends on the padding after its sequence.

    It does if another embedding of the padding id changes the prediction in any bit, or if the
    prediction differs from the one for the same sequence alone without padding. Of predictions at
    every step, those up to the end of the sequence count. Returns None if the model declares no
    padding id.
    """
    if reader.inputs.interface.padding is None or not reader.inputs.interface.takes_tokens:
        return None
    x = draw_padded_batch(reader.inputs, seed)
    with torch.no_grad():
        expected = _cut_at_end(reader.put_batch_first(isolated(x))[0], reader)
        return _has_embedding_effect(isolated, reader, x, expected) or _has_length_effect(
            isolated, reader, x, expected
        )


def measure_padded_samples(isolated: IsolatedModel, reader: ReadoutReader, seed: int) -> Tensor:
    """Return (N, N): whether changing sample i changed the prediction for j in a padded batch.

    All False if the model declares no padding id.
    """
    inputs = reader.inputs
    reached = torch.zeros(inputs.batch, inputs.batch, dtype=torch.bool)
    if inputs.interface.padding is None or not inputs.interface.takes_tokens:
        return reached
    x = draw_padded_batch(inputs, seed)
    with torch.no_grad():
        unchanged = reader.put_batch_first(isolated(x))
        for sample in range(inputs.batch):
            changed = isolated(inputs.change_position(x, sample, 0, seed))
            differs = reader.put_batch_first(changed) != unchanged
            reached[sample] = differs.flatten(1).any(-1).cpu()
    return reached


def _has_embedding_effect(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor, expected: Tensor
) -> bool:
    module = isolated.prepare_module()
    padding = reader.inputs.interface.padding
    weights = [
        each.weight
        for each in module.modules()
        if isinstance(each, nn.Embedding) and each.padding_idx == padding
    ]
    kept = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight[padding] += 1.0
    try:
        changed = reader.put_batch_first(isolated.run_module(module, x))[0]
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)
    return not torch.equal(_cut_at_end(changed, reader), expected)


def _has_length_effect(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor, expected: Tensor
) -> bool:
    alone = _predict_first_alone(isolated, reader, x)
    if alone is None or alone.shape != expected.shape:
        return False
    relative = TOLERANCE.get(alone.dtype, DEFAULT_TOLERANCE)
    return bool(((alone - expected).abs() > relative * (1 + alone.abs())).any())


def _predict_first_alone(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor
) -> Tensor | None:
    """Return the prediction for the first sequence alone and without padding, or None.

    None means that the model cannot be called so, or returns another shape.
    """
    batch_first = reader.inputs.interface.batch_first
    length = _list_lengths(reader.inputs)[0]
    try:
        prediction = isolated(x[:1, :length] if batch_first else x[:length, :1])
    except Exception:  # other rules report a model that takes no other batch size or length
        return None
    if reader.every_step and not batch_first and prediction.shape[:2] == (length, 1):
        prediction = prediction.transpose(0, 1)
    if prediction.shape[:1] != (1,):
        return None
    return prediction[0] if prediction.dim() > 1 else prediction


def _cut_at_end(prediction: Tensor, reader: ReadoutReader) -> Tensor:
    """Return the prediction for the first sample, up to its end if there is one per step."""
    return prediction[: _list_lengths(reader.inputs)[0]] if reader.every_step else prediction


def _list_lengths(inputs: Inputs) -> list[int]:
    return [max(inputs.steps - (2, 0, 1)[sample % 3], 1) for sample in range(inputs.batch)]
