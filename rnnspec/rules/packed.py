"""Rules about packed sequences: each sequence gives its own results, in the caller's order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from rnnspec.cases.axes import Feature, Layout
from rnnspec.cases.conditions import (
    Condition,
    has_different_lengths,
    has_equal_lengths,
    has_predictable_results,
    has_size_at_least,
    has_unsorted_lengths,
    is_batch_first,
    is_packed,
    one_in,
)
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import move_packed, to_array
from rnnspec.rulekit.assertions.known_mistakes import find_mistake
from rnnspec.rulekit.assertions.relations import (
    ResultIndices,
    assert_all_expected,
    assert_expected,
    assert_same_results,
    fail_only_if_calls_differ,
    fail_only_if_explained,
    make_second_call,
)
from rnnspec.rulekit.rule import REPEATED_CALLS, rule
from rnnspec.rulekit.snippets.results import IS_PACKED, PAD_BACK, SAME_INDICES
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.subject import observe_step


@rule(
    "rnn.output.packed",
    "rnn.input.packed",
    "packing.all-layers",
    when=is_packed,
    about=("layout",),
    presupposes=("states.absent-is-zero",),
)
def returns_packed(observation: Observation) -> None:
    """Packed input gives packed output.

    The first of the two results must be a `PackedSequence`.

    Catches a padded tensor or a bare `data` tensor as output, for all packed input or for some.
    """
    output = observation.call.raw_output
    if not isinstance(output, PackedSequence):
        raise Violation(
            f"for packed input, output is a {type(output).__name__}; expected PackedSequence",
            IS_PACKED,
        )


@rule(
    "rnn.packed.indices",
    "packing.batch-sizes.meaning",
    "packing.batch-sizes.cpu",
    "packing.indices.device",
    when=is_packed,
    about=("layout",),
    presupposes=("packed.returns-packed",),
)
def indices(observation: Observation) -> None:
    """The packed output has the same `batch_sizes` and index tensors as the packed input.

    `batch_sizes` must be an int64 tensor on the CPU with the values of the input's `batch_sizes`.
    `sorted_indices` and `unsorted_indices` must equal the input's in values, dtype and device, or
    be `None` if the input has none.

    Catches indices that are lost, swapped, recomputed in another order, or converted.
    """
    got, given = observation.call.raw_output, observation.call.given.input
    if not isinstance(got, PackedSequence) or not isinstance(given, PackedSequence):
        raise Violation(f"output is a {type(got).__name__}; expected PackedSequence", IS_PACKED)
    if got.batch_sizes.dtype != torch.int64 or got.batch_sizes.device.type != "cpu":
        raise Violation(
            f"batch_sizes of the output is {got.batch_sizes.dtype} on {got.batch_sizes.device}; "
            "expected torch.int64 on cpu",
            SAME_INDICES,
        )
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        own, other = (getattr(packed, name) for packed in (got, given))
        found, expected = _to_list(own), _to_list(other)
        if found != expected:
            raise Violation(f"{name} of the output is {found}; expected {expected}", SAME_INDICES)
        if own is not None and (own.dtype, own.device) != (other.dtype, other.device):
            raise Violation(
                f"{name} of the output is {own.dtype} on {own.device}; "
                f"expected {other.dtype} on {other.device}",
                SAME_INDICES,
            )


def _to_list(tensor: torch.Tensor | None) -> list[int] | None:
    return None if tensor is None else [int(entry) for entry in tensor]


@rule(
    "packing.pad.order",
    "packing.pad.lengths",
    "packing.pad.layout",
    when=is_packed & has_predictable_results & one_in(3),
    about=("layout",),
)
def pad_back(observation: Observation) -> None:
    """Padding the packed output restores the caller's order and the lengths, with zeros beyond each
    end.

    torch's `pad_packed_sequence` is called on the output, with the `batch_first` of the case. The
    lengths are compared with the lengths of the input, and the padded values with the rows of the
    output.

    Catches index tensors that do not belong to the data.
    """
    output, batch_first = observation.call.raw_output, observation.case.config.batch_first
    if not isinstance(output, PackedSequence):
        raise Violation(f"output is a {type(output).__name__}; expected PackedSequence", IS_PACKED)
    with observe_step("pad_packed_sequence(output)"):
        padded, lengths = pad_packed_sequence(output, batch_first=batch_first)
    if lengths.tolist() != list(observation.case.lengths):
        raise Violation(
            f"pad_packed_sequence(output) returns the lengths {lengths.tolist()}; "
            f"expected {list(observation.case.lengths)}",
            PAD_BACK,
        )
    found = to_array(padded)
    assert_identical(
        "padded output",
        found.swapaxes(0, 1) if batch_first else found,
        observation.output,
        PAD_BACK,
    )


@rule(
    "rnn.packed.state-order",
    "packing.pack.unsorted",
    "lstm.packed.cell-state-order",
    when=has_unsorted_lengths & has_predictable_results & has_size_at_least("batch", 2),
    about=("layout", "batch"),
)
def unsorted(observation: Observation) -> None:
    """With unsorted sequences, the batch dimensions of `h_0` and `h_n` follow the caller's order,
    not the sorted order.

    If `output` or `h_n` differs from the reference, the rule fails if states with the samples in
    another order explain the results.

    Catches states that are not sorted, that stay sorted, or that are sorted the wrong way.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation),
        lambda: find_mistake(observation, "packed.unsorted"),
    )


