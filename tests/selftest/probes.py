"""The calls that show planted bugs: each returns what a layer did, to be compared with what the reference layer does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from tests.selftest.observing import Kind, Probe, build, flat, inputs, outcome, pack, values

STACK: dict[str, Any] = {"num_layers": 3, "bidirectional": True, "state": True}
DROPS: dict[str, Any] = {"num_layers": 3, "bidirectional": True, "dropout": 0.4}


# Construction


def built(*arguments: Any, **others: Any) -> Probe:
    """A probe that builds a layer and looks at its attributes and parameters, or at what was refused."""

    def probe(kind: Kind) -> list[Any]:
        def action() -> list[Any]:
            layer = kind(*arguments, **others)
            attributes = [
                getattr(layer, name, None)
                for name in (
                    "num_layers",
                    "nonlinearity",
                    "bias",
                    "batch_first",
                    "dropout",
                    "bidirectional",
                )
            ]
            tensors = [
                [name, tuple(p.shape), p.dtype, p.device.type, p.requires_grad]
                for name, p in layer.named_parameters()
            ]
            return attributes + tensors

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return [*outcome(action), [warning.category for warning in caught]]

    return probe


def built_in_double(kind: Kind) -> list[Any]:
    """A layer built while the default dtype is float64."""
    with restored():
        torch.set_default_dtype(torch.float64)
        return built(3, 4)(kind)


def drawn(*arguments: Any, **others: Any) -> Probe:
    """A probe that looks at the values that a constructor draws."""

    def probe(kind: Kind) -> list[Any]:
        torch.manual_seed(3)
        return [flat(parameter) for parameter in kind(*arguments, **others).parameters()]

    return probe


# What a call leaves behind


@contextmanager
def restored() -> Iterator[None]:
    """Global settings as they were, whatever happens inside."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


def traces(
    train: bool = True,
    layout: str = "batched",
    nan: bool = False,
    hx: tuple[int, ...] | None = None,
    **case: Any,
) -> Probe:
    """A probe that looks at arguments, parameters, generator and settings after a call."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(
            kind, 3, 4, scale=1.0, **({"num_layers": 2, "bidirectional": True} | case)
        ).train(train)
        x, h = (tensor.detach() for tensor in inputs(layer, layout, True))
        x = torch.where(x > 1, torch.nan, x) if nan else x
        h = h if hx is None else torch.ones(hx, dtype=h.dtype)
        given = pack(x, layout, layer.batch_first)
        torch.manual_seed(1)
        with restored():
            result = outcome(lambda: layer(given, None if case.get("dropout") == 0 else h))
            settings = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.rand(3)]
        return [
            result,
            settings,
            flat(x),
            flat(given),
            flat(h),
            layer.training,
            *map(flat, layer.parameters()),
        ]

    return probe


def later_calls(kind: Kind) -> list[Any]:
    """A result without gradients, seen again after another call."""
    layer = build(kind, 3, 4, num_layers=2)
    with torch.no_grad():
        first = layer(values((5, 3, 3), 1))
        layer(values((5, 3, 3), 2))
    return flat(first)


def storages(kind: Kind) -> list[Any]:
    """Whether output and final state lie in one storage."""
    output, h_n = build(kind, 3, 4)(values((5, 3, 3), 1))
    return [output.untyped_storage().data_ptr() == h_n.untyped_storage().data_ptr()]


# Calls that are refused, modes, memory, dropout over calls


def refused(
    shape: tuple[int, ...],
    state: tuple[int, ...] | None = None,
    dtypes: str = "dd",
    packed: bool = False,
    **case: Any,
) -> Probe:
    """A probe with an input and a state of given shapes; dtypes are s, d for single and double."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4, **({"num_layers": 2} | case))
        x, h = values(shape, 1), None if state is None else values(state, 2)
        x, h = (
            x.float() if dtypes[0] == "s" else x,
            h.float() if h is not None and dtypes[1] == "s" else h,
        )
        given = pack_padded_sequence(x, [1, 3], enforce_sorted=False) if packed else x
        return outcome(lambda: layer(given, h))

    return probe


