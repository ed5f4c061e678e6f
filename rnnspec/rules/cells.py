"""Rules about cells, which compute one step: results of a call, values, and calls in a loop."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import (
    has_predictable_results,
    has_wide_dtype,
    is_batched,
    list_real_sizes,
    list_sizes_beyond_blocks,
    one_in,
)
from rnnspec.contract.parts import Part
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_expected
from rnnspec.rulekit.assertions.results import assert_state_shape
from rnnspec.rulekit.fixtures.carried_states import draw_sequence, expect_layer, run_loop
from rnnspec.rulekit.fixtures.constructor_calls import (
    call_constructor,
    pick_values,
    plan_constructor_call,
    write_rejection_snippet,
)
from rnnspec.rulekit.rejections.calls import (
    assert_call_rejected,
    list_unbatched_states,
    list_wrong_state_ranks,
)
from rnnspec.rulekit.rule import (
    GIVEN_STATES,
    NAMED_ARGUMENTS,
    REPEATED_CALLS,
    STEP_FORMULAS,
    VALID_CALLS,
    Fact,
    rule,
)
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.rulekit.violation import Violation, assert_close
from rnnspec.rules.shapes import assert_empty_batch_accepted
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import observe_step

SIZES = ("input_size", "hidden_size", "batch")
"""The sizes of a case that affect the single step of a cell."""
RETURNED = Snippet("""result, expected = layer(*given), reference(*given)
assert isinstance(result, torch.Tensor) == isinstance(expected, torch.Tensor)
assert [type(each) for each in result] == [type(each) for each in expected]""")
LOOP = Snippet(
    """for _ in range(2):
    states = given[1:]
    for _ in range({steps}):
        result = layer(x, *states)
        close(result, reference(x, *states))
        states = (result,)""",
    (Helper.CLOSE,),
)


@rule(
    "rnn-cell.result.state",
    "lstm-cell.result.pair",
    id="cells.returns",
)
def returns(observation: Observation) -> None:
    """A call returns the next hidden state, `h_1`, and nothing else; an `nn.LSTMCell` returns the
    pair `(h_1, c_1)`.

    The returned value must be a tensor, or for an LSTM a tuple or list of two tensors.

    Catches a cell that also returns an output, a state in a tuple, and a missing cell state.
    """
    returned, names = observation.call.returned, observation.case.config.kind_data.final
    is_right = (
        isinstance(returned, Tensor)
        if len(names) == 1
        else isinstance(returned, (tuple, list))
        and len(returned) == len(names)
        and all(isinstance(each, Tensor) for each in returned)
    )
    if not is_right:
        raise Violation(
            f"a call returned {_describe(returned)}, expected {write_states(names)}", RETURNED
        )


def _describe(returned: Any) -> str:
    size = f" of {len(returned)}" if isinstance(returned, (tuple, list)) else ""
    return f"a {type(returned).__name__}{size}"


@rule(
    "rnn-cell.input.empty-batch",
    when=is_batched & one_in(8),
    id="cells.empty-batch",
    presupposes=(
        Fact.CALL,
        "cells.shape",
        "cells.returns",
        "states.absent-is-zero",
        "gradients.input",
    ),
)
def empty_batch(observation: Observation) -> None:
    """A cell accepts a batch of zero samples: its states have a batch dimension of size 0, and the
    backward pass works.

    The cell of the case is called on zero samples, with states for zero samples if the case passes
    states. The shapes are compared, and the sum of the results is differentiated. All gradients of
    parameters must be 0.

    Catches rejected calls, states for a single sample, results without a graph, and backward passes
    that divide by the number of samples.
    """
    assert_empty_batch_accepted(observation)


@rule("rnn-cell.result.shape", "rnn-cell.input.batched", id="cells.shape")
def shape(observation: Observation) -> None:
    """For an input of shape `(N, H_in)`, `h_1` has shape `(N, hidden_size)`, and for a single
    sample of shape `(H_in)` it has shape `(hidden_size,)`.

    The shape of `h_1` is compared with the documented one.

    Catches states with an axis for layers or time steps, and a batch dimension that is lost.
    """
    assert_state_shape(observation, observation.case.config.kind_data.final[0])


@rule(
    "rnn-cell.step",
    *STEP_FORMULAS,
    "rnn.recurrence.two-biases",
    when=has_predictable_results & has_wide_dtype,
    id="cells.step",
    results=("h_1",),
    spans=(*list_sizes_beyond_blocks(*SIZES), *list_real_sizes(*SIZES)),
)
def step(observation: Observation) -> None:
    """A call computes one step: the next hidden state follows by the formula from the input and
    the previous states.

    `h_1` is compared with the reference, in units of the largest error that rounding can explain.

    Catches a wrong formula, transposed or scaled weights, gates in another order, a bias that is
    left out or counted twice, and clipped or approximated activations.
    """
    assert_expected(observation, "h_1")


@rule(
    "rnn-cell.loop",
    when=has_predictable_results & has_wide_dtype & one_in(3),
    needs=(Feature.STATE,),
    id="cells.loop",
    presupposes=(Fact.RESULTS, *GIVEN_STATES, *REPEATED_CALLS),
)
def loop(observation: Observation) -> None:
    """Calls in a loop compute the same as a layer for the whole sequence.

    The cell is called for each of three to five steps, and in some cases for up to a hundred, with
    the states that its previous call returned. Each hidden state is compared with the reference for
    a unidirectional layer.

    Catches cells that keep a state from call to call, or return a state that cannot be passed on.
    """
    sequence = draw_sequence(observation.case)
    expected = expect_layer(observation, sequence)
    name = observation.case.config.kind_data.leading
    _ = observation.call
    for place, found in enumerate(run_loop(observation, sequence)):
        here = slice(place, place + 1)
        assert_close(
            observation,
            f"in a loop, after step {place + 1}, {name}",
            found,
            expected.output[here],
            lambda here=here: expected.bound.output[here],  # type: ignore[misc]
            LOOP.format(steps=len(sequence)),
        )


@rule(
    "rnn-cell.errors.h_0-rank",
    when=one_in(9),
    needs=(Feature.STATE,),
    id="cells.state-rank",
    part=Part.INTERFACE,
    presupposes=(Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES),
)
def state_rank(observation: Observation) -> None:
    """A call rejects a state that does not have one or two dimensions.

    The cell is called with an `h_0` of three or four dimensions, as a layer has it, and with a
    scalar.

    Catches states that are silently squeezed or broadcast.
    """
    assert_call_rejected(observation, list_wrong_state_ranks)


@rule(
    "rnn-cell.errors.unbatched-state",
    when=is_batched & one_in(9),
    needs=(Feature.STATE,),
    id="cells.state-of-one-sample",
    part=Part.INTERFACE,
    presupposes=(
        Fact.RESULTS,
        *VALID_CALLS,
        *GIVEN_STATES,
        "errors.h-0-batch",
        "cells.state-rank",
    ),
)
def state_of_one_sample(observation: Observation) -> None:
    """A call with a batch rejects a state without a batch dimension, and never broadcasts it.

    The cell is called with an `h_0` of one dimension. A cell with two states is also called with
    both states without a batch dimension.

    Catches a single state that is used for all samples.
    """
    assert_call_rejected(observation, list_unbatched_states)


@rule(
    "rnn-cell.args.nonlinearity.values",
    when=one_in(18, 5),
    needs=(Feature.NONLINEARITY,),
    id="cells.refuses-nonlinearity",
    presupposes=(*NAMED_ARGUMENTS,),
)
def refuses_nonlinearity(observation: Observation) -> None:
    """A cell with a `nonlinearity` other than `'tanh'` and `'relu'` fails, when it is built or when
    it is called.

    A cell is built with the name of another activation, an empty name, or None, and called.

    Catches unknown names that silently give tanh.
    """
    names = ("sigmoid", "gelu", "TANH", "", None)
    call = plan_constructor_call(observation, nonlinearity=pick_values(observation, names, 1)[0])
    made = call_constructor(observation, call)
    if made.error is not None:
        return
    x = observation.call.given.leaf.detach()
    try:
        with observe_step(CALL, may_fail=True):
            made.module.to(x)(x)
    except Failure:
        return
    snippet = write_rejection_snippet(call, then=".to(x)(x)")
    raise Violation(f"{call} is accepted, and so is a call of the cell; expected an error", snippet)
