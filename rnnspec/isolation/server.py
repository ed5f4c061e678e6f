"""What the server that workers are forked from does once, when it imports this module.

Python ends the server when the command and all workers have ended. A worker that hangs would keep
it, and itself, for ever, so the system ends both with the command.

A quarter of the time of its imports would go into the search for garbage, which is not there.
"""

from __future__ import annotations

import gc
import os

from rnnspec.isolation.import_path import take_import_path
from rnnspec.isolation.interrupts import ignore_endings
from rnnspec.isolation.limits import end_with_parent
from rnnspec.isolation.threads import set_thread_defaults

IS_SERVER = "RNNSPEC_IS_SERVER"
"""The environment variable by which the server knows what it is."""


def collect_garbage() -> None:
    """Let a worker search for garbage, but not among what the server has imported."""
    gc.freeze()
    gc.enable()


if os.environ.pop(IS_SERVER, None):
    take_import_path()  # before anything is imported that others have too
    end_with_parent()
    ignore_endings()  # they may reach all processes, and the command needs a worker for its report
    set_thread_defaults()
    gc.disable()
