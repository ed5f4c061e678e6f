"""The processes that the checks of many layers are divided among."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from rnnspec.isolation.threads import set_thread_defaults


def start_processes(number: int) -> ProcessPoolExecutor:
    """Return a pool of new processes that compute with one thread each.

    NumPy reads the number when it is imported, so it is set before they start.
    """
    set_thread_defaults()
    return ProcessPoolExecutor(number, get_context("spawn"), prepare_process)


def prepare_process() -> None:
    """Give torch one thread, and ignore what it says about projections on some devices."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
