"""Calls of a layer that something was done to first: copied, pickled, loaded, converted, parametrized."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.selftest.observing import SIZES, Kind, Probe, build, flat, inputs, outcome


def after(
    change: Callable[[nn.Module], Any],
    dtype: torch.dtype = torch.float64,
    grad: bool = True,
    state: bool = False,
    **case: Any,
) -> Probe:
    """A probe that calls a layer after something was done to it; `change` may return another layer to call."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(
            kind, SIZES["I"], SIZES["H"], **({"num_layers": 2, "bidirectional": True} | case)
        )

        def action() -> Any:
            with torch.set_grad_enabled(grad):
                subject = change(layer) or layer
                x, h = inputs(subject, state=state)
                torch.manual_seed(1)
                return (
                    *subject(x.to(dtype), h),
                    subject.training,
                    *(p.detach() for p in layer.parameters()),
                )

        return outcome(action)

    return probe


def call_once(layer: nn.Module) -> Any:
    """One call of any layer."""
    return layer(inputs(layer)[0])


def replaced(layer: nn.Module) -> None:
    call_once(layer)
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach() * 2)  # type: ignore[operator]


def loaded(layer: nn.Module) -> None:
    call_once(layer)
    layer.load_state_dict({name: value * 2 for name, value in layer.state_dict().items()})


def loaded_inside(layer: nn.Module) -> None:
    outer = nn.Sequential(layer)
    outer.load_state_dict({name: value * 2 for name, value in outer.state_dict().items()})


def pickled(layer: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(layer))


def pickled_in_eval(layer: nn.Module) -> Any:
    return pickled(layer.eval())


def nested_in_eval(layer: nn.Module) -> None:
    nn.Sequential(layer).eval()


def narrowed(layer: nn.Module) -> None:
    layer.to(torch.float32)


def parametrized(layer: nn.Module) -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    parametrize.register_parametrization(layer, "weight_hh_l0", Doubled())


def normalised(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer, "weight_hh_l0")
    call_once(layer)
    with torch.no_grad():
        layer.weight_hh_l0_g.mul_(0.5)  # type: ignore[operator]


def flattened(layer: nn.Module) -> None:
    layer.flatten_parameters()  # type: ignore[operator]


def functional(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4, num_layers=2)
    call_once(layer)
    x, _ = inputs(layer)
    other = {name: value * 2 for name, value in layer.named_parameters()}
    return outcome(lambda: torch.func.functional_call(layer, other, (x,)))


def ties(kind: Kind) -> list[Any]:
    layer = build(kind, 4, 4, num_layers=2)
    layer.weight_hh_l1 = layer.weight_hh_l0
    layer.to(torch.float32)
    return [layer.weight_hh_l1 is layer.weight_hh_l0]


def tied_gradient(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    layer.bias_hh_l0 = layer.bias_ih_l0
    output, _ = layer(inputs(layer)[0])
    return list(torch.autograd.grad(output.sum(), list(layer.parameters())))


def state_dict_is_live(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    for value in layer.state_dict().values():
        value.zero_()
    return [list(layer.state_dict()), *map(flat, layer.parameters())]


def carried(length: int) -> Probe:
    """A probe that feeds a sequence in two pieces, the second of so many steps."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4)
        x, _ = inputs(layer)
        _, state = layer(x[:-length])
        return outcome(lambda: layer(x[-length:], state))

    return probe


def copied_apart(layer: nn.Module) -> nn.Module:
    """A copy, whose original is changed before the copy is called."""
    twin: nn.Module = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()  # type: ignore[operator]
    return twin


def kept(change: Callable[[nn.Module], Any]) -> Probe:
    """A probe of a frozen layer in eval mode: which mode the changed layer is in, and what of it is frozen."""

    def probe(kind: Kind) -> list[Any]:
        other = change(build(kind, 3, 4).eval().requires_grad_(False))
        return [other.training, [parameter.requires_grad for parameter in other.parameters()]]

    return probe


def loads(spoil: Callable[[dict[str, Tensor]], Any]) -> Probe:
    """A probe that loads a spoilt state_dict."""

    def probe(kind: Kind) -> list[Any]:
        layer = build(kind, 3, 4)
        state = dict(layer.state_dict())
        spoil(state)
        return outcome(lambda: str(layer.load_state_dict(state)))

    return probe


def thawed(layer: nn.Module) -> None:
    """Called while frozen, then thawed."""
    layer.requires_grad_(False)
    call_once(layer)
    layer.requires_grad_(True)


def gradients_after_thawing(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    thawed(layer)
    x, _ = inputs(layer)
    return outcome(
        lambda: torch.autograd.grad(layer(x)[1].sum(), list(layer.parameters()), allow_unused=True)
    )


def refilled(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4).eval()
    x = inputs(layer)[0].detach()
    with torch.no_grad():
        layer(x)
        x.mul_(-0.5)
        return outcome(lambda: layer(x))


def final_state(layer: nn.Module, given: Any) -> Tensor:
    state: Tensor = layer(given)[1]
    return state


def packed_otherwise(kind: Kind) -> list[Any]:
    layer = build(kind, 3, 4)
    results = []
    for lengths in ((4, 2, 1), (3, 2, 2)):
        x = torch.arange(36, dtype=torch.float64).reshape(4, 3, 3)[: max(lengths)] / 36
        packed = nn.utils.rnn.pack_padded_sequence(x, list(lengths))
        results.append(outcome(partial(final_state, layer, packed)))
    return results
