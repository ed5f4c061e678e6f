"""Rules about states: how h_0 is passed and used, and what h_n holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import Feature, GradMode, InitialState, Layout, ModuleUses
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    has_initial_state,
    has_predictable_results,
    has_size_at_least,
    has_value,
    is_bidirectional,
    is_stacked,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.known_mistakes import find_mistake
from rnnspec.rulekit.assertions.nan_propagation import (
    assert_nan_reach,
    call_with_planted_state,
    can_trace_nan,
    choose_spot,
    compute_reach,
    find_sequence_length,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import (
    ResultIndices,
    assert_all_expected,
    assert_same_results,
    fail_only_if_explained,
    fail_only_if_unexplained,
    fail_unless_excused,
    has_right_results,
    is_right,
    make_second_call,
)
from rnnspec.rulekit.fixtures.carried_states import process_in_two_calls
from rnnspec.rulekit.rule import REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import STATES
from rnnspec.rulekit.violation import assert_close
from rnnspec.subjects.subject import observe_step

ZEROS = Snippet(
    """zeros = map_states(torch.zeros_like, reference(*given)[1])
close(layer(given[0])[0], layer(given[0], zeros)[0])
close(layer(given[0])[1], layer(given[0], zeros)[1])""",
    (Helper.CLOSE, Helper.MAP_STATES),
)
ZEROS_OF_CELL = Snippet(
    """zeros = map_states(torch.zeros_like, reference(*given))
close(layer(given[0]), layer(given[0], zeros))""",
    (Helper.CLOSE, Helper.MAP_STATES),
)
AFTER_A_STATE = Snippet(
    """before = layer(given[0])
state = map_states(lambda state: torch.full_like(state, 0.5), reference(*given){states})
layer(given[0], state)
for got, expected in zip(list_tensors(layer(given[0])), list_tensors(before)):
    close(got, expected)""",
    (Helper.CLOSE, Helper.MAP_STATES, Helper.LIST_TENSORS),
)
LAST_STATE = Snippet(
    """output, states = layer(*given)
close(list_tensors(states)[0][-1], output.select(time, -1))""",
    (Helper.CLOSE, Helper.LIST_TENSORS, Helper.TIME),
)
LAST_STATES = Snippet(
    """output, states = layer(*given)
h_n = list_tensors(states)[0]
close(h_n[-2], output.select(time, -1)[..., :{hidden}])
close(h_n[-1], output.select(time, 0)[..., {hidden}:])""",
    (Helper.CLOSE, Helper.LIST_TENSORS, Helper.TIME),
)
BY_NAME = Snippet(
    """output, h_n = layer(given[0], hx=given[1])
close(output, layer(*given)[0])
close(h_n, layer(*given)[1])""",
    (Helper.CLOSE,),
)
CARRIED = Snippet(
    """first, state = layer(x.narrow(time, 0, {cut}), *given[1:])
rest, state = layer(x.narrow(time, {cut}, x.shape[time] - {cut}), state)
output, h_n = layer(*given)
close(rest, output.narrow(time, {cut}, x.shape[time] - {cut}))
close(state, h_n)""",
    (Helper.CLOSE, Helper.TIME),
)


@rule(
    "rnn.h_0.order",
    when=is_stacked & has_initial_state & has_predictable_results,
    about=(
        "num_layers",
        "initial_state",
    ),
)
def order(observation: Observation) -> None:
    """Row `layer * D + direction` of `h_0` is the initial state of that layer and direction.

    If `output` or `h_n` differs from the reference, the rule fails if other rows explain the
    results. Other errors are left to other rules.

    Catches rows counted from the last layer down, rows ordered by direction, and the first layer's
    row used for all layers.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation),
        lambda: find_mistake(observation, "states.order"),
    )


@rule(
    "rnn.recurrence.first-step",
    "rnn.h_0.shape.batched",
    "gru.h_0.position",
    "rnn-cell.h_0.shape",
    "rnn-cell.call.order",
    when=has_initial_state & has_predictable_results,
    about=("initial_state",),
    presupposes=("side-effects.arguments",),
    of_cells="The step starts from `h_0`.",
)
def initial_state_used(observation: Observation) -> None:
    """Every layer and direction starts from its own row of `h_0`, and a cell from `h_0`.

    The results are compared with the reference. Rows that are only exchanged are left to other
    rules.

    Catches an `h_0` that is clipped, rounded, or ignored, in all configurations or only in some.
    """
    fail_only_if_unexplained(
        lambda: assert_all_expected(observation),
        lambda: find_mistake(observation, "states.order") is not None,
    )


