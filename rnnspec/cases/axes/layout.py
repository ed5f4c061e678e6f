"""How the sequences of a batch are handed to the layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.contract.features import Feature

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LayoutMeaning(Meaning):
    """A layout: whether it is packed, has a batch axis, and has sorted lengths."""

    is_packed: bool = False
    is_batched: bool = True
    is_sorted: bool = True


class Layout(Choice):
    """How the sequences are passed: padded, a single sequence, or packed."""

    _value_: LayoutMeaning

    BATCHED = LayoutMeaning("batched", "padded, with a batch axis")
    UNBATCHED = LayoutMeaning(
        "unbatched", "one sequence without a batch axis", is_batched=False, needs=Feature.UNBATCHED
    )
    PACKED = LayoutMeaning(
        "packed",
        "a PackedSequence, lengths in descending order",
        is_packed=True,
        needs=Feature.PACKED,
    )
    PACKED_UNSORTED = LayoutMeaning(
        "packed-unsorted",
        "a PackedSequence, lengths in any order",
        is_packed=True,
        is_sorted=False,
        needs=Feature.PACKED,
    )

    @property
    def is_packed(self) -> bool:
        """Whether the input is a PackedSequence."""
        return self._value_.is_packed

    @property
    def is_batched(self) -> bool:
        """Whether the input has a batch axis or is packed."""
        return self._value_.is_batched

    @property
    def is_sorted(self) -> bool:
        """Whether packed sequences come in descending order of length."""
        return self._value_.is_sorted

    def arrange(self, values: Array, *, batch_first: bool) -> Array:
        """Return a time-major array (T, N, ...) in the form that the layer takes before packing."""
        if not self.is_batched:
            return values[:, 0].copy()
        return np.ascontiguousarray(values.swapaxes(0, 1)) if batch_first else values.copy()

    def restore(self, values: Array, *, batch_first: bool) -> Array:
        """Return the time-major array (T, N, ...) of an array in this layout."""
        if not self.is_batched:
            return values[:, None]
        return values.swapaxes(0, 1) if batch_first else values

    def pack_code(self, source: str, lengths: Sequence[int], *, batch_first: bool) -> str:
        """Return the Python expression that packs the padded tensor called `source`."""
        options = ", batch_first=True" * batch_first + ", enforce_sorted=False" * (
            not self.is_sorted
        )
        return f"torch.nn.utils.rnn.pack_padded_sequence({source}, {list(lengths)}{options})"
