"""Probes of a layer after it was copied, pickled, loaded, converted, parametrized or called."""

from __future__ import annotations

import contextlib
import copy
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence

from tests.selftest.calls import (
    SIZES,
    Kind,
    Probe,
    build_layer,
    flatten_result,
    make_inputs,
    make_values,
    record_outcome,
)


def probe_prior_use(
    change: Callable[[nn.Module], Any],
    dtype: torch.dtype = torch.float64,
    grad: bool = True,
    state: bool = False,
    **case: Any,
) -> Probe:
    """Return a probe that calls a layer after `change`, which may return another layer to call."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(
            kind, SIZES["I"], SIZES["H"], **({"num_layers": 2, "bidirectional": True} | case)
        )

        def action() -> Any:
            with torch.set_grad_enabled(grad):
                subject = change(layer) or layer
                x, h = make_inputs(subject, state=state)
                torch.manual_seed(1)
                return (
                    *subject(x.to(dtype), h),
                    subject.training,
                    *(p.detach() for p in layer.parameters()),
                )

        return record_outcome(action)

    return probe


def call_once(layer: nn.Module) -> Any:
    """Call a layer."""
    return layer(make_inputs(layer)[0])


def load_doubled_weights(layer: nn.Module) -> None:
    call_once(layer)
    layer.load_state_dict({name: value * 2 for name, value in layer.state_dict().items()})


def load_through_parent(layer: nn.Module) -> None:
    outer = nn.Sequential(layer)
    outer.load_state_dict({name: value * 2 for name, value in outer.state_dict().items()})


def pickle_layer(layer: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(layer))


def pickle_in_eval(layer: nn.Module) -> Any:
    return pickle_layer(layer.eval())


def set_eval_through_parent(layer: nn.Module) -> None:
    nn.Sequential(layer).eval()


def parametrize_weight(layer: nn.Module) -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    parametrize.register_parametrization(layer, "weight_hh_l0", Doubled())


def remove_parametrization(layer: nn.Module) -> None:
    """Call a layer with a parametrized weight, and load its weights after the parametrization."""
    weights = {name: value.clone() for name, value in layer.state_dict().items()}
    parametrize_weight(layer)
    call_once(layer)
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    layer.load_state_dict(weights)


def normalise_weight(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer, "weight_hh_l0")
    call_once(layer)
    with torch.no_grad():
        layer.weight_hh_l0_g.mul_(0.5)  # type: ignore[operator]


def flatten_parameters(layer: nn.Module) -> None:
    layer.flatten_parameters()  # type: ignore[operator]


def transpose_weights(layer: nn.Module) -> None:
    """Give every weight the same numbers in another memory layout."""
    for parameter in layer.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.t().contiguous().t()


def take_part_of_larger_tensor(layer: nn.Module) -> None:
    """Let every parameter be the end of a larger tensor."""
    for parameter in layer.parameters():
        larger = torch.ones([size + 1 for size in parameter.shape], dtype=parameter.dtype)
        view = larger[(slice(1, None),) * parameter.dim()]
        parameter.data = view.copy_(parameter.data)


def probe_thread_numbers(number: int) -> Probe:
    """Return a probe that calls a layer under a number of threads."""

    def probe(kind: Kind) -> list[Any]:
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            return probe_prior_use(lambda layer: None)(kind)
        finally:
            torch.set_num_threads(before)

    return probe


def call_functionally(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, num_layers=2)
    call_once(layer)
    x, _ = make_inputs(layer)
    other = {name: value * 2 for name, value in layer.named_parameters()}
    return record_outcome(lambda: torch.func.functional_call(layer, other, (x,)))


def read_tie_after_conversion(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 4, 4, num_layers=2)
    layer.weight_hh_l1 = layer.weight_hh_l0
    layer.to(torch.float32)
    return [layer.weight_hh_l1 is layer.weight_hh_l0]


def differentiate_tied_biases(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    layer.bias_hh_l0 = layer.bias_ih_l0
    output, _ = layer(make_inputs(layer)[0])
    return list(torch.autograd.grad(output.sum(), list(layer.parameters())))


def differentiate_tied_layers(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, num_layers=2)
    layer.weight_hh_l1 = layer.weight_hh_l0
    output, _ = layer(make_inputs(layer)[0])
    return list(torch.autograd.grad(output.sum(), list(layer.parameters())))


def zero_the_state_dict(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    for value in layer.state_dict().values():
        value.zero_()
    return [list(layer.state_dict()), *map(flatten_result, layer.parameters())]


def probe_carried_state(length: int) -> Probe:
    """Return a probe that passes a sequence in two calls, with `length` steps in the second."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4)
        x, _ = make_inputs(layer)
        _, state = layer(x[:-length])
        return record_outcome(lambda: layer(x[-length:], state))

    return probe


