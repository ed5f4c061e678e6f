"""Models of a single ONNX node, and the inputs of such a node; use the extra `onnx`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, parser

import rnnspec.adapt as adapt

ORDERS = {"gru": "update, reset, new", "lstm": "input, output, forget, cell"}
TYPES = {"float64": "double", "float32": "float"}
STATE = "D, N, H"
INPUTS = {"X": "T, N, I", "W": "D, ROWS, I", "R": "D, ROWS, H", "B": "D, BIASES"}
INPUTS |= {"sequence_lens": "N", "initial_h": STATE, "initial_c": STATE}
OUTPUTS = {"Y": "T, D, N, H", "Y_h": STATE, "Y_c": STATE}
"""The axes of each tensor: some backends refuse a model with a tensor of unknown rank."""
ONE_NODE = {
    **dict.fromkeys(("num_layers", "dropout"), "a node has one layer"),
    "unbatched": "a node takes batches",
    "batch_first": "time is the first axis",
    "proj_size": "a node has no projection",
}
RunNode = Callable[[ModelProto, dict[str, Any]], list[Any]]
"""A function that runs a model on arrays by name."""


@functools.lru_cache(maxsize=4096)
def make_model(config: Any, dtype: str, names: tuple[str, ...]) -> ModelProto:
    """Return a model of a single node with these inputs, in the order of the node's page."""
    types = {**dict.fromkeys(INPUTS, TYPES[dtype]), "sequence_lens": "int32"}
    given = ", ".join(f"{types[name]}[{INPUTS[name]}] {name}" for name in names)
    states = len(config.kind_data.states)
    results = list(OUTPUTS)[: 1 + states]
    made = ", ".join(f"{TYPES[dtype]}[{OUTPUTS[name]}] {name}" for name in results)
    options = {
        "hidden_size": config.hidden_size,
        "direction": '"bidirectional"' if config.bidirectional else '"forward"',
    }
    if config.kind == "gru":
        options["linear_before_reset"] = 1
    if config.kind == "rnn":
        activation = f'"{config.nonlinearity.capitalize()}"'
        options["activations"] = f"[{', '.join([activation] * config.num_directions)}]"
    attributes = ", ".join(f"{name} = {value}" for name, value in options.items())
    inputs = ", ".join(name if name in names else "" for name in list(INPUTS)[: 5 + states])
    return parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 22]> layer ({given}) => ({made}) {{
            {", ".join(results)} = {config.kind.upper()} <{attributes}> ({inputs})
        }}"""
    )


def run_node(
    run: RunNode, config: Any, x: Any, initial: Any, weights: Any, lengths: Any
) -> tuple[Any, Any]:
    """Return output and final states of a node, all with the documented shapes."""
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
    return output.transpose(0, 2, 1, 3).reshape(*x.shape[:2], width), finals


def adapt_node(run: RunNode, kind: str, **options: Any) -> adapt.Adapter:
    """Return the adapter of a node, given the function that runs it."""
    weights = {
        "W{direction}": "weight_ih",
        "R{direction}": "weight_hh",
        "B{direction}": "rows(bias_ih, bias_hh)",
    }
    node, gates = functools.partial(run_node, run), ORDERS.get(kind, "")
    return adapt.function(node, kind=kind, gates=gates, weights=weights, lacks=ONE_NODE, **options)
