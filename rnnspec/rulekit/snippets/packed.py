"""Last lines of programs that show faults with packed sequences."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet

IS_PACKED = Snippet("assert type(layer(*given)[0]) is torch.nn.utils.rnn.PackedSequence")
SAME_INDICES = Snippet("""got, expected = layer(*given)[0], packed
assert got.batch_sizes.dtype == torch.int64 and not got.batch_sizes.is_cuda
assert got.batch_sizes.tolist() == expected.batch_sizes.tolist()
for name in ("sorted_indices", "unsorted_indices"):
    own, other = getattr(got, name), getattr(expected, name)
    assert (own is None) == (other is None)
    assert own is None or own.tolist() == other.tolist()
    assert own is None or (own.dtype, own.device) == (other.dtype, other.device)""")
PAD_BACK = Snippet(
    """padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(layer(*given)[0])
expected, expected_lengths = torch.nn.utils.rnn.pad_packed_sequence(reference(*given)[0])
assert lengths.tolist() == expected_lengths.tolist()
close(padded, expected)""",
    (Helper.CLOSE,),
)
