"""Common ways in which models keep, change, detach and return tensors, applied to any model.

A way changes a class: it acts on each call of a recurrent layer, on each call of the model, or on a
new model. No way raises in PyTorch, so none may make the checker fail.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.models.layers import is_recurrent
from rnnspec.models.tensors import list_tensors

Pair = namedtuple("Pair", ["prediction", "extra"])


@dataclass
class Output:
    """A prediction in a dataclass, as libraries of language models return it."""

    logits: Any
    hidden: Any = None


@dataclass(frozen=True)
class Way:
    """One way.

    name    how a test calls it
    build   what is done to a new model
    given   what is given to the model in place of its arguments
    layer   what the model goes on with, of the layer, its arguments and what it returned
    result  what the model returns, of the model, its arguments and its prediction
    breaks  the rules that the way may break, as patterns, because it changes the computation
    """

    name: str
    build: Callable[[Any], object] = id
    given: Callable[[Any, tuple[Any, ...]], tuple[Any, ...]] | None = None
    layer: Callable[[Any, tuple[Any, ...], Any], Any] | None = None
    result: Callable[[Any, tuple[Any, ...], Any], Any] | None = None
    breaks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def bend(model: type[nn.Module], way: Way) -> type[nn.Module]:
    """Return a class whose models do the same as those of another one, in a certain way."""

    @wraps(model.__init__)
    def build(self: Any, *arguments: Any, **keywords: Any) -> None:
        model.__init__(self, *arguments, **keywords)
        if way.layer is not None:
            for module in self.modules():
                if is_recurrent(module):
                    module.__class__ = bend_layer(type(module), way.layer)
        way.build(self)

    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        arguments = way.given(self, arguments) if way.given else arguments
        prediction = model.__call__(self, *arguments, **keywords)
        return way.result(self, arguments, prediction) if way.result else prediction

    bent: type[nn.Module] = type(model.__name__, (model,), {"__init__": build, "__call__": call})
    return bent


def bend_layer(layer: type[nn.Module], change: Callable[..., Any]) -> type[nn.Module]:
    """Return a class of layers, after each call of which something happens in the model."""

    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return change(self, arguments, layer.__call__(self, *arguments, **keywords))

    bent: type[nn.Module] = type(layer.__name__, (layer,), {"__call__": call})
    return bent


def take(result: Any, which: int) -> list[Tensor]:
    """Return the output of a layer (0) or its states (1); a cell has states only."""
    if not isinstance(result, tuple) or isinstance(result, PackedSequence):
        return list(list_tensors(result))
    first, rest = (result[0], result[1]) if len(result) > 1 else (result[0], ())
    chosen = first if which == 0 else rest
    return [chosen.data] if isinstance(chosen, PackedSequence) else list(list_tensors(chosen))


def change(which: int, action: Callable[[Tensor], object]) -> Callable[..., Any]:
    """Return an in-place change of a layer's results."""

    def act(layer: Any, arguments: Any, result: Any) -> Any:
        for tensor in take(result, which):
            action(tensor)
        return result

    return act


def keep(name: str, read: Callable[[Any], Any] = lambda result: result) -> Callable[..., Any]:
    """Return how a layer, or the model that it stands for, keeps what was returned."""

    def act(owner: Any, arguments: Any, result: Any) -> Any:
        setattr(owner, name, read(result))
        return result

    return act


def append(name: str) -> Callable[..., Any]:
    def act(owner: Any, arguments: Any, result: Any) -> Any:
        getattr(owner, name).append(result)
        return result

    return act


def make_list(name: str, kind: Callable[[], Any] = list) -> Callable[[Any], None]:
    """Return how a model, and each of its recurrent layers, gets an empty container."""

    def act(model: Any) -> None:
        for module in model.modules():
            if module is model or is_recurrent(module):
                setattr(module, name, kind())

    return act


def find_first(model: Any) -> Any:
    """Return the first recurrent layer or cell of a model."""
    return next(module for module in model.modules() if is_recurrent(module))