@rule(
    "rnn.h_0.keyword",
    when=has_initial_state
    & has_predictable_results
    & ~has_value(ModuleUses.FUNCTIONAL)
    & one_in(15),
    presupposes=(
        Fact.RESULTS,
        "states.initial-state-used",
        "side-effects.arguments",
        *REPEATED_CALLS,
    ),
)
def by_name(observation: Observation) -> None:
    """The initial state can also be passed by keyword, as `hx`.

    The call is repeated with `hx=`. The results may differ by at most twice the rounding bound.

    Catches a second argument with another name.
    """
    call = observation.call
    with observation.case.grad_mode.enter(), observe_step("the call with hx="):
        named = replace(call, returned=observation.module(call.given.input, hx=call.given.hx))
    assert_same_results(observation, named, snippet=BY_NAME)


@rule(
    "rnn.h_0.absent",
    "lstm.c_0.absent",
    # Layers keep states in calls without gradients above all. With one case in 10, three quick
    # checks of three missed a state that is kept in eval mode, without gradients, by shape.
    when=has_value(InitialState.ABSENT)
    & has_predictable_results
    & (one_in(10) | (~has_value(GradMode.GRAD) & one_in(2))),
    needs=(Feature.STATE,),
    presupposes=(Fact.RESULTS, *REPEATED_CALLS),
    about=("initial_state",),
)
def absent_is_zero(observation: Observation) -> None:
    """A call without `h_0` gives the same results as a call with zeros, whatever state an earlier
    call was given.

    The same layer is called with zeros, with values of 0.5, and again without `h_0`. The results
    may differ by at most twice the rounding bound. A layer that is right without `h_0` but wrong
    with a nonzero `h_0` is left to other rules.

    Catches default states of ones, of the wrong size, or uninitialised, biases that are skipped
    without `h_0`, and given states that are kept for calls without one.
    """
    values = replace(observation.values, initial=np.full_like(observation.values.initial, 0.5))

    def is_wrong_with_any_state() -> bool:
        return is_right(observation) and not has_right_results(
            make_second_call(observation, values, initial_state=InitialState.GIVEN)
        )

    def assert_zeros_equivalent() -> None:
        with_zeros = make_second_call(observation, initial_state=InitialState.GIVEN)
        is_cell = observation.case.config.kind_data.is_cell
        assert_same_results(observation, with_zeros, snippet=ZEROS_OF_CELL if is_cell else ZEROS)

    def assert_state_forgotten() -> None:
        _ = make_second_call(observation, values, initial_state=InitialState.GIVEN).call
        states = "" if observation.case.config.kind_data.is_cell else "[1]"
        snippet = AFTER_A_STATE.format(states=states)
        assert_same_results(observation, observation.second_call(), snippet=snippet)

    fail_unless_excused(is_wrong_with_any_state, assert_zeros_equivalent)
    fail_unless_excused(is_wrong_with_any_state, assert_state_forgotten)


@rule(
    "rnn.h_n.continues",
    "lstm.states.continue",
    when=~is_bidirectional
    & has_value(Layout.BATCHED, Layout.UNBATCHED)
    & has_size_at_least("steps", 2)
    & has_predictable_results
    & one_in(5),
    needs=(Feature.STATE, Feature.FINAL_STATE),
    presupposes=(Fact.RESULTS, "states.initial-state-used", "shapes.dtype", *REPEATED_CALLS),
)
def carried(observation: Observation) -> None:
    """A unidirectional layer can process a sequence in two calls: if the second starts from the
    `h_n` of the first, the results are the same as in one call.

    The second call is given the tensor that the first call returned. Its results may differ from
    the later part of the uncut results by at most twice the rounding bound. The rule applies if the
    uncut call is right, and the second call is right with a copy of that tensor.

    Catches states that are lost or changed between calls, time steps counted from the start of a
    call, and a first step that is treated differently.
    """
    # Raise here if the call cannot be observed: below, that would count as an excuse.
    _ = observation.results

    def assert_rest_same() -> None:
        calls = process_in_two_calls(observation)
        place, snippet = ResultIndices((np.s_[calls.cut :],)), CARRIED.format(cut=calls.cut)
        assert_same_results(observation, calls.call, place, snippet)

    def is_wrong_without_carrying() -> bool:
        if not has_right_results(observation):
            return True
        calls = process_in_two_calls(observation)
        copied = replace(calls.rest.values, initial=calls.first.final)
        return not has_right_results(make_second_call(calls.rest, copied))

    fail_unless_excused(is_wrong_without_carrying, assert_rest_same)


