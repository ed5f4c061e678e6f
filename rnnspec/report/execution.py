"""Running a reproduction program in this process, and undoing what it changes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.steps import announce_step, is_from_user
from rnnspec.subjects.target import Target


def is_failing_program(source: str, target: Target, device: str = "cpu") -> bool:
    """Return whether a program raises an exception, ends the process or does not return.

    The program finds the subject under its own name, even if it cannot import it. What the program
    changes in this process is undone. The user's KeyboardInterrupt passes through.
    """
    name = target.name.split(".")[-1]
    scope: dict[str, Any] = {"__name__": "rnnspec_program", name: target.factory}
    try:
        with _restore_process(device), announce_step(f"the program for {target.label}"):
            exec(compile(source, "<program>", "exec"), scope)
    except BaseException as error:
        if is_from_user(error):
            raise
        return True
    return False


@contextmanager
def _restore_process(device: str) -> Iterator[None]:
    """Restore the import path, the random state and the settings of torch on exit."""
    places = list(sys.path)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            torch.enable_grad(),
            restore_settings(),
        ):
            warnings.simplefilter("ignore")
            with switch_tf32(device, tf32=False):
                yield
    finally:
        sys.path[:] = places
        torch.set_default_device(None)
