"""Copies, conversions and other modules: the values of `prior_use` that are about the module."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call

from rnnspec.cases.axes.dtype import DType, Float32Precision
from rnnspec.cases.axes.modes import GradMode
from rnnspec.cases.axes.prior_use.base import (
    LOAD,
    QUIET_CALL,
    LayerInPreparation,
    Lines,
    PriorUse,
    PriorUseMeaning,
    takes_second_way,
)
from rnnspec.contract.features import Feature

if TYPE_CHECKING:
    from rnnspec.cases.case import Case


def _deepcopy(layer: LayerInPreparation) -> None:
    layer.start()
    # If a layer keeps a result of a call with gradients, copy.deepcopy refuses its graph.
    own = layer.case.grad_mode
    layer.call(grad_mode=own if layer.takes_second_way else GradMode.NO_GRAD)
    layer.original = layer.module
    with layer.step("copy.deepcopy"):
        layer.use_module(copy.deepcopy(layer.module))


def _write_deepcopy(case: Case) -> Lines:
    call = "{call}" if takes_second_way(case) else QUIET_CALL
    return (LOAD, call, "layer = copy.deepcopy(layer)")


_DEEPCOPIED = PriorUseMeaning(
    "deepcopied",
    "called, in half of the cases with gradients, then deep-copied; the copy is checked",
    _deepcopy,
    _write_deepcopy,
    imports=("copy",),
)


def _pickle(layer: LayerInPreparation) -> None:
    layer.start()
    layer.call(grad_mode=GradMode.NO_GRAD)
    kind = type(layer.module)
    try:
        with layer.step("pickle"):
            layer.use_module(pickle.loads(pickle.dumps(layer.module)))
    except Exception as failure:
        if _is_importable(kind):
            raise
        reason = f"{kind.__qualname__} is not importable, so it cannot be pickled"
        raise layer.unsupported(reason) from failure


def _is_importable(kind: type) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


_PICKLED = PriorUseMeaning(
    "pickled",
    "called, then pickled and unpickled",
    _pickle,
    (LOAD, QUIET_CALL, "layer = pickle.loads(pickle.dumps(layer))"),
    imports=("pickle",),
    needs=Feature.PICKLE,
)


def _convert(layer: LayerInPreparation) -> None:
    own, other = layer.case.dtype, layer.case.dtype.converted_from
    if other.needs is not None and not layer.offers(other.needs):
        layer.start()
        return
    first = layer.change_dtype(other)
    first.start()
    first.call(grad_mode=GradMode.NO_GRAD)
    with layer.step(f".to({own})"):
        for dtype in (own, other, own) if layer.takes_second_way else (own,):
            first.use_module(first.module.to(dtype.torch_dtype))
    layer.use_module(first.module)
    if own is DType.FLOAT64:  # a conversion to another dtype has rounded its numbers
        layer.load()


def _write_conversion(case: Case) -> Lines:
    call = {
        "dtype": case.dtype.converted_from,
        "float32_precision": Float32Precision.IEEE,
        "grad_mode": GradMode.NO_GRAD,
    }
    back = ".to({dtype}).to({other_dtype})" if takes_second_way(case) else ""
    return (
        LOAD,
        "layer = layer.train().to({other_dtype})",
        call,
        f"layer = layer{back}.to({{dtype}}).train({{mode}})",
        *([LOAD] if case.dtype is DType.FLOAT64 else []),
    )


_CONVERTED = PriorUseMeaning(
    "converted",
    "built and called in another dtype, then converted, in half of the cases there and back",
    _convert,
    _write_conversion,
)


class Holder(torch.nn.Module):
    """A module that has the layer as its part."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.part = layer


def _nest(layer: LayerInPreparation) -> None:
    layer.owner = Holder(layer.module)
    layer.load_others()
    layer.call()
    with layer.step("load_state_dict() of a module that holds the layer"):
        # Load only the layer's own entries: inside a module, it must not need any others.
        own = {**layer.module.state_dict(), **layer.tensors()}
        layer.owner.load_state_dict({f"part.{name}": value for name, value in own.items()})


_NESTED = PriorUseMeaning(
    "nested",
    "part of another module that is loaded, after a call with other weights, converted and "
    "switched as a whole",
    _nest,
    (
        "{call}",
        "holder = torch.nn.ModuleList([layer])",
        "entries = {entries}",
        'holder.load_state_dict({{f"0.{{name}}": entries[name] for name in entries}})',
    ),
)


def _call_functionally(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    own = {name: tensor.requires_grad_() for name, tensor in layer.tensors().items()}
    layer.use_weights(own, lambda *given: functional_call(layer.module, own, given))


_FUNCTIONAL = PriorUseMeaning(
    "functional",
    "called through torch.func.functional_call with the weights as arguments",
    _call_functionally,
    (
        "{call}",
        "module = layer",
        "weights = {{name: value.detach().requires_grad_() for name, value in {weights}}}",
        "layer = lambda *given: torch.func.functional_call(module, weights, given)",
        "layer.named_parameters = lambda **options: weights.items()",
        "layer.train = module.train",
    ),
    needs=Feature.FUNCTIONAL,
    is_passing=False,
)


def _share(layer: LayerInPreparation) -> None:
    layer.load_others()
    other = layer.build_sibling()
    layer.share_parameters(other)
    other.load()
    other.call()


_SHARED = PriorUseMeaning(
    "shared",
    "another layer holds and uses the same parameters",
    _share,
    (
        "other = {build}",
        "for name, parameter in layer.named_parameters():\n    setattr({other_place}, parameter)",
        "other.load_state_dict({entries})",
        "other(*given)",
    ),
    replaces=True,
    calls=False,
)


class ModuleUses(PriorUse):
    """Uses of the module as a whole."""

    DEEPCOPIED = _DEEPCOPIED
    PICKLED = _PICKLED
    CONVERTED = _CONVERTED
    NESTED = _NESTED
    FUNCTIONAL = _FUNCTIONAL
    SHARED = _SHARED
