"""The shape of the code: imports go one way, modules and functions stay small, and every public name says what it is."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rnnspec.cases.axes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnnspec"

# What may import what: a stage imports itself and stages of a smaller number. Stages of the same number do not know each other.
STAGES = {
    "_version": 0,
    "errors": 0,
    "contract": 1,
    "oracle": 2,
    "cases": 2,
    "subjects": 3,
    "observe": 4,
    "rulekit": 5,
    "engine": 6,
    "diagnosis": 7,
    "rules": 8,
    "models": 8,
    "report": 9,
    "suites": 10,
    "options": 10,
    "pipeline": 10,
    "api": 11,
    "testing": 12,
    "selftest": 12,
    "cli": 13,
    "__init__": 13,
    "__main__": 14,
}

# The public faces of the small pieces: each knows the stage that it shows and nothing else, and no stage imports them.
FACES = {"shapes": {"contract"}, "strategies": {"cases", "contract"}}

# The stages that must work where only these are installed; every other one may use all dependencies.
ONLY = {"_version": set[str](), "errors": set[str](), "contract": {"tomli"}, "oracle": {"numpy"}}
DEPENDENCIES = {"click", "hypothesis", "numpy", "tomli", "torch"}
PYTEST = {"testing"}

MARK = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

MODULES = sorted(PACKAGE.rglob("*.py"))
every_module = pytest.mark.parametrize(
    "path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES]
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def stage_of(path: Path) -> str:
    """The first name below rnnspec: a package or a module at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that an import statement names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])


def imported(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions and for type checkers too."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, path)
            yield from (
                (f"rnnspec.{alias.name}" for alias in node.names)
                if module == "rnnspec"
                else [module]
            )


def own(path: Path) -> set[str]:
    """The other stages of rnnspec that a file imports."""
    names = {
        name.split(".")[1] if "." in name else "__init__"
        for name in imported(path)
        if name.split(".")[0] == "rnnspec"
    }
    return {"_version" if name == "__version__" else name for name in names} - {stage_of(path)}


def foreign(path: Path) -> set[str]:
    """The packages outside the standard library that a file imports."""
    return (
        {name.split(".")[0] for name in imported(path)}
        - {"rnnspec", "__future__"}
        - sys.stdlib_module_names
    )


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(parse(path)) if isinstance(node, Function))


def is_stub(function: Function) -> bool:
    """The body is an ellipsis, with or without a docstring, and no decorator says that this is meant."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    meant = {"abstractmethod", "overload"} & {
        name.split(".")[-1] for name in map(ast.unparse, function.decorator_list)
    }
    return not meant and len(body) == 1 and ast.unparse(body[0]) == "..."


def protocol_methods(path: Path) -> set[int]:
    """The lines of the functions that a Protocol declares, which have no body on purpose."""
    classes = [node for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef)]
    protocols = [
        node for node in classes if any("Protocol" in ast.unparse(base) for base in node.bases)
    ]
    return {item.lineno for node in protocols for item in node.body if isinstance(item, Function)}


@every_module
def test_every_module_has_a_place(path: Path) -> None:
    assert stage_of(path) in STAGES.keys() | FACES.keys(), (
        f"{path.name} is in no stage: give it a number in STAGES"
    )


@every_module
def test_imports_go_one_way(path: Path) -> None:
    stage = stage_of(path)
    faces = FACES.keys() if STAGES.get(stage) == STAGES["__init__"] else set()
    allowed = (
        FACES.get(stage)
        or {name for name, number in STAGES.items() if number < STAGES.get(stage, 0)} | faces
    )
    assert own(path) <= allowed, f"{stage} imports {sorted(own(path) - allowed)}, which come later"


@every_module
def test_imports_only_what_is_declared(path: Path) -> None:
    stage = stage_of(path)
    allowed = ONLY.get(stage, DEPENDENCIES | ({"pytest"} if stage in PYTEST else set()))
    assert foreign(path) <= allowed, f"{stage} imports {sorted(foreign(path) - allowed)}"


@every_module
def test_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parse(path)), "the module has no docstring"
    public = [
        node
        for node in parse(path).body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
    ]
    bare = [node.name for node in public if not ast.get_docstring(node)]
    assert not bare, f"no docstring: {bare}"


@every_module
def test_stays_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 350, f"{lines} lines"
    spans = {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions(path)
    }
    assert not {name: span for name, span in spans.items() if span > 50}, (
        "functions of more than 50 lines"
    )


@every_module
def test_is_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    assert not [
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and MARK.search(token.string)
    ], "marks left behind"
    assert not [
        node.name
        for node in functions(path)
        if is_stub(node) and node.lineno not in protocol_methods(path)
    ], "functions without a body"
    raised = [
        ast.unparse(node.exc)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Raise) and node.exc
    ]
    assert stage_of(path) == "subjects" or not any(
        text.startswith("NotImplementedError") for text in raised
    ), "raises NotImplementedError"


AXES = {axis.name for axis in rnnspec.cases.axes.AXES}
# Read from other modules on purpose: torch offers no public way.
PRIVATE = {"_base", "_version", "_value_"}


def string_comparisons(tree: ast.Module) -> Iterator[str]:
    """Comparisons of something called like an axis with a string, or with a tuple of strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = {name for side in sides for name in axis_names(side)}
            texts = [each for side in sides for each in ast.walk(side) if is_text(each)]
            if names and any(not is_subscript(each, node) for each in texts):
                yield ast.unparse(node)


