"""Rules about side effects: a call changes nothing except what it returns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Distribution, Feature, GradMode
from rnnspec.cases.conditions import (
    has_active_dropout,
    has_predictable_results,
    has_small_sizes,
    has_value,
    is_differentiable,
    one_in,
)
from rnnspec.observe.loss import make_loss
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import CallArguments, has_same_bits, to_array
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.relations import (
    assert_expected,
    fail_unless_excused,
    get_bound,
    has_right_results,
    is_satisfied,
)
from rnnspec.rulekit.fixtures.carried_states import continue_from
from rnnspec.rulekit.fixtures.constructor_calls import plan_constructor_call
from rnnspec.rulekit.fixtures.separate_results import fill_results, share_storage
from rnnspec.rulekit.rule import DROPOUT, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets import side_effects as snippets
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical
from rnnspec.subjects.settings import SettingValues, list_changed_settings
from rnnspec.subjects.subject import observe_step

LATER_CALLS = 17
"""Calls after the checked call, which overwrite its results if the layer has 16 buffers or fewer.

Kernels use a few buffers in turn; one more call than the largest usual number shows that. The calls
of a quick run on torch's layers take less than 0.1 s together.
"""
is_written_to = one_in(10)
"""Cases that write to results, whatever storage they have."""
is_continued = is_written_to & has_predictable_results
"""Cases that pass the states that they have written to to the next call."""
is_repeated = one_in(6)
"""Cases that repeat the call."""


@rule("rnn.effects.arguments", "use.memory.views", when=one_in(2), presupposes=(Fact.CALL,))
def arguments(observation: Observation) -> None:
    """A call does not modify its input or its initial state.

    After the call, the tensors are compared bit for bit with new tensors that were never passed to
    the layer: values, shapes, strides, the memory around them, and the sizes and indices of packed
    input. In an eighth of the cases, the input of another call holds a NaN and an infinity.

    Catches arguments transposed, scaled, masked or overwritten in place, during the call or at its
    end.
    """
    if observation.case.seed % 8:
        checked = observation
    else:
        checked = observation.second_call(input=_insert_nonfinite(observation.values.input))
    given = dict(_list_argument_tensors(checked.call.given))
    expected = dict(_list_argument_tensors(checked.build_arguments()))
    for name, tensor in given.items():
        _assert_argument_unchanged(name, tensor, expected[name])


def _insert_nonfinite(array: Array) -> Array:
    found = np.array(array)
    found[0, 0, 0], found[0, -1, -1] = np.nan, np.inf
    return found


def _list_argument_tensors(given: CallArguments) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor of the arguments by name, and the buffer behind it if it is a view."""
    named = dict(given.tensors)
    if isinstance(given.input, PackedSequence):
        named |= {
            name: getattr(given.input, name)
            for name in ("batch_sizes", "sorted_indices", "unsorted_indices")
        }
    for name, tensor in named.items():
        if tensor is not None:
            yield name, tensor
        if tensor is not None and tensor._base is not None:
            yield f"the memory around {name}", tensor._base


def _assert_argument_unchanged(name: str, tensor: torch.Tensor, expected: torch.Tensor) -> None:
    for what, new, old in (
        ("shape", tuple(tensor.shape), tuple(expected.shape)),
        ("strides", tensor.stride(), expected.stride()),
        ("requires_grad", tensor.requires_grad, expected.requires_grad),
    ):
        if new != old:
            raise Violation(
                f"a call changed the {what} of {name} from {old} to {new}", snippets.ARGUMENTS
            )
    if not has_same_bits(tensor, expected):
        numbers, before = to_array(tensor), to_array(expected)
        assert_identical(name, numbers, before, snippets.ARGUMENTS, when="after the call")
    if tensor.grad is not None:
        raise Violation(f"a call set {name}.grad; expected None", snippets.ARGUMENTS)


