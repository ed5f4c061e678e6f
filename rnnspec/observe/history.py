"""What happens to a layer before the call that is judged."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch.func import functional_call

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.prepared import PreparedLayer as PreparedLayer
from rnnspec.observe.prepared import call_module as call_module
from rnnspec.observe.prepared import share_parameters
from rnnspec.observe.tensors import make_tensor
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import Subject, observing

OTHER_DTYPE = {
    "float64": "float32",
    "float32": "float64",
    "bfloat16": "float32",
    "float16": "float32",
}


def choose_other_dtype(subject: Subject, dtype: str) -> str:
    """A dtype to convert to or from; the same where the subject refuses the other."""
    other = OTHER_DTYPE[dtype]
    return dtype if other in subject.refused else other


def prepare_layer(subject: Subject, case: Case, values: Values) -> PreparedLayer:
    """A layer that has gone through the history of its case, has the case's weights and mode, and is ready to be called."""
    prepared = PreparedLayer(subject, case, values)
    set_mode(prepared)
    HISTORIES[case.history](prepared)
    set_mode(prepared)
    return prepared


def set_mode(prepared: PreparedLayer) -> None:
    """Switch to the case's train or eval mode, through the owner where the layer is part of another module."""
    with observing(f"{prepared.case.mode}()"):
        prepared.owner.train(prepared.case.mode == "train")


def _fresh(prepared: PreparedLayer) -> None:
    prepared.load()


def _called(prepared: PreparedLayer) -> None:
    prepared.load()
    before = torch.get_default_dtype()
    if not prepared.odd:
        return  # the call on the same tensors comes when there are tensors: `Observation.call`
    torch.set_default_dtype(torch.float64 if before == torch.float32 else torch.float32)
    try:
        prepared.call()
    finally:
        torch.set_default_dtype(before)


def _called_twice(prepared: PreparedLayer) -> None:
    prepared.load()
    prepared.call()
    if prepared.odd:
        other = prepared.build_sibling()
        other.load_others()
        other.call()
    prepared.call(seed=prepared.case.seed ^ 0xABC)


def _other_batch(prepared: PreparedLayer) -> None:
    prepared.load()
    layout = prepared.case.layout
    if prepared.odd and "packed" not in prepared.subject.refused:
        layout = "batched" if prepared.case.is_packed else "packed"
    prepared.call(layout=layout, batch=prepared.case.batch + 2, steps=prepared.case.steps + 1)
    if prepared.case.is_packed and not prepared.odd:
        lengths = redistribute_lengths(prepared.case.lengths)
        prepared.call(lengths=lengths, steps=max(lengths))


