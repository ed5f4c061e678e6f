"""Where the source of a target is, so that a finding can be shown beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Location(NamedTuple):
    """A line of a file. The path is relative, with slashes, if the file is below this directory."""

    path: str
    line: int

    def as_dict(self) -> dict[str, Any]:
        """Return the place as plain data."""
        return {"path": self.path, "line": self.line}


def find_location(factory: Callable[..., Any]) -> Location | None:
    """Return where a class or a function is defined, or None if that is not known.

    Others have no line of their own: the class of a callable object may be of another project.
    """
    try:
        found = inspect.unwrap(factory)
        if not (inspect.isclass(found) or inspect.isfunction(found)):
            return None
        path = Path(str(inspect.getsourcefile(found))).resolve()
        line = inspect.getsourcelines(found)[1]
    except Exception:  # whatever the attributes of the target do
        return None
    here = Path.cwd().resolve()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return Location(shown.as_posix(), max(1, line))
