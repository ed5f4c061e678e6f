"""Batches that are filled up with padding: whether it reaches a prediction, and whether the samples stay apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.reach import Look

TOLERANCE = {torch.float64: 1e-9}
"""Two predictions further apart than this, relative to 1 + their magnitude, differ by more than the order of a sum explains."""

COARSE = 1e-3
"""The same for every other dtype."""


def padded(inputs: Inputs, seed: int) -> Tensor:
    """A batch of different lengths, neither rising nor falling, padding after each; the shortest is the first."""
    x = inputs.draw(seed)
    for sample, end in enumerate(_ends(inputs)):
        for position in range(end, inputs.steps):
            x[inputs.place(sample, position)] = inputs.interface.padding or 0
    return x


def padding_reaches(probe: IsolatedModel, look: Look, seed: int) -> bool | None:
    """Whether a sequence's prediction depends on the padding after it; None where the model declares no padding id.

    Two questions, either of which is enough: does another embedding of the padding id change the prediction, bit for bit; and does
    the prediction differ from that of the same sequence given alone without padding. Every-step predictions count up to the sequence's end.
    """
    if look.inputs.interface.padding is None or not look.inputs.interface.takes_tokens:
        return None
    x = padded(look.inputs, seed)
    with torch.no_grad():
        kept = _until(look.by_sample(probe(x))[0], look)
        return _embedding_reaches(probe, look, x, kept) or _length_reaches(probe, look, x, kept)


def padded_samples(probe: IsolatedModel, look: Look, seed: int) -> Tensor:
    """(N, N), where sample i's ids changed prediction j in a padded batch; all False where the model declares no padding id."""
    inputs = look.inputs
    reached = torch.zeros(inputs.batch, inputs.batch, dtype=torch.bool)
    if inputs.interface.padding is None or not inputs.interface.takes_tokens:
        return reached
    x = padded(inputs, seed)
    with torch.no_grad():
        base = look.by_sample(probe(x))
        for sample in range(inputs.batch):
            other = look.by_sample(probe(inputs.changed(x, sample, 0, seed)))
            reached[sample] = (other != base).flatten(1).any(-1).cpu()
    return reached


def _embedding_reaches(probe: IsolatedModel, look: Look, x: Tensor, kept: Tensor) -> bool:
    module = probe.instance()
    padding = look.inputs.interface.padding
    rows = [
        m.weight
        for m in module.modules()
        if isinstance(m, nn.Embedding) and m.padding_idx == padding
    ]
    before = [row.detach().clone() for row in rows]
    for row in rows:
        row[padding] += 1.0
    try:
        changed = look.by_sample(probe.run(module, x))[0]
    finally:
        for row, value in zip(rows, before, strict=True):
            row.copy_(value)
    return not torch.equal(_until(changed, look), kept)


def _length_reaches(probe: IsolatedModel, look: Look, x: Tensor, kept: Tensor) -> bool:
    alone = _alone(probe, look, x, _ends(look.inputs)[0])
    if alone is None or alone.shape != kept.shape:
        return False
    relative = TOLERANCE.get(alone.dtype, COARSE)
    return bool(((alone - kept).abs() > relative * (1 + alone.abs())).any())


def _alone(probe: IsolatedModel, look: Look, x: Tensor, end: int) -> Tensor | None:
    """The prediction for the first sample given without the others and without padding; None where the model cannot say."""
    try:
        prediction = probe(x[:1, :end] if look.inputs.interface.batch_first else x[:end, :1])
    except Exception:  # a model that takes no other batch or length is told so by other rules
        return None
    if (
        look.every_step
        and not look.inputs.interface.batch_first
        and prediction.shape[:2] == (end, 1)
    ):
        prediction = prediction.transpose(0, 1)
    if prediction.shape[:1] != (1,):
        return None
    return prediction[0] if prediction.dim() > 1 else prediction


def _until(prediction: Tensor, look: Look) -> Tensor:
    """The first sample's prediction, up to its own end where there is one a step."""
    return prediction[: _ends(look.inputs)[0]] if look.every_step else prediction


def _ends(inputs: Inputs) -> list[int]:
    return [max(inputs.steps - (2, 0, 1)[sample % 3], 1) for sample in range(inputs.batch)]
