"""Which input positions can change which read-out features, and which samples reach which predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel, Watcher
from rnnspec.models.locate import Features


@dataclass
class Reach:
    """What was seen to reach what, as boolean tensors.

    `changed` (P, C) where a finite change at the position changed the column, bit for bit; `nan` (P, C) where a NaN arrived;
    `prediction` (P,) where a finite change changed the sample's own prediction or had a gradient; `samples` (N, N) where a finite change
    in the first sample changed the second's prediction, or had a gradient.
    """

    changed: Tensor
    nan: Tensor
    prediction: Tensor
    samples: Tensor

    def __or__(self, other: Reach) -> Reach:
        return Reach(
            self.changed | other.changed,
            self.nan | other.nan,
            self.prediction | other.prediction,
            self.samples | other.samples,
        )


@dataclass(frozen=True)
class Look:
    """How a model is looked at: its inputs, the module whose input is the read-out (None: the prediction itself), one row a step or not."""

    inputs: Inputs
    module: str | None
    every_step: bool

    def __call__(
        self, probe: IsolatedModel, x: Tensor, *watchers: Watcher
    ) -> tuple[Tensor, Tensor]:
        """The columns (N, C, ...) and the prediction (N, ...) of each sample."""
        if self.module is None:
            prediction = self.by_sample(probe(x, *watchers))
            return prediction, prediction
        features = Features(self.module)
        prediction = self.by_sample(probe(x, features.watch, *watchers))
        return (prediction if features.taken is None else features.taken), prediction

    def by_sample(self, prediction: Tensor) -> Tensor:
        """The prediction with the batch axis first, at least (N, 1)."""
        if self.every_step and prediction.shape[:2] == (self.inputs.steps, self.inputs.batch):
            return prediction.transpose(0, 1)
        return prediction.unsqueeze(-1) if prediction.dim() == 1 else prediction


def measure_reach(probe: IsolatedModel, look: Look, seed: int) -> Reach:
    """One draw of inputs, every position of every sample changed and spoiled once, and one gradient a sample."""
    inputs = look.inputs
    x = probe.cast(inputs.draw(seed))
    with torch.no_grad():
        base = look(probe, x)
        parts = [
            _one(probe, look, x, base, sample, position)
            for sample in range(inputs.batch)
            for position in range(inputs.steps)
        ]
    total = parts[0]
    for part in parts[1:]:
        total = total | part
    return total | _by_gradient(probe, look, x, total)


def _one(
    probe: IsolatedModel,
    look: Look,
    x: Tensor,
    base: tuple[Tensor, Tensor],
    sample: int,
    position: int,
) -> Reach:
    inputs = look.inputs
    columns, prediction = look(probe, inputs.changed(x, sample, position, seed=sample + position))
    spoiled, _ = look(probe, inputs.spoiled(x, sample, position), *_spoilers(inputs, x))
    differs = _rows(prediction != base[1]).any(-1)
    result = _nothing(inputs, base[0])
    result.changed[position] = _columns(columns != base[0], sample, look.every_step)
    result.nan[position] = _columns(spoiled.isnan() & ~base[0].isnan(), sample, look.every_step)
    result.prediction[position] = differs[sample]
    result.samples[sample] = differs
    return result


def _by_gradient(probe: IsolatedModel, look: Look, x: Tensor, like: Reach) -> Reach:
    result = Reach(
        torch.zeros_like(like.changed),
        torch.zeros_like(like.nan),
        torch.zeros_like(like.prediction),
        torch.zeros_like(like.samples),
    )
    leaf = Leaf()
    source = x.clone().requires_grad_() if x.is_floating_point() else x
    prediction = look.by_sample(probe(source, *([] if x.is_floating_point() else [leaf.watch])))
    target = source if x.is_floating_point() else leaf.tensor
    if target is None or not prediction.requires_grad or target.shape[:2] != x.shape[:2]:
        return result
    for sample in range(look.inputs.batch):
        (gradient,) = torch.autograd.grad(
            mixed(prediction[sample]), target, retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            seen = (gradient != 0).flatten(2).any(-1)
            seen = seen if look.inputs.interface.batch_first else seen.transpose(0, 1)
            result.samples[:, sample] |= seen.any(1).cpu()
            result.prediction |= seen[sample].cpu()
    return result


@dataclass
class Leaf:
    """Replaces the output of the first embedding that is called by a leaf of the graph, kept as `tensor`."""

    tensor: Tensor | None = None

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """The hooks that do it."""

        def replace(_module: nn.Module, _arguments: Any, output: Tensor) -> Tensor | None:
            if self.tensor is not None:
                return None
            self.tensor = output.detach().clone().requires_grad_()
            return self.tensor

        return [
            module.register_forward_hook(replace)
            for module in model.modules()
            if isinstance(module, nn.Embedding)
        ]


def _spoilers(inputs: Inputs, x: Tensor) -> list[Watcher]:
    """The watcher that makes the embedding of the marked id NaN, in embeddings of the whole input; none for features."""
    if not inputs.interface.takes_tokens:
        return []

    def spoil(_module: nn.Module, arguments: Any, output: Tensor) -> Tensor | None:
        ids = arguments[0]
        return (
            output.masked_fill((ids == inputs.marked).unsqueeze(-1), float("nan"))
            if ids.numel() == x.numel()
            else None
        )

    def watch(model: nn.Module) -> list[RemovableHandle]:
        return [
            module.register_forward_hook(spoil)
            for module in model.modules()
            if isinstance(module, nn.Embedding)
        ]

    return [watch]


def _nothing(inputs: Inputs, columns: Tensor) -> Reach:
    shapes = (
        (inputs.steps, columns.shape[1]),
        (inputs.steps, columns.shape[1]),
        (inputs.steps,),
        (inputs.batch, inputs.batch),
    )
    return Reach(*(torch.zeros(shape, dtype=torch.bool) for shape in shapes))


def _columns(differs: Tensor, sample: int, every_step: bool) -> Tensor:
    row = differs[sample].cpu()
    return row.flatten(1).any(-1) if every_step or row.dim() > 1 else row


def _rows(differs: Tensor) -> Tensor:
    return differs.flatten(1).cpu()


def mixed(prediction: Tensor) -> Tensor:
    """A sum in which no two outputs cancel, whatever normalisation they went through."""
    weights = (
        torch.rand(
            prediction.numel(), generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        + 0.5
    )
    return (prediction.flatten() * weights.to(prediction)).sum()
