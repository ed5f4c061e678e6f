"""Whether a program fails: it is run in this process, and what it changes is undone."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.target import Target


def does_program_fail(source: str, target: Target, device: str = "cpu") -> bool:
    """Return whether a program fails; the subject is at hand if it cannot be imported."""
    name = target.name.split(".")[-1]
    scope: dict[str, Any] = {"__name__": "rnnspec_program", name: target.factory}
    try:
        with _contain(device):
            exec(compile(source, "<program>", "exec"), scope)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return True
    return False


@contextmanager
def _contain(device: str) -> Iterator[None]:
    """Undo what a program does to the process."""
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
