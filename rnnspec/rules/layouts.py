"""Rules about layouts: time-major and batch-major batches, single sequences, and any strides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import Feature, InitialState, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_initial_state,
    has_predictable_results,
    has_size_at_least,
    is_batch_first,
    is_batched,
    is_unbatched,
)
from rnnspec.contract.shapes import state_shape
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.known_mistakes import find_mistake
from rnnspec.rulekit.assertions.relations import (
    assert_all_expected,
    assert_expected,
    assert_same_results,
    change_difference,
    fail_only_if_calls_differ,
    fail_only_if_explained,
    has_right_results,
    is_right,
    make_second_call,
    zero_state,
)
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import BOTH, STATES, name_sample_axes
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised

IN_OTHER_LAYOUT = Snippet(
    """def {name}(states):
    return map_states(lambda state: state.{there}({states}), states)

own, final = layer(*given)
output, h_n = layer(x.{there}({axis}), *map({name}, given[1:]))
close(own, output.{back}({axis}))
close({name}(final), h_n)""",
    (Helper.CLOSE, Helper.MAP_STATES),
)
EXPANDED = Snippet("given = (x.detach().narrow({axis}, 0, 1).clone().expand(x.shape), *given[1:])")
AS_BATCH = {"name": "add_axis", "there": "unsqueeze", "back": "squeeze"}
AS_SINGLE = {"name": "drop_axis", "there": "squeeze", "back": "unsqueeze"}


@rule(
    "rnn.h_0.batch-first",
    "rnn.h_0.shape.batched",
    "rnn.h_n.shape.batched",
    "lstm.c_0.shape.batched",
    "lstm.c_n.shape.batched",
    when=is_batched & is_batch_first & has_predictable_results,
    needs=(Feature.FINAL_STATE,),
    about=("batch_first",),
)
def states_stay_layer_first(observation: Observation) -> None:
    """`h_0` and `h_n` have the shape `(D * num_layers, N, H_out)`, whatever `batch_first` is; `c_0`
    and `c_n` of an LSTM have the shape `(D * num_layers, N, H)`.

    The shapes of the final states are compared. If initial states are given, all results are
    compared with the reference, and a call that fails only because of the states breaks the rule.
    Without initial states, the values of the final states are compared if `output` is right and
    batch-first states would have the same shape.

    Catches states that are transposed together with the input or the output.
    """
    config, batch = observation.case.config, observation.case.batch
    is_state_given = observation.case.initial_state is InitialState.GIVEN
    rows = config.num_layers * config.num_directions
    if is_state_given:
        _assert_state_accepted(observation)
    for name, state in observation.call.raw_states.items():
        shape, expected = tuple(state.shape), observation.call.state_shapes[name]
        if shape != expected:
            raise Violation(f"{name} has shape {shape}, expected {expected}", STATES)
    if is_state_given:
        assert_expected(observation, "output")
    if is_state_given or (rows == batch and is_right(observation, "output")):
        for name in config.kind_data.final:
            assert_expected(observation, name)


def _assert_state_accepted(observation: Observation) -> None:
    """Raise Violation if the call fails with initial states, but is right without any."""
    try:
        _ = observation.call
    except Raised as failure:
        without_state = Observation(
            observation.subject,
            observation.case.replace(initial_state=InitialState.ABSENT),
            zero_state(observation.values),
            observation.prepared,
        )
        if has_right_results(without_state):
            case = observation.case
            shape = state_shape(case.config, case.shape)
            message = f"h_0 of shape {shape} should be accepted; {failure}"
            raise Violation(message, STATES) from failure
        raise


@rule(
    "rnn.input.batch-first",
    "rnn.input.batched",
    when=is_batched
    & has_predictable_results
    & (is_batch_first | has_size_at_least("steps", 2) | has_size_at_least("batch", 2)),
    about=("batch_first",),
)
def batch_first(observation: Observation) -> None:
    """With `batch_first=True`, input and output are `(N, L, features)`; without it, `(L, N,
    features)`.

    With `batch_first=True`, `output` is compared with the reference on the transposed batch.
    Without it, the rule fails only if the layer treated the first dimension as the batch.

    Catches an output left in the internal layout, a reshape instead of a transposition, and an
    ignored `batch_first` argument.
    """
    if observation.case.config.batch_first:
        assert_expected(observation, "output")
    else:
        fail_only_if_explained(
            lambda: assert_expected(observation, "output"),
            lambda: find_mistake(observation, "layouts.batch-first"),
        )


@rule(
    "rnn.input.unbatched",
    "rnn.input.batch-first-unbatched",
    "rnn.h_0.shape.unbatched",
    "lstm.c_0.shape.unbatched",
    "lstm.c_n.shape.unbatched",
    "rnn-cell.input.unbatched",
    when=is_unbatched & has_predictable_results,
    about=("layout",),
    of_cells="A single sample of shape `(H_in,)` gives states without a batch dimension.",
)
def unbatched(observation: Observation) -> None:
    """A single sequence of shape `(L, H_in)` gives results without a batch dimension, and
    `batch_first` has no effect on it; a cell takes a single sample of shape `(H_in)`.

    The results are compared with the reference.

    Catches too many or too few dimensions squeezed, an ignored initial state, and `batch_first`
    applied to a single sequence.
    """
    assert_all_expected(observation)


def _is_single(case: Case) -> bool:
    return case.layout is Layout.UNBATCHED or (case.layout is Layout.BATCHED and case.batch == 1)


@rule(
    "rnn.input.batch-of-one",
    when=Condition("one sequence", _is_single) & has_predictable_results,
    needs=(Feature.UNBATCHED,),
    about=("layout",),
    of_cells="A single sample gives the states of a batch of one, without the batch dimension.",
)
def batch_of_one(observation: Observation) -> None:
    """A single sequence gives the same results as a batch that holds only this sequence, without
    the batch dimension; so does a single sample of a cell.

    If an unbatched call is wrong, the layer is called with a batch of size 1, and the results of
    both calls are compared. If a batch of size 1 is wrong and a batch of size 2 is right, the batch
    of size 1 is compared with an unbatched call in the same way.

    Catches a batch of size 1 that loses its batch dimension or its state, and a code path for
    unbatched input that computes different results.
    """
    case = observation.case
    if observation.case.layout is Layout.UNBATCHED:
        fail_only_if_calls_differ(
            observation,
            lambda: make_second_call(observation, layout=Layout.BATCHED),
            snippet=IN_OTHER_LAYOUT.format(**AS_BATCH, **name_sample_axes(case)),
        )
    elif not is_right(observation) and is_right(_call_with_sample_twice(observation)):
        assert_same_results(
            observation,
            make_second_call(observation, layout=Layout.UNBATCHED),
            snippet=IN_OTHER_LAYOUT.format(**AS_SINGLE, **name_sample_axes(case)),
        )


def _call_with_sample_twice(observation: Observation) -> Observation:
    """Call the layer with the only sample of the batch repeated."""
    values = observation.values
    input_, initial = (np.repeat(array, 2, axis=1) for array in (values.input, values.initial))
    return make_second_call(observation, replace(values, input=input_, initial=initial), batch=2)


def _is_strided(case: Case) -> bool:
    """Return whether the input or a state has other strides or another offset than a new tensor."""
    layout, config = case.memory_layout, case.config
    if layout is MemoryLayout.EXPANDED:
        is_input = case.is_input_expanded and not case.is_packed
        return case.are_states_expanded or (is_input and max(case.steps, case.batch) > 1)
    if layout in (MemoryLayout.TRANSPOSED, MemoryLayout.EXCHANGED):
        rows = config.num_layers * config.num_directions
        shapes = [(case.steps, case.batch, config.input_size)]
        shapes += [(rows, case.batch, config.hidden_size)] if has_initial_state(case) else []
        return any(sorted(shape)[1] > 1 for shape in shapes)
    return layout is not MemoryLayout.CONTIGUOUS


@rule(
    "rnn.input.strides",
    "use.memory.views",
    when=Condition("strided arguments", _is_strided) & has_predictable_results,
    about=("memory_layout",),
    presupposes=("side-effects.arguments",),
)
def memory_layout(observation: Observation) -> None:
    """The memory layout of the input and of the initial state does not affect the results.

    The dimensions of the tensors are reversed or exchanged in memory; the tensors are every second
    element or a part of a larger buffer full of NaN; or a single sample or time step is repeated
    with a stride of zero. The results are compared with the reference. Of the cases with a stride
    of zero, batches are called again with a time step of the input repeated, or a sample if the
    steps were equal before.

    Catches ignored strides, time steps that are taken to follow each other without a gap, and
    ignored storage offsets.
    """
    assert_all_expected(observation)
    case = observation.case
    if case.memory_layout.repeats and not case.is_packed and min(case.steps, case.batch) > 1:
        _assert_expands_along_other_axis(observation)


def _assert_expands_along_other_axis(observation: Observation) -> None:
    """Raise Violation if results are wrong for an input that repeats another slice."""
    case, values = observation.case, observation.values.input
    is_along_time = not (case.is_input_expanded and case.is_expanded_along_time)
    slice_ = values[:1] if is_along_time else values[:, :1]
    again = observation.second_call(input=np.broadcast_to(slice_, values.shape))
    given = again.build_arguments()
    axis = int(is_along_time is case.config.batch_first)
    input_ = given.leaf.detach().narrow(axis, 0, 1).clone().expand(given.leaf.shape)
    input_.requires_grad_(given.leaf.requires_grad)
    given = replace(given, input=input_, leaf=input_)
    again.take_call(perform_call(again.prepared, case, given))
    repeated = "a time step" if is_along_time else "a sample"
    with change_difference(when=f"for an input that repeats {repeated}"):
        assert_all_expected(again, EXPANDED.format(axis=axis) + BOTH)
