"""Find out how a layer is called: its layout, and the forms of its states and results."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.forms import OUTPUT, Form, describe_type, parse_arguments, parse_results
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.errors import AdapterError
from rnnspec.inference.returned import describe_results, find_width
from rnnspec.inference.trial import BATCH, HIDDEN_SIZE, INPUT_SIZE, STEPS, Interface
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.subject import observe_step

CALL = "a call of the layer"
STATE_FORMS = ("{0}", "{0}[0]", "{0}.batch_first", "[{0}]")
"""The forms that one state can have."""
PAIRS = ("({0}, {1})", "({0}[0], {1}[0])", "[({0}, {1})]", "([{0}], [{1}])", "{0}[0], {1}[0]")
MORE_PAIRS = ("{0}, {1}", "({0}.batch_first, {1}.batch_first)", "[{0}], [{1}]")
"""The forms that both states of an LSTM can have."""
STATE_NAMES = ("h", "hx", "h0", "h_0", "hidden", "state", "states", "init_state", "hc", "initial")
CHANGE = 1e-6
"""A larger difference shows that a result depends on what was changed."""


@dataclass(frozen=True)
class Found:
    """How a layer is called, and what speaks for another answer."""

    interface: Interface
    doubts: tuple[str, ...] = ()


class Prober:
    """Calls of a layer with random numbers."""

    def __init__(self, module: nn.Module, config: Config, dtype: torch.dtype) -> None:
        self.module, self.config, self.dtype = module, config, dtype
        self.kind, self.rows = config.kind_data, config.num_layers * config.num_directions
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> torch.Tensor:
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
            return (1.8 * drawn - 0.9).to(dtype)

        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(draw(*parameter.shape))
        self.x = draw(STEPS, BATCH, INPUT_SIZE)
        self.states = {each: draw(self.rows, BATCH, HIDDEN_SIZE) for each in self.kind.states}

    def call(self, form: Form, x: torch.Tensor, states: Mapping[str, torch.Tensor]) -> Any:
        """Return what a call returns. Raises Failure."""
        positional, named = form.build({"x": x, **states})
        module = copy.deepcopy(self.module)  # which may remember its calls
        with observe_step(CALL), torch.no_grad():
            return module(*positional, **named)


def find_interface(
    module: nn.Module, config: Config, dtype: torch.dtype, batch_first: bool | None
) -> Found:
    """Return how a layer is called that has the layers and directions of a configuration.

    `batch_first` is its layout, or None if that is to be found out. Raises AdapterError if no call
    returns something that has the shape of an output.
    """
    prober, kind, said = Prober(module, config, dtype), config.kind_data, ""
    for layout in (True, False) if batch_first is None else (batch_first,):
        for call in ("x", *_list_calls(module, kind)):
            form = parse_arguments(call, kind)
            x = prober.x.transpose(0, 1) if layout else prober.x
            try:
                returned = prober.call(form, x, prober.states)
                said = said or f"a call returns {describe_type(returned)}"
                results = describe_results(returned, config, layout)
            except Failure as failure:
                said = said or str(failure)
                continue
            if results:
                return _complete(prober, form, results, batch_first)
    _refuse_one_step(prober)
    raise AdapterError(
        f"no call of it returns an output of {find_width(config)} units for each step: {said}"
    )


def _refuse_one_step(prober: Prober) -> None:
    """Raise AdapterError if a call with one step of the input and a state returns a state."""
    for call in _list_calls(prober.module, prober.kind):
        try:
            returned = prober.call(parse_arguments(call, prober.kind), prober.x[0], prober.states)
        except Failure:
            continue
        first = returned[0] if isinstance(returned, tuple | list) and returned else returned
        if isinstance(first, torch.Tensor) and first.shape == (BATCH, HIDDEN_SIZE):
            raise AdapterError(
                f"it computes one step, called as ({call}). Declare it with rnnspec.adapt.cell, "
                "which supplies the loop over the steps (docs/adapters.md)"
            )


def _complete(prober: Prober, form: Form, results: str, batch_first: bool | None) -> Found:
    """Return the interface, knowing one call that works and what it returns in that layout."""
    doubts: tuple[str, ...] = ()
    if batch_first is None:
        batch_first, doubts = _find_layout(prober, form, results)
    x = prober.x.transpose(0, 1) if batch_first else prober.x
    kind = prober.kind
    first = prober.call(form, x, prober.states)
    results = describe_results(first, prober.config, batch_first) or results
    returns = parse_results(results, kind)
    plain = form if "h" not in form.names else None
    best = max(
        (
            (_rate_call(prober, parse_arguments(call, kind), returns, batch_first, plain), -index)
            for index, call in enumerate(_list_calls(prober.module, kind, results))
        ),
        default=(0, 0),
    )
    if best[0] > 0:
        calls = list(_list_calls(prober.module, kind, results))
        form = parse_arguments(calls[-best[1]], kind)
    return Found(Interface(form, returns, batch_first, plain is None), doubts)


def _list_calls(module: nn.Module, kind: Kind, results: str = "") -> Iterator[str]:
    """Yield the forms in which a state could be passed, first that in which it is returned."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    names = [each.name for each in parameters]
    if len(names) < 2 and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return
    keyword = next((name for name in names[2:] if name.lower() in STATE_NAMES), "")
    forms = PAIRS + MORE_PAIRS if len(kind.states) > 1 else STATE_FORMS
    orders = (kind.states, kind.states[::-1])
    texts = [each.format(*order) for order in orders for each in forms]
    mirrored = [text for text in texts if text.strip("()") and text in results]
    for text in dict.fromkeys([*sorted(mirrored, key=len, reverse=True), *texts]):
        if keyword and ", " not in text.split("(")[0]:
            yield f"x, {keyword}={text}"
        yield f"x, {text}"
        if len(kind.states) == 1 and not mirrored:
            yield f"{text}, x"


