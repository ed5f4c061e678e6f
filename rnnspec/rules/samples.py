"""The samples of a batch: none knows of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import DType, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.nan_propagation import (
    choose_spot,
    length,
    list_other_samples,
    separable,
    with_input,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import (
    Part,
    Place,
    assert_same_results,
    call_as,
    fail_only_if_calls_differ,
    is_right,
)
from rnnspec.rulekit.conditions import has_value, one_in, precise, predictable, size_at_least
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_identical

HUGE = {dtype: 1e30 for dtype in DType} | {DType.FLOAT16: 2.0**11}
several = size_at_least("batch", 2)
unshared = ~has_value(MemoryLayout.EXPANDED)
PERMUTED = Snippet("""order = torch.tensor({order})
output, h_n = layer(x.index_select({axis}, order), *(each.index_select(1, order) for each in given[1:]))
close(output, layer(*given)[0].index_select({axis}, order))
close(h_n, layer(*given)[1].index_select(1, order))""", (Helper.CLOSE,))
ALONE = Snippet("""output, h_n = layer(x.narrow({axis}, {sample}, 1), *(each.narrow(1, {sample}, 1) for each in given[1:]))
close(output, layer(*given)[0].narrow({axis}, {sample}, 1))
close(h_n, layer(*given)[1].narrow(1, {sample}, 1))""", (Helper.CLOSE,))


@rule(
    "rnn.recurrence.samples-independent",
    "rnn.recurrence.non-finite",
    when=several & separable & one_in(2),
)
def independent(observation: Observation) -> None:
    """Nothing of one sample reaches another.

    All of one sample's input is NaN; the results of all others must stay as they were, bit for bit.

    Catches means, norms and maxima over the batch, a neighbour's state mixed in, however little.
    """
    sample = choose_spot(observation.case).sample
    others = list_other_samples(observation.case, sample)
    spoiled = with_input(observation, (slice(None), sample))
    snippet = write_nan_snippet(observation.case, step=":", sample=sample)
    assert_identical(
        "output of the others", spoiled.output[:, others], observation.output[:, others], snippet
    )
    assert_identical("h_n of the others", spoiled.h_n[:, others], observation.h_n[:, others], snippet)


@rule("rnn.recurrence.samples-independent", when=several & predictable & unshared & one_in(4))
def huge(observation: Observation) -> None:
    """A huge value in one sample changes nothing for the others.

    One sample's input is 1e30 (2**11 in float16); the results of all others may differ by two roundings. Judged where the layer is
    right about moderate values, and in 16-bit dtypes where nothing can overflow: their kernels may carry an infinity to other rows.

    Catches scales, clips and shared ranges that depend on the whole batch.
    """
    sample = choose_spot(observation.case).sample
    others = list_other_samples(observation.case, sample)
    spoiled = with_input(observation, (slice(None), sample), HUGE[observation.case.dtype])
    if is_right(observation) and (precise(observation.case) or _is_bounded(spoiled)):
        snippet = write_nan_snippet(
            observation.case, step=":", sample=sample, value=repr(HUGE[observation.case.dtype])
        )
        assert_same_results(
            observation,
            Part(spoiled.output[:, others], spoiled.h_n[:, others]),
            Place(np.s_[:, others], np.s_[:, others]),
            snippet,
        )


def _is_bounded(observation: Observation) -> bool:
    """Whether no result, and nothing on the way to it, can overflow."""
    return bool(
        np.isfinite(observation.expected.bound.output).all()
        and np.isfinite(observation.expected.bound.h_n).all()
    )


@rule(
    "rnn.recurrence.samples-independent",
    when=several & predictable & has_value(Layout.BATCHED, Layout.PACKED_UNSORTED) & unshared,
)
def permuted(observation: Observation) -> None:
    """The order of the samples changes nothing for any of them.

    Where results are wrong, the same batch is handed over in another order, states with it, and the results are compared.

    Catches what depends on a sample's place in the batch.
    """
    rng = np.random.default_rng(observation.case.seed)
    order = (
        np.roll(rng.permutation(observation.case.batch), 1)
        if observation.case.batch > 2
        else np.array([1, 0])
    )
    lengths = (
        tuple(observation.case.lengths[place] for place in order)
        if observation.case.is_packed
        else ()
    )
    values = replace(
        observation.values,
        input=observation.values.input[:, order],
        h_0=observation.values.h_0[:, order],
    )
    back = np.argsort(order)

    def other() -> Part:
        again = call_as(observation, values, lengths=lengths)
        return Part(again.output[:, back], again.h_n[:, back])

    snippet = (
        None
        if observation.case.is_packed
        else PERMUTED.format(order=order.tolist(), axis=_batch_axis(observation.case))
    )
    fail_only_if_calls_differ(observation, other, snippet=snippet)


@rule(
    "rnn.recurrence.samples-independent",
    "rnn.packed.each-alone",
    when=several & predictable & unshared,
)
def alone(observation: Observation) -> None:
    """A sample gives in a batch what it gives alone.

    Where results are wrong, one sample is handed over as a batch of its own, and the results are compared.

    Catches what depends on the size of the batch: rows beyond a block, states made for another number of samples.
    """
    sample = choose_spot(observation.case).sample
    end = length(observation.case, sample)
    values = replace(
        observation.values,
        input=observation.values.input[:end, [sample]],
        h_0=observation.values.h_0[:, [sample]],
    )
    snippet = (
        None
        if observation.case.is_packed
        else ALONE.format(sample=sample, axis=_batch_axis(observation.case))
    )
    lengths = (end,) if observation.case.is_packed else ()
    place = Place(np.s_[:end, [sample]], np.s_[:, [sample]])
    fail_only_if_calls_differ(
        observation,
        lambda: call_as(observation, values, batch=1, steps=end, lengths=lengths),
        place,
        snippet,
    )


def _batch_axis(case: Case) -> int:
    return 0 if case.config.batch_first else 1
