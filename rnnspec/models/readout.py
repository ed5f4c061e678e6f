"""Measure the read-out map of a model: what its predictions depend on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models.forms import Readout
from rnnspec.models.infer import Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.locate import locate_features
from rnnspec.models.padding import is_padding_read, measure_padded_samples
from rnnspec.models.parameters import ParameterGroups, group_parameters
from rnnspec.models.reach import Reach, ReadoutReader, measure_reach
from rnnspec.models.taps import Tap, find_taps, join_taps
from rnnspec.models.trial import infer_call

Matrix = tuple[tuple[bool, ...], ...]


class Columns(Enum):
    """What the columns of the matrices of a read-out map are."""

    FEATURES = "features"
    STEPS = "steps"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class ReadoutMap:
    """What reaches the read-out of a model, over all measurements together.

    columns     what a column of the matrices is: a feature of the read-out, or the prediction at a
                time step
    source      where the features are taken
    reach       `reach[position][column]`: changing the position changes the column
    nan         `nan[position][column]`: a NaN at the position arrives in the column
    prediction  `prediction[position]`: changing the position changes its own sample's prediction
    samples     `samples[i][j]`: the input of sample i can change the prediction for sample j
    padding     whether padding after a sequence changes its prediction; None if the model declares
                no padding id and takes no lengths
    parameters  the names of the parameters, in four groups
    taps        what the prediction takes from each recurrent layer
    notes       what had to be measured differently, and why

    A position does not reach a column only if `reach` and `nan` are both False. A NaN that arrives
    proves nothing, because 0 * NaN is NaN; a value that does not change proves nothing either,
    because a maximum may be at another position.
    """

    columns: Columns
    source: str
    reach: Matrix
    nan: Matrix
    prediction: tuple[bool, ...]
    samples: Matrix
    padding: bool | None
    parameters: ParameterGroups
    taps: tuple[Tap, ...]
    batch_first: bool
    notes: tuple[str, ...]

    @property
    def positions(self) -> int:
        """The number of input positions that were tried."""
        return len(self.reach)

    @property
    def samples_mix(self) -> bool:
        """Whether the input of one sample can change the prediction for another."""
        return any(
            reached and i != j
            for i, row in enumerate(self.samples)
            for j, reached in enumerate(row)
        )

    @property
    def unread(self) -> tuple[int, ...]:
        """The positions that reach no column and no prediction."""
        rows = zip(self.reach, self.nan, self.prediction, strict=True)
        return tuple(
            index
            for index, (reach, nan, own) in enumerate(rows)
            if not own and not any(reach) and not any(nan)
        )

    def list_visible_positions(self, column: int) -> tuple[int, ...]:
        """Return the positions that may reach a column, by a change or by a NaN."""
        return tuple(
            position
            for position in range(self.positions)
            if self.reach[position][column] or self.nan[position][column]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the map as plain data for JSON, with `samples_mix` and `unread`."""
        return {
            **_to_plain_data(asdict(self)),
            "samples_mix": self.samples_mix,
            "unread": list(self.unread),
        }


def measure_readout(
    model: nn.Module,
    interface: Interface | None = None,
    *,
    readout: Readout | None = None,
    batch: int = 3,
    steps: int = 5,
    draws: int = 3,
    seed: int = 0,
) -> ReadoutMap:
    """Measure the read-out map of a model.

    The model is measured `draws` times: with its own weights, then with random weights. It is
    copied and never modified. The copies are in evaluation mode, and in float64 if the model can
    run in float64. Without an `interface`, what the model takes and how it is called are inferred;
    without a `readout`, predictions with three dimensions are made at every step. Raises ValueError
    if `batch` and `steps` are equal, `batch` is below 2 or `steps` below 3, or if the predictions
    do not have the batch as a dimension; a model that takes one sample or a fixed number of steps
    is measured with those. Raises CannotInfer or CannotCall if nothing can be inferred, and
    whatever the model raises.
    """
    if interface is None:
        interface, readout = infer_call(model, infer_interface(model), readout=readout)
    batch, steps = interface.batch or batch, interface.steps or steps
    if batch == steps or steps < 3 or batch < (interface.batch or 2):
        raise ValueError(
            "batch (at least 2) and steps (at least 3) must differ, "
            f"got batch={batch!r}, steps={steps!r}"
        )
    inputs = Inputs(interface, batch, steps)
    x = inputs.draw(seed)
    isolated = IsolatedModel(model, interface, x)
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
    """Measure a model and the same model with other weights, and join the results."""
    reach, taps, padding = _measure_copy(copies[0], reader, seed)
    for index, isolated in enumerate(copies[1:], 1):
        other_reach, other_taps, other_padding = _measure_copy(isolated, reader, seed + index)
        reach = reach | other_reach
        taps = join_taps(taps, other_taps)
        padding = other_padding if padding is None else padding or bool(other_padding)
    source = f"the input of {reader.module or 'the model'}"
    return ReadoutMap(
        columns=Columns.STEPS if reader.every_step else Columns.FEATURES,
        source="the prediction" if reader.module is None else source,
        reach=_to_matrix(reach.changed),
        nan=_to_matrix(reach.nan),
        prediction=tuple(reach.prediction.tolist()),
        samples=_to_matrix(reach.samples),
        padding=padding,
        parameters=group_parameters(copies, reader.inputs),
        taps=tuple(taps),
        batch_first=reader.inputs.interface.batch_first,
        notes=tuple(copies[0].notes),
    )


def _measure_copy(
    isolated: IsolatedModel, reader: ReadoutReader, seed: int
) -> tuple[Reach, list[Tap], bool | None]:
    reach = measure_reach(isolated, reader, seed)
    reach.samples |= measure_padded_samples(isolated, reader, seed)
    return reach, find_taps(isolated, reader, seed), is_padding_read(isolated, reader, seed)


def _to_matrix(tensor: Tensor) -> Matrix:
    return tuple(tuple(bool(value) for value in row) for row in tensor.tolist())


def _to_plain_data(value: Any) -> Any:
    """Return nested data with lists for tuples and texts for members of enums."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _to_plain_data(item) for key, item in value.items()}
    return [_to_plain_data(item) for item in value] if isinstance(value, list | tuple) else value
