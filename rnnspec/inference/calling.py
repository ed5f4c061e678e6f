"""Find how to call a layer: its layout, and the forms of its states and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.forms import (
    IGNORED,
    OUTPUT,
    Form,
    describe_type,
    parse_arguments,
    parse_results,
)
from rnnspec.contract.config import Config
from rnnspec.errors import AdapterError
from rnnspec.inference.call_forms import (
    PLAIN,
    find_needed_lengths,
    list_calls,
    list_state_names,
    takes_any_number,
    takes_named_state,
)
from rnnspec.inference.orders import CHANGE, turn_states
from rnnspec.inference.returned import describe_results, find_width, is_final_state
from rnnspec.inference.trial import BATCH, HIDDEN_SIZE, INPUT_SIZE, STEPS, LayerInterface, Prober
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.refusals import requires_state

MOST_SHOWN = 3
"""A message describes the entries of a returned sequence up to this length."""


class OneStepError(AdapterError):
    """Raised if the module computes a single step where a layer is expected."""


class FinalStateError(AdapterError):
    """A layer returns its final states alone."""


@dataclass(frozen=True)
class FoundInterface:
    """The interface of a layer, and the questions about it that no call could answer."""

    interface: LayerInterface
    doubts: tuple[str, ...] = ()


def find_interface(
    module: nn.Module, config: Config, dtype: torch.dtype, batch_first: bool | None
) -> FoundInterface:
    """Return how to call a layer that has the layers and directions of `config`.

    `batch_first` is its layout; use None to infer it. Raises AdapterError if no call returns a
    tensor with the shape of an output.
    """
    prober, said = Prober(module, config, dtype), ""
    layouts = (True, False) if batch_first is None else (batch_first,)
    closest: tuple[Form, str] | None = None
    width, ends = find_width(config), ""
    for call in list_calls(module, config.kind_data):
        tried, heard, is_end = _try_call(prober, call, layouts)
        said, ends = said or heard, ends or call * is_end
        # A call whose results are all recognised ends the search. So does a call without states,
        # because `_complete` then looks for the form of the states.
        whole = [each for each in tried if IGNORED not in _parse(each[1], config).names]
        if whole or (tried and call == PLAIN):
            closest = (*whole, *tried)[0]
            break
        closest = closest or next(iter(tried), None)
    if closest is not None:
        try:
            return _complete(prober, *closest, batch_first)
        except Failure:  # a cell may use a sequence as a batch in some calls and fail in others
            refuse_one_step(prober)
            raise
    refuse_one_step(prober)
    if name := find_needed_lengths(module):
        raise AdapterError(
            f"a call of it needs {name!r}, and an adapter of a module gives no lengths. A function "
            "that calls it and has a parameter lengths can be declared with rnnspec.adapt.function"
            '(..., arrays="torch"), see docs/adapters.md'
        )
    if ends:
        raise FinalStateError(
            f"it returns the final state alone, called as ({ends}), and no output of {width} units "
            "for each step, without which the steps cannot be compared. Return both, or "
            "check it as a model with `rnnspec check-model`, or with `rnnspec compare`"
        )
    raise AdapterError(
        f"no call of it with an input of shape {_list_inputs(layouts)} returns an output of "
        f"{width} units for each step: {said}"
    )


def _try_call(
    prober: Prober, call: str, layouts: tuple[bool, ...]
) -> tuple[list[tuple[Form, str]], str, bool]:
    """Try a call in each layout.

    Return the form of the call with the form of its results, for each layout that gives an output;
    a description of the first results or the first error, for a message; and whether the call
    returned a final state alone.
    """
    found, said, is_end = [], "", False
    form = parse_arguments(call, prober.kind)
    for layout in layouts:
        x = prober.x.transpose(0, 1) if layout else prober.x
        try:
            returned = prober.call(form, x, prober.states)
            said = said or f"a call returns {_describe_nested(returned)}"
            results = describe_results(returned, prober.config, layout)
            is_end = is_end or is_final_state(returned, prober.config)
        except Failure as failure:
            said = said or str(failure)
            continue
        if results:
            found.append((form, results))
    return found, said, is_end


def _parse(results: str, config: Config) -> Form:
    return parse_results(results, config.kind_data)


def _list_inputs(layouts: tuple[bool, ...]) -> str:
    shapes = [
        (BATCH, STEPS, INPUT_SIZE) if each else (STEPS, BATCH, INPUT_SIZE) for each in layouts
    ]
    return " or ".join(map(str, shapes))


def _describe_nested(returned: Any) -> str:
    """Describe a value, including the entries of a short sequence."""
    is_short = isinstance(returned, tuple | list) and len(returned) <= MOST_SHOWN
    if not is_short:
        return describe_type(returned)
    held = ", ".join(map(_describe_nested, returned))
    return f"{describe_type(returned)} ({held})" if held else describe_type(returned)


def refuse_one_step(prober: Prober) -> None:
    """Raise OneStepError if a call with a single step of the input and a state returns a state."""
    for call in list_calls(prober.module, prober.kind):
        try:
            returned = prober.call(parse_arguments(call, prober.kind), prober.x[0], prober.states)
        except Failure:
            continue
        first = returned[0] if isinstance(returned, tuple | list) and returned else returned
        if isinstance(first, torch.Tensor) and first.shape == (BATCH, HIDDEN_SIZE):
            raise OneStepError(
                f"it computes one step, called as ({call}). Declare it with rnnspec.adapt.cell, "
                "which supplies the loop over the steps (docs/adapters.md)"
            )


def _complete(prober: Prober, form: Form, results: str, batch_first: bool | None) -> FoundInterface:
    """Return the interface, given a call that works and the form of its results in that layout."""
    doubts: tuple[str, ...] = ()
    if batch_first is None:
        batch_first, doubts = _find_layout(prober, form, results)
    x = prober.x.transpose(0, 1) if batch_first else prober.x
    kind = prober.kind
    first = prober.call(form, x, prober.states)
    results = describe_results(first, prober.config, batch_first) or results
    returns = parse_results(results, kind)
    # An argument named like a state counts as the state even if it changes no result (rating 1).
    # Use any other argument only if it changes the results.
    base, lowest = form, 1 if takes_named_state(prober.module) else 2
    calls = [each for each in list_calls(prober.module, kind, results) if each != PLAIN]
    # The negative index makes the first of several forms with the same rating win.
    rated = [
        (_rate_call(prober, parse_arguments(call, kind), returns, batch_first, base), -index)
        for index, call in enumerate(calls)
    ]
    rating, place = max(rated, default=(0, 0))
    if rating >= lowest:
        form = parse_arguments(calls[-place], kind)
    needs_state = "h" in base.names and _refuses_no_state(prober, x)
    interface = LayerInterface(form, returns, batch_first, needs_state)
    return FoundInterface(turn_states(prober, interface), doubts)


def _refuses_no_state(prober: Prober, x: torch.Tensor) -> bool:
    """Return whether a call needs a state, by its signature or by the error of the layer.

    If the signature makes the state optional and the call fails with another error, the layer has a
    fault.
    """
    if PLAIN not in list_calls(prober.module, prober.kind) or takes_any_number(prober.module):
        return True
    try:
        prober.call(parse_arguments(PLAIN, prober.kind), x, {})
    except Failure as failure:
        return requires_state(failure, list_state_names(prober.module))
    return True  # the call works, but its results have another form


def _find_layout(prober: Prober, form: Form, results: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether the batch comes first, by the results that change with a number of the input.

    The second value contains a doubt if no call shows the layout.
    """
    reads = parse_results(results, prober.kind)
    outputs, is_list = [], False
    # With as many samples as steps, the layer accepts the same input in either layout.
    square = torch.cat([prober.x.transpose(0, 1)] * 2)[:STEPS]
    states = {name: torch.cat([each] * 2, 1)[:, :STEPS] for name, each in prober.states.items()}
    for step in range(2):
        x = square.clone()
        x[1, 0] += step
        found = reads.read(prober.call(form, x, states))
        is_list = isinstance(found[OUTPUT], tuple | list)
        outputs.append(_stacked(found))
    # The changed number is step 0 of sample 1 if the batch comes first, and step 1 of sample 0 if
    # time comes first. It changes all later steps of its sample, and nothing else.
    changed = (outputs[1] - outputs[0]).abs().amax(-1) > CHANGE
    if is_list:  # a list has a result per step in both layouts
        is_batch_first, is_time_first = bool(changed[:, 1].any()), bool(changed[1:, 0].any())
    else:
        is_batch_first, is_time_first = bool(changed[1, 1:].any()), bool(changed[2:, 0].any())
    if is_batch_first != is_time_first:
        return is_batch_first, ()
    if not is_batch_first:  # no step changes a later step
        refuse_one_step(prober)
    doubt = "whether the batch comes first shows in no call; it was taken from its states"
    return "[0]" not in results or _is_batch_of_first_axis(prober, form, reads), (doubt,)