def copy_and_change_original(layer: nn.Module) -> nn.Module:
    """Return a copy of a layer, and change the original."""
    copied: nn.Module = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()  # type: ignore[operator]
    return copied


def probe_kept_flags(change: Callable[[nn.Module], Any]) -> Probe:
    """Return a probe of the mode and the frozen parameters of a frozen layer after `change`."""

    def probe(kind: Kind) -> list[Any]:
        changed = change(build_layer(kind, 3, 4).eval().requires_grad_(False))
        return [changed.training, [each.requires_grad for each in changed.parameters()]]

    return probe


def probe_loading(spoil: Callable[[dict[str, Tensor]], Any]) -> Probe:
    """Return a probe that loads a state_dict after `spoil` has damaged it."""

    def probe(kind: Kind) -> list[Any]:
        layer = build_layer(kind, 3, 4)
        state = dict(layer.state_dict())
        spoil(state)
        return record_outcome(lambda: str(layer.load_state_dict(state)))

    return probe


def freeze_during_a_call(layer: nn.Module) -> None:
    """Call a layer while all its parameters are frozen."""
    layer.requires_grad_(False)
    call_once(layer)
    layer.requires_grad_(True)


def differentiate_after_thawing(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    freeze_during_a_call(layer)
    x, _ = make_inputs(layer)
    return record_outcome(
        lambda: torch.autograd.grad(layer(x)[1].sum(), list(layer.parameters()), allow_unused=True)
    )


def call_on_refilled_input(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4).eval()
    x = make_inputs(layer)[0].detach()
    with torch.no_grad():
        layer(x)
        x.mul_(-0.5)
        return record_outcome(lambda: layer(x))


def compute_h_n(layer: nn.Module, given: Any) -> Tensor:
    state: Tensor = layer(given)[1]
    return state


def call_packed_and_then_padded(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    x = torch.arange(36, dtype=torch.float64).reshape(4, 3, 3) / 36
    record_outcome(partial(layer, nn.utils.rnn.pack_padded_sequence(x, [4, 2, 1])))
    return record_outcome(partial(layer, x))


def call_with_other_lengths(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    results = []
    for lengths in ((4, 2, 1), (3, 2, 2)):
        x = torch.arange(36, dtype=torch.float64).reshape(4, 3, 3)[: max(lengths)] / 36
        packed = nn.utils.rnn.pack_padded_sequence(x, list(lengths))
        results.append(record_outcome(partial(compute_h_n, layer, packed)))
    return results


def call_wrongly(layer: nn.Module) -> None:
    """Call a layer with too many features, which it refuses."""
    with contextlib.suppress(Exception):
        layer(make_values((SIZES["T"], SIZES["N"], 2 * SIZES["I"]), 1))


def call_with_hook(layer: nn.Module) -> None:
    """Call a layer with a hook that does nothing and is removed."""
    handle = layer.register_forward_hook(lambda *arguments: None)
    call_once(layer)
    handle.remove()


def save_after_training(layer: nn.Module) -> None:
    """Load the entries that a layer returns after a call in training mode."""
    call_once(layer.train())
    layer.load_state_dict(layer.state_dict())


def pass_other_weights(layer: nn.Module) -> None:
    """Call a layer through `functional_call` with other weights."""
    others = {name: 2 * value.detach() for name, value in layer.named_parameters()}
    torch.func.functional_call(layer, others, make_inputs(layer)[0])


def call_often(layer: nn.Module) -> None:
    """Call a layer thirty times."""
    for _ in range(30):
        call_once(layer)


def call_unsorted_and_then_sorted(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    data = make_values((5, 3, 3), 1)
    layer(pack_padded_sequence(data, [1, 5, 2], enforce_sorted=False))
    return record_outcome(lambda: layer(pack_padded_sequence(data, [5, 3, 1])))


def load_in_another_order(layer: nn.Module) -> None:
    """Load the entries of a layer in the opposite order."""
    layer.load_state_dict(dict(reversed(layer.state_dict().items())))


def load_in_16_bits(layer: nn.Module) -> None:
    layer.load_state_dict({name: value.half() for name, value in layer.state_dict().items()})


def load_and_zero_the_entries(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.load_state_dict(state)
    left = list(state)
    for value in state.values():
        value.zero_()
    return [left, *map(flatten_result, layer.parameters())]
