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
from rnnspec.observe.stage import Stage as Stage
from rnnspec.observe.stage import call_module as call_module
from rnnspec.observe.stage import share
from rnnspec.observe.tensors import from_array
from rnnspec.subjects.failures import Refused
from rnnspec.subjects.subject import Subject, observing

OTHER_DTYPE = {"float64": "float32", "float32": "float64", "bfloat16": "float32", "float16": "float32"}


def other_dtype(subject: Subject, dtype: str) -> str:
    """A dtype to convert to or from; the same where the subject refuses the other."""
    other = OTHER_DTYPE[dtype]
    return dtype if other in subject.refused else other


def prepared(subject: Subject, case: Case, values: Values) -> Stage:
    """A layer that has gone through the history of its case, has the case's weights and mode, and is ready to be called."""
    stage = Stage(subject, case, values)
    set_mode(stage)
    HISTORIES[case.history](stage)
    set_mode(stage)
    return stage


def set_mode(stage: Stage) -> None:
    """Switch to the case's train or eval mode, through the owner where the layer is part of another module."""
    with observing(f"{stage.case.mode}()"):
        stage.owner.train(stage.case.mode == "train")


def _fresh(stage: Stage) -> None:
    stage.load()


def _called(stage: Stage) -> None:
    stage.load()
    before = torch.get_default_dtype()
    if not stage.odd:
        return  # the call on the same tensors comes when there are tensors: `Observation.call`
    torch.set_default_dtype(torch.float64 if before == torch.float32 else torch.float32)
    try:
        stage.call()
    finally:
        torch.set_default_dtype(before)


def _called_twice(stage: Stage) -> None:
    stage.load()
    stage.call()
    if stage.odd:
        other = stage.another()
        other.load_others()
        other.call()
    stage.call(seed=stage.case.seed ^ 0xABC)


def _other_batch(stage: Stage) -> None:
    stage.load()
    layout = stage.case.layout
    if stage.odd and "packed" not in stage.subject.refused:
        layout = "batched" if stage.case.packed else "packed"
    stage.call(layout=layout, batch=stage.case.batch + 2, steps=stage.case.steps + 1)
    if stage.case.packed and not stage.odd:
        lengths = shared_out_otherwise(stage.case.lengths)
        stage.call(lengths=lengths, steps=max(lengths))


def shared_out_otherwise(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Other lengths of as many sequences with as many steps in all: the longest gives one to the shortest, or they take turns."""
    found = list(lengths)
    longest, shortest = found.index(max(found)), found.index(min(found))
    if found[longest] - found[shortest] < 2:
        return (*lengths[1:], lengths[0])
    found[longest] -= 1
    found[shortest] += 1
    return tuple(found[1:] + found[:1])


def _other_state(stage: Stage) -> None:
    stage.load()
    given = "state" not in stage.subject.refused
    stage.call(state="given" if given and stage.case.state == "absent" else "absent", steps=stage.case.steps + 2)


def _other_grad(stage: Stage) -> None:
    stage.load()
    stage.call(grad="grad" if stage.case.grad != "grad" else "inference" if stage.odd else "no_grad")


def _thawed(stage: Stage) -> None:
    stage.load()
    with observing("requires_grad_(False)"):
        stage.module.requires_grad_(False)
    stage.call()
    with observing("requires_grad_(True)"):
        stage.module.requires_grad_(True)


def _other_mode(stage: Stage) -> None:
    stage.load()
    stage.module.train(stage.case.mode != "train")
    stage.call()
    stage.module.eval()
    stage.module.train()


def descend(parameters: Iterable[torch.Tensor]) -> None:
    """One step of gradient descent in place; torch.optim does the same but imports torch's compiler first."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-0.125)


def _trained(stage: Stage) -> None:
    stage.load_others()
    result = stage.call(grad="grad")
    parameters = [parameter for parameter in stage.module.parameters() if parameter.requires_grad]
    if "gradients" not in stage.subject.refused and result[1].requires_grad:
        with observing("backward"):
            result[1].sum().backward()
        descend(parameters)
        stage.module.zero_grad()
    with torch.no_grad():
        for name, parameter in stage.parameters().items():
            parameter.copy_(from_array(stage.values.weights[name], parameter.device, parameter.dtype))


def _reloaded(stage: Stage) -> None:
    stage.load_others()
    stage.call()
    if stage.odd and "assign" in inspect.signature(torch.nn.Module.load_state_dict).parameters:
        with observing("load_state_dict(..., assign=True)"):
            stage.module.load_state_dict({**stage.module.state_dict(), **stage.tensors()}, assign=True)
    else:
        stage.load()


def _replaced(stage: Stage) -> None:
    stage.load_others()
    stage.call()
    for name, tensor in stage.tensors().items():
        holder, _, leaf = name.rpartition(".")
        with observing("assigning a parameter"):
            if stage.odd:
                delattr(stage.module.get_submodule(holder), leaf)
            setattr(stage.module.get_submodule(holder), leaf, torch.nn.Parameter(tensor))


def _data_replaced(stage: Stage) -> None:
    stage.load_others()
    stage.call()
    own = stage.tensors()
    for name, parameter in stage.module.named_parameters():
        if name in own:
            parameter.data = own[name]


def _deepcopied(stage: Stage) -> None:
    stage.load()
    stage.call(grad="no_grad")
    stage.original = stage.module
    with observing("copy.deepcopy"):
        stage.refresh(copy.deepcopy(stage.module))


def _pickled(stage: Stage) -> None:
    stage.load()
    stage.call(grad="no_grad")
    try:
        with observing("pickle"):
            stage.refresh(pickle.loads(pickle.dumps(stage.module)))
    except Exception as failure:
        if _importable(type(stage.module)):
            raise
        raise Refused(f"{type(stage.module).__qualname__} is not importable, so it cannot be pickled") from failure


def _importable(kind: type) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


def _converted(stage: Stage) -> None:
    other = OTHER_DTYPE[stage.case.dtype]
    if other in stage.subject.refused:
        return _fresh(stage)
    first = Stage(stage.subject, replace(stage.case, dtype=other, arithmetic="ieee", build="changed"), stage.values)
    first.load()
    first.call(grad="no_grad")
    dtypes = (stage.case.dtype, other, stage.case.dtype) if stage.odd else (stage.case.dtype,)
    with observing(f".to({stage.case.dtype})"):
        for dtype in dtypes:
            first.refresh(first.module.to(getattr(torch, dtype)))
    stage.refresh(first.module)
    if stage.case.dtype == "float64":  # its numbers do not survive in another dtype
        stage.load()


class Holder(torch.nn.Module):
    """A module that has the layer as a part."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.part = layer


def _nested(stage: Stage) -> None:
    stage.owner = Holder(stage.module)
    own = {f"part.{name}": tensor for name, tensor in stage.tensors().items()}
    stage.call()
    with observing("load_state_dict() of a module that holds the layer"):
        stage.owner.load_state_dict({**stage.owner.state_dict(), **own})


def _functional(stage: Stage) -> None:
    stage.load_others()
    stage.call()
    own = {name: tensor.requires_grad_() for name, tensor in stage.tensors().items()}
    stage.caller = lambda *given: functional_call(stage.module, own, given)
    stage.given = own


def _shared(stage: Stage) -> None:
    stage.load_others()
    other = stage.another()
    share(stage.module, other.module)
    other.load()
    other.call()


HISTORIES: dict[str, Callable[[Stage], None]] = {
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