def register_kept(model: Any, arguments: Any, prediction: Any) -> Any:
    model.register_buffer("last", next(list_tensors(prediction)))
    return prediction


def count_calls(model: Any, arguments: Any, prediction: Any) -> Any:
    model.calls += 1
    return prediction


def hook_with_method(model: Any) -> None:
    model.seen = []
    find_first(model).register_forward_hook(model_hook)


def model_hook(module: Any, arguments: Any, result: Any) -> None:
    module.seen = [*getattr(module, "seen", []), result][-2:]


def hook_with_closure(model: Any) -> None:
    """The hook puts what a layer returned where the model reads it."""
    model.features = {}

    def hook(module: Any, arguments: Any, result: Any) -> None:
        model.features["layer"] = result

    find_first(model).register_forward_hook(hook)


def read_closure(model: Any, arguments: Any, prediction: Any) -> Any:
    assert model.features["layer"] is not None
    model.features = {}
    return prediction


def hook_that_is_kept(model: Any) -> None:
    model.handle = find_first(model).register_forward_hook(model_hook)


def point_to_parent(model: Any) -> None:
    for child in model.children():
        child.__dict__["parent"] = weakref.ref(model)
    model.scale = 1.0


def read_parent(layer: Any, arguments: Any, result: Any) -> Any:
    parent = layer.__dict__.get("parent")
    if parent is not None:
        parent().scale = 1.0
    return result


def make_first(model: Any) -> None:
    """The initial state is computed in the constructor, so it has a graph."""
    model.first = sum(p.sum() for p in model.parameters() if p.is_floating_point()) * 0.0


def make_generator(model: Any) -> None:
    model.draws = (number for number in range(10**9))


def take_from_generator(model: Any, arguments: Any, prediction: Any) -> Any:
    next(model.draws)
    return prediction


def make_lock(model: Any) -> None:
    model.lock = threading.Lock()


def use_lock(model: Any, arguments: Any, prediction: Any) -> Any:
    with model.lock:
        return prediction


def make_torch_generator(model: Any) -> None:
    model.generator = torch.Generator().manual_seed(0)


