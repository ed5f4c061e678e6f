"""Prepare the server from which workers are forked; importing this module does it once.

Python ends the server when the command and all workers have ended. A worker that hangs would keep
the server and itself alive for ever, so the system ends both together with the command.

The garbage collector is off during the imports: it would take a quarter of their time and find
nothing.
"""

from __future__ import annotations

import gc
import os

from rnnspec.isolation.import_path import take_import_path
from rnnspec.isolation.interrupts import ignore_endings
from rnnspec.isolation.limits import end_with_parent
from rnnspec.isolation.threads import set_thread_defaults

IS_SERVER = "RNNSPEC_IS_SERVER"
"""The environment variable that marks the server process."""


def collect_garbage() -> None:
    """Enable garbage collection in a worker, except for objects that the server has imported."""
    gc.freeze()
    gc.enable()


if os.environ.pop(IS_SERVER, None):
    take_import_path()  # before any import that could find another copy
    end_with_parent()
    ignore_endings()  # a signal may reach all processes, and the report needs a worker
    set_thread_defaults()
    gc.disable()
