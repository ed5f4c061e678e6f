"""The processes that the checks of many layers are divided among."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context

import torch

from rnnspec.isolation.threads import set_thread_defaults


def start_processes(number: int) -> ProcessPoolExecutor:
    """Return a pool of new processes that compute with one thread each.

    NumPy reads the number when it is imported, so it is set before they start.
    """
    set_thread_defaults()
    return ProcessPoolExecutor(number, get_context("spawn"), prepare_process)


@contextmanager
def end_with_interrupt(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Return a context in which KeyboardInterrupt ends the processes, whatever they do."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.kill()
        raise


def prepare_process() -> None:
    """Give torch one thread, and ignore what it says about projections on some devices."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all of them
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
