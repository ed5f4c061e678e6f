"""Whether padding after the end of a sequence reaches its prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnspec.models.probe import Probe
from rnnspec.models.reach import Look

TOLERANCE = 1e-9
"""Two float64 predictions further apart than this, relative to 1 + their magnitude, differ by more than the order of a sum explains."""


def padding_reaches(probe: Probe, look: Look, seed: int) -> bool | None:
    """Whether a sequence's prediction depends on the padding after it; None where the model declares no padding id.

    Two questions, either of which is enough: does another embedding of the padding id change the prediction, bit for bit; and does
    the prediction differ from that of the same sequence given alone without padding. Every-step predictions count up to the sequence's end.
    """
    padding = look.inputs.interface.padding
    if padding is None or not look.inputs.interface.takes_tokens:
        return None
    x = look.inputs.draw(seed)
    end = max(look.inputs.steps - 2, 1)
    for position in range(end, look.inputs.steps):
        x[look.inputs.place(1, position)] = padding
    with torch.no_grad():
        kept = _until(look.by_sample(probe(x))[1], look, end)
        return _embedding_reaches(probe, look, x, kept, end) or _length_reaches(probe, look, x, kept, end)


def _embedding_reaches(probe: Probe, look: Look, x: Tensor, kept: Tensor, end: int) -> bool:
    module = probe.instance()
    rows = [m.weight for m in module.modules() if isinstance(m, nn.Embedding) and m.padding_idx == look.inputs.interface.padding]
    before = [row.detach().clone() for row in rows]
    for row in rows:
        row[look.inputs.interface.padding] += 1.0
    changed = _until(look.by_sample(probe.run(module, x))[1], look, end)
    for row, value in zip(rows, before, strict=True):
        row.copy_(value)
    return not torch.equal(changed, kept)


def _length_reaches(probe: Probe, look: Look, x: Tensor, kept: Tensor, end: int) -> bool:
    alone = x[1:2, :end] if look.inputs.interface.batch_first else x[:end, 1:2]
    try:
        prediction = probe(alone)
    except Exception:  # a model that takes no other batch or length is told so by other rules
        return False
    if look.every_step and not look.inputs.interface.batch_first and prediction.shape[:2] == (end, 1):
        prediction = prediction.transpose(0, 1)
    if prediction.shape[:1] != (1,):
        return False
    exact = _until(prediction[0] if prediction.dim() > 1 else prediction, look, end)
    return exact.shape == kept.shape and bool(((exact - kept).abs() > _allowed(exact)).any())


def _allowed(exact: Tensor) -> Tensor:
    relative = TOLERANCE if exact.dtype == torch.float64 else 1e-3
    return relative * (1 + exact.abs())


def _until(prediction: Tensor, look: Look, end: int) -> Tensor:
    return prediction[:end] if look.every_step else prediction
