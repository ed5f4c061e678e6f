"""Probes that show planted bugs: each records a layer's behaviour, for comparison with `Plain`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from tests.selftest.calls import (
    Kind,
    Probe,
    build_layer,
    flatten_result,
    make_inputs,
    make_values,
    pack_input,
    record_outcome,
)

STACK: dict[str, Any] = {"num_layers": 3, "bidirectional": True, "state": True}
DROPS: dict[str, Any] = {"num_layers": 3, "bidirectional": True, "dropout": 0.4}


# Construction


def probe_constructor(*arguments: Any, **others: Any) -> Probe:
    """Return a probe that builds a layer and records its attributes, parameters and warnings."""

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
            return [*record_outcome(action), [warning.category for warning in caught]]

    return probe


def build_under_default_float64(kind: Kind) -> list[Any]:
    """Build a layer while the default dtype is float64."""
    with restore_settings():
        torch.set_default_dtype(torch.float64)
        return probe_constructor(3, 4)(kind)


def probe_initial_parameters(*arguments: Any, **others: Any) -> Probe:
    """Return a probe of the values that a constructor draws."""

    def probe(kind: Kind) -> list[Any]:
        torch.manual_seed(3)
        return [flatten_result(parameter) for parameter in kind(*arguments, **others).parameters()]

    return probe


# Side effects


@contextmanager
def restore_settings() -> Iterator[None]:
    """Return a context that restores the default dtype and the grad mode."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


def probe_side_effects(
    train: bool = True,
    layout: str = "batched",
    nan: bool = False,
    hx: tuple[int, ...] | None = None,
    frozen: bool = False,
    **case: Any,
) -> Probe:
    """Return a probe of arguments, parameters, generator and settings after a call."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(
            kind, 3, 4, scale=1.0, **({"num_layers": 2, "bidirectional": True} | case)
        ).train(train)
        layer.requires_grad_(not frozen)
        x, h = (tensor.detach() for tensor in make_inputs(layer, layout, True))
        x = torch.where(x > 1, torch.nan, x) if nan else x
        h = h if hx is None else torch.ones(hx, dtype=h.dtype)
        given = pack_input(x, layout, layer.batch_first)
        torch.manual_seed(1)
        with restore_settings():
            result = record_outcome(lambda: layer(given, None if case.get("dropout") == 0 else h))
            settings = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.rand(3)]
        return [
            result,
            settings,
            flatten_result(x),
            flatten_result(given),
            flatten_result(h),
            layer.training,
            *map(flatten_result, layer.parameters()),
        ]

    return probe


def read_result_after_another_call(kind: Kind) -> list[Any]:
    """Record the results without gradients and in inference mode, each after another call."""
    layer = build_layer(kind, 3, 4, num_layers=2)
    recorded: list[Any] = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            first = layer(make_values((5, 3, 3), 1))
            layer(make_values((5, 3, 3), 2))
            recorded += flatten_result(first)
    return recorded


def read_results_after_all_calls(kind: Kind) -> list[Any]:
    """Record the results of six calls without gradients, after the last of them."""
    layer = build_layer(kind, 3, 4, num_layers=2)
    with torch.no_grad():
        results = [layer(make_values((5, 3, 3), number)) for number in range(6)]
    return [value for result in results for value in flatten_result(result)]


def compare_storages(kind: Kind) -> list[Any]:
    """Record whether output and h_n share a storage."""
    output, h_n = build_layer(kind, 3, 4)(make_values((5, 3, 3), 1))
    return [output.untyped_storage().data_ptr() == h_n.untyped_storage().data_ptr()]


def continue_from_changed_state(kind: Kind) -> list[Any]:
    """Clear the state that a call returned, and record a call that starts from it."""
    layer, x = build_layer(kind, 3, 4), make_values((5, 3, 3), 1)
    with torch.no_grad():
        h_n = layer(x)[1]
        h_n.zero_()
        return record_outcome(lambda: layer(x, h_n))


# Rejected calls, memory layouts, modes, and later calls


def probe_rejection(
    shape: tuple[int, ...],
    state: tuple[int, ...] | None = None,
    dtypes: str = "dd",
    packed: bool = False,
    **case: Any,
) -> Probe:
    """Return a probe that calls a layer with an input and a state of these shapes.

    `dtypes` holds a letter for each: `s` for float32 and `d` for float64.
    """

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4, **({"num_layers": 2} | case))
        x, h = make_values(shape, 1), None if state is None else make_values(state, 2)
        x, h = (
            x.float() if dtypes[0] == "s" else x,
            h.float() if h is not None and dtypes[1] == "s" else h,
        )
        given = pack_padded_sequence(x, [1, 3], enforce_sorted=False) if packed else x
        return record_outcome(lambda: layer(given, h))

    return probe


def probe_strides(change: Callable[[Tensor], Tensor], state: bool = False) -> Probe:
    """Return a probe whose input, or state, has its strides changed."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4)
        x, h = change(make_values((5, 6, 3), 1)), change(make_values((1, 6, 4), 2))
        return record_outcome(lambda: layer(make_values((5, 6, 3), 1), h) if state else layer(x))

    return probe


