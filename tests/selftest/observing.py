"""What a layer does with one call, as a list that can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

Kind = type[nn.Module]
Probe = Callable[[Kind], list[Any]]

SIZES = {"T": 5, "N": 3, "I": 3, "H": 4}
LENGTHS = {
    "packed": [5, 3, 1],
    "unsorted": [1, 5, 2],
    "ties": [5, 2, 2],
    "tail": [5, 4, 3],
    "one-step": [1, 1, 1],
}


def values(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> Tensor:
    """Values that are the same for the same shape and seed."""
    return scale * torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def build(
    kind: Kind,
    I: int,
    H: int,
    dtype: torch.dtype = torch.float64,
    scale: float = 0.6,
    **arguments: Any,
) -> nn.Module:  # noqa: E741
    """A layer with known parameters; those that have other names or shapes keep what the constructor drew."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layer = kind(I, H, **arguments)
    layer = layer if layer.weight_hh_l0.dtype == dtype else layer.to(dtype)
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.copy_(values(tuple(parameter.shape), seed, scale))
    return layer


def inputs(
    layer: nn.Module,
    layout: str = "batched",
    state: bool = False,
    scale: float = 1.0,
    sizes: Mapping[str, int] = SIZES,
) -> list[Any]:
    """The input and perhaps the state of a call, as leaves that require gradients."""
    steps, samples, features = (sizes[name] for name in "TNI")
    dtype = layer.weight_hh_l0.dtype
    leading = (samples, steps) if layer.batch_first else (steps, samples)
    shape = (steps, features) if layout == "unbatched" else (*leading, features)
    x = values(shape, 100, scale).to(dtype).requires_grad_(torch.is_grad_enabled())  # type: ignore[arg-type]
    count = layer.num_layers * (2 if layer.bidirectional else 1)  # type: ignore[operator]
    h_shape = (count, sizes["H"]) if layout == "unbatched" else (count, samples, sizes["H"])
    h = (
        values(h_shape, 101, 1.5).to(dtype).requires_grad_(torch.is_grad_enabled())
        if state
        else None
    )  # type: ignore[arg-type]
    return [x, h]


def pack(x: Tensor, layout: str, batch_first: Any) -> Tensor | PackedSequence:
    """The input in its layout."""
    if layout not in LENGTHS:
        return x
    return pack_padded_sequence(
        x, LENGTHS[layout], batch_first=batch_first, enforce_sorted=layout != "unsorted"
    )


def flat(value: Any) -> list[Any]:
    """Tensors and plain values of a result, with what tells results apart."""
    if isinstance(value, PackedSequence):
        return ["packed", *map(flat, value)]
    if isinstance(value, Tensor):
        return [
            value.dtype,
            tuple(value.shape),
            value.device.type,
            value.detach().clone() if value.device.type != "meta" else None,
        ]
    return [type(value).__name__, *map(flat, value)] if isinstance(value, tuple | list) else [value]


def same(left: Any, right: Any) -> bool:
    """Whether two lists of observations are equal, bit by bit, NaN being equal to NaN."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return (
            left.shape == right.shape
            and left.dtype == right.dtype
            and torch.equal(left.nan_to_num(7.5), right.nan_to_num(7.5))
        )
    return type(left) is type(right) and bool(left == right)


def outcome(action: Callable[[], Any]) -> list[Any]:
    """What comes back, or the kind of exception."""
    try:
        return flat(action())
    except Exception as error:
        return [type(error).__name__]


def gradients(result: Any, leaves: list[Any], of: str) -> list[Any]:
    """The gradients of the leaves, of the output, the final state or both."""
    output, h_n = result
    data = output.data if isinstance(output, PackedSequence) else output
    parts = {"output": [data], "h_n": [h_n], "both": [data, h_n]}[of]
    loss = sum(
        (part * values(tuple(part.shape), 200 + place).to(part.dtype)).sum()
        for place, part in enumerate(parts)
    )
    found = torch.autograd.grad(
        loss,
        [leaf for leaf in leaves if leaf is not None and leaf.requires_grad],
        allow_unused=True,
    )
    return [None if gradient is None else gradient.clone() for gradient in found]


def called(
    of: str = "",
    train: bool = True,
    dtype: torch.dtype = torch.float64,
    x_scale: float = 1.0,
    **case: Any,
) -> Probe:
    """A probe that calls a layer once, and differentiates where `of` says what."""
    sizes = SIZES | {name: case.pop(name) for name in SIZES if name in case}
    layout, state, scale = (
        case.pop("layout", "batched"),
        case.pop("state", False),
        case.pop("scale", 0.6),
    )

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, sizes["I"], sizes["H"], dtype, scale, **case).train(train)
        leaves = inputs(layer, layout, state, x_scale, sizes)
        torch.manual_seed(1)

        def action() -> Any:
            result = layer(pack(leaves[0], layout, layer.batch_first), leaves[1])
            return (
                (*result, *gradients(result, [*leaves, *layer.parameters()], of)) if of else result
            )

        return outcome(action)

    return probe
