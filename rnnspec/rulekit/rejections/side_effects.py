"""Side effects of a rejected call: on arguments, parameters, random numbers and later calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Distribution, Feature, InitialState, Layout, MemoryLayout
from rnnspec.observe.call import Surroundings
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import has_same_bits
from rnnspec.rulekit.assertions.results import assert_results
from rnnspec.rulekit.rejections.calls import InvalidCall, provoke_rejection
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import BOTH, CALL_LAYER, name_sample_axes
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Failure, Unsupported
from rnnspec.subjects.settings import list_changed_settings
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import observe_step

NO_SIDE_EFFECTS = Snippet("""def read_state():
    random_numbers = torch.get_rng_state().tolist()
    return torch.is_grad_enabled(), torch.get_default_dtype(), random_numbers

wrong = ({arguments},)
tensors = [*layer.parameters(), *(tensor for tensor in wrong if isinstance(tensor, torch.Tensor))]
copies = [tensor.detach().clone() for tensor in tensors]
before = read_state()
try:
    layer(*wrong)
except Exception:
    pass
assert before == read_state()
assert all(map(torch.equal, copies, tensors))""")
IN_OTHER_LAYOUT = Snippet(
    """initial = [map_states(lambda state: state.{there}({states}), each) for each in given[1:]]
given = (x.{there}({axis}), *initial)""",
    (Helper.MAP_STATES,),
)


def show_side_effects(observation: Observation, call: InvalidCall) -> Snippet:
    """Return lines that fail if a rejected call has side effects or changes the next results."""
    case = observation.case
    snippet = NO_SIDE_EFFECTS.format(arguments=call)
    if _is_switched(observation):
        there, first = ("select", ", 0") if case.is_batched else ("unsqueeze", "")
        axes = name_sample_axes(case)
        snippet += IN_OTHER_LAYOUT.format(
            there=there, **{name: f"{axis}{first}" for name, axis in axes.items()}
        )
    return snippet + (CALL_LAYER if case.is_random else BOTH)


def describe_side_effects(
    observation: Observation, prepared: PreparedLayer, call: InvalidCall
) -> str:
    """Return a description of the first change by a rejected call, or an empty text.

    The text is also empty if the layer accepts the call.
    """
    watched = dict(_list_watched_tensors(prepared, call))
    copies = {name: tensor.detach().clone() for name, tensor in watched.items()}
    noted: list[Surroundings] = []
    device = torch.device(observation.subject.device)
    with observation.case.grad_mode.enter(), observe_step(CALL):
        before = Surroundings.read(device)
        error = provoke_rejection(prepared, call, lambda: noted.append(Surroundings.read(device)))
    if error is None:
        return ""
    changed = [
        name for name, tensor in watched.items() if not has_same_bits(copies[name], tensor.detach())
    ]
    return (
        _describe_changed_settings(before, noted[0])
        or _describe_used_generator(observation, call, before.list_used_generators(noted[0]))
        or (f"{changed[0]} has changed" if changed else "")
        or _describe_broken_next_call(observation, prepared)
    )


def _list_watched_tensors(
    prepared: PreparedLayer, call: InvalidCall
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that a rejected call could write to, by name."""
    yield "the input", call.input.data if isinstance(call.input, PackedSequence) else call.input
    states = call.hx if isinstance(call.hx, tuple) else (call.hx,)
    for state in states:
        if isinstance(state, Tensor):
            yield "the initial state", state
    yield from prepared.weights().items()


def _describe_changed_settings(before: Surroundings, after: Surroundings) -> str:
    """Return the first setting that has changed, or an empty text."""
    for name, change in list_changed_settings(before.settings, after.settings):
        return f"{name} has changed{change}"
    return ""


def _describe_used_generator(
    observation: Observation, call: InvalidCall, used: Sequence[str]
) -> str:
    """Return the first random number generator that was used, or an empty text.

    The text is also empty if valid calls use it without dropout. The valid call has an initial
    state if the rejected call has.
    """
    if used:
        state = InitialState.ABSENT if call.hx is None else InitialState.GIVEN
        alike = observation.case.replace(initial_state=state, dropout=0.0)
        valid = observation.new_layer(alike).call
        used = [name for name in used if name not in valid.before.list_used_generators(valid.after)]
    return f"the random number generator of {used[0]} was used" if used else ""


def _describe_broken_next_call(observation: Observation, prepared: PreparedLayer) -> str:
    """Return a description of the fault in the next valid call, or an empty text.

    The next call has another layout in half of the cases, and always after a call without a batch
    dimension, for which a layer may switch settings. The text is empty if the next call is also
    wrong without an earlier call, or after an earlier call that the layer accepts.
    """
    untouched = _switch_layout(observation) if _is_switched(observation) else observation
    fault = _find_fault(_call_next(untouched, prepared))
    if not fault or _find_fault(untouched):
        return ""
    accepted = observation.new_layer(observation.case)
    if _find_fault(accepted) or _find_fault(_call_next(untouched, accepted.prepared)):
        return ""
    return f"the next call ({untouched.case.layout}) is wrong: {fault}"


def _call_next(untouched: Observation, prepared: PreparedLayer) -> Observation:
    """Return an observation of the valid call on a layer that has been called before."""
    return Observation(untouched.subject, untouched.case, untouched.values, prepared)


def _is_switched(observation: Observation) -> bool:
    """Return whether the next call adds or drops the batch dimension."""
    is_chosen = observation.case.seed % 2 == 1 or not observation.case.is_batched
    return is_chosen and observation.subject.offers(Feature.UNBATCHED)


def _switch_layout(observation: Observation) -> Observation:
    """Return the same weights in a new layer, with the batch dimension added or dropped."""
    case = observation.case.replace(
        layout=Layout.UNBATCHED if observation.case.is_batched else Layout.BATCHED,
        distribution=Distribution.PLAIN,
        memory_layout=MemoryLayout.CONTIGUOUS,
    )
    return observation.new_layer(case, weights=observation.values.weights)


def _find_fault(observation: Observation) -> str:
    """Return a description of the fault in the results of a call, or an empty text."""
    try:
        _ = observation.results
        if not observation.case.is_random:
            assert_results(observation)
    except Unsupported:
        raise
    except (Violation, Failure) as fault:
        return str(fault)
    return ""
