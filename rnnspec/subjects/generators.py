"""Preserve the states of the caller's random number generators."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def keep_random_numbers(devices: Sequence[int] = ()) -> Iterator[None]:
    """Restore the generators of Python, NumPy and torch when the context exits.

    `devices` are the CUDA devices whose generators are restored too.
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
