"""How the threads of a check behave, where the user has not said it."""

from __future__ import annotations

import os

DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment variables, which torch and NumPy read when they are imported.

On small tensors a second thread slows everything down. Some cases need several all the same; while
one of them waits for the others, it leaves its processor to them and to other workers.
"""


def set_thread_defaults() -> None:
    """Set the variables that are not set, for this process and those that it starts."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
