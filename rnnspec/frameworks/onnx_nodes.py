"""Models of one node of ONNX, and what such a node is given; the extra `onnx`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

import rnnspec.adapt as adapt

ORDERS = {"rnn": "", "gru": "[update, reset, new]", "lstm": "[input, output, forget, cell]"}
OPSET = 22
ONE_NODE = {
    "num_layers": "a node has one layer",
    "dropout": "a node has one layer",
    "unbatched": "a node takes batches",
    "batch_first": "time is the first axis",
    "proj_size": "a node has no projection",
}
Run = Callable[[ModelProto, dict[str, Any]], list[Any]]
"""A function that runs a model on arrays by name."""


@functools.lru_cache(maxsize=4096)
def make_model(config: Any, dtype: str, names: tuple[str, ...]) -> ModelProto:
    """Return a model of one node with these inputs, in the order of the node's page."""
    states = len(config.kind_data.states)
    inputs = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c"][: 5 + states]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + states]
    number = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT
    more: dict[str, Any] = {"linear_before_reset": 1} if config.kind == "gru" else {}
    if config.kind == "rnn":
        more["activations"] = [config.nonlinearity.capitalize()] * config.num_directions
    node = helper.make_node(
        config.kind.upper(),
        [name if name in names else "" for name in inputs],
        outputs,
        hidden_size=config.hidden_size,
        direction="bidirectional" if config.bidirectional else "forward",
        **more,
    )
    types = {name: TensorProto.INT32 if name == "sequence_lens" else number for name in names}
    given = [helper.make_tensor_value_info(name, types[name], None) for name in names]
    made = [helper.make_tensor_value_info(name, number, None) for name in outputs]
    graph = helper.make_graph([node], config.kind, given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def run_node(
    run: Run, config: Any, x: Any, initial: Any, weights: Any, lengths: Any
) -> tuple[Any, Any]:
    """Return output and final states of one node, all with the documented shapes."""
    both = range(config.num_directions)
    given = {"X": x} | {
        name: np.stack([weights[f"{name}{each}"] for each in both])
        for name in ("W", "R", *(("B",) if config.bias else ()))
    }
    if lengths is not None:
        given["sequence_lens"] = lengths.astype(np.int32)
    if initial is not None:
        states = initial if isinstance(initial, tuple) else (initial,)
        given |= dict(zip(("initial_h", "initial_c"), states, strict=False))
    output, *finals = run(make_model(config, str(x.dtype), tuple(given)), given)
    width = config.num_directions * config.hidden_size
    joined = output.transpose(0, 2, 1, 3).reshape(*x.shape[:2], width)
    return joined, finals[0] if len(finals) == 1 else tuple(finals)


def adapt_node(run: Run, kind: str, **options: Any) -> adapt.Adapter:
    """Return the adapter of a node that is run by a function."""
    order = ORDERS[kind]
    return adapt.function(
        functools.partial(run_node, run),
        kind=kind,
        weights={
            "W{direction}": f"weight_ih{order}",
            "R{direction}": f"weight_hh{order}",
            "B{direction}": f"rows(bias_ih{order}, bias_hh{order})",
        },
        **options,
    )