@rule(
    "rnn.h_n.is-last-output",
    when=has_predictable_results,
    presupposes=("recurrence.output",),
    needs=(Feature.FINAL_STATE,),
)
def h_n_is_last_output(observation: Observation) -> None:
    """The last layer's row of `h_n` is its output at the last time step; for the backward
    direction, it is the output at the first time step.

    The last layer's rows are compared with the output at the end of each sequence. They may differ
    by at most twice the rounding bound. Wrong output, and rows of `h_n` that are right but in
    another order, are left to other rules.

    Catches states of another time step or layer, initial states that are returned, and states that
    are rounded or scaled before they are returned.
    """
    rows = _join_last_rows(observation, observation.states["h_n"])
    ends = _join_sequence_ends(observation)

    def assert_rows_equal_ends() -> None:
        assert_close(
            observation,
            "last rows of h_n",
            rows,
            ends,
            lambda: 2.0 * _join_last_rows(observation, observation.expected.bound.h_n),
            _choose_last_snippet(observation.case),
        )

    def has_other_fault() -> bool:
        return not is_right(observation, "output") or _has_reordered_states(observation)

    fail_only_if_unexplained(assert_rows_equal_ends, has_other_fault)


def _has_reordered_states(observation: Observation) -> bool:
    """Return whether the rows of h_n are all right, but in another order."""
    pairs = list(zip(observation.expected.final, observation.expected.final_bound, strict=True))
    fits = np.array(
        [
            [bool((measure_distance(row, right) <= allowed).all()) for right, allowed in pairs]
            for row in observation.final
        ]
    )
    return bool(fits.any(axis=0).all() and fits.any(axis=1).all())


def _choose_last_snippet(case: Case) -> Snippet:
    if case.is_packed:
        return STATES
    snippet = LAST_STATES if case.config.bidirectional else LAST_STATE
    return snippet.format(hidden=case.config.output_size)


def _join_last_rows(observation: Observation, states: Array) -> Array:
    """Return the last layer's rows of states (D * num_layers, N, H) side by side, as (N, D * H)."""
    return np.concatenate(list(states[-observation.case.config.num_directions :]), axis=-1)


def _join_sequence_ends(observation: Observation) -> Array:
    """Return the output (N, D * H) at which each direction ends.

    It is the last step of each sequence for the forward direction, and the first step for the
    backward direction.
    """
    samples = range(observation.case.batch)
    last = [find_sequence_length(observation.case, sample) - 1 for sample in samples]
    ends = np.array(observation.output[last, samples])
    hidden = observation.case.config.output_size
    ends[:, hidden:] = observation.output[0, :, hidden:]
    return ends


@rule(
    "rnn.h_0.order",
    "rnn.recurrence.non-finite",
    when=is_stacked & has_initial_state & can_trace_nan,
    about=(
        "num_layers",
        "initial_state",
    ),
    presupposes=(Fact.RESULTS, "samples.independent", "nonlinearity.nan"),
    results=("output",),
)
def routing(observation: Observation) -> None:
    """Each row of `h_0` affects only its own layer and direction, and the layers that read from it.

    For a single sample, a row of a layer above the first is replaced by NaN. Output and `h_n` must
    be NaN exactly where they depend on that row.

    Catches rows that reach another layer, direction or sample, and rows that are ignored.
    """
    spot = choose_spot(observation.case)
    row = _choose_upper_row(observation.case, spot.row)
    spoiled = call_with_planted_state(observation, (row, spot.sample))
    snippet = write_nan_snippet(observation.case, sample=spot.sample, row=row)
    reach = compute_reach(observation.case, spot.sample, rows=(row,))
    assert_nan_reach(observation, spoiled, spot.sample, reach, snippet)


def _choose_upper_row(case: Case, drawn: int) -> int:
    """Return a row of a layer above the first, preferably of a high layer.

    A lower row would not show a fault that begins in the third layer.
    """
    upper, directions = case.config.num_layers - 1, case.config.num_directions
    return (1 + max(drawn % upper, case.seed % upper)) * directions + drawn % directions
