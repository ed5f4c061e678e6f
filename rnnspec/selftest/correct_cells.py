"""Correct cells that are not derived from a correct layer.

No rule may report a violation for any of them.
"""

from __future__ import annotations

from torch import nn


class SubclassOfRNNCell(nn.RNNCell):
    """A subclass of `torch.nn.RNNCell` that changes nothing."""


class SubclassOfGRUCell(nn.GRUCell):
    """A subclass of `torch.nn.GRUCell` that changes nothing."""


class SubclassOfLSTMCell(nn.LSTMCell):
    """A subclass of `torch.nn.LSTMCell` that changes nothing."""
