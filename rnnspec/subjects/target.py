"""Find the target that the user named: a class, a factory, or a string that names one."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnspec.contract.features import Feature
from rnnspec.errors import TargetError, suggest_similar
from rnnspec.subjects.steps import StepKind, announce_step, is_from_user
from rnnspec.text import read_message, read_type

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
            f"{place}: name a class or function, such as '{place}:{names[0]}'. {path} has {shown}"
            f"{more}."
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


@dataclass(frozen=True)
class Target:
    """A factory of layers.

    factory  the callable that builds a layer
    label    the target as the user wrote it
    name     its name in a program
    imports  the lines of a program that import it
    others   the line that imports another name from the same place, with {} for the name
    """

    factory: Callable[..., Any]
    label: str
    name: str
    imports: tuple[str, ...]
    others: str = ""

    def import_others(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the lines of a program that import further names from the same place."""
        return tuple(self.others.format(name) for name in names) if self.others else ()

    @property
    def unsupported(self) -> Mapping[Feature, str]:
        """The features that the layer lacks according to its adapter, with the reasons."""
        # A class that is no adapter may have an unrelated attribute of this name.
        found = getattr(self.factory, "unsupported", None)
        return found if isinstance(found, Mapping) else {}

    def import_first(self, modules: Iterable[str]) -> Target:
        """Return the same target with programs that import other modules first."""
        return replace(self, imports=(*(f"import {each}" for each in modules), *self.imports))


def resolve_target(target: str | Callable[..., Any] | Target) -> Target:
    """Return the target for a class, a factory, or a string that names one.

    Write a string as `package.module:attribute` or `path/to/file.py:attribute`. An instance of
    Target is returned unchanged. Raises TargetError if a name does not exist or the target cannot
    be called; the message contains the value, and a suggestion if there is a similar name.
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return _resolve_text(target)
    if not callable(target):
        raise TargetError(
            "a target is a class, a factory or a string like 'package.module:attribute', "
            f"got {target!r}"
        )
    return _describe_object(target)


def _describe_object(target: Callable[..., Any]) -> Target:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    # A program that cannot import the target always fails, and would seem to show the fault.
    if not module or not name or module == "__main__" or not _is_found(target, module, name):
        label = name or " ".join(repr(target).split())
        short = _choose_name(label)
        return Target(target, label, short, (f"# {short} is {label}, as given to rnnspec",))
    others = f"from {module} import {{}}"
    return Target(target, f"{module}:{name}", name, (others.format(name.split(".")[0]),), others)


def _is_found(target: Callable[..., Any], module: str, name: str) -> bool:
    """Return whether a program can import the target from a module under a name."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found in (target,)


def _choose_name(label: str) -> str:
    """Return a name for the target in a program."""
    last = label.split(".")[-1]
    return last if last.isidentifier() else "Subject"


def _resolve_text(text: str) -> Target:
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute:
        raise make_form_error(text)
    is_file = place.endswith(".py")
    module = _import_file(Path(place), text) if is_file else _import_name(place, text)
    factory = _find_attribute(module, attribute, place, text)
    if not callable(factory):
        raise TargetError(f"{text}: {attribute!r} is {factory!r}, expected a class or a factory")
    before, others = (
        _write_file_imports(Path(place)) if is_file else ((), f"from {place} import {{}}")
    )
    imports = (*before, others.format(attribute.split(".")[0]))
    return Target(factory, text, attribute, imports, others)


def locate_target(text: str, folder: Path) -> str:
    """Return a target whose file is found from any directory.

    A relative file is searched for in `folder`; if it is not there, the text stays unchanged.
    """
    place, _, attribute = text.rpartition(":")
    path = folder / place
    return f"{path}:{attribute}" if place.endswith(".py") and path.is_file() else text


