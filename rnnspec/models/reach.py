"""Measure which input positions reach which read-out features, and which samples mix."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rnnspec.models.closeness import find_changes, find_sources
from rnnspec.models.hooks import replace_result, watch_arguments
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import HookInstaller, IsolatedModel
from rnnspec.models.steps import find_gradients, suppress_failures
from rnnspec.models.tensors import find_input
from rnnspec.subjects.failures import Ended, Failure


def make_leaf(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf of the graph with the values of a tensor, and its stand-in for the model.

    The stand-in is the result of an operation on the leaf. So the model may change it in place or
    detach it, like any result of a layer, even if the layer was called without gradients.
    """
    with torch.enable_grad():
        leaf = tensor.detach().clone().requires_grad_()
        return leaf, leaf.clone()


def call_differently(
    isolated: IsolatedModel, x: Tensor, *installers: HookInstaller
) -> Tensor | None:
    """Return the prediction of a model with unusual tensors as input, or None if it raises.

    The model may raise because these tensors require gradients or have another graph. That is no
    fault of the model, unless it also raises without them.
    """
    try:
        return isolated(x, *installers)
    except Ended:
        raise
    except Failure:
        isolated(x.detach())
        return None


def check_backward(isolated: IsolatedModel, x: Tensor) -> None:
    """Compute the gradients of a model's parameters, as its training does.

    Use this if gradients of other tensors raise: that is no fault of the model, unless this raises
    too.
    """
    module = isolated.prepare_module()
    prediction = isolated.run_module(module, x.detach())
    parameters = [each for each in module.parameters() if each.requires_grad]
    if parameters and prediction.requires_grad:
        find_gradients(prediction.sum(), parameters)


@dataclass
class Reach:
    """Observed dependences, as boolean tensors for P positions, C columns and N samples.

    S is the number of time steps if the model predicts at every step, and 1 otherwise.

    changed (P, C)     changing the position changed the column
    nan (P, C)         a NaN at the position reached the column
    prediction (P,)    changing the position changed the prediction for its own sample, or the
                       gradient of that prediction is not zero there
    samples (N, N)     the same for the input of the first sample and the prediction for the second
    values (P, S)      changing the position changed the prediction for its own sample at the step
    gradients (P, S)   the gradient of that prediction is not zero at the position, or cannot be
                       computed

    `prediction`, `gradients` and, for features, `changed` can show that a model fails to use
    something, so a change of any bit counts. The others can show that a prediction depends on
    something wrong, so changes that cancellation explains do not count.
    """

    changed: Tensor
    nan: Tensor
    prediction: Tensor
    samples: Tensor
    values: Tensor
    gradients: Tensor

    def __or__(self, other: Reach) -> Reach:
        return Reach(
            self.changed | other.changed,
            self.nan | other.nan,
            self.prediction | other.prediction,
            self.samples | other.samples,
            self.values | other.values,
            self.gradients | other.gradients,
        )


