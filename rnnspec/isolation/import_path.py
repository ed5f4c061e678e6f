"""Let the processes that rnnspec starts use the import path of their parent process.

An import must find the same file in all of them. In a virtual environment on top of another
environment, for example, both may have NumPy, and rnnspec may be in either.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PLACES = "RNNSPEC_IMPORT_PATH"
"""The environment variable that passes the import path to a new process."""
OWN_PLACE = str(Path(__file__).parents[2])


def read_import_path() -> list[str]:
    """Return the import path of this process, without entries that imports ignore."""
    return [each for each in sys.path if isinstance(each, str)]


def read_absolute_path() -> list[str]:
    """Return the import path of this process for a process with another working directory."""
    return [os.path.abspath(each) for each in read_import_path()]


def add_own_place(places: list[str]) -> list[str]:
    """Return the import path, extended if necessary so that it leads to rnnspec.

    The folder of rnnspec is missing if an import hook finds it; it is then added at the end.
    """
    return places if OWN_PLACE in places else [*places, OWN_PLACE]


def describe_import_path() -> dict[str, str]:
    """Return environment variables for a Python process that calls `take_import_path`.

    PYTHONPATH makes rnnspec importable, with the same order of folders, before the process can set
    its path itself.
    """
    places = add_own_place(read_import_path())
    return {
        PLACES: json.dumps(places),
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "PYTHONSAFEPATH": "1",
    }


def take_import_path() -> None:
    """Set the import path to the path passed by the parent process, if it passed any."""
    if (places := os.environ.pop(PLACES, None)) is not None:
        sys.path[:] = json.loads(places)
