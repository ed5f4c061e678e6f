"""The recurrent nodes of ONNX in ONNX Runtime on a CPU; use the extra `onnxruntime`."""

from __future__ import annotations

import functools
from typing import Any

import onnxruntime

from rnnspec.frameworks.onnx_nodes import adapt_node

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = OPTIONS.inter_op_num_threads = 1
OPTIONS.log_severity_level = 4  # errors are raised as well, so do not log them


@functools.lru_cache(maxsize=4096)
def open_session(serialized: bytes) -> Any:
    """Return a session for a model."""
    return onnxruntime.InferenceSession(serialized, OPTIONS, ["CPUExecutionProvider"])


def run_session(model: Any, given: dict[str, Any]) -> Any:
    """Return the results of a model for arrays by name."""
    return open_session(model.SerializeToString()).run(None, given)


RNN, GRU, LSTM = (
    adapt_node(run_session, kind, dtypes=["float32"]) for kind in ("rnn", "gru", "lstm")
)