@dataclass
class FeatureCapture:
    """Captures the last input of the module `name` during a call, as `features` (N, F)."""

    name: str
    features: Tensor | None = None

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register the capturing hook."""

        def capture(_module: nn.Module, arguments: Any, keywords: Any) -> None:
            first = find_input(arguments, keywords)
            if isinstance(first, Tensor):
                self.features = first.detach().clone()

        return watch_arguments(dict(model.named_modules())[self.name], capture)


@dataclass(frozen=True)
class ReadoutReader:
    """Reads the read-out features and the predictions of a model.

    `module` is the name of the module whose input is the read-out; None means the prediction
    itself. `every_step` is whether the model predicts at every time step.
    """

    inputs: Inputs
    module: str | None
    every_step: bool

    def read_columns(
        self, isolated: IsolatedModel, x: Tensor, *installers: HookInstaller
    ) -> tuple[Tensor, Tensor]:
        """Return the columns (N, C, ...) and the predictions (N, ...) for an input."""
        if self.module is None:
            prediction = self.put_batch_first(isolated(x, *installers))
            return prediction, prediction
        capture = FeatureCapture(self.module)
        prediction = self.put_batch_first(isolated(x, capture.register_hooks, *installers))
        return (prediction if capture.features is None else capture.features), prediction

    def put_batch_first(self, prediction: Tensor) -> Tensor:
        """Return a prediction with the batch dimension first and at least two dimensions."""
        if self.every_step and prediction.shape[:2] == (self.inputs.steps, self.inputs.batch):
            return prediction.transpose(0, 1)
        return prediction.unsqueeze(-1) if prediction.dim() == 1 else prediction


def measure_reach(isolated: IsolatedModel, reader: ReadoutReader, seed: int) -> Reach:
    """Measure the reach for a single input, drawn with the seed.

    Changes every position of every sample once, replaces it by NaN once, and computes a gradient
    per sample. If the samples are independent, NaN replaces a position in all of them at once.
    """
    inputs = reader.inputs
    x = isolated.cast_input(inputs.draw(seed))
    with torch.no_grad():
        unchanged = reader.read_columns(isolated, x)
        parts = [
            _measure_position(isolated, reader, x, unchanged, sample, position)
            for sample in range(inputs.batch)
            for position in range(inputs.steps)
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total | part
        total.nan = _measure_nan(isolated, reader, x, unchanged[0], total.samples)
    return total | _measure_gradients(isolated, reader, x, total)


def _measure_position(
    isolated: IsolatedModel,
    reader: ReadoutReader,
    x: Tensor,
    unchanged: tuple[Tensor, Tensor],
    sample: int,
    position: int,
) -> Reach:
    inputs, every_step = reader.inputs, reader.every_step
    changed = inputs.change_position(x, sample, position, seed=sample + position)
    reach = _make_empty_reach(reader, unchanged[0])
    try:
        columns, prediction = reader.read_columns(isolated, changed)
    except Ended:
        raise
    except Failure:  # a model that refuses the other input has read it
        return _mark_read(reach, position)
    if prediction.shape != unchanged[1].shape or columns.shape != unchanged[0].shape:
        return _mark_read(reach, position)
    any_bit = _flatten_samples(prediction != unchanged[1]).any(-1)
    differs = _flatten_samples(find_changes(unchanged[1], prediction)).any(-1)
    is_changed = find_changes(unchanged[0], columns) if every_step else columns != unchanged[0]
    reach.changed[position] = _reduce_columns(is_changed, sample, every_step)
    reach.prediction[position] = any_bit[sample]
    reach.samples[sample] = differs
    reach.values[position] = reach.changed[position] if every_step else differs[sample]
    return reach


def _measure_nan(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor, unchanged: Tensor, mixed: Tensor
) -> Tensor:
    """Return which columns a NaN at a position reaches (P, C), from the columns of the input and
    the samples that a change reaches (N, N).
    """
    inputs = reader.inputs

    def find_nan(samples: slice, positions: slice) -> Tensor | None:
        found = None
        with suppress_failures():  # some models refuse NaN
            with_nan, _ = reader.read_columns(
                isolated, inputs.plant_nan(x, samples, positions), *_list_nan_installers(inputs, x)
            )
            found = with_nan.isnan() & ~unchanged.isnan()
        return found

    others = ~torch.eye(inputs.batch, dtype=torch.bool)
    first = find_nan(slice(1), slice(None))
    # A product with a mask lets NaN into other samples, but no change.
    is_apart = not (mixed & others).any() and first is not None and not first[1:].any()
    groups = [range(inputs.batch)] if is_apart else [range(i, i + 1) for i in range(inputs.batch)]
    reached = _make_empty_reach(reader, unchanged).nan
    for group in groups:
        for position in range(inputs.steps):
            found = find_nan(slice(group.start, group.stop), slice(position, position + 1))
            if found is not None:
                for sample in group:
                    reached[position] |= _reduce_columns(found, sample, reader.every_step)
    return reached


def _mark_read(reach: Reach, position: int) -> Reach:
    """Return a reach where the sample's own prediction depends on all of a position."""
    for each in (reach.changed, reach.prediction, reach.values):
        each[position] = True
    return reach


def _measure_gradients(
    isolated: IsolatedModel, reader: ReadoutReader, x: Tensor, like: Reach
) -> Reach:
    reach = Reach(*(torch.zeros_like(getattr(like, each.name)) for each in fields(like)))
    is_features = x.is_floating_point()
    leaf = EmbeddingLeaf()
    given = x.clone().requires_grad_() if is_features else x
    prediction = call_differently(isolated, given, *([] if is_features else [leaf.register_hooks]))
    source = given if is_features else leaf.tensor
    is_differentiable = prediction is not None and prediction.requires_grad
    if (
        prediction is None
        or source is None
        or not is_differentiable
        or not _has_positions_of(x, source)
    ):
        reach.gradients[:] = True
        return reach
    prediction = reader.put_batch_first(prediction)
    try:
        _add_gradients(reach, prediction, source, reader)
    except Ended:
        raise
    except Failure:
        # A failure is normal if the model changes its input in place, since normally nobody needs
        # gradients of the input.
        check_backward(isolated, x)
        reach.gradients[:] = True
    return reach


