"""Rules about stacked layers: the input of each layer, and the parameters that it uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import ConstructorStyle, Distribution, Feature, InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    has_active_dropout,
    has_predictable_results,
    has_size_at_least,
    has_value,
    has_wide_dtype,
    is_batched,
    is_bidirectional,
    is_stacked,
    is_unbatched,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.nan_propagation import mark_nan
from rnnspec.rulekit.assertions.relations import assert_all_expected, make_second_call
from rnnspec.rulekit.rule import GIVEN_STATES, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_identical

POISONED = Snippet(
    """for each in (layer, reference):
    for name, parameter in named(each).items():
        if "_l{layer}" in name:
            torch.nn.init.constant_(parameter, float("nan"))
close(layer(*given)[1], reference(*given)[1])""",
    (Helper.CLOSE, Helper.NAMED),
)


@rule(
    "rnn.layers.own-parameters",
    when=is_stacked & has_predictable_results & ~has_active_dropout & one_in(13),
    needs=(Feature.FINAL_STATE,),
    about=("num_layers",),
    presupposes=(Fact.RESULTS, "nonlinearity.nan"),
)
def own_parameters(observation: Observation) -> None:
    """Every layer has its own weights and biases.

    In a new layer, all parameters of an upper layer are NaN. The states of that layer must be NaN,
    and the states of the layers below must not be, unless their numbers can overflow.

    Catches layers that share parameters, and parameters that exist but are not used.
    """
    upper, directions = choose_upper_layer(observation.case), observation.case.config.num_directions
    weights = {
        name: _poison_if(array, f"_l{upper}" in name)
        for name, array in observation.values.weights.items()
    }
    case = observation.case.make_fresh(constructor_style=ConstructorStyle.CHANGED)
    poisoned = Observation(observation.subject, case, replace(observation.values, weights=weights))
    for name, states in poisoned.states.items():
        found = np.isnan(states[: (upper + 1) * directions])
        expected = np.zeros(found.shape, dtype=np.bool_)
        expected[upper * directions :] = True
        if (found != expected).any():
            bound = observation.expected.bound.results[name][: len(expected)]
            excused = np.isinf(bound) & ~expected
            snippet = POISONED.format(layer=upper)
            assert_identical(name, mark_nan(found & ~excused), mark_nan(expected), snippet)


def choose_upper_layer(case: Case) -> int:
    """Return the index of a layer above the first, chosen by the seed of a case."""
    return 1 + case.seed % (case.config.num_layers - 1)


def _poison_if(array: Array, condition: bool) -> Array:
    return np.full_like(array, np.nan) if condition else array


@rule(
    "rnn.layers.read-both-directions",
    when=is_stacked & is_bidirectional & has_predictable_results,
    about=(
        "num_layers",
        "bidirectional",
    ),
)
def reads_both_directions(observation: Observation) -> None:
    """Both directions of an upper layer read the concatenated outputs of both directions below.

    `output` and `h_n` are compared with the reference.

    Catches upper layers that read only the forward or only the backward direction, both in the
    wrong order, or their sum.
    """
    assert_all_expected(observation)


@rule(
    "rnn.layers.stacking",
    "rnn.output.last-layer",
    when=is_stacked & has_predictable_results,
    about=("num_layers",),
)
def composition(observation: Observation) -> None:
    """Each layer above the first reads the output of the layer below; the last layer gives
    `output`.

    `output` and `h_n` are compared with the reference.

    Catches layers that read the input, a layer further below, another time step, or a clipped or
    transposed copy.
    """
    assert_all_expected(observation)


@rule(
    "rnn.layers.stacking",
    "rnn.recurrence.every-step",
    when=is_stacked
    & has_wide_dtype
    & has_predictable_results
    & ~has_active_dropout
    & (is_batched | is_unbatched)
    & has_size_at_least("steps", 2)
    & one_in(5),
    needs=(Feature.STATE, Feature.FINAL_STATE),
    about=("num_layers",),
    presupposes=(Fact.RESULTS, *GIVEN_STATES, "shapes.*", *REPEATED_CALLS),
    id="stacking.single-steps",
    spans=(has_value(Distribution.NEW),),
)
def single_steps(observation: Observation) -> None:
    """A stack computes each step of every layer, whatever its size.

    The layer is called once for each of the first four steps of a sequence, each time with the
    states that the previous call returned. The final states of such a call show the hidden states
    of all layers, so each layer is compared with the result that follows from the states of the
    layer below. At large sizes, a call of several steps shows only the hidden states of the last
    layer.

    Catches errors in units of upper or lower layers that are smaller than the rounding of a whole
    sequence.
    """
    values, case = observation.values, observation.case
    states, lines = values.initial, CALLED_BY_STEPS.format(count=MOST_STEPS)
    for step in range(min(MOST_STEPS, case.steps)):
        now = replace(
            values,
            input=values.input[step : step + 1],
            d_output=values.d_output[step : step + 1],
            initial=states,
        )
        call = make_second_call(observation, now, steps=1, initial_state=InitialState.GIVEN)
        assert_all_expected(call, lines)
        states = call.final


MOST_STEPS = 4
CALLED_BY_STEPS = Snippet(
    """states = given[1:]
for step in range(min({count}, x.shape[time])):
    now = x.narrow(time, step, 1)
    for found, expected in zip(layer(now, *states), reference(now, *states)):
        close(found, expected)
    states = layer(now, *states)[1:]""",
    (Helper.CLOSE, Helper.TIME),
)
