"""The read-out map of a model as data: which inputs its predictions depend on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from rnnspec.contract.kinds import LAYERS
from rnnspec.text import TextEnum

FlagMatrix = tuple[tuple[bool, ...], ...]


class SourceLine(NamedTuple):
    """A line of a file: its path, its number and its text."""

    path: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number} of {Path(self.path).name}: {self.text}"


@dataclass(frozen=True)
class Layer:
    """A recurrent layer of a model.

    `name` is its name among the model's submodules, empty if the layer is the model itself. `kind`
    is "RNN", "GRU" or "LSTM", or the name of another class. `directions` is 1 or 2. `width` is the
    number of output features per direction, and `cell_width` the size of an LSTM's cell state.
    """

    name: str
    kind: str
    num_layers: int
    directions: int
    width: int
    batch_first: bool
    cell_width: int = 0

    @property
    def expression(self) -> str:
        """The expression for the layer in the model's own code."""
        return f"self.{self.name}" if self.name else "self"

    @property
    def width_name(self) -> str:
        """The argument that determines the width of a direction."""
        return "proj_size" if self.cell_width > self.width else "hidden_size"

    @property
    def has_cell_state(self) -> bool:
        """Whether the layer returns (h_n, c_n), as an LSTM does."""
        return any(each.title == self.kind and "c" in each.states for each in LAYERS)


class LayerResult(Enum):
    """The two results of a recurrent layer."""

    OUTPUT = "output"
    STATES = "states"


@dataclass(frozen=True)
class Tap:
    """The results of a recurrent layer that the predictions of a model use.

    layer         the layer
    steps         (step, direction) pairs of the layer's output
    states        (layer, direction) pairs of h_n, and of c_n for an LSTM
    crosses       the results from which a prediction uses another sample's part
    length        the number of steps of the layer's output, which pooling may reduce
    along_batch   whether the layer's time dimension has the size of the batch, and its batch
                  dimension another size
    uses          the lines of the model's source that use a part of the layer's results, in order
    cells         the pairs of c_n among `states`
    hidden        the pairs of h_n among `states`
    is_packed     whether the layer gets a packed sequence
    """

    layer: Layer
    steps: tuple[tuple[int, int], ...]
    states: tuple[tuple[int, int], ...]
    crosses: tuple[LayerResult, ...]
    length: int
    along_batch: bool
    uses: tuple[SourceLine, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()
    hidden: tuple[tuple[int, int], ...] = ()
    is_packed: bool = False


@dataclass(frozen=True)
class ParameterGroups:
    """The names of a model's parameters, each in one of four groups.

    participating  its gradient is not zero, or another value moves the prediction by rounding
    idle           its gradient is exactly zero, and another value changes no bit of the prediction
    cut            its gradient is zero, but another value changes the prediction: something
                   detaches it from the graph
    frozen         `requires_grad` is False

    `frozen_idle` are frozen parameters whose value affects no bit either, and `misspelt` the
    attributes of torch's own modules that have no effect, each with the intended name. `elsewhere`
    are parameters that affect only other results of the same call, such as another prediction; they
    are in none of the groups, unless they are frozen.
    """

    participating: tuple[str, ...]
    idle: tuple[str, ...]
    cut: tuple[str, ...]
    frozen: tuple[str, ...]
    frozen_idle: tuple[str, ...] = ()
    misspelt: tuple[tuple[str, str], ...] = ()
    elsewhere: tuple[str, ...] = ()


class Columns(TextEnum):
    """The meaning of the columns in the matrices of a read-out map."""

    FEATURES = "features"
    STEPS = "steps"


@dataclass(frozen=True)
class ReadoutMap:
    """The dependences of a model's read-out, combined from all measurements.

    columns     the meaning of a column of the matrices: a feature of the read-out, or the
                prediction at a time step
    source      where the features are taken
    reach       `reach[position][column]`: changing the position changes the column; a prediction at
                a step changes by more than cancellation explains
    nan         `nan[position][column]`: a NaN at the position reaches the column
    prediction  `prediction[position]`: changing the position changes its own sample's prediction
    samples     `samples[i][j]`: the input of sample i can change the prediction for sample j, by
                more than cancellation explains
    padding     whether padding after a sequence changes its prediction; None if the model declares
                no padding id and takes no lengths
    parameters  the names of the parameters, in four groups
    taps        the results of each recurrent layer that the prediction uses
    notes       explanations of measurements that had to be made differently

    A position certainly does not reach a column only if `reach` and `nan` are both False. A NaN
    that arrives proves nothing, because 0 * NaN is NaN; a value that does not change proves nothing
    either, because a maximum may be at another position.
    """

    columns: Columns
    source: str
    reach: FlagMatrix
    nan: FlagMatrix
    prediction: tuple[bool, ...]
    samples: FlagMatrix
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
        """Whether the input of a sample can change the prediction for another."""
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


def _to_plain_data(value: Any) -> Any:
    """Return nested data with lists for tuples and texts for members of enums."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _to_plain_data(item) for key, item in value.items()}
    return [_to_plain_data(item) for item in value] if isinstance(value, list | tuple) else value
