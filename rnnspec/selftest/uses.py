"""Random uses of a layer: it is built, and then used several times.

It is called, converted, copied, saved, trained and misused, in any order and with any sizes,
layouts, dtypes and values. A use involves no rules and no expected results, so it need not fulfil
the constraints of cases.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.cases.axes import MemoryLayout
from rnnspec.cases.drawing import PROBABILITIES
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, Nonlinearity
from rnnspec.subjects.steps import is_from_user

Factory = Callable[..., nn.Module]
DTYPES = ("float64", "float32", "bfloat16", "float16")
MOST_ACTIONS = 6
LAYOUTS = ("batched", "unbatched", "packed", "unsorted")
STATES = ("none", "random", "zeros", "learned")
MEMORY = ("contiguous", "transposed", "sliced", "cut", "expanded", "offset")
MODES = ("grad", "no_grad", "inference")
SCALES = (1.0, 0.0, 30.0, 1e4, 1e-30, float("inf"), float("nan"))
ODD: Mapping[str, tuple[Any, ...]] = {
    "input_size": (0, -1, 2.0),
    "hidden_size": (0, -1, 3.0),
    "num_layers": (0, -1),
    "nonlinearity": ("sigmoid", "TANH"),
    "bias": (0, None),
    "batch_first": (1, None),
    "dropout": (-0.5, 1.5, True, None, 1),
    "bidirectional": (1, 0, None),
    "proj_size": (-1, 10**6),
    "device": ("cpu", "meta"),
    "dtype": (torch.float64, torch.int64),
}
"""Unusual constructor arguments; some are wrong."""
WRONG = ("features", "rank", "state", "state rank", "dtype", "state dtype", "none", "pair")


@dataclass(frozen=True)
class CallAction:
    """A call: its sizes, how the tensors are made, and how often it is differentiated.

    `backward` is the number of backward passes through the same graph, and `loop` the number of
    calls, each of which starts from the final state of the previous call.
    """

    steps: int = 1
    batch: int = 1
    layout: str = "batched"
    state: str = "none"
    memory: str = "contiguous"
    mode: str = "grad"
    scale: float = 1.0
    backward: int = 0
    wrong: str = ""
    loop: int = 1

    def __str__(self) -> str:
        facts = [f"{self.steps} steps, {self.batch} samples"]
        plain = CallAction()
        for name in ("layout", "state", "memory", "mode", "scale", "backward", "wrong", "loop"):
            value = getattr(self, name)
            facts += [f"{name}={value}"] if value != getattr(plain, name) else []
        return f"call({', '.join(facts)})"


Action = CallAction | str
"""A call, or the name of one of `ACTIONS`."""


@dataclass(frozen=True)
class Use:
    """A layer with some arguments, the actions on it, and the seed of all numbers.

    `odd` is an unusual constructor argument with its name.
    """

    config: Config
    dtype: str = "float64"
    seed: int = 0
    actions: tuple[Action, ...] = ()
    odd: tuple[tuple[str, Any], ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor arguments: all that differ from their defaults, and the odd argument."""
        return {**self.config.changed, **dict(self.odd)}

    def __str__(self) -> str:
        done = ", ".join(map(str, self.actions)) or "built"
        dtype = "" if self.dtype == DTYPES[0] else f" in {self.dtype}"
        odd = "".join(f" but {name}={value!r}" for name, value in self.odd)
        return f"{self.config}{odd}{dtype}: {done} (seed {self.seed})"


