"""Where processes that rnnspec starts look for modules: where the process that starts them does.

An import must find the same file in all of them. In a virtual environment that lies on top of
another one, for example, both may have NumPy, and rnnspec may be in either.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PLACES = "RNNSPEC_IMPORT_PATH"
"""The environment variable that holds the import path for a process that is started."""
OWN_PLACE = str(Path(__file__).parents[2])


def read_import_path() -> list[str]:
    """Return the import path of this process, as it stands; the system ignores all but strings."""
    return [each for each in sys.path if isinstance(each, str)]


def read_absolute_path() -> list[str]:
    """Return the import path of this process for one in another working directory."""
    return [os.path.abspath(each) for each in read_import_path()]


def add_own_place(places: list[str]) -> list[str]:
    """Return an import path that leads to rnnspec.

    Its own folder is added at the end if it is not there, as it is found through a hook then.
    """
    return places if OWN_PLACE in places else [*places, OWN_PLACE]


def describe_import_path() -> dict[str, str]:
    """Return environment variables for a Python that `take_import_path` is called in.

    PYTHONPATH leads to rnnspec in the same order, before the path itself can be set.
    """
    places = add_own_place(read_import_path())
    return {
        PLACES: json.dumps(places),
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "PYTHONSAFEPATH": "1",
    }


def take_import_path() -> None:
    """Use the import path that this process was given when it was started, if it was given one."""
    if (places := os.environ.pop(PLACES, None)) is not None:
        sys.path[:] = json.loads(places)
