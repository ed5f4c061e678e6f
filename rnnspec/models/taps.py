"""What a prediction takes from each recurrent layer: which steps and directions of its output, which of its final states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils.hooks import RemovableHandle

from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import Layer, find_layers
from rnnspec.models.reach import Look, mixed


@dataclass(frozen=True)
class Tap:
    """What the predictions take from one layer.

    `steps` holds (step, direction) pairs of the layer's output; `states` holds (layer, direction) pairs of h_n, and of c_n for an LSTM.
    `crosses` names "output" and "states" where a prediction takes another sample's; `along_batch` says that the layer's time axis has the
    size of the batch.
    """

    layer: Layer
    steps: tuple[tuple[int, int], ...]
    states: tuple[tuple[int, int], ...]
    crosses: tuple[str, ...]
    along_batch: bool


class Cut:
    """Replaces what one layer returns by leaves of the graph, so that gradients stop there and tell output and states apart."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.calls = 0
        self.shape: tuple[int, ...] = ()
        self.output: Tensor | None = None
        self.states: list[Tensor] = []

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """The hook that does it."""
        return [model.get_submodule(self.layer.name).register_forward_hook(self._replace)]

    def _replace(self, _module: nn.Module, arguments: Any, result: Any) -> Any:
        self.calls += 1
        output, states = result
        pair = states if isinstance(states, tuple) else (states,)
        self.shape = tuple(arguments[0].shape) if isinstance(arguments[0], Tensor) else ()
        self.states = [_leaf(state) for state in pair]
        output = self._cut_output(output)
        return output, tuple(self.states) if isinstance(states, tuple) else self.states[0]

    def _cut_output(self, output: Any) -> Any:
        if not isinstance(output, PackedSequence):
            self.output = _leaf(output)
            return self.output
        padded, lengths = pad_packed_sequence(output, self.layer.batch_first)
        self.output = _leaf(padded)
        order = output.sorted_indices
        return nn.utils.rnn.pack_padded_sequence(
            self.output, lengths, self.layer.batch_first, enforce_sorted=order is None
        )


def find_taps(probe: IsolatedModel, look: Look, seed: int) -> list[Tap]:
    """One tap for each recurrent layer that a call passes through exactly once; none where no gradient says what is taken."""
    found = [_tap(probe, look, layer, seed) for layer in find_layers(probe.module)]
    return [tap for tap in found if tap is not None]


def join_taps(first: list[Tap], second: list[Tap]) -> list[Tap]:
    """The union of what two draws took, layer by layer."""
    others = {tap.layer.name: tap for tap in second}
    return [_union(tap, others.get(tap.layer.name, tap)) for tap in first]


def _union(one: Tap, other: Tap) -> Tap:
    return Tap(
        one.layer,
        tuple(sorted({*one.steps, *other.steps})),
        tuple(sorted({*one.states, *other.states})),
        tuple(sorted({*one.crosses, *other.crosses})),
        one.along_batch,
    )


def _tap(probe: IsolatedModel, look: Look, layer: Layer, seed: int) -> Tap | None:
    cut = Cut(layer)
    try:
        prediction = look.by_sample(probe(look.inputs.draw(seed), cut.watch))
    except (TypeError, ValueError):  # the layer does not return (output, states)
        return None
    if (
        cut.calls != 1
        or cut.output is None
        or cut.output.dim() != 3
        or not prediction.requires_grad
    ):
        return None
    taken = [_taken(mixed(prediction[sample]), cut) for sample in range(look.inputs.batch)]
    return _described(layer, look.inputs, cut, taken)


def _taken(target: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Where the gradient is not zero: (N, T, D) of the output and (N, L, D) of the states."""
    leaves = [leaf for leaf in (cut.output, *cut.states) if leaf is not None]
    gradients = torch.autograd.grad(target, leaves, retain_graph=True, allow_unused=True)
    seen = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]
    output = seen[0] if cut.layer.batch_first else seen[0].transpose(0, 1)
    states = torch.stack([(state != 0).any(-1) for state in seen[1:]]).any(0)
    by_direction = (output != 0).reshape(*output.shape[:2], cut.layer.directions, -1).any(-1)
    return by_direction.cpu(), states.reshape(
        cut.layer.num_layers, cut.layer.directions, -1
    ).permute(2, 0, 1).cpu()


def _described(layer: Layer, inputs: Inputs, cut: Cut, taken: list[tuple[Tensor, Tensor]]) -> Tap:
    outputs, states = (
        torch.stack([pair[0] for pair in taken]),
        torch.stack([pair[1] for pair in taken]),
    )
    crosses = tuple(name for name, of in (("output", outputs), ("states", states)) if _crosses(of))
    time, samples = (1, 0) if layer.batch_first else (0, 1)
    along = (
        len(cut.shape) == 3
        and cut.shape[time] == inputs.batch
        and cut.shape[samples] == inputs.steps
    )
    return Tap(layer, _pairs(outputs.any(0).any(0)), _pairs(states.any(0).any(0)), crosses, along)


def _crosses(taken: Tensor) -> bool:
    """Whether the prediction of one sample (axis 0) takes something of another (axis 1), and not all predictions the same of all samples.

    Where all are alike, they meet later than in the read-out: in a softmax over the batch, for example.
    """
    if taken.shape[0] != taken.shape[1] or bool((taken == taken[:1, :1]).all()):
        return False
    other = ~torch.eye(taken.shape[0], dtype=torch.bool)
    return bool(taken.flatten(2).any(-1)[other].any())


def _pairs(seen: Tensor) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in seen.nonzero())


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()