def _add_gradients(reach: Reach, prediction: Tensor, source: Tensor, reader: ReadoutReader) -> None:
    """Mark the nonzero gradients of each sample, and of each step, in a reach."""
    for sample in range(reader.inputs.batch):
        (gradient,) = find_gradients(
            sum_with_weights(prediction[sample]), [source], retain_graph=True
        )
        if gradient is not None:
            is_source = _reduce_positions(find_sources([gradient])[0], reader)
            reach.samples[:, sample] |= is_source.any(1).cpu()
            reach.prediction |= _reduce_positions(gradient != 0, reader)[sample].cpu()
    if not reader.every_step:
        reach.gradients[:, 0] = reach.prediction
        return
    for step, part in enumerate(prediction.unbind(1)):
        (gradient,) = find_gradients(sum_with_weights(part), [source], retain_graph=True)
        if gradient is not None:
            reach.gradients[:, step] = _reduce_positions(gradient != 0, reader).any(0).cpu()


def _has_positions_of(x: Tensor, source: Tensor) -> bool:
    """Return whether a tensor has features for each position of the input.

    An embedding that is called step by step returns (N, features), whatever the number of features.
    """
    return source.dim() > 2 and source.shape[:2] == x.shape[:2]


def _reduce_positions(marked: Tensor, reader: ReadoutReader) -> Tensor:
    """Return the positions that are marked in a tensor like the input, as (N, P)."""
    is_marked = marked.flatten(2).any(-1)
    return is_marked if reader.inputs.interface.batch_first else is_marked.transpose(0, 1)


@dataclass
class EmbeddingLeaf:
    """Replaces the output of the first embedding that is called by a leaf of the graph.

    The leaf is stored as `tensor`.
    """

    tensor: Tensor | None = None

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register the replacing hooks."""

        def replace(
            _module: nn.Module, _arguments: Any, _keywords: Any, output: Tensor
        ) -> Tensor | None:
            if self.tensor is not None:
                return None
            self.tensor, stand_in = make_leaf(output)
            return stand_in

        return _hook_embeddings(model, replace)


def _list_nan_installers(inputs: Inputs, x: Tensor) -> list[HookInstaller]:
    """Return the hooks that replace the embedding of `nan_id` by NaN, or none for features.

    They act only on embeddings of the whole input.
    """
    if not inputs.interface.takes_tokens:
        return []

    def plant(_module: nn.Module, arguments: Any, keywords: Any, output: Tensor) -> Tensor | None:
        ids = find_input(arguments, keywords)
        if not isinstance(ids, Tensor) or ids.numel() != x.numel():
            return None
        return output.masked_fill((ids == inputs.nan_id).unsqueeze(-1), float("nan"))

    return [lambda model: _hook_embeddings(model, plant)]


def _hook_embeddings(model: nn.Module, hook: Any) -> list[RemovableHandle]:
    return [
        handle
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for handle in replace_result(module, hook)
    ]


def _make_empty_reach(reader: ReadoutReader, columns: Tensor) -> Reach:
    inputs = reader.inputs
    parts = (inputs.steps, columns.shape[1] if reader.every_step else 1)
    shapes = (
        (inputs.steps, columns.shape[1]),
        (inputs.steps, columns.shape[1]),
        (inputs.steps,),
        (inputs.batch, inputs.batch),
        parts,
        parts,
    )
    return Reach(*(torch.zeros(shape, dtype=torch.bool) for shape in shapes))


def _reduce_columns(differs: Tensor, sample: int, every_step: bool) -> Tensor:
    """Return which columns (C,) of a sample differ."""
    row = differs[sample].cpu()
    return row.flatten(1).any(-1) if every_step or row.dim() > 1 else row


def _flatten_samples(differs: Tensor) -> Tensor:
    return differs.flatten(1).cpu()


def sum_with_weights(prediction: Tensor) -> Tensor:
    """Return a sum of all outputs with random weights, so that no two outputs cancel.

    A plain sum would be constant after a softmax or a normalisation.
    """
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(prediction.numel(), generator=generator, dtype=torch.float64)
    return (prediction.flatten() * (drawn + 0.5).to(prediction)).sum()
