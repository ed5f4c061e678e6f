"""An LSTM in C that only exchanges arrays, and the adapter with which rnnspec checks it.

The C file is compiled when the layer is called first, with `cc`.

rnnspec smoke examples/c_lstm.py:LSTM
rnnspec check examples/c_lstm.py:LSTM
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import rnnspec.adapt as adapt

SOURCE = Path(__file__).with_suffix(".c")


@functools.lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL:
    """Compile the C file and return the library."""
    path = Path(tempfile.mkdtemp()) / "lstm.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", SOURCE, "-o", path, "-lm"], check=True)
    return ctypes.CDLL(str(path))


def compute(config: Any, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    steps, batch, _ = x.shape
    initial = np.zeros((2, batch, config.hidden_size)) if h_0 is None else h_0
    if any(each.shape != (batch, config.hidden_size) for each in initial):
        raise ValueError("a state needs a row of hidden_size numbers for each sample")
    h, c = (np.array(each, dtype=np.float32, order="C") for each in initial)
    output = np.empty((steps, batch, config.hidden_size), np.float32)
    dense = [np.ascontiguousarray(each) for each in (x, weights["w"], weights["u"], weights["b"])]
    arrays = [dense[0], h, c, *dense[1:], output, np.empty(config.hidden_size, np.float32)]
    sizes = (steps, batch, config.input_size, config.hidden_size)
    load_library().run_lstm(
        *map(ctypes.c_long, sizes), *(a.ctypes.data_as(ctypes.c_void_p) for a in arrays)
    )
    return output, (h, c)


LSTM = adapt.layer(
    compute,
    kind="lstm",
    weights={"w": "weight_ih", "u": "weight_hh", "b": "bias_ih + bias_hh"},
    dtypes=["float32"],
    lacks={"bias": "it always has biases"},
)