@rule(
    "rnn.effects.parameters",
    when=one_in(2, 1) | is_repeated,
    # Parameters that share the memory of loaded entries change with other layers that share it.
    presupposes=(Fact.CALL, "parameters.loaded-from-others"),
)
def parameters(observation: Observation) -> None:
    """A forward call does not change the values, shapes, names or gradients of the parameters.

    After the call, every parameter is compared bit for bit with the loaded values, unless a new
    layer differs from these even before it is called. In a third of the cases, the parameter
    objects, their gradients, the buffers and the mode of every module are compared before and after
    another call.

    Catches weights that are dropped, clipped, normalised, reshaped or replaced by the call.
    """
    _ = observation.call
    try:
        _assert_weights_of_case(observation)
    except Violation:
        new = observation.new_layer(observation.case.make_fresh())
        if is_satisfied(lambda: _assert_weights_of_case(new)):
            raise
        return
    if is_repeated(observation.case) and not observation.repeat().was_called:
        _assert_module_unchanged(observation)


def _assert_weights_of_case(observation: Observation) -> None:
    weights = observation.prepared.weights()
    for name, expected in observation.values.weights.items():
        if name not in weights:
            raise Violation(f"a call removed the parameter {name}", snippets.PARAMETERS)
        if tuple(weights[name].shape) != expected.shape:
            raise Violation(
                f"after a call, {name} has shape {tuple(weights[name].shape)}; "
                f"expected {expected.shape}",
                snippets.PARAMETERS,
            )
        assert_identical(
            name, to_array(weights[name]), expected, snippets.PARAMETERS, when="after a call"
        )


def _assert_module_unchanged(observation: Observation) -> None:
    before = _describe_module(observation.module)
    _ = observation.repeat().call
    after = _describe_module(observation.module)
    for (what, old), (_, new) in zip(before, after, strict=True):
        if old != new:
            raise Violation(_describe_change(what, old, new), snippets.PARAMETERS)