def redistribute_lengths(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Other lengths of as many sequences with as many steps in all: the longest gives one to the shortest, or they take turns."""
    found = list(lengths)
    longest, shortest = found.index(max(found)), found.index(min(found))
    if found[longest] - found[shortest] < 2:
        return (*lengths[1:], lengths[0])
    found[longest] -= 1
    found[shortest] += 1
    return tuple(found[1:] + found[:1])


def _other_state(prepared: PreparedLayer) -> None:
    prepared.load()
    given = "state" not in prepared.subject.refused
    prepared.call(
        state="given" if given and prepared.case.state == "absent" else "absent",
        steps=prepared.case.steps + 2,
    )


def _other_grad(prepared: PreparedLayer) -> None:
    prepared.load()
    prepared.call(
        grad="grad" if prepared.case.grad != "grad" else "inference" if prepared.odd else "no_grad"
    )


def _thawed(prepared: PreparedLayer) -> None:
    prepared.load()
    with observing("requires_grad_(False)"):
        prepared.module.requires_grad_(False)
    prepared.call()
    with observing("requires_grad_(True)"):
        prepared.module.requires_grad_(True)


def _other_mode(prepared: PreparedLayer) -> None:
    prepared.load()
    prepared.module.train(prepared.case.mode != "train")
    prepared.call()
    prepared.module.eval()
    prepared.module.train()


def take_gradient_step(parameters: Iterable[torch.Tensor]) -> None:
    """One step of gradient descent in place; torch.optim does the same but imports torch's compiler first."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-0.125)


def _trained(prepared: PreparedLayer) -> None:
    prepared.load_others()
    result = prepared.call(grad="grad")
    parameters = [
        parameter for parameter in prepared.module.parameters() if parameter.requires_grad
    ]
    if "gradients" not in prepared.subject.refused and result[1].requires_grad:
        with observing("backward"):
            result[1].sum().backward()
        take_gradient_step(parameters)
        prepared.module.zero_grad()
    with torch.no_grad():
        for name, parameter in prepared.parameters().items():
            parameter.copy_(
                make_tensor(prepared.values.weights[name], parameter.device, parameter.dtype)
            )


def _reloaded(prepared: PreparedLayer) -> None:
    prepared.load_others()
    prepared.call()
    if prepared.odd and "assign" in inspect.signature(torch.nn.Module.load_state_dict).parameters:
        with observing("load_state_dict(..., assign=True)"):
            prepared.module.load_state_dict(
                {**prepared.module.state_dict(), **prepared.tensors()}, assign=True
            )
    else:
        prepared.load()


def _replaced(prepared: PreparedLayer) -> None:
    prepared.load_others()
    prepared.call()
    for name, tensor in prepared.tensors().items():
        holder, _, leaf = name.rpartition(".")
        with observing("assigning a parameter"):
            if prepared.odd:
                delattr(prepared.module.get_submodule(holder), leaf)
            setattr(prepared.module.get_submodule(holder), leaf, torch.nn.Parameter(tensor))


def _data_replaced(prepared: PreparedLayer) -> None:
    prepared.load_others()
    prepared.call()
    own = prepared.tensors()
    for name, parameter in prepared.module.named_parameters():
        if name in own:
            parameter.data = own[name]


def _deepcopied(prepared: PreparedLayer) -> None:
    prepared.load()
    prepared.call(grad="no_grad")
    prepared.original = prepared.module
    with observing("copy.deepcopy"):
        prepared.use_module(copy.deepcopy(prepared.module))


def _pickled(prepared: PreparedLayer) -> None:
    prepared.load()
    prepared.call(grad="no_grad")
    try:
        with observing("pickle"):
            prepared.use_module(pickle.loads(pickle.dumps(prepared.module)))
    except Exception as failure:
        if _importable(type(prepared.module)):
            raise
        raise Unsupported(
            f"{type(prepared.module).__qualname__} is not importable, so it cannot be pickled"
        ) from failure


def _importable(kind: type) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


def _converted(prepared: PreparedLayer) -> None:
    other = OTHER_DTYPE[prepared.case.dtype]
    if other in prepared.subject.refused:
        return _fresh(prepared)
    first = PreparedLayer(
        prepared.subject,
        replace(prepared.case, dtype=other, arithmetic="ieee", build="changed"),
        prepared.values,
    )
    first.load()
    first.call(grad="no_grad")
    dtypes = (
        (prepared.case.dtype, other, prepared.case.dtype)
        if prepared.odd
        else (prepared.case.dtype,)
    )
    with observing(f".to({prepared.case.dtype})"):
        for dtype in dtypes:
            first.use_module(first.module.to(getattr(torch, dtype)))
    prepared.use_module(first.module)
    if prepared.case.dtype == "float64":  # its numbers do not survive in another dtype
        prepared.load()


class Holder(torch.nn.Module):
    """A module that has the layer as a part."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.part = layer


def _nested(prepared: PreparedLayer) -> None:
    prepared.owner = Holder(prepared.module)
    own = {f"part.{name}": tensor for name, tensor in prepared.tensors().items()}
    prepared.call()
    with observing("load_state_dict() of a module that holds the layer"):
        prepared.owner.load_state_dict({**prepared.owner.state_dict(), **own})


def _functional(prepared: PreparedLayer) -> None:
    prepared.load_others()
    prepared.call()
    own = {name: tensor.requires_grad_() for name, tensor in prepared.tensors().items()}
    prepared.caller = lambda *given: functional_call(prepared.module, own, given)
    prepared.given = own


def _shared(prepared: PreparedLayer) -> None:
    prepared.load_others()
    other = prepared.build_sibling()
    share_parameters(prepared.module, other.module)
    other.load()
    other.call()


HISTORIES: dict[str, Callable[[PreparedLayer], None]] = {
    "fresh": _fresh,
    "called": _called,
    "called-twice": _called_twice,
    "other-batch": _other_batch,
    "other-state": _other_state,
    "other-grad": _other_grad,
    "thawed": _thawed,
    "other-mode": _other_mode,
    "trained": _trained,
    "reloaded": _reloaded,
    "replaced": _replaced,
    "data-replaced": _data_replaced,
    "deepcopied": _deepcopied,
    "pickled": _pickled,
    "converted": _converted,
    "nested": _nested,
    "functional": _functional,
    "shared": _shared,
}
