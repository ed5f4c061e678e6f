"""Uses of a layer that occur only before others; afterwards it has the weights of the case."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call

from rnnspec.cases.axes.layout import Layout
from rnnspec.cases.axes.modes import GradMode
from rnnspec.cases.axes.prior_use.base import LOAD, LayerInPreparation, PriorUse, PriorUseMeaning
from rnnspec.cases.axes.prior_use.calls import list_changes_of_layout
from rnnspec.cases.axes.prior_use.parameters import differentiate_state, locate_state
from rnnspec.contract.features import Feature

if TYPE_CHECKING:
    from rnnspec.cases.case import Case

TIMES = 30
"""The calls of a loop. Code that accumulates errors or counts calls needs a few of them to fail."""


def _call_in_layouts(layer: LayerInPreparation) -> None:
    layer.start()
    for changes in list_changes_of_layout(layer.case):
        layout: Layout = changes["layout"]
        if layout.needs is None or layer.offers(layout.needs):
            layer.call(**changes)


_LAYOUTS = PriorUseMeaning(
    "layouts",
    "called in each layout",
    _call_in_layouts,
    lambda case: (LOAD, *list_changes_of_layout(case)),
)


def _loop(layer: LayerInPreparation) -> None:
    layer.start()
    layer.call_in_loop(TIMES)


def _write_loop(case: Case) -> tuple[str, ...]:
    state = "" if case.config.kind_data.is_cell else "[1]"
    return (
        LOAD,
        "state = ()",
        f"for _ in range({TIMES}):\n    state = (layer({{input}}, *state){state},)",
    )


_LOOPED = PriorUseMeaning(
    "looped",
    f"called {TIMES} times, each time with the final states of the call before",
    _loop,
    _write_loop,
)


def _refuse(layer: LayerInPreparation) -> None:
    layer.start()
    layer.call_wrongly()


def _write_refusal(case: Case) -> tuple[str, ...]:
    wrong = "torch.cat([{first}, {first}], -1)"
    return (LOAD, f"try:\n    layer({wrong})\nexcept Exception:\n    pass")


_REFUSED = PriorUseMeaning(
    "refused",
    "called with an input that has too many features, which raises an exception",
    _refuse,
    _write_refusal,
)


def _differentiate(layer: LayerInPreparation) -> None:
    layer.start()
    differentiate_state(layer)


_DIFFERENTIATED = PriorUseMeaning(
    "differentiated",
    "called and differentiated, so that its parameters have gradients",
    _differentiate,
    lambda case: (LOAD, f"layer(*given){locate_state(case)}.sum().backward()"),
    needs=Feature.GRADIENTS,
)


def _do_nothing(*arguments: Any) -> None:
    """Do nothing, so that a hook changes nothing."""


def _hook(layer: LayerInPreparation) -> None:
    layer.start()
    with layer.step("register_forward_hook"):
        handles = [
            layer.module.register_forward_pre_hook(_do_nothing),
            layer.module.register_forward_hook(_do_nothing),
        ]
    layer.call()
    for handle in handles:
        handle.remove()


_HOOKED = PriorUseMeaning(
    "hooked",
    "called with hooks that are removed afterwards",
    _hook,
    (
        LOAD,
        "handle = layer.register_forward_hook(lambda *arguments: None)",
        "{call}",
        "handle.remove()",
    ),
)


def _call_functionally(layer: LayerInPreparation) -> None:
    layer.start()
    others = {name: 0.25 - tensor for name, tensor in layer.tensors().items()}
    layer.call(through=lambda *given: functional_call(layer.module, others, given))


_CALLED_FUNCTIONALLY = PriorUseMeaning(
    "called-functionally",
    "called through torch.func.functional_call with other weights",
    _call_functionally,
    (
        LOAD,
        "weights = {{name: 0.25 - parameter for name, parameter in {weights}}}",
        "torch.func.functional_call(layer, weights, given)",
    ),
    needs=Feature.FUNCTIONAL,
)


def _copy(layer: LayerInPreparation) -> None:
    layer.start()
    layer.call(grad_mode=GradMode.NO_GRAD)
    with layer.step("copy.deepcopy"):
        other = layer.with_module(copy.deepcopy(layer.module))
    other.load_others()
    other.call()


_COPIED = PriorUseMeaning(
    "copied",
    "called and deep-copied; the copy gets other weights and is called",
    _copy,
    (
        LOAD,
        "with torch.no_grad():\n    layer(*given)",
        "other = copy.deepcopy(layer)",
        "with torch.no_grad():\n    for parameter in other.parameters():\n"
        "        parameter.mul_(0.5)",
        "other(*given)",
    ),
    imports=("copy",),
)


def _save(layer: LayerInPreparation) -> None:
    layer.start()
    layer.call()
    saved = io.BytesIO()
    with layer.step("torch.save(layer.state_dict())"):
        torch.save(layer.module.state_dict(), saved)
        saved.seek(0)
        state = torch.load(saved, weights_only=True)
    layer.load_others()
    layer.call()
    with layer.step("load_state_dict() of saved entries"):
        layer.module.load_state_dict(state)


_SAVED = PriorUseMeaning(
    "saved",
    "called and saved, called with other weights, and loaded from the saved entries",
    _save,
    (
        LOAD,
        "{call}",
        "saved = io.BytesIO()",
        "torch.save(layer.state_dict(), saved)",
        "with torch.no_grad():\n    for parameter in layer.parameters():\n"
        "        parameter.mul_(0.5)",
        "{call}",
        "saved.seek(0)",
        "layer.load_state_dict(torch.load(saved, weights_only=True))",
    ),
    imports=("io",),
)


class PassingUses(PriorUse):
    """Uses of a layer that only precede another use."""

    LAYOUTS = _LAYOUTS
    LOOPED = _LOOPED
    REFUSED = _REFUSED
    DIFFERENTIATED = _DIFFERENTIATED
    HOOKED = _HOOKED
    CALLED_FUNCTIONALLY = _CALLED_FUNCTIONALLY
    COPIED = _COPIED
    SAVED = _SAVED
