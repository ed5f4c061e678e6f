"""The recurrent nodes of ONNX in ONNX's own reference implementation; use the extra `onnx`."""

from __future__ import annotations

from typing import Any

from onnx.reference import ReferenceEvaluator

from rnnspec.frameworks.onnx_nodes import adapt_node


def run_evaluator(model: Any, given: dict[str, Any]) -> Any:
    """Return the results of a model for arrays by name."""
    return ReferenceEvaluator(model).run(None, given)


RNN, GRU, LSTM = (
    adapt_node(run_evaluator, kind, dtypes=["float64", "float32"])
    for kind in ("rnn", "gru", "lstm")
)
