"""Make the job of a check in workers from its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnspec.isolation.limits import choose_memory
from rnnspec.isolation.messages import Job
from rnnspec.options import RunOptions, list_scored_levels


def make_job(
    target: str,
    prepare: Callable[..., tuple[Any, tuple[str, ...]]],
    arguments: tuple[Any, ...],
    options: RunOptions,
    *,
    workers: int,
    timeout: float,
    memory: int | None,
    is_shared: bool = False,
    is_recorded: bool = False,
) -> Job:
    """Return the job of a check with this number of workers.

    The first three arguments are fields of `Job`. `timeout` is the limit for each step of the
    target in seconds; `memory` is the limit for each worker in MiB, by default a share of the
    machine's memory. `is_shared` means that other machines check a part of the cases; `is_recorded`
    means that the results are kept in a file.
    """
    return Job(
        target,
        prepare,
        arguments,
        device=str(options.device),
        scored=list_scored_levels(options),
        fail_fast=options.fail_fast,
        is_shared=is_shared,
        is_recorded=is_recorded,
        timeout=timeout,
        memory=choose_memory(workers) if memory is None else memory,
    )