def axis_names(node: ast.expr) -> Iterator[str]:
    """The axis that an attribute, or an item of a row, is named after."""
    if isinstance(node, ast.Attribute) and node.attr in AXES:
        yield node.attr
    if isinstance(node, ast.Subscript) and is_text(node.slice) and node.slice.value in AXES:
        yield node.slice.value


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_subscript(text: ast.AST, tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Subscript) and node.slice is text for node in ast.walk(tree))


@every_module
def test_compares_no_axis_with_a_string(path: Path) -> None:
    # The layers of the bank take torch's own arguments, which are strings.
    assert stage_of(path) == "selftest" or not list(string_comparisons(parse(path)))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('case.layout == "packed"', 1),
        ('self.dtype in ("float64", "float32")', 1),
        ('row["mode"] != "train"', 1),
        ('"eval" == case.mode', 1),
        ("case.layout is Layout.PACKED", 0),
        ('row["mode"] is Mode.TRAIN', 0),
        ('axis.name == "dtype"', 0),
    ],
)
def test_the_search_for_comparisons_sees_every_form(source: str, found: int) -> None:
    assert len(list(string_comparisons(ast.parse(source)))) == found


@every_module
def test_reads_no_private_attribute_of_others(path: Path) -> None:
    own = {"self", "cls", "super()"}
    text = path.read_text(encoding="utf-8")
    wrong = [
        ast.unparse(node)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute)
        and re.match(r"_(?!_)", node.attr)
        and node.attr not in PRIVATE
        and ast.unparse(node.value) not in own
        and f"self.{node.attr}" not in text
    ]
    assert stage_of(path) == "selftest" or not wrong


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def top_imports(path: Path) -> Iterator[str]:
    """The modules of rnnspec that are imported when a file is, not for type checkers alone."""
    for node in parse(path).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rnnspec"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if is_module(inner) else node.module or ""


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_imports_have_no_circle() -> None:
    known = {module_name(path): path for path in MODULES}
    graph = {
        name: {found for found in top_imports(path) if found in known} - {name}
        for name, path in known.items()
    }
    # A package that shows what its modules hold imports them, and they do not import the package.
    list(TopologicalSorter(graph).static_order())


def test_the_search_for_imports_sees_every_form(tmp_path: Path) -> None:
    source = "import torch.nn\nfrom numpy import linalg\nfrom rnnspec import cli\ndef f():\n    from rnnspec.api import check\n"
    (tmp_path / "module.py").write_text(source)
    assert set(imported(tmp_path / "module.py")) == {
        "torch.nn",
        "numpy",
        "rnnspec.cli",
        "rnnspec.api",
    }


def test_a_relative_import_is_resolved() -> None:
    (node,) = ast.parse("from ..cases import rows").body
    assert isinstance(node, ast.ImportFrom)
    assert absolute(node, PACKAGE / "contract" / "kinds.py") == "rnnspec.cases"
