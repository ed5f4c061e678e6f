"""Build layers, call them, and record the results as lists that can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

Kind = type[nn.Module]
Probe = Callable[[Kind], list[Any]]
"""A function that records the behaviour of a layer."""

SIZES = {"T": 5, "N": 3, "I": 3, "H": 4}
LENGTHS = {
    "packed": [5, 3, 1],
    "unsorted": [1, 5, 2],
    "ties": [5, 2, 2],
    "tail": [5, 4, 3],
    "one-step": [1, 1, 1],
}


def make_values(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> Tensor:
    """Return normal values that are the same for equal shapes and seeds."""
    return scale * torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def build_layer(
    kind: Kind,
    input_size: int,
    hidden_size: int,
    dtype: torch.dtype = torch.float64,
    scale: float = 0.6,
    **arguments: Any,
) -> nn.Module:
    """Build a layer and fill its parameters with the same values each time."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layer = kind(input_size, hidden_size, **arguments)
    layer = layer if layer.weight_hh_l0.dtype == dtype else layer.to(dtype)
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.copy_(make_values(tuple(parameter.shape), seed, scale))
    return layer


def make_inputs(
    layer: Any,
    layout: str = "batched",
    state: bool = False,
    scale: float = 1.0,
    sizes: Mapping[str, int] = SIZES,
) -> list[Any]:
    """Return the input and the initial state, or None, of a call; they require gradients."""
    steps, samples, features = (sizes[name] for name in "TNI")
    dtype = layer.weight_hh_l0.dtype
    leading = (samples, steps) if layer.batch_first else (steps, samples)
    shape = (steps, features) if layout == "unbatched" else (*leading, features)
    x = make_values(shape, 100, scale).to(dtype).requires_grad_(torch.is_grad_enabled())
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    h_shape = (count, sizes["H"]) if layout == "unbatched" else (count, samples, sizes["H"])
    if not state:
        return [x, None]
    h = make_values(h_shape, 101, 1.5).to(dtype).requires_grad_(torch.is_grad_enabled())
    return [x, h]


def pack_input(x: Tensor, layout: str, batch_first: Any) -> Tensor | PackedSequence:
    """Return the input, packed if the layout is one of `LENGTHS`."""
    if layout not in LENGTHS:
        return x
    return pack_padded_sequence(
        x, LENGTHS[layout], batch_first=batch_first, enforce_sorted=layout != "unsorted"
    )


def flatten_result(value: Any) -> list[Any]:
    """Return a result as nested lists of types, dtypes, shapes, devices and values."""
    if isinstance(value, PackedSequence):
        return ["packed", *map(flatten_result, value)]
    if isinstance(value, Tensor):
        return [
            value.dtype,
            tuple(value.shape),
            value.device.type,
            value.detach().clone() if value.device.type != "meta" else None,
        ]
    return (
        [type(value).__name__, *map(flatten_result, value)]
        if isinstance(value, tuple | list)
        else [value]
    )


def are_same(left: Any, right: Any) -> bool:
    """Return whether two recorded results are bitwise equal; NaN equals NaN."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(are_same, left, right))
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return (
            left.shape == right.shape
            and left.dtype == right.dtype
            and torch.equal(left.nan_to_num(7.5), right.nan_to_num(7.5))
        )
    return type(left) is type(right) and bool(left == right)


def record_outcome(action: Callable[[], Any]) -> list[Any]:
    """Return the flattened result of a function, or the name of the exception that it raises."""
    try:
        return flatten_result(action())
    except Exception as error:
        return [type(error).__name__]


def compute_gradients(result: Any, leaves: list[Any], of: str) -> list[Any]:
    """Return the gradients of the leaves; `of` is output, h_n or both."""
    output, h_n = result
    data = output.data if isinstance(output, PackedSequence) else output
    parts = {"output": [data], "h_n": [h_n], "both": [data, h_n]}[of]
    loss = sum(
        (part * make_values(tuple(part.shape), 200 + place).to(part.dtype)).sum()
        for place, part in enumerate(parts)
    )
    computed = torch.autograd.grad(
        loss,
        [leaf for leaf in leaves if leaf is not None and leaf.requires_grad],
        allow_unused=True,
    )
    return [None if gradient is None else gradient.clone() for gradient in computed]


def probe_call(
    of: str = "",
    train: bool = True,
    dtype: torch.dtype = torch.float64,
    x_scale: float = 1.0,
    **case: Any,
) -> Probe:
    """Return a probe that calls a layer once, and differentiates what `of` names, if anything."""
    sizes = SIZES | {name: case.pop(name) for name in SIZES if name in case}
    layout, state, scale = (
        case.pop("layout", "batched"),
        case.pop("state", False),
        case.pop("scale", 0.6),
    )

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, sizes["I"], sizes["H"], dtype, scale, **case).train(train)
        leaves = make_inputs(layer, layout, state, x_scale, sizes)
        torch.manual_seed(1)

        def action() -> Any:
            result = layer(pack_input(leaves[0], layout, layer.batch_first), leaves[1])
            return (
                (*result, *compute_gradients(result, [*leaves, *layer.parameters()], of))
                if of
                else result
            )

        return record_outcome(action)

    return probe