def _describe_module(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """Return the properties of a module that a call must not change, each with its name in
    messages.
    """
    parameters = dict(module.named_parameters())
    objects = {name: id(parameter) for name, parameter in parameters.items()}
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    gradients = {
        name: parameter.grad is not None and to_array(parameter.grad).tobytes()
        for name, parameter in parameters.items()
    }
    return [
        ("which objects the parameters are", objects),
        ("which parameters require gradients", required),
        ("the gradients of the parameters", gradients),
        ("the buffers", [name for name, _ in module.named_buffers()]),
        ("the mode", [part.training for part in module.modules()]),
    ]


def _describe_change(what: str, old: Any, new: Any) -> str:
    if isinstance(old, dict):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return f"a call changed {what}: {', '.join(names)}"
    return f"a call changed {what} from {old} to {new}"


def _write_rng_snippet(device: str) -> Snippet:
    kind = torch.device(device).type
    state = "" if kind == "cpu" else f", torch.{kind}.get_rng_state()"
    return snippets.RANDOM_GENERATORS.format(device_state=state)


WRONG_DROPOUT = "dropout.[!bf]*"
"""The pattern of all rules about dropout but `dropout.backward` and `dropout.fresh-masks`."""


@rule(
    "rnn.effects.rng",
    when=~has_active_dropout,
    presupposes=(
        Fact.CALL,
        WRONG_DROPOUT,
        "modes.train",
        "states.absent-is-zero",
        "side-effects.repeatable",
    ),
)
def random_generators(observation: Observation) -> None:
    """A call without active dropout draws no random numbers.

    The states of the random number generators of torch, Python, NumPy and the layer's device are
    compared before and after the call.

    Catches masks that are drawn and not used, noise, and calls that seed a generator.
    """
    drawn = observation.call.before.list_used_generators(observation.call.after)
    if drawn:
        raise Violation(
            "a call without active dropout changed the state of "
            f"{drawn[0]}'s random number generator",
            _write_rng_snippet(observation.subject.device),
        )


@rule(
    "use.random.torch-only",
    when=has_active_dropout,
    presupposes=(Fact.CALL, WRONG_DROPOUT),
    id="side-effects.other-generators",
)
def other_generators(observation: Observation) -> None:
    """A call with dropout draws numbers only from torch's generators.

    The states of the generators of Python and NumPy are compared before and after the call.

    Catches masks that `torch.manual_seed` does not reproduce, or that change the numbers a program
    draws elsewhere.
    """
    before, after = observation.call.before, observation.call.after
    others = [name for name in before.list_used_generators(after) if name != "torch"]
    if others:
        raise Violation(
            f"a call with dropout changed the state of {others[0]}'s random number generator; "
            "expected torch's only",
            snippets.OTHER_GENERATORS,
        )


@rule(
    "rnn.effects.rng",
    "rnn.effects.stateless",
    when=~has_active_dropout & is_repeated,
    presupposes=(
        Fact.CALL,
        "side-effects.arguments",
        DROPOUT,
        "modules.second-call",
        "parameters.loaded-from-others",
    ),
    establishes=(Fact.RESULTS,),
)
def repeatable(observation: Observation) -> None:
    """A call without active dropout returns the same results when it is repeated.

    The results of a second call on the same values are compared with the results of the first. They
    may differ by twice the rounding bound.

    Catches noise from any source, and layers that count or remember their calls.
    """
    second = observation.repeat()
    for name, found in second.results.items():
        assert_close(
            observation,
            f"{name} of a second call",
            found,
            observation.get_result(name),
            partial(get_bound, observation.expected, name, factor=2.0),
            snippets.REPEATABLE,
        )


@rule("rnn.effects.globals", "gru.effects.default-dtype", presupposes=(Fact.CALL,))
def global_settings(observation: Observation) -> None:
    """Building and calling a layer does not change global settings.

    The default dtype and device, grad mode and inference mode, deterministic algorithms, anomaly
    detection, the precision of float32 products, the flushing of denormal numbers, the number of
    threads, NumPy's error state, the recursion limit, the filters for warnings, the working
    directory, some of torch's functions and cuDNN's switches are compared before and after the
    constructor, and before and after the call.

    Catches layers that set the default dtype to create their zeros, that disable gradients and do
    not enable them again, that silence warnings, or that replace functions of torch.
    """
    _assert_settings_unchanged(
        "a call",
        observation.call.before.settings,
        observation.call.after.settings,
        snippets.GLOBAL_SETTINGS.format(step="layer(*given)"),
    )
    case = observation.case
    place = {"dtype": case.dtype.torch_dtype} if case.constructor_style.places else {}
    snippet = snippets.GLOBAL_SETTINGS_WHEN_BUILT.format(
        step=plan_constructor_call(observation, **place)
    )
    _assert_settings_unchanged("the constructor", *observation.new.settings, snippet)


def _assert_settings_unchanged(
    step: str, before: SettingValues, after: SettingValues, snippet: Snippet
) -> None:
    for name, change in list_changed_settings(before, after):
        raise Violation(f"{step} changed the {name}{change}", snippet)


@rule(
    "rnn.effects.results",
    "gru.effects.results",
    "use.memory.kept",
    # Some buffers are kept for inference alone. Quick checks missed one in two seeds of three with
    # one in 12, in one seed of four with one in 4, and in no seed of four with one in 2.
    when=one_in(12, 1) | (has_value(GradMode.INFERENCE) & one_in(2, 1)),
    presupposes=(Fact.CALL, *REPEATED_CALLS),
)
def earlier_results(observation: Observation) -> None:
    """A later call does not overwrite the results of an earlier call.

    The results of a call are compared bit for bit before and after a call on other values of the
    same shapes. Cases of small sizes make seventeen such calls, each on other values, and compare
    the results of all of them.

    Catches output and state buffers that the layer keeps and uses again, in turn, at once or after
    some calls.
    """
    calls = [observation, observation.call_negated()]
    before = [dict(each.results) for each in calls]
    if has_small_sizes(observation.case):
        for number in range(1, LATER_CALLS):
            # A buffer that is refilled with equal numbers shows nothing.
            less = 1.0 - number / (2.0 * LATER_CALLS)
            calls.append(observation.second_call(input=-less * observation.values.input))
            before.append(dict(calls[-1].results))
    for each, kept in zip(calls, before, strict=True):
        for name, found in each.call.results.items():
            lines, case = snippets.EARLIER_RESULTS, observation.case
            assert_identical(name, found, kept[name], lines, case=case, when="after a later call")


@rule(
    "rnn.effects.results",
    "rnn.effects.arguments",
    "use.memory.writable",
    presupposes=(Fact.CALL,),
)
def results_not_aliased(observation: Observation) -> None:
    """The results of an `nn.RNN` share no memory with each other; the results of any layer share
    none with its arguments or parameters. A state that the caller changes keeps its new values.

    In a tenth of the cases, and if two of these tensors have the same storage, `output` of another
    call is filled with a number in place, then each state with another. Everything else must stay
    as it was. A call that returns another result in place of a state has a different fault. The
    changed states are then passed to the next call. Its results are compared with the reference,
    if those of the checked call, and of a call with copies of the same states, are right.

    Catches states that are views of the output, results that are views of an argument, and layers
    that keep a copy of a state and use it in place of the tensor that they returned.
    """
    call = observation.call
    others = {**dict(_list_argument_tensors(call.given)), **observation.prepared.weights()}
    if not (is_written_to(observation.case) or share_storage(call.result_tensors.values(), others)):
        return
    call = observation.borrow_repeated().call
    others = {**dict(_list_argument_tensors(call.given)), **observation.prepared.weights()}
    kept = {name: tensor.detach().clone() for name, tensor in others.items()}
    fill_results(observation, call)
    changed = [
        name for name, tensor in others.items() if not has_same_bits(tensor.detach(), kept[name])
    ]
    if changed:
        raise Violation(
            f"writing to the results of a call changed {changed[0]}", snippets.RESULTS_NOT_ALIASED
        )
    states = list(call.state_tensors.values())
    if is_continued(observation.case) and states and observation.subject.offers(Feature.STATE):
        _assert_changed_states_used(observation, states)


def _assert_changed_states_used(observation: Observation, states: list[Tensor]) -> None:
    def assert_used() -> None:
        again = continue_from(observation, observation.values, states)
        for name in again.result_names:
            part = f"with states changed in place, {name}"
            assert_expected(again, name, part=part, snippet=snippets.STATES_CHANGED)

    def is_wrong_with_copies() -> bool:
        copies = [state.detach().clone() for state in states]
        return not has_right_results(observation) or not has_right_results(
            continue_from(observation, observation.values, copies)
        )

    fail_unless_excused(is_wrong_with_copies, assert_used)


@rule(
    "rnn.effects.arguments",
    "rnn.effects.results",
    when=is_differentiable & ~has_value(Distribution.TERNARY) & one_in(12, 2),
    needs=(Feature.GRADIENTS,),
    presupposes=(Fact.CALL,),
)
def backward(observation: Observation) -> None:
    """The backward pass does not modify arguments, results, parameters or the gradients passed to
    it.

    All of them are compared bit for bit before and after a backward pass through some or all
    results of another call.

    Catches backward passes that work in place on the gradient passed to them, or on tensors that
    the forward pass saved.
    """
    pending = observation.prepare_backward(observation.borrow_repeated().call)
    returned = observation.result_names
    names = (returned, returned[:1], observation.state_names or returned)
    chosen = names[observation.case.seed % 3]
    results, cotangents = pending.pair_with_cotangents(chosen)
    found = pending.call.result_tensors
    differentiable = [name for name in chosen if found[name].requires_grad]
    named = {
        **dict(zip(differentiable, results, strict=True)),
        **{
            f"the gradient of {name}": cotangent
            for name, cotangent in zip(differentiable, cotangents, strict=True)
        },
        **pending.leaves,
    }
    kept = {name: tensor.detach().clone() for name, tensor in named.items()}
    with observe_step("backward"):
        loss = make_loss(results, cotangents)
        torch.autograd.grad(loss, list(pending.leaves.values()), allow_unused=True)
    for name, tensor in named.items():
        if not has_same_bits(tensor.detach(), kept[name]):
            raise Violation(f"a backward pass changed {name}", snippets.BACKWARD)
