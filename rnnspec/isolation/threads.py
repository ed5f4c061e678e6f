"""Default settings for the threads of a check, used where the user has not set them."""

from __future__ import annotations

import os

DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment variables that torch and NumPy read when they are imported.

A second thread slows down work on small tensors. Some cases need several threads all the same; a
thread that waits for the others then leaves its processor to them and to other workers.
"""


def set_thread_defaults() -> None:
    """Set the variables that are not set, for this process and its children."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
