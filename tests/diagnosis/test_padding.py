"""Test that computing packed sequences as a padded batch is reported as one fault."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnnspec


class PaddedOnce(nn.GRU):
    """Pads packed sequences with zeros, computes the batch, and packs the output again."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        if not isinstance(input, PackedSequence):
            return super().forward(input, hx)
        padded, lengths = pad_packed_sequence(input)
        batch_first, self.batch_first = self.batch_first, False
        try:  # a call that is refused must not leave the layer in the other layout
            output, h_n = super().forward(padded, hx)
        finally:
            self.batch_first = batch_first
        if input.sorted_indices is not None:
            output, lengths = output[:, input.sorted_indices], lengths[input.sorted_indices]
        packed = pack_padded_sequence(output, lengths)
        order = input.batch_sizes, input.sorted_indices, input.unsorted_indices
        return PackedSequence(packed.data, *order), h_n


@pytest.mark.slow
def test_padding_packed_sequences_is_reported() -> None:
    rules = ("packed.*", "recurrence.*", "states.*")
    (fault,) = rnnspec.check(PaddedOnce, profile="quick", rules=rules).faults
    assert fault.rule == "packed.output"
    assert fault.likely_cause == (
        "packed sequences are padded with zeros, and computed like any other batch"
    )


@pytest.mark.slow
def test_padding_packed_sequences_in_a_single_layer_is_reported() -> None:
    arguments = {"num_layers": 1}
    rules = ("packed.*", "recurrence.*", "states.*")
    report = rnnspec.check(PaddedOnce, profile="quick", rules=rules, arguments=arguments)
    (fault,) = report.faults
    assert fault.likely_cause == (
        "packed sequences are computed as if they were padded with zeros to the longest"
    )
