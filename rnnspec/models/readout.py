"""Measure the read-out map of a model: which inputs its predictions depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rnnspec.models.forms import Readout
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.infer import Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import is_recurrent
from rnnspec.models.mixing import describe_reshapes
from rnnspec.models.padding import is_padding_read, measure_padded_samples
from rnnspec.models.parameters import group_parameters
from rnnspec.models.reach import Reach, ReadoutReader, measure_reach, sum_with_weights
from rnnspec.models.steps import find_gradients, suppress_failures
from rnnspec.models.taps import describe_cell_states, find_taps, join_taps
from rnnspec.models.tensors import find_input
from rnnspec.models.trial import infer_call
from rnnspec.readout.map import Columns, FlagMatrix, ReadoutMap, Tap
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.text import join_words


class Visit(NamedTuple):
    """A call of a module; `given` is its first argument, if that is a floating-point tensor."""

    name: str
    class_name: str
    is_recurrent: bool
    given: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first argument, or () if it is no floating-point tensor."""
        return () if self.given is None else tuple(self.given.shape)


@dataclass
class CallTrace:
    """The modules that a call of a model passes through, in order.

    Only recurrent modules and modules without submodules are recorded.
    """

    visits: list[Visit] = field(default_factory=list)

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register hooks that record every visit."""
        return [
            handle
            for name, module in model.named_modules()
            if _is_recorded(module)
            for handle in watch_arguments(module, self._make_hook(name))
        ]

    def _make_hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, arguments: Any, keywords: Any) -> None:
            first = find_input(arguments, keywords)
            given = first if isinstance(first, Tensor) and first.is_floating_point() else None
            self.visits.append(Visit(name, type(module).__name__, is_recurrent(module), given))

        return record


def locate_features(isolated: IsolatedModel, x: Tensor, batch: int) -> str | None:
    """Return the name of the module whose input (batch, F) is the read-out, or None.

    The model makes one prediction per sequence. The module is the first after the last recurrent
    layer with an input (batch, F) that affects the prediction. In a model without recurrent
    modules, it is the last `nn.Linear` with such an input.
    """
    trace = CallTrace()
    prediction = isolated(x, trace.register_hooks)
    visits = trace.visits
    last = max((index for index, visit in enumerate(visits) if visit.is_recurrent), default=-1)
    candidates = [
        visit for visit in visits[last + 1 :] if len(visit.shape) == 2 and visit.shape[0] == batch
    ]
    candidates = _list_taken(candidates, prediction)
    if last >= 0:
        return candidates[0].name if candidates else None
    linear = [visit.name for visit in candidates if visit.class_name == "Linear"]
    return linear[-1] if linear else None


def _list_taken(visits: list[Visit], prediction: Tensor) -> list[Visit]:
    """Return the visits whose input affects a prediction, or all if gradients do not show it."""
    given = {index: visit.given for index, visit in enumerate(visits) if visit.given is not None}
    leading = {index: each for index, each in given.items() if each.requires_grad}
    if not leading or not prediction.requires_grad:
        return visits
    try:
        gradients = find_gradients(sum_with_weights(prediction), list(leading.values()))
    except Ended:
        raise
    except Failure:  # for example, the model changes in place a tensor that its gradient needs
        return visits
    taken = {i for i, gradient in zip(leading, gradients, strict=True) if gradient is not None}
    return [visit for index, visit in enumerate(visits) if index in taken] or visits


def _is_recorded(module: nn.Module) -> bool:
    return is_recurrent(module) or not any(True for _ in module.children())


TOLERANCE = 1e-6
"""The largest deviation of a sum of probabilities from 1, also in float32."""


def describe_detached(reach: Reach) -> list[str]:
    """Return a note if the input changes a prediction but receives no gradient from it.

    If no prediction has a gradient, other rules report that.
    """
    cut = reach.values & ~reach.gradients
    if not bool(cut.any()) or not bool(reach.gradients.any()):
        return []
    step = int(cut.sum(0).argmax())
    positions = _name_positions(cut[:, step].nonzero().flatten().tolist())
    prediction = f"the prediction at step {step}" if cut.shape[1] > 1 else "the prediction"
    return [
        f"the input at {positions} changes {prediction}, but no gradient flows back to it: a state "
        "is detached between the steps, or a part is computed without gradients"
    ]


def describe_gaps(reach: Reach) -> list[str]:
    """Return a note if a prediction depends on positions before and after a gap, but not in it.

    A model that reads in both directions depends on all positions in between, or on nothing there.
    """
    if reach.values.shape[1] == 1:
        return []
    seen = reach.changed | reach.nan
    gaps = [_list_gaps(column.nonzero().flatten().tolist()) for column in seen.unbind(1)]
    step = max(range(len(gaps)), key=lambda index: len(gaps[index]))
    if not gaps[step]:
        return []
    return [
        f"the prediction at step {step} depends on positions before and after "
        f"{_name_positions(gaps[step])}, but on nothing there: a reversed result may "
        "not be turned back in time, e.g. by .flip"
    ]


def describe_sums(prediction: Tensor) -> list[str]:
    """Return a note if predictions (N, S, K) are probabilities that sum to 1 over the S steps.

    They may also be log-probabilities.
    """
    if prediction.dim() != 3 or prediction.shape[1] < 2 or prediction.shape[2] < 2:
        return []
    for values in (prediction, prediction.exp()):
        sums = values.sum(1)
        if bool((values >= 0).all()) and torch.allclose(
            sums, torch.ones_like(sums), rtol=0, atol=TOLERANCE
        ):
            return [
                "the predictions are probabilities that add to one over the steps, not over the "
                "classes: a softmax over the classes has dim=-1"
            ]
    return []


def describe_seen_words(reach: Reach, classes: int, vocabulary: int | None) -> list[str]:
    """Return a note if there is a class for each token id and the model sees the next id.

    A model that predicts the next word at every step then learns to copy it.
    """
    if classes != vocabulary or reach.values.shape[0] != reach.values.shape[1]:
        return []
    if not bool((reach.changed | reach.nan).diagonal(-1).any()):
        return []
    return [
        "there are as many classes as token ids; if the model is to predict the next token, it "
        "sees it, because a prediction depends on later positions"
    ]


def _list_gaps(positions: Sequence[int]) -> list[int]:
    if not positions:
        return []
    return [each for each in range(positions[0], positions[-1]) if each not in positions]


def _name_positions(positions: Sequence[int]) -> str:
    if len(positions) == 1:
        return f"position {positions[0]}"
    first, last = positions[0], positions[-1]
    if last - first == len(positions) - 1:
        return f"positions {first} to {last}"
    return f"positions {join_words(positions)}"


def measure_readout(
    model: nn.Module,
    interface: Interface | None = None,
    *,
    build: Callable[[], nn.Module] | None = None,
    readout: Readout | None = None,
    batch: int = 3,
    steps: int = 5,
    draws: int = 3,
    seed: int = 0,
) -> ReadoutMap:
    """Measure the read-out map of a model.

    The model is measured `draws` times: with its own weights, then with random weights. It is
    copied and never modified. The copies are in evaluation mode, and in float64 if the model can
    run in float64. Without an `interface`, its input and its call are inferred; without a
    `readout`, predictions with three dimensions are taken as predictions at every step.

    Use a `batch` of 2 or more and `steps` of 3 or more that differ; a model that accepts a single
    sample or a fixed number of steps is measured with these. Raises ValueError for other sizes, or
    if no dimension of the predictions is the batch. Raises CannotInfer or CannotCall if nothing can
    be inferred, Raised if the model raises, and CannotCopy if it cannot be copied and `build` does
    not build equal models.
    """
    if interface is None:
        interface, readout = infer_call(model, infer_interface(model), readout=readout)
    batch = interface.batch or batch
    # A pooling can leave a recurrent layer a single step, where recurrent weights have no effect.
    steps = interface.steps or max(steps, interface.measured_steps)
    least = (interface.batch or 2, interface.steps or max(3, interface.least_steps))
    if batch == steps != 1 or batch < least[0] or steps < least[1]:
        raise ValueError(
            f"batch (at least {least[0]}) and steps (at least {least[1]}) must differ, "
            f"got batch={batch!r}, steps={steps!r}"
        )
    inputs = Inputs(interface, batch, steps)
    x = inputs.draw(seed)
    isolated = IsolatedModel(model, interface, x, build=build)
    reader = _make_reader(isolated, inputs, x, readout)
    redrawn = (isolated.redraw_parameters(seed + draw, x) for draw in range(1, draws))
    copies = [isolated, *(each for each in redrawn if each is not None)]
    return _measure_copies(copies, reader, seed)


def _make_reader(
    isolated: IsolatedModel, inputs: Inputs, x: Tensor, readout: Readout | None
) -> ReadoutReader:
    with torch.no_grad():
        shape = tuple(isolated(x).shape)
    batch, steps = inputs.batch, inputs.steps
    every_step = len(shape) > 2 and shape[:2] in ((batch, steps), (steps, batch))
    every_step = every_step if readout is None else readout is Readout.EVERY
    if not shape or (not every_step and shape[0] != batch):
        raise ValueError(
            f"the predictions for {batch} samples of {steps} steps have shape {shape!r}; "
            "the first dimension must be the batch"
        )
    module = None if every_step else locate_features(isolated, x, batch)
    return ReadoutReader(inputs, module, every_step)


def _measure_copies(copies: list[IsolatedModel], reader: ReadoutReader, seed: int) -> ReadoutMap:
    """Measure copies of a model with different weights, and join the results."""
    reach, taps, padding = _measure_copy(copies[0], reader, seed)
    usable = copies[:1]
    for index, isolated in enumerate(copies[1:], 1):
        with suppress_failures():  # some models work only with certain weights
            other_reach, other_taps, other_padding = _measure_copy(isolated, reader, seed + index)
            reach = reach | other_reach
            taps = join_taps(taps, other_taps)
            padding = other_padding if padding is None else padding or bool(other_padding)
            usable.append(isolated)
    source = f"the input of {reader.module or 'the model'}"
    return ReadoutMap(
        columns=Columns.STEPS if reader.every_step else Columns.FEATURES,
        source="the prediction" if reader.module is None else source,
        reach=_to_matrix(reach.changed),
        nan=_to_matrix(reach.nan),
        prediction=tuple(reach.prediction.tolist()),
        samples=_to_matrix(reach.samples),
        padding=padding,
        parameters=group_parameters(usable, reader.inputs),
        taps=tuple(taps),
        batch_first=reader.inputs.interface.batch_first,
        notes=(
            *copies[0].notes,
            *describe_cell_states(taps),
            *describe_detached(reach),
            *describe_gaps(reach),
            *_describe_predictions(copies[0], reader, reach, seed),
            *describe_reshapes(copies[0], seed),
        ),
    )


def _describe_predictions(
    isolated: IsolatedModel, reader: ReadoutReader, reach: Reach, seed: int
) -> list[str]:
    """Return notes on predictions at every step."""
    if not reader.every_step:
        return []
    with torch.no_grad():
        x = isolated.cast_input(reader.inputs.draw(seed))
        prediction = reader.read_columns(isolated, x)[1]
    vocabulary = isolated.interface.vocabulary
    return [
        *describe_sums(prediction),
        *describe_seen_words(reach, prediction.shape[-1], vocabulary),
    ]


def _measure_copy(
    isolated: IsolatedModel, reader: ReadoutReader, seed: int
) -> tuple[Reach, list[Tap], bool | None]:
    reach = measure_reach(isolated, reader, seed)
    reach.samples |= measure_padded_samples(isolated, reader, seed)
    return reach, find_taps(isolated, reader, seed), is_padding_read(isolated, reader, seed)


def _to_matrix(tensor: Tensor) -> FlagMatrix:
    return tuple(tuple(bool(value) for value in row) for row in tensor.tolist())
