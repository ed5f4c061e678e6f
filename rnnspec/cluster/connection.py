"""The connection to a Dask cluster. Dask is imported only here, and only if it is used."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rnnspec._version import __version__
from rnnspec.errors import CannotCheck, SelectionError

LOCAL = "local"
CONNECTING_SECONDS = 10.0
WAITING_SECONDS = 60.0
"""The limit for a cluster to get its first worker."""
ADDRESS = re.compile(r"(\w+://)?[^/\s]+:\d+")
INSTALL = "pip install 'rnnspec[dask]'"


def check_address(address: str) -> None:
    """Raise SelectionError if the form of an address is invalid."""
    if address == LOCAL or ADDRESS.fullmatch(address) or Path(address).is_file():
        return
    raise SelectionError(
        f"{address!r}: write {LOCAL!r}, the address of a scheduler, e.g. tcp://host:8786, or the "
        "path of a scheduler file.",
        "dask",
    )


def require_dask() -> None:
    """Raise SelectionError if Dask is not installed."""
    try:
        importlib.import_module("distributed")
    except ImportError as error:
        raise SelectionError(
            f"needs Dask, and it cannot be imported ({error}): {INSTALL}", "dask"
        ) from error


@contextmanager
def open_client(address: str, jobs: int) -> Iterator[Any]:
    """Connect to a cluster with at least one worker, and close the client on exit.

    Pass the address of a scheduler, the path of a scheduler file, or `local` for a cluster of
    `jobs` workers on your machine, which ends with the context. Raises SelectionError.
    """
    if address == LOCAL:
        with _open_local(jobs) as client:
            yield client
        return
    client = _connect(address)
    try:
        yield client
    finally:
        _close(client)


@contextmanager
def _open_local(jobs: int) -> Iterator[Any]:
    distributed: Any = importlib.import_module("distributed")
    with _ignore_interrupts():  # its processes inherit this; they are ended when the run is over
        cluster = distributed.LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # the agents' workers have limits of their own
            dashboard_address=":0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
        )
    try:
        client = distributed.Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            _close(client)
    finally:
        with suppress(Exception):
            cluster.close(timeout=CONNECTING_SECONDS)


def _connect(address: str) -> Any:
    distributed: Any = importlib.import_module("distributed")
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = distributed.Client(**where, timeout=CONNECTING_SECONDS, set_as_default=False)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise SelectionError(
            f"{address}: no Dask scheduler answers there ({text}).", "dask"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WAITING_SECONDS)
    except Exception as error:
        _close(client)
        raise SelectionError(
            f"{address}: the cluster has no worker after {WAITING_SECONDS:.0f} s.", "dask"
        ) from error
    return client


def _close(client: Any) -> None:
    with suppress(Exception):
        client.close(timeout=CONNECTING_SECONDS)


def require_rnnspec(client: Any, address: str) -> None:
    """Raise CannotCheck if a worker of your cluster does not have this version of rnnspec.

    A worker without it could not even unpickle its task, and would end.
    """
    found = client.run(pkgutil.resolve_name, "rnnspec._version:__version__", on_error="return")
    for worker, version in found.items():
        if version == __version__:
            continue
        has = f"has rnnspec {version}" if isinstance(version, str) else "cannot import rnnspec"
        reason = "" if isinstance(version, str) else f" ({version})"
        raise CannotCheck(
            f"--dask {address}: the worker {worker} of the cluster {has}{reason}; install rnnspec "
            f"{__version__} there, with the same versions of torch, NumPy and Hypothesis as here."
        )


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Make new processes ignore Ctrl-C, which a terminal sends to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
