"""Measure whether padding reaches a prediction, and whether samples mix in a padded batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnspec.models.case import MOST_PADDING
from rnnspec.models.closeness import find_changes, find_difference
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel, fork_random_numbers
from rnnspec.models.reach import ReadoutReader
from rnnspec.models.steps import suppress_failures
from rnnspec.subjects.failures import Ended, Failure


def can_pad(inputs: Inputs) -> bool:
    """Return whether a model can recognise the ends of sequences, by lengths or by a padding id.

    Padding on the left does not count: a recurrent layer reads it before the sequence.
    """
    interface = inputs.interface
    if interface.is_padded_left:
        return False
    if interface.call.takes_lengths:
        return inputs.batch > 1
    return interface.padding is not None and interface.takes_tokens


def list_lengths(inputs: Inputs) -> list[int]:
    """Return the lengths of the sequences in a padded batch; the longest has no padding.

    They are unsorted, unless the model accepts only sorted lengths.
    """
    cut = [(MOST_PADDING, 0, 1)[sample % 3] for sample in range(inputs.batch)]
    cut = sorted(cut) if inputs.interface.call.is_sorted else cut
    return [max(inputs.steps - each, inputs.interface.least_steps) for each in cut]


def draw_padded_batch(inputs: Inputs, seed: int) -> Tensor:
    """Draw a batch of sequences with different lengths, each followed by padding.

    Padding is zero for features, and for token ids without a declared padding id.
    """
    x = inputs.draw(seed)
    for sample, length in enumerate(list_lengths(inputs)):
        for position in range(length, inputs.steps):
            x[inputs.index_of(sample, position)] = inputs.interface.padding or 0
    return x


def is_padding_read(isolated: IsolatedModel, reader: ReadoutReader, seed: int) -> bool | None:
    """Return whether a prediction depends on the padding after its sequence.

    It does if it differs from the prediction for the same sequence alone, without padding, or if
    another embedding of the padding id changes it by more than cancellation explains. Predictions
    at every step are compared up to the end of the sequence. Returns None if the model cannot
    recognise the ends.
    """
    if not can_pad(reader.inputs):
        return None
    x = draw_padded_batch(reader.inputs, seed)
    with torch.no_grad():
        padded = isolated(x, lengths=give_lengths(reader.inputs))
        sample, length = _find_shortest(reader.inputs)
        expected = _cut_at_end(reader.put_batch_first(padded)[sample], length, reader)
        return _has_embedding_effect(isolated, reader, x, expected) or _has_length_effect(
            isolated, reader, x, expected
        )


def measure_padded_samples(isolated: IsolatedModel, reader: ReadoutReader, seed: int) -> Tensor:
    """Return (N, N): whether changing sample i changed the prediction for j in a padded batch.

    All False if the model cannot recognise the ends.
    """
    inputs = reader.inputs
    reached = torch.zeros(inputs.batch, inputs.batch, dtype=torch.bool)
    if not can_pad(inputs):
        return reached
    x, lengths = draw_padded_batch(inputs, seed), give_lengths(inputs)
    with torch.no_grad():
        unchanged = reader.put_batch_first(isolated(x, lengths=lengths))
        for sample in range(inputs.batch):
            changed = inputs.change_position(x, sample, 0, seed)
            with suppress_failures():  # some models refuse some inputs
                prediction = reader.put_batch_first(isolated(changed, lengths=lengths))
                reached[sample] = find_changes(unchanged, prediction).flatten(1).any(-1).cpu()
    return reached


def give_lengths(inputs: Inputs) -> Tensor | None:
    """Return the lengths of a padded batch (N,) for a model that takes lengths, or None."""
    return torch.tensor(list_lengths(inputs)) if inputs.interface.call.takes_lengths else None


def ignores_lengths(build: Callable[[], nn.Module], inputs: Inputs, x: Tensor, seed: int) -> bool:
    """Return whether a model's predictions for a padded batch ignore the given lengths."""
    if not inputs.interface.call.takes_lengths or not can_pad(inputs):
        return False
    predictions = []
    for lengths in (give_lengths(inputs), None):
        model = build()
        with torch.no_grad(), fork_random_numbers(seed):
            predictions.append(inputs.interface.predict(model, x.clone(), lengths))
    return torch.equal(*predictions)


def _find_shortest(inputs: Inputs) -> tuple[int, int]:
    """Return the index and the length of the shortest sequence in a padded batch."""
    lengths = list_lengths(inputs)
    return lengths.index(min(lengths)), min(lengths)


def _has_embedding_effect(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor, expected: Tensor
) -> bool:
    module = isolated.prepare_module()
    padding = reader.inputs.interface.padding
    sample, length = _find_shortest(reader.inputs)
    own = (weight for each in module.modules() for weight in each.parameters(recurse=False))
    users = Counter(map(id, own))
    weights = [
        each.weight
        for each in module.modules()
        if isinstance(each, nn.Embedding)
        and each.padding_idx == padding is not None
        and users[id(each.weight)] == 1  # a weight that is tied to an output should change it
    ]
    kept = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight[padding] += 1.0
    try:
        prediction = isolated.run_module(module, x, lengths=give_lengths(reader.inputs))
    except Ended:
        raise
    except Failure:  # the model may recognise padding by its embedding
        return False
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)
    changed = reader.put_batch_first(prediction)[sample]
    return bool(find_changes(expected, _cut_at_end(changed, length, reader)).any())


def _has_length_effect(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor, expected: Tensor
) -> bool:
    alone = _predict_alone(isolated, reader, x)
    if alone is None or alone.shape != expected.shape:
        return False
    return find_difference(alone, expected) is not None


def _predict_alone(isolated: IsolatedModel, reader: ReadoutReader, x: Tensor) -> Tensor | None:
    """Return the prediction for the shortest sequence alone and without padding, or None.

    None means that the call fails, that it returns another shape, or that the call expression draws
    random numbers, which depend on the batch.
    """
    if reader.inputs.interface.call.draws_numbers:
        return None
    batch_first = reader.inputs.interface.batch_first
    sample, length = _find_shortest(reader.inputs)
    alone = slice(sample, sample + 1)
    lengths = torch.tensor([length]) if reader.inputs.interface.call.takes_lengths else None
    try:
        prediction = isolated(
            x[alone, :length] if batch_first else x[:length, alone], lengths=lengths
        )
    except Exception:  # other rules report models that refuse other sizes
        return None
    if reader.every_step and not batch_first and prediction.shape[:2] == (length, 1):
        prediction = prediction.transpose(0, 1)
    if prediction.shape[:1] != (1,):
        return None
    return prediction[0] if prediction.dim() > 1 else prediction


def _cut_at_end(prediction: Tensor, length: int, reader: ReadoutReader) -> Tensor:
    """Return the prediction for a sample, up to its end if there is one per step."""
    return prediction[:length] if reader.every_step else prediction
