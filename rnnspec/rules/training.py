"""Rules about gradients in training programs: from summed losses, and through states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import Feature, InitialState
from rnnspec.cases.conditions import (
    has_initial_state,
    has_known_gradients,
    has_size_at_least,
    has_wide_dtype,
    is_bidirectional,
    is_packed,
    one_in,
)
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.relations import change_difference, make_second_call
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.fixtures.carried_states import (
    call_from_states,
    differentiate_learned_state,
    differentiate_loop,
    draw_sequence,
    expect_layer,
    has_gradient,
    make_learned_states,
    process_in_two_calls,
    repeat_first_sample,
    write_learned_state_snippet,
)
from rnnspec.rulekit.fixtures.training import (
    Loss,
    call_with_frozen_tensors,
    choose_frozen_tensors,
    describe_frozen,
    write_frozen_snippet,
)
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets.gradients import (
    ACROSS_CALLS,
    DETACHED_STATE,
    LOOP_GRADIENT,
    SUMMED_LOSS,
    ZERO_STATE,
)
from rnnspec.rulekit.snippets.results import write_results
from rnnspec.rulekit.violation import Violation, assert_close
from rnnspec.text import join_words

NEEDS = (Feature.GRADIENTS,)


@rule(
    "rnn.gradients.input",
    "rnn.gradients.h_0",
    "rnn.gradients.parameters",
    "use.autograd.any-strides",
    when=has_known_gradients & one_in(12, 7),
    needs=NEEDS,
    id="gradients.summed-loss",
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS, "side-effects.backward"),
    of_cells="After `h_1.sum().backward()`, the gradients are the derivatives of the formula.",
)
def summed_loss(observation: Observation) -> None:
    """After `output.sum().backward()`, the gradients are the derivatives of the formula.

    In a second call, the loss is the sum of `output`, of `h_n` or of both, or the mean of `output`.
    The `.grad` of every tensor is compared with the reference's gradients.

    Catches a backward pass that reads the gradient of a result as if it were contiguous: the
    gradient of a sum is a single number, expanded to the shape of the result.
    """
    loss, kind = Loss.choose(observation), observation.case.config.kind_data
    call = observation.borrow_repeated().call
    second = observation.second_call(**loss.make_cotangents(observation))
    found = second.prepare_backward(call).compute_loss_gradients(loss.compute(call))
    names = list_gradient_names(observation)
    snippet = SUMMED_LOSS.format(loss=loss.write_code(kind), results=write_results(kind))
    results = loss.list_results(kind)
    assert_gradients(second, found, second.expected, names, results, snippet)


@rule(
    "rnn.gradients.h_0",
    "use.autograd.computed-state",
    when=has_known_gradients & has_initial_state & has_wide_dtype & one_in(3),
    needs=(*NEEDS, Feature.STATE_GRADIENTS),
    id="gradients.learned-state",
    about=("initial_state",),
    presupposes=(Fact.GRADIENTS, "layouts.memory-layout", *FIRST_GRADIENTS),
)
def learned_state(observation: Observation) -> None:
    """If `h_0` is computed from a parameter, the parameter receives the gradient.

    In a second call, `h_0` is a state without samples, expanded to the batch. The gradient of that
    state is compared with the reference's gradient of `h_0`, summed over the samples.

    Catches layers that detach a state if another operation computed it.
    """
    second = repeat_first_sample(observation)
    found = differentiate_learned_state(second)
    samples, roundoff = second.case.batch, second.case.dtype.roundoff
    initial = second.case.config.kind_data.initial

    def join(gradients: Mapping[str, Array]) -> Array:
        return np.concatenate([gradients[name] for name in initial], axis=-1)

    def bound_sum() -> Array:
        bound = join(second.expected.gradient_bound)
        terms = bound + 2 * samples * roundoff * (np.abs(each) + bound)
        return np.asarray(terms.sum(axis=1, keepdims=True))

    each = join(second.expected.gradients)
    assert_close(
        second,
        f"gradient of the parameter that {' and '.join(initial)} are computed from"
        if len(initial) > 1
        else "gradient of the parameter that h_0 is computed from",
        found,
        each.sum(axis=1, keepdims=True),
        bound_sum,
        write_learned_state_snippet(second.case),
    )


@rule(
    "rnn.gradients.h_0",
    "rnn.gradients.parameters",
    when=has_known_gradients & has_wide_dtype & one_in(12, 8, of_cells=6),
    needs=(*NEEDS, Feature.STATE, Feature.STATE_GRADIENTS),
    id="gradients.zero-state",
    about=("initial_state",),
    presupposes=(
        Fact.GRADIENTS,
        "states.initial-state-used",
        "states.absent-is-zero",
        "gradients.learned-state",
        *FIRST_GRADIENTS,
        *REPEATED_CALLS,
    ),
)
def zero_state(observation: Observation) -> None:
    """If `h_0` is a parameter of zeros, it receives the same gradient as any other state.

    In a second call, the initial states are of type `torch.nn.Parameter`, and they hold zeros, as a
    learned state does before training. All gradients are compared with the reference.

    Catches layers that treat zeros as a missing state, or detach parameters.
    """
    zeros = np.zeros_like(observation.values.initial)
    values = replace(observation.values, initial=zeros)
    second = make_second_call(observation, values, initial_state=InitialState.GIVEN)
    backward = second.prepare_backward(call_from_states(second, make_learned_states(second)))
    found = backward.compute_gradients(second.result_names)
    names = list_gradient_names(second)
    is_cell = observation.case.config.kind_data.is_cell
    final = "reference(given[0])" if is_cell else "reference(given[0])[1]"
    assert_gradients(second, found, second.expected, names, snippet=ZERO_STATE.format(final=final))


@rule(
    "rnn.h_n.continues",
    "rnn.gradients.input",
    "rnn.gradients.h_0",
    "rnn.gradients.parameters",
    when=has_known_gradients
    & has_wide_dtype
    & ~is_bidirectional
    & ~is_packed
    & has_size_at_least("steps", 2),
    needs=(*NEEDS, Feature.STATE, Feature.STATE_GRADIENTS, Feature.FINAL_STATE),
    id="gradients.across-calls",
    results=("output",),
    about=("initial_state",),
    presupposes=(
        Fact.GRADIENTS,
        "gradients.learned-state",
        "states.carried",
        "states.initial-state-used",
        "shapes.dtype",
        *FIRST_GRADIENTS,
        "gradients.earlier-call",
        *REPEATED_CALLS,
    ),
)
def across_calls(observation: Observation) -> None:
    """If a sequence is processed in two calls, and the second starts from the `h_n` of the first,
    the gradients are those of the whole sequence.

    The second call is given the tensor that the first call returned, and both are differentiated
    together. All gradients are compared with the reference for the whole sequence.

    Catches layers that detach a state that they are given or return, so that no gradient passes
    from a call to the call before.
    """
    calls = process_in_two_calls(observation)
    found = calls.compute_gradients()
    names = list_gradient_names(observation)
    snippet = ACROSS_CALLS.format(cut=calls.cut)
    assert_gradients(observation, found, observation.expected, names, snippet=snippet)


@rule(
    "rnn-cell.loop",
    when=has_known_gradients & has_wide_dtype & one_in(8, 3),
    needs=(*NEEDS, Feature.STATE, Feature.STATE_GRADIENTS),
    id="gradients.loop",
    presupposes=(
        Fact.GRADIENTS,
        "cells.loop",
        "states.initial-state-used",
        *FIRST_GRADIENTS,
        *REPEATED_CALLS,
    ),
)
def loop_gradients(observation: Observation) -> None:
    """If a cell is called in a loop, gradients pass from each step to the previous step.

    The cell is called for each of three to five steps, and in some cases for up to a hundred, with
    the tensors that its previous call returned. All hidden states and the last states are
    differentiated. All gradients are compared with the reference for a unidirectional layer.

    Catches cells that detach or copy a state that they are given or return, in every call or after
    some calls, so that gradients reach only the last steps.
    """
    sequence = draw_sequence(observation.case)
    expected = expect_layer(observation, sequence)
    names = dict(zip(observation.values.weights, expected.values.weights, strict=True))
    found = differentiate_loop(observation, sequence)
    for name in list_gradient_names(observation):
        right = names.get(name, name)
        assert_close(
            observation,
            f"in a loop, gradient of {name}",
            found[name],
            expected.gradients[right],
            lambda right=right: expected.gradient_bound[right],  # type: ignore[misc]
            LOOP_GRADIENT.format(steps=len(sequence)),
        )


@rule(
    "rnn.effects.stateless",
    "rnn.gradients.input",
    "rnn.gradients.parameters",
    when=has_known_gradients & one_in(16, 4, with_gates=10),
    needs=(*NEEDS, Feature.STATE),
    id="gradients.detached-state",
    presupposes=(
        Fact.GRADIENTS,
        "states.initial-state-used",
        "shapes.dtype",
        *FIRST_GRADIENTS,
        *REPEATED_CALLS,
        "states.carried",
    ),
)
def detached_state(observation: Observation) -> None:
    """If a call starts from the detached `h_n` of the previous call, no gradient passes from the
    later to the earlier call, and all others are the derivatives of the formula.

    The layer is called twice more, with nothing in between. The gradient of the second call with
    respect to the input of the first must be zero or None, and its other gradients are compared
    with the reference.

    Catches layers that keep the state of the last call and use it instead of the given state.
    """
    first = observation.second_call()
    values = replace(observation.values, initial=first.final)
    second = make_second_call(first, values, initial_state=InitialState.GIVEN)
    backward = second.prepare_backward(
        call_from_states(second, [state.detach() for state in first.call.state_tensors.values()])
    )
    if has_gradient(backward, first.call.given.leaf):
        raise Violation(
            "the gradient of a call passes the detached state that it starts from, into the call "
            "before; expected none",
            DETACHED_STATE,
        )
    names = ["input", *exclude_masked_gradients(second.case, second.values.weights)]
    found = backward.compute_gradients(observation.result_names)
    assert_gradients(second, found, second.expected, names, snippet=DETACHED_STATE)


@rule(
    "rnn.module.frozen",
    "use.module.requires-grad",
    "use.autograd.everything-frozen",
    when=has_known_gradients & one_in(8, 6),
    needs=NEEDS,
    id="gradients.frozen",
    presupposes=("modules.second-call", *FIRST_GRADIENTS),
)
def frozen(observation: Observation) -> None:
    """A frozen tensor receives no gradient. The gradients of the other tensors do not change.

    In a second call, the input and `h_0`, all parameters of a kind or of a layer, a single
    parameter, all parameters, or all tensors have `requires_grad=False`; in a third call, one
    tensor of each pair, such as the two biases; in a fourth call, the others; in further calls, all
    but the input, an initial state, the parameters of one kind, or the biases. The other gradients
    are compared with the reference; if there are no others, no result may require a gradient.

    Catches a frozen parameter that stops all gradients, weight gradients that are lost if the input
    requires none, biases that cannot be trained alone, calls that unfreeze parameters, and results
    that always require gradients.
    """
    for frozen_names in choose_frozen_tensors(observation.case, observation.values):
        _assert_others_unchanged(observation, frozen_names)


def _assert_others_unchanged(observation: Observation, frozen_names: list[str]) -> None:
    """Raise Violation if gradients change because other tensors are frozen."""
    case, everything = observation.case, list_gradient_names(observation)
    is_given = case.initial_state is InitialState.GIVEN
    states = case.config.kind_data.initial if is_given else ()
    # Of some tensors, the gradient is unknown: behind a dropout mask, and of the states of an
    # adapter that does not pass gradients to them. They can be frozen.
    tensors = ["input", *states, *observation.values.weights]
    left_out = [name for name in tensors if name in frozen_names]
    others = [name for name in tensors if name not in frozen_names]
    names = [name for name in everything if name not in frozen_names]
    snippet = write_frozen_snippet(frozen_names, names, case)
    with call_with_frozen_tensors(observation, frozen_names) as call:
        differentiable = [
            name for name, tensor in call.result_tensors.items() if tensor.requires_grad
        ]
        if not others and differentiable:
            raise Violation(
                f"{differentiable[0]} requires gradients while every tensor is frozen; expected "
                "requires_grad=False",
                snippet,
            )
        if not names:
            return
        while_frozen = f"while {describe_frozen(left_out, others)}"
        if not differentiable:
            raise Violation(
                f"{join_words(observation.result_names)} "
                f"{'have' if len(observation.result_names) > 1 else 'has'} requires_grad=False "
                f"{while_frozen}; expected True",
                snippet,
            )
        found = observation.differentiate(call, observation.result_names)
    unfrozen = [name for name in frozen_names if name in found]
    if unfrozen:
        raise Violation(
            f"{unfrozen[0]} was frozen, but has requires_grad=True after a call; expected False",
            snippet,
        )
    with change_difference(when=while_frozen):
        assert_gradients(observation, found, observation.expected, names, snippet=snippet)
