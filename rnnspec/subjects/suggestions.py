"""Error messages for targets that do not exist, with the right notation and similar names."""

from __future__ import annotations

import ast
import difflib
import pkgutil
import sys
from pathlib import Path

from rnnspec.errors import TargetError, suggest_similar

MOST_LISTED = 8
"""Number of names of a file that are listed."""


def make_form_error(text: str) -> TargetError:
    """Return an error that shows how to write a target, and lists the names in a file."""
    place = text.rstrip(":")
    path = Path(place if place.endswith(".py") else place.replace(".", "/") + ".py")
    names = _list_names(path)
    if names:
        shown = ", ".join(names[:MOST_LISTED])
        more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
        return TargetError(
            f"{place}: say what to check, such as '{place}:{names[0]}'. {path} has {shown}{more}."
        )
    form = "a target is written 'package.module:attribute' or 'path/to/file.py:attribute'"
    if place.endswith(".py") and not path.is_file():
        missing = f"{form}, and there is no file {place!r}."
        return TargetError(missing, suggestion=suggest_file(path))
    return TargetError(f"{form}, got {text!r}.", suggestion=_suggest_colon(text))


def _list_names(path: Path) -> list[str]:
    """Return the public classes of a file, followed by its functions, without importing it."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    kinds = (ast.ClassDef, ast.FunctionDef)
    found = [each.name for kind in kinds for each in body if isinstance(each, kind)]
    return [name for name in dict.fromkeys(found) if not name.startswith("_")]


def _suggest_colon(text: str) -> str:
    """Return a suggestion if the text has a dot in place of the colon."""
    place, dot, attribute = text.rpartition(".")
    return (
        f" Did you mean '{place}:{attribute}'?"
        if dot and place and attribute.isidentifier() and attribute != "py"
        else ""
    )


def suggest_module(name: str) -> str:
    """Return a suggestion for a missing module, from its siblings or from all modules."""
    parent = sys.modules.get(name.rpartition(".")[0])
    folders = [Path(folder) for folder in getattr(parent, "__path__", [])] or [Path.cwd()]
    paths = [folder for folder in folders if folder.is_dir()]
    stems = [
        entry.stem
        for path in paths
        for entry in path.iterdir()
        if entry.suffix == ".py" or (entry / "__init__.py").exists()
    ]
    siblings = [stem for stem in stems if stem.isidentifier()]
    present = [] if parent else [*sys.modules, *(each.name for each in pkgutil.iter_modules())]
    own = sys.stdlib_module_names  # no target is in the standard library
    known = [name for name in present if name.isidentifier() and name not in own]
    known = [name for name in known if not name.startswith("_")]
    return suggest_similar(name.rpartition(".")[2], [*siblings, *known])


def suggest_file(path: Path) -> str:
    """Return a suggestion from the Python files in the same folder."""
    known = [entry.stem for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.stem, known, n=1)
    return f" Did you mean {str(path.with_name(close[0] + '.py'))!r}?" if close else ""
