"""Limit the threads of torch and of NumPy while a check runs in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Compute with one thread, and restore the caller's numbers of threads afterwards.

    The matrices of most cases are so small that a second thread costs more than it gains: a quick
    check of nn.LSTM took 52 s of CPU with two threads, and 16 s with one thread. Worker processes
    set environment variables for the same purpose; libraries read these only when they are loaded.
    """
    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