def exchange_first_axes(x: Tensor) -> Tensor:
    """Return the same values, with samples before steps in memory."""
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def exchange_last_axes(x: Tensor) -> Tensor:
    """Return the same values, with features before samples in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def probe_inference(**case: Any) -> Probe:
    """Return a probe of a call under `torch.inference_mode()`."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4, **case)
        with torch.inference_mode():
            return record_outcome(lambda: layer(make_values((5, 3, 3), 1)))

    return probe


def call_without_grad(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    with torch.no_grad():
        output, h_n = layer(make_values((5, 3, 3), 1))
    return [*flatten_result((output, h_n)), output.requires_grad, h_n.requires_grad]


def call_on_meta(kind: Kind) -> list[Any]:
    def action() -> Any:
        return kind(3, 4, 2, device="meta")(torch.empty(5, 3, 3, device="meta"))

    return record_outcome(action)


def probe_later_call(N: int = 3, calls: int = 2, **case: Any) -> Probe:
    """Return a probe of the last of several calls; N is the batch size of the earlier ones."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4, **case)
        torch.manual_seed(1)
        for _ in range(calls - 1):
            record_outcome(lambda: layer(make_values((5, N, 3), 1)))
        return record_outcome(lambda: layer(make_values((5, 3, 3), 2)))

    return probe


def call_on_zeros(kind: Kind) -> list[Any]:
    """Record a call on an input whose second step is zero."""
    layer, x = build_layer(kind, 3, 4), make_values((5, 3, 3), 1)
    x[1] = 0.0
    return record_outcome(lambda: layer(x))


def call_after_a_given_state(kind: Kind) -> list[Any]:
    """Record a call without states after a call with states, in eval mode, without gradients."""
    layer = build_layer(kind, 3, 4).eval()
    with torch.no_grad():
        layer(*make_inputs(layer, "batched", True))
        return record_outcome(lambda: layer(make_inputs(layer, "batched", False)[0]))


def call_with_two_packed_batches(kind: Kind) -> list[Any]:
    """Call a layer with three packed sequences, then with two, and record the second call."""
    layer = build_layer(kind, 3, 4)
    layer(pack_padded_sequence(make_values((5, 3, 3), 1), [5, 3, 1]))
    return record_outcome(lambda: layer(pack_padded_sequence(make_values((5, 2, 3), 1), [5, 3])))


def call_with_changed_dropout(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, num_layers=2, dropout=0.1)
    layer.dropout = 0.9  # type: ignore[assignment]
    torch.manual_seed(1)
    return record_outcome(lambda: layer(make_values((5, 3, 3), 1)))


# Gradients that a single backward pass does not show


def probe_second_backward(of: int, **case: Any) -> Probe:
    """Return a probe of a second backward pass (`of=1`) or of the second derivative (`of=2`)."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4, **case)
        x, _ = make_inputs(layer)
        torch.manual_seed(1)
        output, _ = layer(x)

        def action() -> Any:
            first = torch.autograd.grad(
                (output**2).sum(), x, create_graph=of == 2, retain_graph=True
            )[0]
            return torch.autograd.grad((first**2).sum() if of == 2 else (output**2).sum(), x)[0]

        return record_outcome(action)

    return probe


def differentiate_after_another_mask(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, **DROPS)
    x, _ = make_inputs(layer)
    torch.manual_seed(1)
    output, _ = layer(x)
    layer(x)
    return record_outcome(lambda: torch.autograd.grad((output**2).sum(), x)[0])


def differentiate_in_eval(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, **DROPS)
    x, _ = make_inputs(layer)
    torch.manual_seed(1)
    output, _ = layer(x)
    layer.eval()
    return record_outcome(lambda: torch.autograd.grad((output**2).sum(), x)[0])


def differentiate_zero_parameter(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    h_0 = nn.Parameter(torch.zeros(1, 3, 4, dtype=torch.float64))
    output, _ = layer(make_values((5, 3, 3), 1), h_0)
    return record_outcome(lambda: torch.autograd.grad((output**2).sum(), h_0, allow_unused=True)[0])


def differentiate_with_frozen_weight(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, num_layers=2)
    layer.weight_hh_l0.requires_grad_(False)
    x, _ = make_inputs(layer)
    layer(x)[0].sum().backward()
    return [
        flatten_result(x.grad),
        *(flatten_result(parameter.grad) for parameter in layer.parameters()),
    ]


def differentiate_after_another_call(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    output, _ = layer(x)
    layer(-x)
    return record_outcome(lambda: torch.autograd.grad(output.sum(), x))


def differentiate_after_call_of_copy(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    layer(x)
    copied = copy.deepcopy(layer)
    output, _ = layer(x)
    copied(-x)
    return record_outcome(lambda: torch.autograd.grad(output.sum(), x))


def accumulate_gradients_twice(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    output, _ = layer(torch.ones(1, 1, 3, dtype=torch.float64))
    output.sum().backward(retain_graph=True)
    output.sum().backward()
    return [flatten_result(parameter.grad) for parameter in layer.parameters()]


def read_gradient_that_was_passed(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    output, _ = layer(torch.ones(1, 1, 3, dtype=torch.float64))
    gradient = torch.ones_like(output)
    output.backward(gradient)
    return flatten_result(gradient)


def probe_special_value(value: float, **case: Any) -> Probe:
    """Return a probe of a call whose input has one element of this value."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4, **case)
        x = make_values((5, 3, 3), 1)
        x[2, 1, 0] = value
        return record_outcome(lambda: layer(x))

    return probe


def differentiate_empty_batch(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    output, _ = layer(torch.zeros(5, 0, 3, dtype=torch.float64))
    output.sum().backward()
    return [parameter.grad for parameter in layer.parameters()]


def call_from_nan_state(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    return record_outcome(
        lambda: layer(
            make_values((5, 3, 3), 1), torch.full_like(make_values((1, 3, 4), 1), torch.nan)
        )
    )


def read_default_dtype_after_building(kind: Kind) -> list[Any]:
    before = torch.get_default_dtype()
    try:
        kind(3, 4, dtype=torch.float64)
        return [torch.get_default_dtype()]
    finally:
        torch.set_default_dtype(before)


def call_after_an_error(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, batch_first=True)
    record_outcome(lambda: layer(make_values((5, 3), 1), make_values((2, 4), 2)))
    return record_outcome(lambda: layer(make_values((2, 5, 3), 3)))


def differentiate_transposed_output(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    x = make_values((5, 3, 3), 1).requires_grad_()
    return record_outcome(
        lambda: torch.autograd.grad(
            (layer(x)[0].transpose(0, 1) * make_values((3, 5, 4), 2)).sum(), x
        )
    )