@dataclass
class LayerInUse:
    """A layer in use: the layer, the dtype of its inputs, and the source of random numbers."""

    layer: nn.Module
    use: Use
    dtype: torch.dtype
    generator: torch.Generator
    factory: Factory

    def draw(self, shape: Sequence[int], scale: float = 1.0) -> Tensor:
        """Return normal numbers; an infinite scale or NaN is used only for the first number."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        if scale == scale and abs(scale) != float("inf"):
            return (drawn * scale).to(self.dtype)
        flat = drawn.flatten()
        flat[:1] = scale
        return flat.reshape(drawn.shape).to(self.dtype)


def _convert(dtype: torch.dtype) -> Callable[[LayerInUse], Any]:
    def convert(session: LayerInUse) -> Any:
        session.layer, session.dtype = session.layer.to(dtype), dtype

    return convert


def _save_and_load(session: LayerInUse) -> Any:
    memory = io.BytesIO()
    torch.save(session.layer.state_dict(), memory)
    memory.seek(0)
    made = session.factory(**session.use.arguments).to(session.dtype)
    loaded = torch.load(memory)
    given = {name: loaded[name] for name in sorted(loaded)}
    missing = made.load_state_dict(given)
    made.train(session.layer.training)
    session.layer = made
    return [str(missing), sorted(given)]


def _copy(session: LayerInUse) -> Any:
    session.layer = copy.deepcopy(session.layer)


def _pickle(session: LayerInUse) -> Any:
    session.layer = pickle.loads(pickle.dumps(session.layer))


def _learn(session: LayerInUse) -> Any:
    """Take a step of gradient descent, as an optimiser does."""
    with torch.no_grad():
        for parameter in session.layer.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)


def _add_to_data(session: LayerInUse) -> Any:
    for parameter in session.layer.parameters():
        parameter.data.add_(0.125)


def _replace_parameters(session: LayerInUse) -> Any:
    for name, parameter in list(session.layer.named_parameters(recurse=False)):
        setattr(session.layer, name, nn.Parameter(parameter.detach() * 0.5))


def _freeze(session: LayerInUse) -> Any:
    first = next(session.layer.parameters())
    first.requires_grad_(not first.requires_grad)


def _reset(session: LayerInUse) -> Any:
    torch.manual_seed(session.use.seed)
    session.layer.reset_parameters()  # type: ignore[operator]


def _read_attributes(session: LayerInUse) -> Any:
    own = {name: value for name, value in vars(session.layer).items() if name[0] != "_"}
    plain = (bool, int, float, str, type(None))
    return [repr(session.layer), *((k, v) for k, v in own.items() if isinstance(v, plain))]


def _hook(session: LayerInUse) -> Any:
    session.layer.register_forward_hook(lambda module, given, result: None)


def _list_modules(session: LayerInUse) -> Any:
    layer = session.layer
    kept = [each.shape for each in layer.parameters()]
    return [[name for name, _ in layer.named_modules()], kept, len(list(layer.buffers()))]


def _flatten(session: LayerInUse) -> Any:
    session.layer.flatten_parameters()  # type: ignore[operator]


def _call_functionally(session: LayerInUse) -> Any:
    weights = {
        name: session.draw(parameter.shape, 0.4)
        for name, parameter in session.layer.named_parameters()
    }
    call = CallAction(3, 2)
    kind = session.use.config.kind_data
    given = _make_input(session, replace(call, steps=1) if kind.is_cell else call)
    return torch.func.functional_call(session.layer, weights, (given,))


def _differentiate_forwards(session: LayerInUse) -> Any:
    given = _make_input(session, CallAction(1 if session.use.config.kind_data.is_cell else 3, 2))
    tangent = session.draw(given.shape)
    return torch.func.jvp(lambda x: _first(session.layer(x)), (given,), (tangent,))


def _first(result: Any) -> Tensor:
    first: Tensor = result[0] if isinstance(result, tuple) else result
    return first


def _call_on_meta(session: LayerInUse) -> Any:
    given = _make_input(session, CallAction(1 if session.use.config.kind_data.is_cell else 3, 2))
    return copy.deepcopy(session.layer).to("meta")(given.to("meta"))


def _autocast(session: LayerInUse) -> Any:
    given = _make_input(session, CallAction(1 if session.use.config.kind_data.is_cell else 3, 2))
    with torch.autocast("cpu", torch.bfloat16):
        return session.layer(given)


def _differentiate_twice(session: LayerInUse) -> Any:
    given = _make_input(session, CallAction(1 if session.use.config.kind_data.is_cell else 3, 2))
    leaves = [given.requires_grad_(), *session.layer.parameters()]
    output = _first(session.layer(given))
    first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
    total = torch.stack([each.square().sum() for each in first]).sum()
    return torch.autograd.grad(total, leaves)


def _write_into_results(session: LayerInUse) -> Any:
    """Overwrite a result, and return the other results and the arguments afterwards."""
    given = _make_input(session, CallAction(1 if session.use.config.kind_data.is_cell else 3, 2))
    with torch.no_grad():
        results = [each for each in _flatten_result(session.layer(given)) if _is_tensor(each)]
        results[0].fill_(7.0)
        return [*results, given, *session.layer.parameters()]


ACTIONS: Mapping[str, Callable[[LayerInUse], Any]] = {
    "train()": lambda session: session.layer.train() is session.layer,
    "eval()": lambda session: session.layer.eval() is session.layer,
    **{f"to({name})": _convert(getattr(torch, name)) for name in DTYPES},
    "deepcopy": _copy,
    "pickle": _pickle,
    "save and load": _save_and_load,
    "optimiser step": _learn,
    "weights changed through .data": _add_to_data,
    "parameters replaced": _replace_parameters,
    "a parameter frozen or thawed": _freeze,
    "reset_parameters()": _reset,
    "attributes": _read_attributes,
    "a forward hook": _hook,
    "modules and parameters": _list_modules,
    "flatten_parameters()": _flatten,
    "functional_call": _call_functionally,
    "jvp": _differentiate_forwards,
    "call on meta": _call_on_meta,
    "autocast": _autocast,
    "results overwritten": _write_into_results,
    "second derivatives": _differentiate_twice,
    "zero_grad()": lambda session: session.layer.zero_grad(),
}
"""The actions of a use besides calls."""


@st.composite
def uses(draw: st.DrawFn, kind: str) -> Use:
    """Draw uses of a kind of layer or cell, which shrink to one small call of a small layer."""
    own = KINDS[kind]
    hidden_size = draw(_SIZES)
    domains: dict[str, st.SearchStrategy[Any]] = {
        "num_layers": st.integers(1, 4),
        "nonlinearity": st.sampled_from(own.nonlinearities or (Nonlinearity.TANH.value,)),
        "bias": st.booleans().map(lambda lacks: not lacks),
        "batch_first": st.booleans(),
        "dropout": st.one_of(st.just(0.0), PROBABILITIES, st.just(1.0)),
        "bidirectional": st.booleans(),
        "proj_size": st.one_of(st.just(0), st.integers(0, hidden_size - 1)),
    }
    drawn = {name: draw(each) for name, each in domains.items() if name in own.arguments}
    config = Config(draw(_SIZES), hidden_size, kind=kind, **drawn)
    names = [name for name in ODD if name in (*own.arguments, "device", "dtype")]
    odd: tuple[tuple[str, Any], ...] = ()
    if draw(st.integers(0, 7)) == 7:
        name = draw(st.sampled_from(names))
        odd = ((name, draw(st.sampled_from(ODD[name]))),)
    action = st.one_of(calls(is_cell=own.is_cell), st.sampled_from(tuple(ACTIONS)))
    return Use(
        config,
        draw(st.sampled_from(DTYPES)),
        draw(st.integers(0, 2**16)),
        tuple(draw(st.lists(action, max_size=MOST_ACTIONS))),
        odd,
    )


_SIZES = st.integers(0, 9).flatmap(lambda kind: st.integers(1, 40 if kind == 9 else 6))
_FEW = st.integers(0, 9).flatmap(lambda kind: st.integers(kind != 8, 30 if kind == 9 else 5))


@st.composite
def calls(draw: st.DrawFn, *, is_cell: bool) -> CallAction:
    """Draw calls of a layer or a cell; most are plain in most respects."""

    def rarely(values: Sequence[Any]) -> Any:
        return draw(st.sampled_from(values)) if draw(st.integers(0, 5)) == 5 else values[0]

    layout = draw(st.sampled_from(LAYOUTS[:2] if is_cell else LAYOUTS))
    # In float32, torch's LSTM reads beyond packed data with too few or too many features.
    wrong = ("", *WRONG) if layout in LAYOUTS[:2] else ("", *WRONG[1:])
    return CallAction(
        steps=1 if is_cell else draw(_FEW),
        batch=draw(_FEW),
        layout=layout,
        state=draw(st.sampled_from(STATES)),
        memory=rarely(MEMORY),
        mode=rarely(MODES),
        scale=rarely(SCALES),
        backward=draw(st.integers(0, 2)),
        wrong=rarely(wrong),
        loop=rarely((1, 2, 9)),
    )


def _make_input(session: LayerInUse, call: CallAction) -> Tensor:
    """Return the padded input of a call, in the memory layout of the call."""
    config = session.use.config
    shape = [call.steps, call.batch, config.input_size + (call.wrong == "features")]
    if config.batch_first:
        shape[:2] = shape[1::-1]
    if call.layout == "unbatched":
        shape = [call.steps, shape[2]]
    if config.kind_data.is_cell:
        shape = [shape[2]] if call.layout == "unbatched" else [call.batch, shape[2]]
    if call.wrong == "rank":
        shape = [1, 2, *shape]
    return arrange(session.draw(shape, call.scale), call.memory)


def arrange(tensor: Tensor, memory: str) -> Tensor:
    """Return a tensor with the same numbers, or one repeated slice, in another memory layout."""
    if memory == "transposed":
        return tensor.t().contiguous().t() if tensor.dim() == 2 else _turn(tensor)
    if memory == "sliced":
        wide = torch.stack([tensor, torch.zeros_like(tensor)], dim=-1)
        return wide[..., 0]
    if memory == "expanded":
        return tensor[:1].expand_as(tensor)
    if memory == "cut":
        return MemoryLayout.CUT.lay_out(tensor, None)
    if memory == "offset":
        return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)
    return tensor


def _turn(tensor: Tensor) -> Tensor:
    if tensor.dim() < 2:
        return tensor
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)


def _make_states(session: LayerInUse, call: CallAction) -> list[Tensor]:
    """Return the initial states of a call, or an empty list if it has none."""
    config = session.use.config
    kind = config.kind_data
    rows = [] if kind.is_cell else [config.num_layers * config.num_directions]
    batch = [] if call.layout == "unbatched" else [call.batch + (call.wrong == "state")]
    made = []
    for letter in kind.states if call.state != "none" else ():
        size = config.output_size if letter == "h" else config.hidden_size
        shape = [*rows, *batch, size + (call.wrong == "state" and not batch)]
        if call.wrong == "state rank":
            shape = [1, *shape]
        state = arrange(session.draw(shape, float(call.state != "zeros")), call.memory)
        if call.wrong == "state dtype":
            state = state.to(torch.float32 if state.dtype == torch.float64 else torch.float64)
        made.append(nn.Parameter(state.contiguous()) if call.state == "learned" else state)
    return made


def _perform(session: LayerInUse, call: CallAction) -> Any:
    """Make a call, and return its results, its gradients and its arguments afterwards."""
    inference = {"inference": torch.inference_mode, "no_grad": torch.no_grad}
    x, states = _make_input(session, call), _make_states(session, call)
    if call.wrong == "dtype":
        x = x.to(torch.float32 if x.dtype == torch.float64 else torch.float64)
    if call.wrong == "none":
        return session.layer(None)
    leaves = [x, *states] if call.backward else []
    leaves = [each.requires_grad_() for each in leaves]
    before = [each.detach().clone() for each in (x, *states)]
    given: Any = pack(x, call, batch_first=session.use.config.batch_first)
    joined: Any = states[0] if len(states) == 1 else tuple(states)
    if call.wrong == "pair":
        joined = (states or [x])[0] if len(states) != 1 else (states[0], states[0])
    arguments = (given, joined) if states else (given,)
    with inference.get(call.mode, nullcontext)():
        result = session.layer(*arguments)
        for _ in range(call.loop - 1):
            state = result[1] if isinstance(result, tuple) and not _is_cell(session) else result
            result = session.layer(given, state)
    seen = [*_flatten_result(result), *before, x.detach(), *states]
    for _ in range(call.backward):
        seen += _differentiate(session, result, leaves)
    return seen


def _is_cell(session: LayerInUse) -> bool:
    return session.use.config.kind_data.is_cell


def _differentiate(session: LayerInUse, result: Any, leaves: Sequence[Tensor]) -> list[Any]:
    """Return the gradients of the arguments of a call, and of the parameters, which accumulate."""
    tensors = [each for each in _flatten_result(result) if _is_tensor(each)]
    floats = [each for each in tensors if each.requires_grad]
    loss = sum(((each * _weigh(each)).sum() for each in floats), start=torch.zeros(()))
    loss.backward(retain_graph=True)
    made = [each.grad for each in (*leaves, *session.layer.parameters())]
    return [None if each is None else each.clone() for each in made]


def _weigh(tensor: Tensor) -> Tensor:
    """Return weights that differ, so that values in a wrong place have other gradients."""
    number = tensor.numel()
    return torch.linspace(0.5, 1.5, max(number, 1))[:number].reshape(tensor.shape).to(tensor)


def pack(x: Tensor, call: CallAction, *, batch_first: bool) -> Tensor | PackedSequence:
    """Return the input, packed for packed layouts, with lengths up to the number of steps."""
    if not call.layout.startswith(("packed", "unsorted")):
        return x
    numbers = Random(call.steps * 1009 + call.batch)
    lengths = [numbers.randint(1, max(call.steps, 1)) for _ in range(call.batch)]
    lengths[:1] = [call.steps]
    if call.layout == "packed":
        lengths.sort(reverse=True)
    else:
        numbers.shuffle(lengths)
    is_sorted = call.layout == "packed"
    return pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=is_sorted)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _flatten_result(value: Any) -> list[Any]:
    """Return the tensors and other parts of a result in a list, with the types of containers."""
    if isinstance(value, tuple | list):
        name = "packed" if isinstance(value, PackedSequence) else type(value).__name__
        return [name, *(part for each in value for part in _flatten_result(each))]
    return [value]


def observe_use(factory: Factory, use: Use) -> Iterator[list[Any]]:
    """Yield everything that a user can see of a layer after each action, as a list of values.

    An exception ends an action, and is recorded. The layer is still used afterwards.
    """
    dtype = getattr(torch, use.dtype)
    torch.manual_seed(use.seed)
    generator = torch.Generator().manual_seed(use.seed)
    try:
        layer = factory(**use.arguments).to(dtype)
    except Exception as error:
        _raise_from_user(error)
        yield ["raises", "the constructor"]
        return
    session = LayerInUse(layer, use, dtype, generator, factory)
    yield [part for look in LOOKS for part in _try(look, session)]
    for number, action in enumerate(use.actions):
        torch.manual_seed(use.seed + number)
        generator.manual_seed(use.seed + number)
        take = partial(_perform, call=action) if isinstance(action, CallAction) else ACTIONS[action]
        yield [*_try(take, session), *_try(_snapshot, session)]


def _try(take: Callable[[LayerInUse], Any], session: LayerInUse) -> list[Any]:
    """Return the result of an action, with copies of tensors, or a record that it raises."""
    try:
        return [_keep(each) for each in _flatten_result(take(session))]
    except Exception as error:
        _raise_from_user(error)
        return ["raises"]


def _raise_from_user(error: Exception) -> None:
    if is_from_user(error):
        raise error


def _keep(value: Any) -> Any:
    """Return a copy of a tensor, with its dtype and whether it can be differentiated."""
    if not isinstance(value, Tensor):
        return value
    kept = value.detach().clone() if value.device.type != "meta" else None
    return [value.shape, value.dtype, value.device.type, value.requires_grad, kept]


def _snapshot(session: LayerInUse) -> Any:
    """Return the visible state of the layer itself."""
    state = session.layer.state_dict()
    return [session.layer.training, *state, *state.values()]


LOOKS = (_snapshot, _read_attributes, _list_modules)
"""The observations of every new layer."""