@rule(
    "packing.pack.truncates",
    "packing.pack.layout",
    when=has_different_lengths & has_predictable_results,
    about=("layout", "lengths"),
)
def padding(observation: Observation) -> None:
    """Values beyond the end of a sequence affect no result, and neither does the length to which
    the batch is padded.

    The batch holds numbers beyond the ends of its sequences when it is packed. If the results are
    wrong, it is packed again without its longest sequences and with NaN beyond the ends of the
    others, and the results of both calls are compared.

    Catches states that continue through the padding, in some directions or in all.
    """
    kept = [
        sample
        for sample, length in enumerate(observation.case.lengths)
        if length < observation.case.steps
    ]
    lengths = tuple(observation.case.lengths[sample] for sample in kept)
    steps = max(lengths)
    beyond = np.arange(steps)[:, None] >= np.array(lengths)
    shorter = np.where(beyond[..., None], np.nan, observation.values.input[:steps, kept])
    values = replace(observation.values, input=shorter, initial=observation.values.initial[:, kept])
    place = ResultIndices(np.s_[:steps, kept], np.s_[:, kept])
    fail_only_if_calls_differ(
        observation,
        lambda: make_second_call(
            observation, values, batch=len(kept), steps=steps, lengths=lengths
        ),
        place,
    )


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=is_packed & has_predictable_results,
    about=("layout",),
)
def output(observation: Observation) -> None:
    """Each sequence of a packed batch gives the same output as it gives alone. The backward
    direction starts at the last time step of that sequence.

    `output` is compared with the reference, which runs every sequence by itself.

    Catches a backward direction that starts in the padding, states ignored for short sequences, and
    a last time step computed differently.
    """
    assert_expected(observation, "output")


@rule(
    "rnn.packed.own-end",
    "rnn.h_n.final",
    when=is_packed & has_predictable_results,
    needs=(Feature.FINAL_STATE,),
    about=("layout",),
)
def h_n(observation: Observation) -> None:
    """With packed input, `h_n` holds the final states of each sequence, taken at its own end.

    `h_n` is compared with the reference.

    Catches states taken after the padding or at the end of the longest sequence, and states swapped
    between sequences of equal length.
    """
    assert_expected(observation, "h_n")


@rule(
    "rnn.packed.batch-first",
    when=is_packed & is_batch_first & has_predictable_results,
    about=("layout", "batch_first"),
)
def batch_first_ignored(observation: Observation) -> None:
    """`batch_first` has no effect on packed input.

    `output` and `h_n` of a layer built with `batch_first=True` are compared with the reference.

    Catches packed data or states that are transposed.
    """
    assert_all_expected(observation)


@rule(
    "rnn.packed.each-alone",
    "rnn.input.packed",
    when=has_equal_lengths & has_predictable_results,
    about=("layout",),
)
def full_length(observation: Observation) -> None:
    """Sequences of equal length give the same results packed as in a padded batch.

    If the results are wrong, the layer is called with the same sequences as a padded batch, and the
    results of both calls are compared.

    Catches a code path for packed input that computes different results.
    """
    fail_only_if_calls_differ(
        observation, lambda: make_second_call(observation, layout=Layout.BATCHED, lengths=())
    )


@rule(
    "packing.sequences",
    when=is_packed & has_predictable_results & one_in(10),
    about=("layout",),
    presupposes=("side-effects.arguments", *REPEATED_CALLS),
)
def sequences(observation: Observation) -> None:
    """The layer returns the same results for input packed by `pack_sequence` as for input packed by
    `pack_padded_sequence`.

    The sequences are packed once more on the host, from a list. The results of both calls may
    differ by twice the rounding bound.

    Catches layers that depend on where the data of a packed sequence comes from.
    """
    case, call = observation.case, observation.call
    data = call.given.leaf.detach().cpu()
    rows = [data[call.given.samples == sample] for sample in range(case.batch)]
    packed = pack_sequence(rows, enforce_sorted=case.layout is Layout.PACKED)
    packed = move_packed(packed, observation.subject.device)
    given = replace(call.given, input=packed, leaf=packed.data)
    assert_same_results(observation, perform_call(observation.prepared, case, given))


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=is_packed
    & has_predictable_results
    & Condition("one time step", lambda case: case.steps == 1),
    about=("layout",),
)
def one_step(observation: Observation) -> None:
    """A packed batch of one-step sequences gives the same results as these sequences give alone.

    `output` and `h_n` are compared with the reference.

    Catches faulty special cases for a single time step.
    """
    assert_all_expected(observation)


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=is_packed
    & has_predictable_results
    & Condition("one sequence", lambda case: case.batch == 1),
    about=("layout",),
)
def one_sequence(observation: Observation) -> None:
    """A packed batch of one sequence gives the same results as this sequence gives alone.

    `output` and `h_n` are compared with the reference.

    Catches faulty special cases for a batch of size 1.
    """
    assert_all_expected(observation)


@rule(
    "rnn.packed.each-alone",
    "rnn.packed.own-end",
    when=has_different_lengths
    & has_predictable_results
    & Condition(
        "two or more sequences of the same length", lambda case: len(set(case.lengths)) < case.batch
    ),
    about=("layout", "lengths"),
)
def ties(observation: Observation) -> None:
    """Sequences of equal length in a packed batch keep their own results.

    `output` and `h_n` are compared with the reference on batches with some sequences of equal
    length and some of other lengths.

    Catches results swapped between sequences of equal length.
    """
    assert_all_expected(observation)