def _is_batch_of_first_axis(prober: Prober, form: Form, reads: Form) -> bool:
    found = reads.read(prober.call(form, prober.x.transpose(0, 1), prober.states))
    return bool(found["h"].shape[1] == BATCH)


def _rate_call(prober: Prober, form: Form, returns: Form, batch_first: bool, base: Form) -> int:
    """Return how well a form of a call fits, from 0 to 3.

    3: a second call continues a sequence from the returned states. 2: the state changes the
    results, or `base` has states too, so that there is no call without them to compare with. 1: the
    state changes nothing. 0: the call fails or returns another form. `base` is a form that works,
    without states if possible.
    """
    x = prober.x.transpose(0, 1) if batch_first else prober.x
    time = 1 if batch_first else 0
    try:
        given = returns.read(prober.call(form, x, prober.states))
        without = returns.read(prober.call(base, x, prober.states))
        if _shape_of(given) != _shape_of(without):
            return 0
        half = returns.read(prober.call(form, x.narrow(time, 0, 2), prober.states))
        states = {name: half[name] for name in prober.kind.states if name in half}
        if states.keys() == set(prober.kind.states):
            rest = returns.read(prober.call(form, x.narrow(time, 2, STEPS - 2), states))
            # With two directions, a sequence in two parts has other results: the backward direction
            # starts at the end of each part.
            if prober.config.num_directions == 1 and _is_continued(given, rest, time):
                return 3
        if "h" in base.names:
            return 2
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