def _write_file_imports(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the lines before the import from a file, and the import of a name.

    They add the file's folder to the path; if the name of the file is taken, they load the file by
    its location. A program runs in the same directory as rnnspec, so paths below this directory are
    relative.
    """
    name = _choose_module_name(path)
    if name == path.stem:
        folder = _shorten_path(path.resolve().parent)
        return ("import sys", f"sys.path.insert(0, {folder!r})"), f"from {name} import {{}}"
    location = _shorten_path(path.resolve())
    before = (
        "import importlib.util",
        "import sys",
        f"spec = importlib.util.spec_from_file_location({name!r}, {location!r})",
        f"sys.modules[{name!r}] = module = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(module)",
    )
    return before, "{0} = module.{0}"


def _shorten_path(path: Path) -> str:
    """Return a path relative to the working directory, or an absolute path if it is elsewhere."""
    here = Path.cwd().resolve()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)


def _choose_module_name(path: Path) -> str:
    """Return the name under which a file is imported: its stem if it is valid and not taken.

    The names of Python's own modules and of other imported modules are taken.
    """
    stem = path.stem
    present = sys.modules.get(stem)
    is_other = present is not None and getattr(present, "__file__", None) != str(path.resolve())
    is_free = stem.isidentifier() and stem not in sys.stdlib_module_names and not is_other
    return stem if is_free else "target_" + re.sub(r"\W", "_", stem)


def _find_attribute(module: ModuleType, attribute: str, place: str, text: str) -> Any:
    """Return the attribute of a module at a dotted path. Raises TargetError if there is none."""
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise TargetError(
                f"no attribute {attribute!r} in {place}.",
                suggestion=suggest_similar(part, _list_attributes(found)),
            ) from error
        except BaseException as error:
            if is_from_user(error):
                raise
            raise TargetError(
                f"{text}: looking up {part!r} raised {_describe_error(error)}"
            ) from error
    return found


def _list_attributes(holder: Any) -> list[str]:
    return [name for name in dir(holder) if not name.startswith("__")]


def _import_name(name: str, text: str) -> ModuleType:
    """Import a module by name, from the working directory first. Raises TargetError."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with announce_step(f"importing {name}", StepKind.IMPORT):
            return importlib.import_module(name)
    except BaseException as error:
        if is_from_user(error):
            raise
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(missing + ".")):
            raise _make_missing_error(missing, text) from error
        raised = f"importing {name} raised {_describe_error(error)}"
        raise TargetError(f"{text}: {raised}{_suggest_extra(name, missing)}") from error
    finally:
        _remove_from_path(here)


def _suggest_extra(name: str, missing: str | None) -> str:
    """Suggest an extra to install if a module of rnnspec lacks a package."""
    own = name.removeprefix("rnnspec.frameworks.")
    extras = metadata.metadata("rnnspec").get_all("Provides-Extra") or []
    fitting = [extra for extra in extras if own in (extra, f"{extra}_reference")]
    if missing is None or own == name or not fitting:
        return ""
    return f". Install what it needs: pip install 'rnnspec[{fitting[0]}]'"


def require_target(text: str) -> None:
    """Raise TargetError if the target cannot exist, as far as this is known without an import.

    It is the same error as from `resolve_target`.
    """
    place, _, attribute = text.rpartition(":")
    if not place or not attribute:
        raise make_form_error(text)
    if place.endswith(".py"):
        _require_file(Path(place), text)
        return
    first, here = place.split(".")[0], str(Path.cwd())
    sys.path.insert(0, here)
    try:
        is_missing = first not in sys.modules and importlib.util.find_spec(first) is None
    except (ImportError, ValueError):  # for example, the name is no identifier
        return
    finally:
        _remove_from_path(here)
    if is_missing:
        raise _make_missing_error(first, text)


def require_attribute(text: str) -> None:
    """Raise TargetError if the module of a target is imported and lacks the target.

    Do nothing if the module is not imported.
    """
    place, _, attribute = text.rpartition(":")
    module = _find_imported(place)
    if module is not None:
        _find_attribute(module, attribute, place, text)


def is_imported(text: str) -> bool:
    """Return whether the module of a target is imported."""
    return _find_imported(text.rpartition(":")[0]) is not None


def _find_imported(place: str) -> ModuleType | None:
    """Return the imported module for a module name or the path of a file, or None."""
    if not place.endswith(".py"):
        return sys.modules.get(place)
    path = Path(place).resolve()
    names = (path.stem, _choose_module_name(path))
    found = [sys.modules[name] for name in names if name in sys.modules]
    return next((each for each in found if getattr(each, "__file__", None) == str(path)), None)


def _make_missing_error(name: str, text: str) -> TargetError:
    return TargetError(f"{text}: no module named {name!r}.", suggestion=suggest_module(name))


def _remove_from_path(folder: str) -> None:
    """Undo one insertion into the path. The imported module may have changed the path too."""
    if folder in sys.path:
        sys.path.remove(folder)


def _import_file(path: Path, text: str) -> ModuleType:
    """Import a file, with its folder on the path. Raises TargetError."""
    _require_file(path, text)
    name, folder = _choose_module_name(path), str(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{text}: {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        with announce_step(f"importing {path}", StepKind.IMPORT):
            spec.loader.exec_module(module)
    except BaseException as error:
        _restore_module(name, before)
        if is_from_user(error):
            raise
        raise TargetError(
            f"{text}: importing {str(path)!r} raised {_describe_error(error)}"
        ) from error
    finally:
        _remove_from_path(folder)
    return module


def _require_file(path: Path, text: str) -> None:
    if not path.is_file():
        raise TargetError(f"{text}: no file {str(path)!r}.", suggestion=suggest_file(path))


def _restore_module(name: str, before: ModuleType | None) -> None:
    """Undo the registration of a module that could not be imported."""
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


def _describe_error(error: BaseException) -> str:
    return f"{read_type(error)}: {read_message(error)}"
