"""Measure which results of each recurrent layer a prediction uses: steps, directions and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils.hooks import RemovableHandle

from rnnspec.models.closeness import find_sources
from rnnspec.models.hooks import replace_result
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import find_layers
from rnnspec.models.lines import UseRecorder
from rnnspec.models.reach import (
    ReadoutReader,
    call_differently,
    check_backward,
    make_leaf,
    sum_with_weights,
)
from rnnspec.models.steps import find_gradients, suppress_failures
from rnnspec.models.tensors import find_input, rebuild
from rnnspec.readout.map import Layer, LayerResult, SourceLine, Tap
from rnnspec.subjects.failures import Ended, Failure


class ResultLeaves:
    """Replaces the results of a layer by leaves of the graph.

    Gradients end there, so they show which steps and states a prediction uses.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.calls = 0
        self.shape: tuple[int, ...] = ()
        self.output: Tensor | None = None
        self.states: list[Tensor] = []
        self.given: list[Tensor] = []
        self.is_packed = False
        self.is_replacing = False

    def list_results(self) -> list[Tensor]:
        """Return the stand-ins for the results, or nothing while they are created."""
        return [] if self.is_replacing else self.given

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register the hook that replaces the results."""
        return replace_result(dict(model.named_modules())[self.layer.name], self._replace_results)

    def _replace_results(
        self, _module: nn.Module, arguments: Any, keywords: Any, result: Any
    ) -> Any:
        self.calls += 1
        self.is_replacing = True
        output, states = result
        is_pair = isinstance(states, tuple | list)
        first = find_input(arguments, keywords)
        self.shape = tuple(first.shape) if isinstance(first, Tensor) else ()
        leaves = [make_leaf(state) for state in (states if is_pair else (states,))]
        self.states = [leaf for leaf, _ in leaves]
        given = [stand_in for _, stand_in in leaves]
        replaced = self._replace_output(output)
        self.given = [
            each.data if isinstance(each, PackedSequence) else each for each in [replaced]
        ]
        self.given += given
        self.is_replacing = False
        return rebuild(result, [replaced, rebuild(states, given) if is_pair else given[0]])

    def _replace_output(self, output: Any) -> Any:
        if not isinstance(output, PackedSequence):
            self.output, stand_in = make_leaf(output)
            return stand_in
        self.is_packed = True
        with torch.enable_grad():
            padded, lengths = pad_packed_sequence(output, self.layer.batch_first)
            self.output, stand_in = make_leaf(padded)
            return nn.utils.rnn.pack_padded_sequence(
                stand_in,
                lengths,
                self.layer.batch_first,
                enforce_sorted=output.sorted_indices is None,
            )


def find_taps(isolated: IsolatedModel, reader: ReadoutReader, seed: int) -> list[Tap]:
    """Return a tap for each recurrent layer that a call runs exactly once.

    A layer has no tap if it does not return (output, states), if no gradient reaches it, or if the
    model cannot be called with leaves instead of the layer's results.
    """
    found = [_find_tap(isolated, reader, layer, seed) for layer in find_layers(isolated.module)]
    return [tap for tap in found if tap is not None]


def join_taps(first: list[Tap], second: list[Tap]) -> list[Tap]:
    """Return the union of the taps of two measurements, layer by layer."""
    others = {tap.layer.name: tap for tap in second}
    return [_join_pair(tap, others.get(tap.layer.name, tap)) for tap in first]


def _join_pair(one: Tap, other: Tap) -> Tap:
    crosses = {*one.crosses, *other.crosses}
    return Tap(
        one.layer,
        tuple(sorted({*one.steps, *other.steps})),
        tuple(sorted({*one.states, *other.states})),
        tuple(result for result in LayerResult if result in crosses),
        one.length,
        one.along_batch,
        one.uses,
        tuple(sorted({*one.cells, *other.cells})),
        tuple(sorted({*one.hidden, *other.hidden})),
        one.is_packed,
    )


def _find_tap(
    isolated: IsolatedModel, reader: ReadoutReader, layer: Layer, seed: int
) -> Tap | None:
    leaves = ResultLeaves(layer)
    x = reader.inputs.draw(seed)
    with UseRecorder(leaves.list_results) as recorder:
        prediction = call_differently(isolated, x, leaves.register_hooks)
    output = leaves.output
    is_usable = leaves.calls == 1 and output is not None and output.dim() in (2, 3)
    if not is_usable or prediction is None:
        return None
    if not prediction.requires_grad:
        return _find_trained_tap(isolated, reader, layer, seed)
    prediction = reader.put_batch_first(prediction)
    try:
        taken = [
            _find_taken(sum_with_weights(prediction[sample]), leaves)
            for sample in range(reader.inputs.batch)
        ]
    except Ended:
        raise
    except Failure:
        # A failure is normal if the model changes a result in place, since normally nobody needs
        # gradients of the result.
        check_backward(isolated, x)
        return None
    return _make_tap(layer, reader.inputs, leaves, taken, recorder.lines)


def _find_trained_tap(
    isolated: IsolatedModel, reader: ReadoutReader, layer: Layer, seed: int
) -> Tap | None:
    """Return the tap in training mode, for a model without gradients in evaluation mode."""
    if isolated.training:
        return None
    found = None
    with suppress_failures():
        found = _find_tap(isolated.put_into_training(), reader, layer, seed)
    return found


def _find_taken(target: Tensor, leaves: ResultLeaves) -> tuple[Tensor, list[Tensor]]:
    """Return the largest gradient of the target in each result.

    The tensors have shapes (N, T, D) for the output and (N, L, D) for each of the states.
    """
    layer = leaves.layer
    results = [leaf for leaf in (leaves.output, *leaves.states) if leaf is not None]
    gradients = find_gradients(target, results, retain_graph=True)
    filled = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(results, gradients, strict=True)
    ]
    if filled[0].dim() == 2:  # a single sequence without a batch dimension
        filled = [filled[0].unsqueeze(1 - layer.batch_first), *(s.unsqueeze(1) for s in filled[1:])]
    output = filled[0] if layer.batch_first else filled[0].transpose(0, 1)
    rows = [state.abs().amax(-1) for state in filled[1:]]
    output = output.abs().reshape(*output.shape[:2], layer.directions, -1).amax(-1)
    states = [
        each.reshape(layer.num_layers, layer.directions, -1).permute(2, 0, 1) for each in rows
    ]
    return output.cpu(), [each.cpu() for each in states]


def _make_tap(
    layer: Layer,
    inputs: Inputs,
    leaves: ResultLeaves,
    taken: list[tuple[Tensor, list[Tensor]]],
    lines: Sequence[SourceLine],
) -> Tap:
    outputs = torch.stack([pair[0] != 0 for pair in taken])
    by_state = [torch.stack(each) != 0 for each in zip(*(pair[1] for pair in taken), strict=True)]
    states = torch.stack(by_state).any(0)
    sources = [find_sources([pair[0], *pair[1]]) for pair in taken]
    by_result = {
        LayerResult.OUTPUT: torch.stack([each[0] for each in sources]),
        LayerResult.STATES: torch.stack([torch.stack(each[1:]).any(0) for each in sources]),
    }
    time, batch = (1, 0) if layer.batch_first else (0, 1)
    shape = leaves.shape
    return Tap(
        layer,
        _list_pairs(outputs.any(0).any(0)),
        _list_pairs(states.any(0).any(0)),
        tuple(result for result, tensor in by_result.items() if _has_other_samples(tensor)),
        outputs.shape[2],
        len(shape) == 3 and shape[time] == inputs.batch and shape[batch] != inputs.batch,
        tuple(dict.fromkeys(lines)),
        _list_pairs(by_state[-1].any(0).any(0)) if len(by_state) > 1 else (),
        _list_pairs(by_state[0].any(0).any(0)),
        leaves.is_packed,
    )


def describe_cell_states(taps: Sequence[Tap]) -> list[str]:
    """Return a note for each LSTM whose final cell state affects a prediction.

    This may be intended. More often, the pair of states was unpacked in the wrong order, or
    mistaken for the states of two directions.
    """
    notes = []
    for tap in taps:
        name = tap.layer.name or "the layer"
        if tap.cells and not tap.hidden and not tap.steps:
            notes.append(
                f"the prediction takes c_n of {name} and no hidden state; an LSTM returns "
                "(h_n, c_n), and what it shows is h_n"
            )
        elif tap.cells and tap.hidden and tap.layer.directions == 1:
            notes.append(
                f"the prediction takes h_n and c_n of {name}; these are its two states, not those "
                "of two directions"
            )
    return notes


def _has_other_samples(taken: Tensor) -> bool:
    """Return whether the prediction for a sample (dimension 0) uses another sample (dimension 1).

    If all predictions use the same parts of all samples, the samples mix after the read-out, for
    example in a softmax over the batch. That does not count.
    """
    if taken.shape[0] != taken.shape[1] or bool((taken == taken[:1, :1]).all()):
        return False
    other = ~torch.eye(taken.shape[0], dtype=torch.bool)
    return bool(taken.flatten(2).any(-1)[other].any())


def _list_pairs(taken: Tensor) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in taken.nonzero())
