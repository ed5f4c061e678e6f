"""What a model's prediction sees of its input and of its recurrent layers, measured on the model itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models.infer import Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.locate import locate_features
from rnnspec.models.padding import padded_samples, padding_reaches
from rnnspec.models.parameters import Parameters, group_parameters
from rnnspec.models.reach import Look, Reach, measure_reach
from rnnspec.models.taps import Tap, find_taps, join_taps

Matrix = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class ReadoutMap:
    """What reaches the read-out of one model, over all draws together; every field is JSON after `as_dict`.

    `columns` says what a column of the matrices is: a feature of the read-out ("features"), or the prediction at a step ("steps").
    `source` says where the features are taken. `reach[position][column]`: a change of the input there changed the column.
    `nan[position][column]`: a NaN put there arrived. A NaN alone proves nothing, since 0 * NaN is NaN; no change alone proves nothing
    either, since a maximum may lie elsewhere: only where both are False does the position not reach the column.
    `prediction[position]`: a change there changed its own sample's prediction. `samples[i][j]`: input i can change prediction j.
    `padding`: whether padding after a sequence reaches its prediction; None where the model declares no padding.
    `taps`: what the prediction takes from each recurrent layer. `notes`: what had to be measured otherwise, and why.
    """

    columns: str
    source: str
    reach: Matrix
    nan: Matrix
    prediction: tuple[bool, ...]
    samples: Matrix
    padding: bool | None
    parameters: Parameters
    taps: tuple[Tap, ...]
    batch_first: bool
    notes: tuple[str, ...]

    @property
    def positions(self) -> int:
        """How many input positions were tried."""
        return len(self.reach)

    @property
    def samples_mix(self) -> bool:
        """Whether one sample's input can change another sample's prediction."""
        return any(
            mixed and i != j for i, row in enumerate(self.samples) for j, mixed in enumerate(row)
        )

    @property
    def unread(self) -> tuple[int, ...]:
        """The positions that reach no column and no prediction, by a change, a gradient or a NaN."""
        seen = zip(self.reach, self.nan, self.prediction, strict=True)
        return tuple(
            index
            for index, (row, nan, own) in enumerate(seen)
            if not own and not any(row) and not any(nan)
        )

    def sees(self, column: int) -> tuple[int, ...]:
        """The positions that may reach a column: by a change or by a NaN."""
        return tuple(
            p for p in range(self.positions) if self.reach[p][column] or self.nan[p][column]
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists, strings and numbers, with `samples_mix` and `unread`."""
        return {
            **_plain(asdict(self)),
            "samples_mix": self.samples_mix,
            "unread": list(self.unread),
        }


def measure_readout(
    model: nn.Module,
    interface: Interface | None = None,
    *,
    batch: int = 3,
    steps: int = 5,
    draws: int = 3,
    seed: int = 0,
) -> ReadoutMap:
    """The read-out map of a model, from its own weights and `draws - 1` sets of random ones.

    `batch` and `steps` must differ and steps be at least 3, or ValueError is raised. The model is copied, never changed; it is measured in
    eval mode, in float64 where it can run in that. Raises CannotInfer without an interface that can be inferred, and what the model raises.
    """
    if batch == steps or steps < 3 or batch < 2:
        raise ValueError(
            f"batch (at least 2) and steps (at least 3) must differ, got batch={batch!r}, steps={steps!r}"
        )
    inputs = Inputs(interface or infer_interface(model), batch, steps)
    x = inputs.draw(seed)
    probe = IsolatedModel(model, x)
    look = _look(probe, inputs, x)
    probes = [
        probe,
        *(
            other
            for draw in range(1, draws)
            if (other := probe.redrawn(seed + draw, x)) is not None
        ),
    ]
    return _map(probes, look, seed)


def _look(probe: IsolatedModel, inputs: Inputs, x: Tensor) -> Look:
    with torch.no_grad():
        shape = tuple(probe(x).shape)
    every_step = len(shape) >= 2 and shape[:2] in (
        (inputs.batch, inputs.steps),
        (inputs.steps, inputs.batch),
    )
    if not shape or (not every_step and shape[0] != inputs.batch):
        raise ValueError(
            f"predictions for {inputs.batch} samples of {inputs.steps} steps must start with the batch, got shape {shape!r}"
        )
    return Look(inputs, None if every_step else locate_features(probe, x, inputs.batch), every_step)


def _map(probes: list[IsolatedModel], look: Look, seed: int) -> ReadoutMap:
    seen, taken, padded = _draw(probes[0], look, seed)
    for index, probe in enumerate(probes[1:], 1):
        other_seen, other_taken, other_padded = _draw(probe, look, seed + index)
        seen, taken, padded = (
            seen | other_seen,
            join_taps(taken, other_taken),
            padded if other_padded is None else padded or other_padded,
        )
    return ReadoutMap(
        columns="steps" if look.every_step else "features",
        source="the prediction"
        if look.module is None
        else f"the input of {look.module or 'the model'}",
        reach=_rows(seen.changed),
        nan=_rows(seen.nan),
        prediction=tuple(seen.prediction.tolist()),
        samples=_rows(seen.samples),
        padding=padded,
        parameters=group_parameters(probes, look.inputs),
        taps=tuple(taken),
        batch_first=look.inputs.interface.batch_first,
        notes=tuple(probes[0].notes),
    )


def _draw(probe: IsolatedModel, look: Look, seed: int) -> tuple[Reach, list[Tap], bool | None]:
    seen = measure_reach(probe, look, seed)
    seen.samples |= padded_samples(probe, look, seed)
    return seen, find_taps(probe, look, seed), padding_reaches(probe, look, seed)


def _rows(matrix: Tensor) -> Matrix:
    return tuple(tuple(bool(value) for value in row) for row in matrix.tolist())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
