"""Rules about the recurrence, which computes a state from the input and the previous state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from rnnspec.cases.axes import ConstructorStyle, Distribution, DType, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_active_dropout,
    has_axis_value,
    has_exact_values,
    has_initial_state,
    has_predictable_results,
    has_size_at_least,
    has_wide_dtype,
    is_batched,
    is_bidirectional,
    is_unbatched,
    list_real_sizes,
    list_sizes_beyond_blocks,
    one_in,
)
from rnnspec.cases.sizes import DIMENSIONS
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.oracle.catalogue import list_separate_gates
from rnnspec.rulekit.assertions.documented_loop import run_documented_loop
from rnnspec.rulekit.assertions.nan_propagation import (
    assert_independent,
    call_with_planted_input,
    can_plant_nan,
)
from rnnspec.rulekit.assertions.relations import assert_expected, get_bound, is_right
from rnnspec.rulekit.questions import ask_question
from rnnspec.rulekit.rule import REPEATED_CALLS, STEP_FORMULAS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical

EXCHANGED = Snippet(
    """biases = named(layer)
before = layer(*given)
with torch.no_grad():
    for name in [name for name in biases if "bias_ih" in name]:
        one, two = biases[name], biases[name.replace("bias_ih", "bias_hh")]
        one.data, two.data = two.detach().clone(), one.detach().clone()
after = layer(*given)
close(after, before)""",
    (Helper.CLOSE, Helper.NAMED),
)
EXCHANGED_IN_PART = Snippet(
    """biases = named(layer)
