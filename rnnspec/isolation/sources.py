"""The source files of a target. They show whether results belong to the current version of it.

They are the modules that a worker has imported for the target, without modules of other projects:
not the standard library, and of installed packages only the package of the target itself. The
versions of rnnspec, torch and other packages that every result depends on are recorded separately.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

Sources = Mapping[str, Mapping[str, str]]
"""For each module, its file relative to the folder where the module was found, and a hash of it."""

VERSIONED = frozenset({"rnnspec", "torch", "numpy", "hypothesis"})
"""Packages whose versions are recorded, see `rnnspec.isolation.journal`."""
OTHERS = VERSIONED | sys.stdlib_module_names | {"sitecustomize", "usercustomize"}
INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of the folders into which packages are installed."""
STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
"""Folders of the standard library; some of its modules have names that depend on the platform."""
LENGTH = 16


def read_sources(target: str) -> dict[str, dict[str, str]]:
    """Return the source files of a target, and of its own imports, from this process."""
    place = target.rpartition(":")[0]
    found = {}
    for name, path in _list_modules():
        if _belongs_to(place, name, path):
            with suppress(OSError):
                found[name] = {"file": _name_file(name, path), "hash": _hash_file(path)}
    return dict(sorted(found.items()))


def find_change(before: Sources, now: Sources, *, is_same_machine: bool = True) -> str:
    """Return the first file that has changed, or an empty string.

    Modules that only one side has are ignored, because imports may depend on the machine. For the
    same reason, compiled modules are compared only on the same machine.
    """
    common = [name for name in before if name in now]
    if before and now and not common:
        return next(iter(before.values()))["file"]
    for name in common:
        file = before[name]["file"]
        is_compared = is_same_machine or file.endswith(".py")
        if is_compared and before[name]["hash"] != now[name]["hash"]:
            return file
    return ""


def _list_modules() -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each imported module."""
    for name, module in list(sys.modules.items()):
        try:
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:  # an object that is not a module
            continue
        if isinstance(file, str):
            yield name, Path(file)


def _belongs_to(place: str, name: str, path: Path) -> bool:
    """Return whether a module belongs to the target at `place`."""
    first = name.partition(".")[0]
    if place.endswith(".py") and path == Path(place).resolve():
        return True
    if first in OTHERS or first.startswith("__"):
        return False
    if first == place.partition(".")[0]:
        return True
    is_standard = any(path.is_relative_to(folder) for folder in STANDARD)
    return not is_standard and INSTALLED.isdisjoint(path.parts)


def _name_file(name: str, path: Path) -> str:
    """Return the path of a module's file, relative to the folder where the module was found."""
    parts = len(name.split(".")) + (path.stem == "__init__")
    return "/".join(path.parts[-parts:])


def _hash_file(path: Path) -> str:
    """Return a hash of a file. For source files, it does not depend on the line endings."""
    content = path.read_bytes()
    text = content.replace(b"\r\n", b"\n") if path.suffix == ".py" else content
    return sha256(text).hexdigest()[:LENGTH]
