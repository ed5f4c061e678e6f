"""From what the user names to a factory of layers."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnspec.errors import TargetError, suggestion


@dataclass(frozen=True)
class Target:
    """A factory of layers, what the user calls it, and the lines that import it in a program of its own."""

    factory: Callable[..., Any]
    label: str
    name: str
    imports: tuple[str, ...]


def resolve(target: str | Callable[..., Any]) -> Target:
    """The target that a string `package.module:attribute` or `path/to/file.py:attribute`, a class or a factory stands for.

    Raises TargetError, with the value and a suggestion where there is one, if there is no such thing or it cannot be called.
    """
    if isinstance(target, str):
        return _from_text(target)
    if not callable(target):
        raise TargetError(f"a target is a class, a factory or a string like 'package.module:attribute', got {target!r}")
    return _from_object(target)


def _from_object(target: Callable[..., Any]) -> Target:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module or not name or "<" in name or module == "__main__":
        label = name or repr(target)
        return Target(target, label, _plain(label), (f"# {_plain(label)} is {label}, as given to rnnspec",))
    return Target(target, f"{module}:{name}", name, (f"from {module} import {name.split('.')[0]}",))


def _plain(label: str) -> str:
    last = label.split(".")[-1]
    return last if last.isidentifier() else "Subject"


def _from_text(text: str) -> Target:
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute:
        raise TargetError(f"a target is written 'package.module:attribute' or 'path/to/file.py:attribute', got {text!r}")
    is_file = place.endswith(".py")
    module = _module_of_file(Path(place), text) if is_file else _module_of_name(place, text)
    factory = _attribute(module, attribute, place)
    if not callable(factory):
        raise TargetError(f"{text}: {attribute!r} is {factory!r}, which cannot be called; a class or a factory is needed")
    imports = _file_imports(Path(place), attribute) if is_file else (f"from {place} import {attribute.split('.')[0]}",)
    return Target(factory, text, attribute, imports)


def _file_imports(path: Path, attribute: str) -> tuple[str, ...]:
    return (
        "import sys",
        f"sys.path.insert(0, {str(path.resolve().parent)!r})",
        f"from {path.stem} import {attribute.split('.')[0]}",
    )


def _attribute(module: ModuleType, attribute: str, place: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise TargetError(f"no attribute {attribute!r} in {place}.{suggestion(part, _public(found))}")
        found = getattr(found, part)
    return found


def _public(holder: Any) -> list[str]:
    return [name for name in dir(holder) if not name.startswith("__")]


def _module_of_name(name: str, text: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise TargetError(f"{text}: no module named {error.name!r}.{_near_module(error.name)}") from error
        raise TargetError(f"{text}: importing {name} raised {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"{text}: importing {name} raised {_told(error)}") from error
    finally:
        sys.path.pop(0)


def _near_module(name: str) -> str:
    """A suggestion among the siblings of a module that is missing, or among the modules imported so far."""
    parent = sys.modules.get(name.rpartition(".")[0])
    paths = [Path(folder) for folder in getattr(parent, "__path__", [])] or [Path.cwd()]
    known = [entry.stem for path in paths for entry in path.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()]
    return suggestion(name.rpartition(".")[2], [*known, *(() if parent else (module for module in sys.modules if "." not in module))])


def _module_of_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise TargetError(f"{text}: no file {str(path)!r}.{suggestion(path.name, near)}")
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{text}: {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _restore(name, before)
        raise TargetError(f"{text}: importing {str(path)!r} raised {_told(error)}") from error
    finally:
        sys.path.pop(0)
    return module


def _restore(name: str, before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def accepts_keyword(factory: Callable[..., Any], name: str) -> bool | None:
    """Whether a factory's signature takes a keyword; None where the signature cannot be read."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    return any(p.name == name or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
