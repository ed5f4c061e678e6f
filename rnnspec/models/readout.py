"""Measure the read-out map of a model: which inputs its predictions depend on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnspec.models.forms import Readout
from rnnspec.models.infer import Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.locate import locate_features
from rnnspec.models.padding import is_padding_read, measure_padded_samples
from rnnspec.models.parameters import group_parameters
from rnnspec.models.reach import Reach, ReadoutReader, measure_reach
from rnnspec.models.remarks import (
    describe_detached,
    describe_gaps,
    describe_seen_words,
    describe_sums,
)
from rnnspec.models.reshapes import describe_reshapes
from rnnspec.models.steps import suppress_failures
from rnnspec.models.taps import describe_cell_states, find_taps, join_taps
from rnnspec.models.trial import infer_call
from rnnspec.readout.map import Columns, Matrix, ReadoutMap, Tap


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


def _to_matrix(tensor: Tensor) -> Matrix:
    return tuple(tuple(bool(value) for value in row) for row in tensor.tolist())