moved = {flags}  # for each gate, whether its two biases are added to each other
before = layer(*given)
with torch.no_grad():
    for name in [name for name in biases if "bias_ih" in name]:
        one, two = biases[name], biases[name.replace("bias_ih", "bias_hh")]
        rows = torch.tensor(moved).repeat_interleave(len(one) // len(moved)).to(one.device)
        one.data, two.data = torch.where(rows, two, one), torch.where(rows, one, two)
after = layer(*given)
close(after, before)""",
    (Helper.CLOSE, Helper.NAMED),
)
DTYPE = Snippet(
    """expected = next(reference.parameters()).dtype
for result in layer(*given):
    for each in result if isinstance(result, tuple) else (result,):
        assert data(each).dtype == expected""",
    (Helper.DATA,),
)


@rule(
    "rnn.recurrence.two-biases",
    "gru.recurrence.two-biases",
    "lstm.recurrence.input-gate",
    "lstm.recurrence.forget-gate",
    "lstm.recurrence.cell-gate",
    "lstm.recurrence.output-gate",
    when=has_axis_value("bias", True) & has_predictable_results,
    presupposes=(Fact.RESULTS,),
)
def two_biases(observation: Observation) -> None:
    """The layer adds both `b_ih` and `b_hh`, so that its results depend only on their sum.

    If the results are wrong, a new layer is compared with another whose `b_ih` and `b_hh` are
    exchanged, except in the new gate of a GRU, which adds them in different places.

    Catches a bias that is left out, added twice, or scaled.
    """
    if is_right(observation):
        return
    ask_question()
    config, drawn = observation.case.config, observation.values.weights
    weights = {name: _exchange_bias(config, name, drawn) for name in drawn}
    # A prior use of the layer may have made its results wrong, whatever its biases do.
    case = observation.case.make_fresh(constructor_style=ConstructorStyle.CHANGED)
    own, exchanged = (
        Observation(observation.subject, case, replace(observation.values, weights=each))
        for each in (drawn, weights)
    )
    for name in observation.result_names:
        assert_close(
            observation,
            name,
            exchanged.get_result(name),
            own.get_result(name),
            partial(_add_bounds, own, exchanged, name),
            _write_exchange(config.kind_data),
        )


def _exchange_bias(config: Config, name: str, weights: Mapping[str, Array]) -> Array:
    """Return the values of a bias after the exchange with the other bias of its layer.

    Gates that do not add their two biases to each other keep their rows, and weights stay as they
    are.
    """
    for own, other in (("bias_ih", "bias_hh"), ("bias_hh", "bias_ih")):
        if name.startswith(own):
            moved = np.repeat(_mark_sums(config.kind_data), config.hidden_size)
            return np.where(moved, weights[name.replace(own, other)], weights[name])
    return weights[name]


def _write_exchange(kind: Kind) -> Snippet:
    flags = _mark_sums(kind)
    return EXCHANGED if all(flags) else EXCHANGED_IN_PART.format(flags=flags)


def _mark_sums(kind: Kind) -> list[bool]:
    """Return for each gate whether its two biases are added to each other."""
    separate = list_separate_gates(kind)
    return [gate not in separate for gate in kind.gates]


def _get_bound(observation: Observation, name: str) -> Array:
    return observation.expected.bound.results[name]


def _add_bounds(observation: Observation, other: Observation, name: str) -> Array:
    return _get_bound(observation, name) + _get_bound(other, name)


@rule(
    "rnn.recurrence.first-step",
    when=has_initial_state & ~is_bidirectional & has_predictable_results,
    about=("initial_state",),
)
def first_step(observation: Observation) -> None:
    """The state before the first time step is `h_0`.

    The first time step of `output` is compared with the reference.

    Catches an initial state that is used too late or not at all.
    """
    assert_expected(observation, "output", (np.s_[:1],), "first step of output")


@rule(
    *STEP_FORMULAS,
    "rnn.recurrence.two-biases",
    "rnn.recurrence.every-step",
    "rnn.output.last-layer",
    when=has_predictable_results & has_wide_dtype,
    results=("output",),
    spans=(*list_sizes_beyond_blocks(*DIMENSIONS), *list_real_sizes(*DIMENSIONS)),
)
def output(observation: Observation) -> None:
    """At every time step, `output` contains the last layer's state, as the formula defines it.

    `output` is compared with the reference, in units of the largest error that rounding can
    explain.

    Catches a wrong formula, transposed or scaled weights, a bias that is left out or counted twice,
    and clipped or approximated activations.
    """
    assert_expected(observation, "output")


@rule("rnn.h_n.final", when=has_predictable_results & has_wide_dtype, needs=(Feature.FINAL_STATE,))
def h_n(observation: Observation) -> None:
    """`h_n` contains the final hidden state of every layer and direction.

    `h_n` is compared with the reference, in units of the largest error that rounding can explain.

    Catches states that are taken a step too early, belong to another layer, or change after the
    last step.
    """
    assert_expected(observation, "h_n")


@rule(
    "rnn.recurrence.tanh",
    "rnn.recurrence.relu",
    "gru.recurrence.new-gate",
    "gru.recurrence.state",
    "lstm.recurrence.output-gate",
    "lstm.recurrence.cell-state",
    "lstm.recurrence.hidden-state",
    when=has_predictable_results & has_exact_values,
    about=("distribution",),
)
def exact(observation: Observation) -> None:
    """If every sum is exact, the results are exact too, in whatever order the layer adds.

    With relu, the numbers are small integers; with tanh, they saturate the units. Every
    intermediate result is representable, so no error at all is allowed.

    Catches errors in the last bit, leaks between samples, and intermediate results that are rounded
    to another dtype.
    """
    if observation.expected.is_exact:
        for name, found in observation.results.items():
            right, lines = observation.expected.results[name], snippets.compare_result(name)
            assert_identical(name, found, right, lines, case=observation.case)


@rule("rnn.recurrence.dtypes", when=has_predictable_results, presupposes=("shapes.dtype",))
def dtypes(observation: Observation) -> None:
    """The layer computes and returns its results in the dtype of its parameters.

    The dtypes of all results are checked. In float64, at least one of the unsaturated results must
    be a number that float32 cannot represent, unless rounding can turn all of them into float32
    numbers, as for a state whose gate is close to 1.

    Catches results and intermediate results in another dtype.
    """
    call = observation.call
    found = {str(tensor.dtype) for tensor in call.result_tensors.values()}
    if found != {f"torch.{observation.case.dtype}"}:
        raise Violation(
            f"results have dtype {' and '.join(sorted(found))}; "
            f"expected torch.{observation.case.dtype}",
            DTYPE,
        )
    if (
        observation.case.dtype is DType.FLOAT64
        and observation.case.distribution
        in (Distribution.PLAIN, Distribution.LARGE, Distribution.SPREAD, Distribution.NEW)
        and _lacks_float64(observation, observation.result_names[0])
    ):
        raise Violation(
            "all float64 results are exact float32 numbers; expected some that need float64",
            snippets.compare_result(observation.result_names[0]),
        )


def _lacks_float64(observation: Observation, name: str) -> bool:
    """Return whether all unsaturated numbers of a result are float32 numbers and should not be.

    If the state is (1 - z) n and z is close to 1, the difference has only a few bits. So only
    numbers count that differ from every float32 number by more than rounding explains.
    """
    values = observation.get_result(name)
    is_unsaturated = (np.abs(values) < 1.0) & (values != 0.0)
    if is_unsaturated.sum() < 2 or not _is_float32(values[is_unsaturated]).all():
        return False
    expected, bound = observation.expected.results[name], observation.expected.bound.results[name]
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(expected - expected.astype(np.float32))
    return int((is_unsaturated & (distance > bound)).sum()) > 1


def _is_float32(values: Array) -> Array:
    return np.asarray(values.astype(np.float32) == values)


@rule(
    "rnn.recurrence.causal",
    when=can_plant_nan
    & ~is_bidirectional
    & (is_batched | is_unbatched)
    & has_size_at_least("steps", 2)
    & one_in(3),
    about=("steps",),
    presupposes=(Fact.RESULTS, *REPEATED_CALLS),
)
def causal(observation: Observation) -> None:
    """In a unidirectional layer, the output at a time step does not depend on later input.

    The later half of the input is replaced with NaN. The earlier outputs must stay the same, up to
    twice the rounding bound. If NaN reaches them and large numbers do not change them,
    `nonlinearity.nan` reports that.

    Catches layers that look ahead, reverse time, or normalise or pad along the time steps.
    """
    cut = observation.case.steps // 2
    snippet = CAUSAL.format(cut=cut)

    def assert_unchanged(spoiled: Observation) -> None:
        assert_close(
            observation,
            f"output before step {cut}",
            spoiled.output[:cut],
            observation.output[:cut],
            lambda: 2 * observation.expected.bound.output[:cut],
            snippet,
        )

    later = (slice(cut, None),)
    assert_independent(partial(call_with_planted_input, observation, later), assert_unchanged)


CAUSAL = Snippet(
    """spoiled = x.detach().clone()
spoiled.narrow(time, {cut}, x.shape[time] - {cut}).fill_(float("nan"))
got, expected = layer(spoiled, *given[1:])[0], layer(*given)[0]
close(got.narrow(time, 0, {cut}), expected.narrow(time, 0, {cut}))""",
    (Helper.CLOSE, Helper.TIME),
)


_runs_documented_loop = (
    has_predictable_results
    & has_wide_dtype
    & ~is_bidirectional
    & (is_batched | is_unbatched)
    & ~has_active_dropout
)


def _is_short(case: Case) -> bool:
    return case.steps * case.config.num_layers <= 48


@rule(
    "rnn.recurrence.printed-loop",
    when=_runs_documented_loop & Condition("steps * num_layers <= 48", _is_short),
    presupposes=(Fact.RESULTS,),
)
def documented_loop(observation: Observation) -> None:
    """A unidirectional layer gives the results of the loop on the nn.RNN page, up to rounding.

    `output` and `h_n` are compared with the results of this loop, computed in float64.

    Catches outputs that are all views of the same state, states that are overwritten before they
    are read, and upper layers that read the input.
    """
    config, values = observation.case.config, observation.values
    output, h_n = run_documented_loop(config, values.weights, values.input, values.initial)
    computed = {"output": output, "h_n": h_n}
    for name, found in observation.results.items():
        bound = partial(get_bound, observation.expected, name)
        lines = snippets.compare_result(name)
        assert_close(observation, name, found, computed[name], bound, lines)
