"""Rules about the samples of a batch: the results of each are independent of the others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from rnnspec.cases.axes import DType, InitialState, Layout, MemoryLayout
from rnnspec.cases.conditions import (
    has_predictable_results,
    has_size_at_least,
    has_value,
    has_wide_dtype,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.nan_propagation import (
    assert_independent,
    call_with_planted_input,
    call_with_planted_sample,
    can_plant_nan,
    choose_spot,
    find_sequence_length,
    list_other_samples,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import (
    ResultIndices,
    SelectedResults,
    assert_same_results,
    fail_only_if_calls_differ,
    get_bound,
    is_right,
    make_second_call,
)
from rnnspec.rulekit.rule import REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import name_sample_axes
from rnnspec.rulekit.violation import assert_close

HUGE_VALUES = dict.fromkeys(DType, 1e30) | {DType.FLOAT16: 2.0**11}
has_several_samples = has_size_at_least("batch", 2)
has_separate_samples = ~has_value(MemoryLayout.EXPANDED)
PERMUTED = Snippet(
    """order = torch.tensor({order})
def reorder(states):
    return map_states(lambda state: state.index_select({states}, order), states)

own, final = layer(*given)
output, h_n = layer(x.index_select({axis}, order), *map(reorder, given[1:]))
close(output, own.index_select({axis}, order))
close(h_n, reorder(final))""",
    (Helper.CLOSE, Helper.MAP_STATES),
)
ALONE = Snippet(
    """def take_sample(states):
    return map_states(lambda state: state.narrow({states}, {sample}, 1), states)

own, final = layer(*given)
output, h_n = layer(x.narrow({axis}, {sample}, 1), *map(take_sample, given[1:]))
close(output, own.narrow({axis}, {sample}, 1))
close(h_n, take_sample(final))""",
    (Helper.CLOSE, Helper.MAP_STATES),
)


@rule(
    "rnn.recurrence.samples-independent",
    when=has_several_samples & can_plant_nan & one_in(4),
    about=("batch",),
    presupposes=(Fact.RESULTS, *REPEATED_CALLS),
)
def independent(observation: Observation) -> None:
    """The results of a sample do not depend on the other samples of the batch.

    The whole input of a sample is replaced by NaN, and so are its initial states if the case has
    some. The results of all other samples must stay the same, up to twice the rounding bound. If
    NaN reaches them and large numbers do not change them, `nonlinearity.nan` reports that.

    Catches means, norms and maxima over the batch, and any influence of a neighbouring sample's
    state, however small.
    """
    sample = choose_spot(observation.case).sample
    others = list_other_samples(observation.case, sample)
    has_state = observation.case.initial_state is InitialState.GIVEN
    snippet = write_nan_snippet(
        observation.case, step=":", sample=sample, row=":" if has_state else None
    )

    def assert_unchanged(spoiled: Observation) -> None:
        for name, found in spoiled.results.items():
            assert_close(
                observation,
                f"{name} of the other samples",
                found[:, others],
                observation.get_result(name)[:, others],
                partial(get_bound, observation.expected, name, np.s_[:, others], 2.0),
                snippet,
            )

    assert_independent(partial(call_with_planted_sample, observation, sample), assert_unchanged)


@rule(
    "rnn.recurrence.samples-independent",
    when=has_several_samples & has_predictable_results & has_separate_samples & one_in(12),
    about=("batch",),
    presupposes=(Fact.RESULTS, *REPEATED_CALLS),
)
def huge(observation: Observation) -> None:
    """A huge value in a sample does not change the results of the other samples.

    The input of a sample is replaced by 1e30 (2**11 in float16). The results of the others may
    change by at most twice the rounding bound. The rule applies if the layer is right about
    moderate values. In 16-bit dtypes, it applies only if nothing can overflow, because matrix
    products in these dtypes may carry an infinity into other rows.

    Catches scales, clipping and value ranges that are shared by the whole batch.
    """
    sample = choose_spot(observation.case).sample
    others = list_other_samples(observation.case, sample)
    value = HUGE_VALUES[observation.case.dtype]
    spoiled = call_with_planted_input(observation, (slice(None), sample), value)
    if is_right(observation) and (has_wide_dtype(observation.case) or _is_bounded(spoiled)):
        snippet = write_nan_snippet(observation.case, step=":", sample=sample, value=repr(value))
        assert_same_results(
            observation,
            SelectedResults({name: array[:, others] for name, array in spoiled.results.items()}),
            ResultIndices(np.s_[:, others], np.s_[:, others]),
            snippet,
        )


def _is_bounded(observation: Observation) -> bool:
    """Return whether all results and intermediate values are too small to overflow."""
    bounds = observation.expected.bound.results.values()
    return all(bool(np.isfinite(bound).all()) for bound in bounds)


@rule(
    "rnn.recurrence.samples-independent",
    when=has_several_samples
    & has_predictable_results
    & has_value(Layout.BATCHED, Layout.PACKED_UNSORTED)
    & has_separate_samples,
    about=("batch",),
    presupposes=(*REPEATED_CALLS,),
)
def permuted(observation: Observation) -> None:
    """The order of the samples in the batch does not change the results of any sample.

    If the results are wrong, the layer is called on the same samples, and their rows of `h_0`, in
    another order, and the results are compared.

    Catches results that depend on a sample's position in the batch.
    """
    rng = np.random.default_rng(observation.case.seed)
    order = (
        np.roll(rng.permutation(observation.case.batch), 1)
        if observation.case.batch > 2
        else np.array([1, 0])
    )
    lengths = (
        tuple(observation.case.lengths[sample] for sample in order)
        if observation.case.is_packed
        else ()
    )
    values = replace(
        observation.values,
        input=observation.values.input[:, order],
        initial=observation.values.initial[:, order],
    )
    inverse = np.argsort(order)

    def call_permuted() -> SelectedResults:
        second = make_second_call(observation, values, lengths=lengths)
        return SelectedResults({name: array[:, inverse] for name, array in second.results.items()})

    snippet = (
        None
        if observation.case.is_packed
        else PERMUTED.format(order=order.tolist(), **name_sample_axes(observation.case))
    )
    fail_only_if_calls_differ(observation, call_permuted, snippet=snippet)


@rule(
    "rnn.recurrence.samples-independent",
    "rnn.packed.each-alone",
    when=has_several_samples & has_predictable_results & has_separate_samples,
    about=("batch",),
    presupposes=(*REPEATED_CALLS,),
)
def alone(observation: Observation) -> None:
    """A sample has the same results in a batch as in a batch of its own.

    If the results are wrong, the layer is called on a single sample, and the results are compared.

    Catches results that depend on the batch size, such as wrong rows beyond the first block, and
    states made for another number of samples.
    """
    sample = choose_spot(observation.case).sample
    end = find_sequence_length(observation.case, sample)
    values = replace(
        observation.values,
        input=observation.values.input[:end, [sample]],
        initial=observation.values.initial[:, [sample]],
    )
    snippet = (
        None
        if observation.case.is_packed
        else ALONE.format(sample=sample, **name_sample_axes(observation.case))
    )
    lengths = (end,) if observation.case.is_packed else ()
    place = ResultIndices(np.s_[:end, [sample]], np.s_[:, [sample]])
    fail_only_if_calls_differ(
        observation,
        lambda: make_second_call(observation, values, batch=1, steps=end, lengths=lengths),
        place,
        snippet,
    )
