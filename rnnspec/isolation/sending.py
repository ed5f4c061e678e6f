"""Make the job of a check, and send targets that workers may be unable to import."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import Any, TypeVar

from rnnspec.errors import TargetError
from rnnspec.isolation.limits import choose_memory
from rnnspec.isolation.messages import Job
from rnnspec.options import RunOptions, list_scored_levels
from rnnspec.subjects.steps import StepKind, announce_step, is_from_user
from rnnspec.subjects.target import resolve_target
from rnnspec.text import read_message, read_type


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


OptionsT = TypeVar("OptionsT", bound=RunOptions)
PrepareSuite = Callable[[Any, OptionsT], tuple[Any, tuple[str, ...]]]
"""Returns the suite for a target and options, with the first notes of the report."""
MAIN = "__main__"


class NotImportableError(TargetError):
    """A worker cannot import the target, or one of its arguments."""


def make_sent_job(
    target: str | Callable[..., Any],
    options: OptionsT,
    prepare: PrepareSuite[OptionsT],
    *,
    workers: int,
    timeout: float,
    memory: int | None,
) -> Job:
    """Return the job of a check whose target and options are pickled for the workers.

    Workers import `prepare` by its name. See `make_job` for the limits. Raises TargetError, or
    NotImportableError if the target is defined in a function or in the main program.
    """
    label = target if isinstance(target, str) else resolve_target(target).label
    try:
        data = pickle.dumps((target, options))
    except Exception as error:
        raise NotImportableError(f"{label}: it can only be used in this process") from error
    if any(argument == MAIN for _, argument, _ in pickletools.genops(data)):
        raise NotImportableError(f"{label}: it belongs to the program that was started")
    return make_job(
        label,
        prepare_sent,
        (label, data, prepare),
        options,
        workers=workers,
        timeout=timeout,
        memory=memory,
    )


def prepare_sent(
    label: str, data: bytes, prepare: PrepareSuite[Any]
) -> tuple[Any, tuple[str, ...]]:
    """Return the suite of a check in a worker, with the first notes of its report.

    Raises CannotCheck: NotImportableError, or any error that `prepare` raises.
    """
    try:
        with announce_step(f"importing {label}", StepKind.IMPORT):
            target, options = pickle.loads(data)
    except BaseException as error:
        if is_from_user(error):
            raise
        raise NotImportableError(f"{read_type(error)}: {read_message(error)}") from error
    return prepare(target, options)
