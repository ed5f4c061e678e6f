"""From what the user names to a factory of layers."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnspec.errors import TargetError, suggest


@dataclass(frozen=True)
class Target:
    """A factory of layers, what the user calls it, and the lines that import it in a program of its own."""

    factory: Callable[..., Any]
    label: str
    name: str
    imports: tuple[str, ...]


def resolve_target(target: str | Callable[..., Any]) -> Target:
    """The target that a string `package.module:attribute` or `path/to/file.py:attribute`, a class or a factory stands for.

    Raises TargetError, with the value and a suggestion where there is one, if there is no such thing or it cannot be called.
    """
    if isinstance(target, str):
        return _from_text(target)
    if not callable(target):
        raise TargetError(
            f"a target is a class, a factory or a string like 'package.module:attribute', got {target!r}"
        )
    return _from_object(target)


def _from_object(target: Callable[..., Any]) -> Target:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module or not name or "<" in name or module == "__main__":
        label = name or " ".join(repr(target).split())
        return Target(
            target, label, _plain(label), (f"# {_plain(label)} is {label}, as given to rnnspec",)
        )
    return Target(target, f"{module}:{name}", name, (f"from {module} import {name.split('.')[0]}",))


def _plain(label: str) -> str:
    last = label.split(".")[-1]
    return last if last.isidentifier() else "Subject"


def _from_text(text: str) -> Target:
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute:
        raise TargetError(
            f"a target is written 'package.module:attribute' or 'path/to/file.py:attribute', got {text!r}.{_with_colon(text)}"
        )
    is_file = place.endswith(".py")
    module = _module_of_file(Path(place), text) if is_file else _module_of_name(place, text)
    factory = _attribute(module, attribute, place, text)
    if not callable(factory):
        raise TargetError(
            f"{text}: {attribute!r} is {factory!r}, which cannot be called; a class or a factory is needed"
        )
    imports = (
        _file_imports(Path(place), attribute)
        if is_file
        else (f"from {place} import {attribute.split('.')[0]}",)
    )
    return Target(factory, text, attribute, imports)


def _with_colon(text: str) -> str:
    """A suggestion where a dot stands in the place of the colon."""
    place, dot, attribute = text.rpartition(".")
    return (
        f" Did you mean '{place}:{attribute}'?"
        if dot and place and attribute.isidentifier() and attribute != "py"
        else ""
    )


def _file_imports(path: Path, attribute: str) -> tuple[str, ...]:
    """The lines that import an attribute of a file: by its folder on the path, or by its location where its name is not free."""
    first, name = attribute.split(".")[0], _module_name(path)
    if name == path.stem:
        return (
            "import sys",
            f"sys.path.insert(0, {str(path.resolve().parent)!r})",
            f"from {name} import {first}",
        )
    return (
        "import importlib.util",
        f"spec = importlib.util.spec_from_file_location({name!r}, {str(path.resolve())!r})",
        "module = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(module)",
        f"{first} = module.{first}",
    )


def _module_name(path: Path) -> str:
    """The name under which a file is imported: its stem, or another where that is no name, or one of a module of Python or in use."""
    stem = path.stem
    present = sys.modules.get(stem)
    other = present is not None and getattr(present, "__file__", None) != str(path.resolve())
    free = stem.isidentifier() and stem not in sys.stdlib_module_names and not other
    return stem if free else "target_" + re.sub(r"\W", "_", stem)


def _attribute(module: ModuleType, attribute: str, place: str, text: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise TargetError(
                f"no attribute {attribute!r} in {place}.{suggest(part, _public(found))}"
            ) from error
        except (Exception, SystemExit) as error:
            raise TargetError(f"{text}: looking up {part!r} raised {_told(error)}") from error
    return found


def _public(holder: Any) -> list[str]:
    return [name for name in dir(holder) if not name.startswith("__")]


def _module_of_name(name: str, text: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise TargetError(
                f"{text}: no module named {error.name!r}.{_near_module(error.name)}"
            ) from error
        raise TargetError(f"{text}: importing {name} raised {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"{text}: importing {name} raised {_told(error)}") from error
    finally:
        _off_the_path(here)


def _off_the_path(folder: str) -> None:
    """Undo one insertion at the front of the path, whatever the imported module has done to it."""
    if folder in sys.path:
        sys.path.remove(folder)


def _near_module(name: str) -> str:
    """A suggestion among the siblings of a module that is missing, or among the modules imported so far."""
    parent = sys.modules.get(name.rpartition(".")[0])
    folders = [Path(folder) for folder in getattr(parent, "__path__", [])] or [Path.cwd()]
    paths = [folder for folder in folders if folder.is_dir()]
    found = [
        entry.stem
        for path in paths
        for entry in path.iterdir()
        if entry.suffix == ".py" or (entry / "__init__.py").exists()
    ]
    known = [stem for stem in found if stem.isidentifier()]
    return suggest(
        name.rpartition(".")[2],
        [*known, *(() if parent else (module for module in sys.modules if "." not in module))],
    )


def _module_of_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"{text}: no file {str(path)!r}.{_near_file(path)}")
    name, folder = _module_name(path), str(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{text}: {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _restore(name, before)
        raise TargetError(f"{text}: importing {str(path)!r} raised {_told(error)}") from error
    finally:
        _off_the_path(folder)
    return module


def _near_file(path: Path) -> str:
    """A suggestion among the Python files of the same folder."""
    known = [entry.stem for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.stem, known, n=1)
    return f" Did you mean {str(path.with_name(close[0] + '.py'))!r}?" if close else ""


def _restore(name: str, before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
