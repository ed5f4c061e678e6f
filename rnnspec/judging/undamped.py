"""Numbers under which what is known at one end of a sequence reaches the other end undiminished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, as_dtype

Array = NDArray[np.float64]


def undamped(case: Case, values: Values) -> dict[str, Any]:
    """Fields of Values under which a gradient neither fades nor grows along the steps, with cotangents at each direction's last step.

    Recurrent weights permute the units; tanh stays near its middle, and relu sees nothing negative.
    """
    is_tanh = case.config.nonlinearity == "tanh"
    scaled: Callable[[Array], Array] = (lambda array: array * 2.0**-10) if is_tanh else np.abs
    read: Callable[[Array], Array] = np.asarray if is_tanh else np.abs
    permutation = np.roll(np.eye(case.config.hidden_size), 1, axis=0)
    kinds = {"weight_hh": lambda array: permutation, "weight_ih": read}
    weights = {name: kinds.get(name.split("_l")[0], scaled)(array) for name, array in values.weights.items()}
    return {
        "weights": {name: as_dtype(array, case.dtype) for name, array in weights.items()},
        "input": as_dtype(scaled(values.input), case.dtype),
        "h_0": as_dtype(scaled(values.h_0), case.dtype),
        "d_output": values.d_output * ends(case),
    }


def ends(case: Case) -> Array:
    """1 where a direction's output is its last, else 0: (T, N, D * H)."""
    hidden = case.config.hidden_size
    found = np.zeros((case.steps, case.batch, case.config.num_directions * hidden))
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    found[lengths - 1, np.arange(case.batch), :hidden] = 1.0
    found[0, :, hidden:] = 1.0
    return found
