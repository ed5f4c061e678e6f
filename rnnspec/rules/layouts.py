"""The layouts of input and states: time-major, batch-major, a single sequence, any strides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import Feature, InitialState, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.diagnosis.hypotheses import find_exchanged_axes
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import (
    assert_both_expected,
    assert_expected,
    assert_same_results,
    call_as,
    fail_only_if_calls_differ,
    fail_only_if_explained,
    has_right_results,
    is_right,
    zero_state,
)
from rnnspec.rulekit.conditions import Condition, batched, predictable, size_at_least
from rnnspec.rulekit.conditions import batch_first as batch_major
from rnnspec.rulekit.conditions import unbatched as single
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import H_N
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.failures import Raised

AS_BATCH = Snippet("""batch = [x.unsqueeze({axis}), *(each.unsqueeze(1) for each in given[1:])]
output, h_n = layer(*batch)
close(layer(*given)[0], output.squeeze({axis}))
close(layer(*given)[1], h_n.squeeze(1))""", (Helper.CLOSE,))
AS_SINGLE = Snippet("""output, h_n = layer(x.squeeze({axis}), *(each.squeeze(1) for each in given[1:]))
close(layer(*given)[0], output.unsqueeze({axis}))
close(layer(*given)[1], h_n.unsqueeze(1))""", (Helper.CLOSE,))


@rule(
    "rnn.h_0.batch-first",
    "rnn.h_0.shape.batched",
    "rnn.h_n.shape.batched",
    when=batched & batch_major & predictable,
)
def states_stay_layer_first(observation: Observation) -> None:
    """Initial and final states keep the shape (D * num_layers, N, H_out) whatever batch_first says.

    The shape of h_n, its values where a batch axis in front would give the same shape and the output is right, and all results where
    a state is given: a call that fails with a state, and does not without, breaks the rule too.

    Catches states transposed together with input or output.
    """
    config, given = observation.case.config, observation.case.initial_state is InitialState.GIVEN
    states = (config.num_layers * config.num_directions, observation.case.batch, config.hidden_size)
    if given:
        _takes_state(observation, states)
    shape = np.array(observation.call.raw_h_n.shape, dtype=np.float64)
    assert_identical(
        "shape of h_n",
        shape if shape.size == 3 else np.zeros(3),
        np.array(states, dtype=np.float64),
        H_N,
    )
    if given:
        assert_expected(observation, "output")
    if given or (states[0] == states[1] and is_right(observation, "output")):
        assert_expected(observation, "h_n")


def _takes_state(observation: Observation, states: tuple[int, ...]) -> None:
    try:
        _ = observation.call
    except Raised as failure:
        if has_right_results(
            Observation(
                observation.subject,
                observation.case.replace(initial_state=InitialState.ABSENT),
                zero_state(observation.values),
                observation.prepared,
            )
        ):
            raise Violation(f"a state of shape {states} is refused: {failure}", H_N) from None
        raise


@rule(
    "rnn.input.batch-first",
    "rnn.input.batched",
    when=batched & predictable & (batch_major | size_at_least("steps", 2) | size_at_least("batch", 2)),
)
def batch_first(observation: Observation) -> None:
    """With batch_first=True input and output are (N, L, features), else (L, N, features).

    With batch_first the output is compared with the reference on the transposed batch; without it the output must not be what the
    other reading of the axes gives.

    Catches an output left in the inner layout, a reshape instead of a transposition, the argument ignored.
    """
    if observation.case.config.batch_first:
        assert_expected(observation, "output")
    else:
        fail_only_if_explained(
            lambda: assert_expected(observation, "output"), lambda: find_exchanged_axes(observation)
        )


@rule(
    "rnn.input.unbatched",
    "rnn.input.batch-first-unbatched",
    "rnn.h_0.shape.unbatched",
    when=single & predictable,
)
def unbatched(observation: Observation) -> None:
    """A single sequence (L, H_in) gives results without a batch axis, and batch_first changes nothing about it.

    Output and h_n are compared with the reference.

    Catches axes squeezed too many or too few, a state ignored, the argument batch_first taken seriously.
    """
    assert_both_expected(observation)


def _is_single(case: Case) -> bool:
    return case.layout is Layout.UNBATCHED or (case.layout is Layout.BATCHED and case.batch == 1)


@rule(
    "rnn.input.batch-of-one",
    when=Condition("one sequence", _is_single) & predictable,
    needs=(Feature.UNBATCHED,),
)
def batch_of_one(observation: Observation) -> None:
    """A single sequence gives what a batch of that one sequence gives, without the batch axis.

    Where one of them is wrong and a batch of two is not, the same layer is called the other way and the results are compared.

    Catches a batch of one that loses its axis or its state, a branch for unbatched input that computes something else.
    """
    axis = 0 if observation.case.config.batch_first else 1
    if observation.case.layout is Layout.UNBATCHED:
        fail_only_if_calls_differ(
            observation,
            lambda: call_as(observation, layout=Layout.BATCHED),
            snippet=AS_BATCH.format(axis=axis),
        )
    elif not is_right(observation) and is_right(_doubled(observation)):
        assert_same_results(
            observation, call_as(observation, layout=Layout.UNBATCHED), snippet=AS_SINGLE.format(axis=axis)
        )


def _doubled(observation: Observation) -> Observation:
    """The same call with the one sample twice in the batch."""
    input_, h_0 = (
        np.repeat(array, 2, axis=1) for array in (observation.values.input, observation.values.h_0)
    )
    return call_as(observation, replace(observation.values, input=input_, h_0=h_0), batch=2)


def _is_strided(case: Case) -> bool:
    """Whether input or state really lie in memory otherwise than a fresh tensor does."""
    sizes = sorted((case.steps, case.batch, case.config.input_size))
    real = {
        MemoryLayout.SLICED: True,
        MemoryLayout.OFFSET: True,
        MemoryLayout.TRANSPOSED: sizes[1] > 1,
        MemoryLayout.EXCHANGED: sizes[1] > 1,
        MemoryLayout.EXPANDED: sizes[1] > 1 and not case.is_packed,
    }
    return real.get(case.memory_layout, False)


@rule("rnn.input.strides", when=Condition("strided input", _is_strided) & predictable)
def memory_layout(observation: Observation) -> None:
    """How input and initial state lie in memory changes nothing.

    Axes reversed or exchanged, every second element or a part of a larger buffer full of NaN, one sample or step repeated by a stride
    of zero; the results are compared with the reference.

    Catches strides or offsets ignored.
    """
    assert_both_expected(observation)