def normalise_weights(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.utils.weight_norm(module)


def prune_weights(model: Any) -> None:
    from torch.nn.utils import prune

    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            prune.identity(module, "weight")


def parametrize_weights(model: Any) -> None:
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            nn.utils.parametrizations.weight_norm(module)


def freeze_layer(model: Any) -> None:
    find_first(model).requires_grad_(False)


def forget_self_in_train(model: Any) -> None:
    plain = type(model)

    def train(self: Any, mode: bool = True) -> None:
        plain.train(self, mode)

    model.__class__ = type(plain.__name__, (plain,), {"train": train})


def multiply_input(model: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    for each in arguments:
        if isinstance(each, Tensor) and each.is_floating_point():
            each *= 1.0
    return arguments


def keep_input(model: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    model.given = arguments
    return arguments


def reshape_input(model: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    for each in arguments[:1]:
        if isinstance(each, Tensor):
            each.unsqueeze_(0)
            each.squeeze_(0)
    return arguments


def go_through_numpy(model: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        torch.from_numpy(each.numpy().copy())
        if isinstance(each, Tensor) and not each.requires_grad and each.device.type == "cpu"
        else each
        for each in arguments
    )


def refuse_nan(model: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    for each in arguments:
        if isinstance(each, Tensor) and each.device.type != "meta" and bool(each.isnan().any()):
            raise ValueError("the input has NaN")
    return arguments


def refuse_nan_of_layer(layer: Any, arguments: Any, result: Any) -> Any:
    for each in take(result, 0):
        if each.device.type != "meta" and bool(each.isnan().any()):
            raise ValueError("the output has NaN")
    return result


def take_gradient(layer: Any, arguments: Any, result: Any) -> Any:
    """A penalty on the gradient with respect to a layer's results."""
    for each in take(result, 0):
        if each.requires_grad:
            layer.penalty = torch.autograd.grad(each.square().sum(), each, create_graph=True)[
                0
            ].norm()
    return result


def train_inside(layer: Any, arguments: Any, result: Any) -> Any:
    for each in take(result, 0):
        if each.requires_grad:
            each.square().mean().backward(retain_graph=True)
            layer.zero_grad()
    return result


def update_parameter(model: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Change parameters in place, as a limit on their norm does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1)
    return arguments


def update_late(model: Any, arguments: Any, prediction: Any) -> Any:
    """Change parameters after they were used, so that the call cannot be differentiated."""
    update_parameter(model, arguments)
    return prediction


def detach(tensor: Tensor) -> None:
    """Detach a tensor in place, unless it is a view, which PyTorch refuses."""
    if not tensor._is_view():
        tensor.detach_()


def delete_attribute(model: Any, arguments: Any, prediction: Any) -> Any:
    model.temporary = prediction
    del model.temporary
    return prediction


def pass_views(layer: Any, arguments: Any, result: Any) -> Any:
    def view(value: Any) -> Any:
        if isinstance(value, PackedSequence):
            return value
        if isinstance(value, tuple):
            return tuple(view(each) for each in value)
        return value[:]

    return view(result)


def keep_sums(model: Any, arguments: Any, prediction: Any) -> Any:
    model.total = model.total + next(list_tensors(prediction)).sum()
    return prediction


def make_sum(model: Any) -> None:
    model.total = torch.zeros(())


def make_lazily(model: Any, arguments: Any, prediction: Any) -> Any:
    if not hasattr(model, "extra"):
        model.extra = nn.Linear(2, 2)
    return prediction


def return_dict(model: Any, arguments: Any, prediction: Any) -> Any:
    return {"logits": prediction, "hidden": None}


def call_itself(model: Any) -> None:
    """The constructor makes a first call, as those do that need to know a size."""
    layer = find_first(model)
    width = getattr(layer, "input_size", None)
    if width is not None:
        layer.tried = layer(
            torch.zeros(2, 3, width) if layer_is_sequence(layer) else torch.zeros(2, width)
        )


def layer_is_sequence(layer: Any) -> bool:
    return hasattr(layer, "weight_hh_l0")


def copy_itself(model: Any) -> None:
    model.__dict__["teacher"] = copy.deepcopy(model)


def require_grad(layer: Any, arguments: Any, result: Any) -> Any:
    for each in take(result, 0):
        each.requires_grad_()
        each.retain_grad()
    return result


def add_hook(layer: Any, arguments: Any, result: Any) -> Any:
    for each in take(result, 0):
        if each.requires_grad:
            each.register_hook(lambda gradient: gradient * 1)
    return result


CUT = ("model.gradients-reach", "readout.*")
"""The rules about gradients, which a detached tensor ends."""

READ = ("model.gradients-reach", "readout.*")
"""The rules about the readout of a layer."""

WRITES = ("model.input-kept",)
"""The rule about the arguments of the caller."""

WAYS = (
    Way("keeps the states", layer=keep("hidden", lambda result: result[1:])),
    Way("keeps the whole result", layer=keep("kept")),
    Way("keeps detached states", layer=keep("kept", lambda r: [t.detach() for t in take(r, 1)])),
    Way("keeps every result in a list", make_list("kept"), layer=append("kept")),
    Way(
        "keeps results in a deque", make_list("kept", lambda: deque(maxlen=3)), layer=append("kept")
    ),
    Way("keeps predictions in a list", make_list("all"), result=append("all")),
    Way("keeps a prediction in a dict", result=keep("cache", lambda r: OrderedDict(last=r))),
    Way("keeps a prediction in a dataclass", result=keep("cache", lambda r: Output(r))),
    Way("keeps a prediction in a namedtuple", result=keep("cache", lambda r: Pair(r, None))),
    Way("keeps the last step as a view", layer=keep("kept", lambda r: [t[-1] for t in take(r, 1)])),
    Way("keeps its input", given=keep_input),
    Way("keeps a loss", result=keep("loss", lambda r: next(list_tensors(r)).square().mean())),
    Way("adds up a loss", make_sum, result=keep_sums),
    Way("registers a buffer in a call", result=register_kept),
    Way(
        "registers no persistent buffer",
        lambda m: m.register_buffer("calls", torch.zeros(1), persistent=False),
        result=count_calls,
    ),
    Way("counts its calls", lambda m: setattr(m, "calls", 0), result=count_calls),
    Way(
        "keeps a weak reference",
        result=keep("reference", lambda r: weakref.ref(next(list_tensors(r)))),
    ),
    Way("points to its parent", point_to_parent, layer=read_parent),
    Way("hooks a layer", hook_with_method),
    Way("hooks a layer with a closure", hook_with_closure, result=read_closure),
    Way("keeps the handle of a hook", hook_that_is_kept),
    Way("hooks a gradient", layer=add_hook),
    Way("computes a tensor in its constructor", make_first),
    Way("calls its layer in its constructor", call_itself),
    Way("has a copy of itself", copy_itself),
    Way("draws from a generator", make_generator, result=take_from_generator),
    Way("has a lock", make_lock, result=use_lock),
    Way("has a generator of torch", make_torch_generator),
    Way("normalises weights", normalise_weights),
    Way("prunes weights", prune_weights),
    Way("parametrizes weights", parametrize_weights),
    Way("freezes its layer", freeze_layer),
    Way("has a train() without a result", forget_self_in_train),
    Way("multiplies the output in place", layer=change(0, lambda t: t.mul_(1))),
    Way("adds to the states in place", layer=change(1, lambda t: t.add_(0))),
    Way("sets the states to zero", layer=change(1, Tensor.zero_), breaks=READ),
    Way("applies ReLU in place", layer=change(0, nn.ReLU(inplace=True))),
    Way("drops out in place", layer=change(0, nn.Dropout(0.0, inplace=True))),
    Way("clamps the output in place", layer=change(0, lambda t: t.clamp_(-9, 9))),
    Way("fills a mask in place", layer=change(0, lambda t: t.masked_fill_(t > 9, 0.0))),
    Way("sets a step in place", layer=change(0, lambda t: t.__setitem__(0, t[0].clone()))),
    Way("detaches the states in place", layer=change(1, detach), breaks=CUT),
    Way("detaches the output in place", layer=change(0, detach), breaks=CUT),
    Way("asks for gradients of the output", layer=require_grad),
    Way("unsqueezes the output in place", layer=change(0, lambda t: t.unsqueeze_(0).squeeze_(0))),
    Way("changes data of the output", layer=change(0, lambda t: t.data.mul_(1))),
    Way("computes a gradient in a call", layer=take_gradient),
    Way("goes back in a call", layer=train_inside),
    Way("passes views on", layer=pass_views),
    Way("multiplies its input in place", given=multiply_input, breaks=WRITES),
    Way("reshapes its input in place", given=reshape_input, breaks=WRITES),
    Way("goes through NumPy", given=go_through_numpy),
    Way("refuses NaN", given=refuse_nan),
    Way("refuses NaN behind a layer", layer=refuse_nan_of_layer),
    Way("updates parameters in a call", given=update_parameter),
    Way("updates parameters after a call", result=update_late, breaks=("*",)),
    Way("deletes an attribute", result=delete_attribute),
    Way("makes a layer in a call", result=make_lazily, breaks=("readout.parameters",)),
    Way("returns a dictionary", result=return_dict),
    Way("returns a pair", result=lambda m, a, r: (r, None)),
    Way("returns a named tuple", result=lambda m, a, r: Pair(r, None)),
    Way("returns a list", result=lambda m, a, r: [r]),
    Way(
        "returns a detached prediction",
        result=lambda m, a, r: next(list_tensors(r)).detach(),
        breaks=CUT,
    ),
    Way(
        "returns a prediction in half precision",
        result=lambda m, a, r: next(list_tensors(r)).half(),
        breaks=("*",),
    ),
)
"""All ways."""