def _find_layout(prober: Prober, form: Form, results: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether the batch comes first, by what one number of the input changes."""
    reads = parse_results(results, prober.kind)
    outputs, is_list = [], False
    square = torch.cat([prober.x.transpose(0, 1)] * 2)[:STEPS]
    states = {name: torch.cat([each] * 2, 1)[:, :STEPS] for name, each in prober.states.items()}
    for step in range(2):
        x = square.clone()
        x[1, 0] += step
        found = reads.read(prober.call(form, x, states))
        is_list = isinstance(found[OUTPUT], tuple | list)
        outputs.append(_stacked(found))
    changed = (outputs[1] - outputs[0]).abs().amax(-1) > CHANGE
    if is_list:  # whose first axis is time, whatever that of the input is
        is_batch_first, is_time_first = bool(changed[:, 1].any()), bool(changed[1:, 0].any())
    else:
        is_batch_first, is_time_first = bool(changed[1, 1:].any()), bool(changed[2:, 0].any())
    if is_batch_first != is_time_first:
        return is_batch_first, ()
    doubt = "whether the batch comes first shows in no call; it was taken from its states"
    return "[0]" not in results or _is_batch_of_first_axis(prober, form, reads), (doubt,)


def _is_batch_of_first_axis(prober: Prober, form: Form, reads: Form) -> bool:
    found = reads.read(prober.call(form, prober.x.transpose(0, 1), prober.states))
    return bool(found["h"].shape[1] == BATCH)


def _rate_call(
    prober: Prober, form: Form, returns: Form, batch_first: bool, plain: Form | None
) -> int:
    """Return how well a form of a call fits: 3 if a sequence can be continued in a second call.

    It is 2 if the state changes the results of every sample, 1 if it changes nothing, and 0 if the
    call fails or returns another form.
    """
    x = prober.x.transpose(0, 1) if batch_first else prober.x
    time = 1 if batch_first else 0
    try:
        given = returns.read(prober.call(form, x, prober.states))
        if _shape_of(given) != _shape_of(
            returns.read(prober.call(plain or form, x, prober.states))
        ):
            return 0
        half = returns.read(prober.call(form, x.narrow(time, 0, 2), prober.states))
        states = {name: half[name] for name in prober.kind.states if name in half}
        if states.keys() == set(prober.kind.states):
            rest = returns.read(prober.call(form, x.narrow(time, 2, STEPS - 2), states))
            if prober.config.num_directions == 1 and _is_continued(given, rest, time):
                return 3
        if plain is None:
            return 2
        without = returns.read(prober.call(plain, x, prober.states))
        is_used = bool((_stacked(given) - _stacked(without)).abs().max() > CHANGE)
        return 2 if is_used else 1
    except (Failure, RuntimeError, AttributeError, TypeError, IndexError):
        return 0


def _is_continued(whole: Mapping[str, Any], rest: Mapping[str, Any], time: int) -> bool:
    if isinstance(whole[OUTPUT], tuple | list):
        return torch.allclose(whole[OUTPUT][-1], rest[OUTPUT][-1], atol=1e-4)
    return torch.allclose(whole[OUTPUT].select(time, -1), rest[OUTPUT].select(time, -1), atol=1e-4)


def _stacked(found: Mapping[str, Any]) -> torch.Tensor:
    output: Any = found[OUTPUT]
    made: torch.Tensor = torch.stack(tuple(output)) if isinstance(output, tuple | list) else output
    return made


def _shape_of(found: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    shapes = {name: tuple(each.shape) for name, each in found.items() if name != OUTPUT}
    return {**shapes, OUTPUT: tuple(_stacked(found).shape)}
