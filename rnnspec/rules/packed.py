"""Packed sequences of different lengths: each as if it were alone, in the caller's order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from rnnspec.cases.axes import Layout
from rnnspec.diagnosis.hypotheses import find_sample_order
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.assertions.relations import (
    Place,
    assert_both_expected,
    assert_expected,
    assert_same_results,
    call_as,
    fail_only_if_calls_differ,
    fail_only_if_explained,
)
from rnnspec.rulekit.conditions import Condition, one_in, predictable, size_at_least
from rnnspec.rulekit.conditions import batch_first as batch_major
from rnnspec.rulekit.conditions import packed as is_packed
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.subject import observing

ragged = is_packed & Condition(
    "sequences of different lengths", lambda case: min(case.lengths) < case.steps
)
unordered = is_packed & Condition(
    "lengths that do not fall",
    lambda case: list(case.lengths) != sorted(case.lengths, reverse=True),
)
TYPE = Snippet("assert type(layer(*given)[0]) is torch.nn.utils.rnn.PackedSequence")
SAME = Snippet("""got, expected = layer(*given)[0], packed
assert got.batch_sizes.dtype == torch.int64 and not got.batch_sizes.is_cuda
assert got.batch_sizes.tolist() == expected.batch_sizes.tolist()
for name in ("sorted_indices", "unsorted_indices"):
    mine, own = getattr(got, name), getattr(expected, name)
    assert (mine is None) == (own is None) and (own is None or mine.tolist() == own.tolist())""")
PADDED = Snippet("""padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(layer(*given)[0])
expected, own = torch.nn.utils.rnn.pad_packed_sequence(reference(*given)[0])
assert lengths.tolist() == own.tolist()
close(padded, expected)""", (Helper.CLOSE,))


@rule("rnn.output.packed", "rnn.input.packed", "packing.all-layers", when=is_packed)
def returns_packed(observation: Observation) -> None:
    """Packed input gives packed output.

    The first of the two results is a PackedSequence.

    Catches padded tensors and bare data, for all packed input or for some.
    """
    output = observation.call.raw_output
    if not isinstance(output, PackedSequence):
        raise Violation(
            f"output is {type(output).__name__} for packed input, expected PackedSequence", TYPE
        )


@rule(
    "rnn.packed.indices",
    "packing.batch-sizes.meaning",
    "packing.batch-sizes.cpu",
    "packing.indices.device",
    when=is_packed,
)
def indices(observation: Observation) -> None:
    """The packed output has the batch sizes and both index tensors of the packed input.

    batch_sizes are compared with those of the input and have to be int64 on the CPU; the index tensors have to be equal, and absent
    where the input has none.

    Catches indices that are lost, exchanged or computed anew in another order.
    """
    got, given = observation.call.raw_output, observation.call.given.input
    if not isinstance(got, PackedSequence) or not isinstance(given, PackedSequence):
        raise Violation(f"output is {type(got).__name__}, expected PackedSequence", TYPE)
    if got.batch_sizes.dtype != torch.int64 or got.batch_sizes.device.type != "cpu":
        raise Violation(
            f"batch_sizes are {got.batch_sizes.dtype} on {got.batch_sizes.device}, expected torch.int64 on cpu",
            SAME,
        )
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        mine, own = (_listed(getattr(each, name)) for each in (got, given))
        if mine != own:
            raise Violation(f"{name} is {mine}, expected {own}", SAME)


def _listed(tensor: torch.Tensor | None) -> list[int] | None:
    return None if tensor is None else [int(entry) for entry in tensor]


@rule(
    "packing.pad.order",
    "packing.pad.lengths",
    "packing.pad.layout",
    when=is_packed & predictable & one_in(2),
)
def pad_back(observation: Observation) -> None:
    """Padding the packed output gives the sequences back in the caller's order, with their lengths and zeros beyond them.

    torch's pad_packed_sequence is called on what the layer returned, in the case's layout.

    Catches indices that do not belong to the data.
    """
    output, batch_first = observation.call.raw_output, observation.case.config.batch_first
    if not isinstance(output, PackedSequence):
        raise Violation(f"output is {type(output).__name__}, expected PackedSequence", TYPE)
    with observing("pad_packed_sequence of the output"):
        padded, lengths = pad_packed_sequence(output, batch_first=batch_first)
    if lengths.tolist() != list(observation.case.lengths):
        raise Violation(
            f"the lengths are {lengths.tolist()}, expected {list(observation.case.lengths)}", PADDED
        )
    found = to_array(padded)
    assert_identical(
        "padded output", found.swapaxes(0, 1) if batch_first else found, observation.output, PADDED
    )


@rule(
    "rnn.packed.state-order",
    "packing.pack.unsorted",
    when=unordered & predictable & size_at_least("batch", 2),
)
def unsorted(observation: Observation) -> None:
    """With unsorted sequences the batch axes of h_0 and h_n are in the caller's order, not in the sorted one.

    Where output or h_n differ from the reference, the reference is asked whether another order of the samples explains it.

    Catches states that are not sorted, stay sorted, or are sorted the wrong way.
    """
    fail_only_if_explained(
        lambda: assert_both_expected(observation), lambda: find_sample_order(observation)
    )


@rule("packing.pack.truncates", "packing.pack.layout", when=ragged & predictable)
def padding(observation: Observation) -> None:
    """Whatever lies beyond a sequence's end reaches nothing, and it does not matter how far the batch is padded.

    Numbers stand beyond the ends in the batch that is packed. Where results are wrong, it is packed again without its longest
    sequences, NaN beyond the ends of the others, and the results are compared.

    Catches states that run on through padding, of one direction or both.
    """
    keep = [
        place
        for place, length in enumerate(observation.case.lengths)
        if length < observation.case.steps
    ]
    lengths = tuple(observation.case.lengths[place] for place in keep)
    steps = max(lengths)
    beyond = np.arange(steps)[:, None] >= np.array(lengths)
    shorter = np.where(beyond[..., None], np.nan, observation.values.input[:steps, keep])
    values = replace(observation.values, input=shorter, h_0=observation.values.h_0[:, keep])
    place = Place(np.s_[:steps, keep], np.s_[:, keep])
    fail_only_if_calls_differ(
        observation,
        lambda: call_as(observation, values, batch=len(keep), steps=steps, lengths=lengths),
        place,
    )


@rule("rnn.packed.own-end", "rnn.h_n.final", when=is_packed & predictable)
def h_n(observation: Observation) -> None:
    """h_n of a packed batch is each sequence's state at its own end.

    h_n is compared with the reference.

    Catches states taken after the padding, of the longest sequence's end, or exchanged between sequences of one length.
    """
    assert_expected(observation, "h_n")


@rule("rnn.packed.each-alone", "rnn.packed.own-end", when=is_packed & predictable)
def output(observation: Observation) -> None:
    """Each sequence of a packed batch gives what it gives alone; backward starts at its own last step.

    The output is compared with the reference, which runs every sequence by itself.

    Catches a backward direction that starts in the padding, states ignored for short sequences, a last step computed otherwise.
    """
    assert_expected(observation, "output")


@rule("rnn.packed.batch-first", when=is_packed & batch_major & predictable)
def batch_first_ignored(observation: Observation) -> None:
    """For packed input batch_first changes nothing.

    Output and h_n of a layer built with batch_first=True are compared with the reference.

    Catches packed data or states that are transposed.
    """
    assert_both_expected(observation)


level = is_packed & Condition(
    "sequences of one length", lambda case: min(case.lengths) == case.steps
)


@rule("rnn.packed.each-alone", "rnn.input.packed", when=level & predictable)
def full_length(observation: Observation) -> None:
    """Sequences of one length give packed what they give as a padded batch.

    Where results are wrong, the same sequences are handed over as a padded batch, and the results are compared.

    Catches a path for packed input that computes something else.
    """
    fail_only_if_calls_differ(
        observation, lambda: call_as(observation, layout=Layout.BATCHED, lengths=())
    )


@rule("packing.sequences", when=is_packed & predictable & one_in(4))
def sequences(observation: Observation) -> None:
    """A layer cannot tell what pack_sequence packed from what pack_padded_sequence packed after padding.

    The sequences are packed once more from a list; the results may differ by two roundings.

    Catches layers that depend on where the data of a packed sequence come from.
    """
    case, call = observation.case, observation.call
    rows = [call.given.leaf.detach()[call.given.samples == sample] for sample in range(case.batch)]
    again = pack_sequence(rows, enforce_sorted=case.layout is Layout.PACKED)
    given = replace(call.given, input=again, leaf=again.data)
    assert_same_results(observation, perform_call(observation.prepared, case, given))


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=is_packed & predictable & Condition("one step", lambda case: case.steps == 1),
)
def one_step(observation: Observation) -> None:
    """A packed batch of sequences of one step is a packed batch like any other.

    Output and h_n are compared with the reference.

    Catches branches for a single step.
    """
    assert_both_expected(observation)


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=is_packed & predictable & Condition("one sequence", lambda case: case.batch == 1),
)
def one_sequence(observation: Observation) -> None:
    """A single packed sequence is a packed batch like any other.

    Output and h_n are compared with the reference.

    Catches branches for a batch of one.
    """
    assert_both_expected(observation)


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=ragged & predictable & Condition("ties", lambda case: len(set(case.lengths)) < case.batch),
)
def ties(observation: Observation) -> None:
    """Sequences of the same length beside others keep their own results.

    Output and h_n are compared with the reference where at least two lengths are the same and others are not.

    Catches sequences of one length exchanged.
    """
    assert_both_expected(observation)
