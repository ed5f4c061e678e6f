"""The samples of a batch: none knows of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.case import Case
from rnnspec.judging.conditions import at_least, axis, one_in, precise, predictable
from rnnspec.judging.relations import Part, Place, alike, blames, is_right, recast
from rnnspec.judging.rule import rule
from rnnspec.judging.spoiling import elsewhere, length, proof_of, separable, spot, with_input
from rnnspec.judging.violation import identical
from rnnspec.observe.observation import Observation

HUGE = {"float64": 1e30, "float32": 1e30, "bfloat16": 1e30, "float16": 2.0**11}
several = at_least("batch", 2)
unshared = ~axis("memory", "expanded")
PERMUTED = """order = torch.tensor({order})
output, h_n = layer(x.index_select({axis}, order), *(each.index_select(1, order) for each in given[1:]))
close(output, layer(*given)[0].index_select({axis}, order))
close(h_n, layer(*given)[1].index_select(1, order))"""
ALONE = """output, h_n = layer(x.narrow({axis}, {sample}, 1), *(each.narrow(1, {sample}, 1) for each in given[1:]))
close(output, layer(*given)[0].narrow({axis}, {sample}, 1))
close(h_n, layer(*given)[1].narrow(1, {sample}, 1))"""


@rule("rnn.recurrence.samples-independent", "rnn.recurrence.non-finite", when=several & separable & one_in(2))
def independent(seen: Observation) -> None:
    """Nothing of one sample reaches another.

    All of one sample's input is NaN; the results of all others must stay as they were, bit for bit.

    Catches means, norms and maxima over the batch, a neighbour's state mixed in, however little.
    """
    sample = spot(seen.case).sample
    others = elsewhere(seen.case, sample)
    spoiled = with_input(seen, (slice(None), sample))
    proof = proof_of(seen.case, step=":", sample=sample)
    identical("output of the others", spoiled.output[:, others], seen.output[:, others], proof)
    identical("h_n of the others", spoiled.h_n[:, others], seen.h_n[:, others], proof)


@rule("rnn.recurrence.samples-independent", when=several & predictable & unshared & one_in(4))
def huge(seen: Observation) -> None:
    """A huge value in one sample changes nothing for the others.

    One sample's input is 1e30 (2**11 in float16); the results of all others may differ by two roundings. Judged where the layer is
    right about moderate values, and in 16-bit dtypes where nothing can overflow: their kernels may carry an infinity to other rows.

    Catches scales, clips and shared ranges that depend on the whole batch.
    """
    sample = spot(seen.case).sample
    others = elsewhere(seen.case, sample)
    spoiled = with_input(seen, (slice(None), sample), HUGE[seen.case.dtype])
    if is_right(seen) and (precise(seen.case) or _is_bounded(spoiled)):
        proof = proof_of(seen.case, step=":", sample=sample, value=repr(HUGE[seen.case.dtype]))
        alike(seen, Part(spoiled.output[:, others], spoiled.h_n[:, others]), Place(np.s_[:, others], np.s_[:, others]), proof)


def _is_bounded(seen: Observation) -> bool:
    """Whether no result, and nothing on the way to it, can overflow."""
    return bool(np.isfinite(seen.expected.bound.output).all() and np.isfinite(seen.expected.bound.h_n).all())


@rule(
    "rnn.recurrence.samples-independent",
    when=several & predictable & axis("layout", "batched", "packed-unsorted") & unshared,
)
def permuted(seen: Observation) -> None:
    """The order of the samples changes nothing for any of them.

    Where results are wrong, the same batch is handed over in another order, states with it, and the results are compared.

    Catches what depends on a sample's place in the batch.
    """
    rng = np.random.default_rng(seen.case.seed)
    order = np.roll(rng.permutation(seen.case.batch), 1) if seen.case.batch > 2 else np.array([1, 0])
    lengths = tuple(seen.case.lengths[place] for place in order) if seen.case.packed else ()
    values = replace(seen.values, input=seen.values.input[:, order], h_0=seen.values.h_0[:, order])
    back = np.argsort(order)

    def other() -> Part:
        again = recast(seen, values, lengths=lengths)
        return Part(again.output[:, back], again.h_n[:, back])

    proof = "" if seen.case.packed else PERMUTED.format(order=order.tolist(), axis=_batch_axis(seen.case))
    blames(seen, other, proof=proof)


@rule("rnn.recurrence.samples-independent", "rnn.packed.each-alone", when=several & predictable & unshared)
def alone(seen: Observation) -> None:
    """A sample gives in a batch what it gives alone.

    Where results are wrong, one sample is handed over as a batch of its own, and the results are compared.

    Catches what depends on the size of the batch: rows beyond a block, states made for another number of samples.
    """
    sample = spot(seen.case).sample
    end = length(seen.case, sample)
    values = replace(seen.values, input=seen.values.input[:end, [sample]], h_0=seen.values.h_0[:, [sample]])
    proof = "" if seen.case.packed else ALONE.format(sample=sample, axis=_batch_axis(seen.case))
    lengths = (end,) if seen.case.packed else ()
    place = Place(np.s_[:end, [sample]], np.s_[:, [sample]])
    blames(seen, lambda: recast(seen, values, batch=1, steps=end, lengths=lengths), place, proof)


def _batch_axis(case: Case) -> int:
    return 0 if case.config.batch_first else 1