def strided(change: Callable[[Tensor], Tensor], state: bool = False) -> Probe:
    """A probe whose input, or state, is made by a change of strides."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4)
        x, h = change(values((5, 6, 3), 1)), change(values((1, 6, 4), 2))
        return outcome(lambda: layer(values((5, 6, 3), 1), h) if state else layer(x))

    return probe


def axes_exchanged(x: Tensor) -> Tensor:
    """The same values, with samples before steps in memory."""
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def last_axes_exchanged(x: Tensor) -> Tensor:
    """The same values, with features before samples in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def in_inference(**case: Any) -> Probe:
    """A probe under inference_mode."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4, **case)
        with torch.inference_mode():
            return outcome(lambda: layer(values((5, 3, 3), 1)))

    return probe


def without_grad(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    with torch.no_grad():
        output, h_n = layer(values((5, 3, 3), 1))
    return [*flat((output, h_n)), output.requires_grad, h_n.requires_grad]


def on_meta(kind: Kind) -> list[Any]:
    def action() -> Any:
        return kind(3, 4, 2, device="meta")(torch.empty(5, 3, 3, device="meta"))

    return outcome(action)


def two_calls(N: int = 3, calls: int = 2, **case: Any) -> Probe:
    """A probe of a later call, the first one having another batch if N says so."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4, **case)
        torch.manual_seed(1)
        for _ in range(calls - 1):
            outcome(lambda: layer(values((5, N, 3), 1)))
        return outcome(lambda: layer(values((5, 3, 3), 2)))

    return probe


def packed_calls(kind: Kind) -> list[Any]:
    """Two calls with packed sequences, three of them and then two."""
    layer = build(kind, 3, 4)
    layer(pack_padded_sequence(values((5, 3, 3), 1), [5, 3, 1]))
    return outcome(lambda: layer(pack_padded_sequence(values((5, 2, 3), 1), [5, 3])))


def changed_dropout(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4, num_layers=2, dropout=0.1)
    layer.dropout = 0.9  # type: ignore[assignment]
    torch.manual_seed(1)
    return outcome(lambda: layer(values((5, 3, 3), 1)))


# Gradients that one backward pass does not show


def twice(of: int) -> Probe:
    """A probe of a second backward pass through one graph (1), or of the second derivative (2)."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4)
        x, _ = inputs(layer)
        output, _ = layer(x)

        def action() -> Any:
            first = torch.autograd.grad(
                (output**2).sum(), x, create_graph=of == 2, retain_graph=True
            )[0]
            return torch.autograd.grad((first**2).sum() if of == 2 else (output**2).sum(), x)[0]

        return outcome(action)

    return probe


def frozen(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4, num_layers=2)
    layer.weight_hh_l0.requires_grad_(False)
    x, _ = inputs(layer)
    layer(x)[0].sum().backward()
    return [flat(x.grad), *(flat(parameter.grad) for parameter in layer.parameters())]


def after_a_later_call(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    x, _ = inputs(layer)
    output, _ = layer(x)
    layer(-x)
    return outcome(lambda: torch.autograd.grad(output.sum(), x))


def added_twice(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    output, _ = layer(torch.ones(1, 1, 3, dtype=torch.float64))
    output.sum().backward(retain_graph=True)
    output.sum().backward()
    return [flat(parameter.grad) for parameter in layer.parameters()]


def handed_in(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    output, _ = layer(torch.ones(1, 1, 3, dtype=torch.float64))
    gradient = torch.ones_like(output)
    output.backward(gradient)
    return flat(gradient)


def special(value: float, **case: Any) -> Probe:
    """A probe whose input has one infinite or NaN element."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4, **case)
        x = values((5, 3, 3), 1)
        x[2, 1, 0] = value
        return outcome(lambda: layer(x))

    return probe


def built_in_single(kind: Kind) -> list[Any]:
    before = torch.get_default_dtype()
    try:
        kind(3, 4, dtype=torch.float64)
        return [torch.get_default_dtype()]
    finally:
        torch.set_default_dtype(before)


def batched_after_an_error(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4, batch_first=True)
    outcome(lambda: layer(values((5, 3), 1), values((2, 4), 2)))
    return outcome(lambda: layer(values((2, 5, 3), 3)))


def transposed_gradient(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    x = values((5, 3, 3), 1).requires_grad_()
    return outcome(
        lambda: torch.autograd.grad((layer(x)[0].transpose(0, 1) * values((3, 5, 4), 2)).sum(), x)
    )
