"""Checks of the source code: imports, sizes, names of classes, docstrings, comparisons of axes."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypeGuard

import pytest

import rnnspec.cases.axes
from rnnspec.contract import kinds
from tests import standard_library
from tests.source_files import PACKAGE, check_each_module, find_stage, list_nodes, parse_module

ROOT = PACKAGE.parent

# A stage may import itself and stages with a smaller number, but no other stage with the same one.
STAGES = {
    "_version": 0,
    "errors": 0,
    "svg": 0,
    "text": 0,
    "options": 2,
    "contract": 1,
    "oracle": 3,
    "cases": 3,
    "readout": 3,
    "subjects": 4,
    "observe": 5,
    "inference": 9,
    "adapters": 5,
    "reference": 6,
    "plain": 7,
    "mistakes": 8,
    "rulekit": 9,
    "rules": 10,
    "models": 10,
    "engine": 10,
    "diagnosis": 11,
    "report": 12,
    "declared": 12,
    "comparing": 13,
    "measuring": 13,
    "suites": 13,
    "pipeline": 13,
    "isolation": 14,
    "cluster": 15,
    "api": 15,
    "testing": 16,
    "selftest": 16,
    "frameworks": 17,
    "cli": 17,
    "__init__": 17,
    "__main__": 18,
}

# Public modules that re-export parts of stages. Each imports only these, and no stage imports it.
FACES = {"adapt": {"adapters"}, "shapes": {"contract"}, "strategies": {"cases", "contract"}}

# Stages that must work with only these packages installed. All others may use every dependency.
ALLOWED = {
    "_version": set[str](),
    "errors": set[str](),
    "svg": set[str](),
    "text": set[str](),
    "contract": {"tomli"},
    "oracle": {"numpy"},
    "readout": set[str](),
}
DEPENDENCIES = {"click", "filelock", "hypothesis", "numpy", "threadpoolctl", "tomli", "torch"}
PYTEST = {"testing"}
DASK = {"cluster"}
LIBRARIES = {
    "adapters": {"jax", "mlx"},
    "report": {"jinja2", "markupsafe"},
    "frameworks": {"equinox", "flax", "haiku", "jax", "keras", "mlx", "onnx", "onnxruntime"},
}

MARK = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

MODULES = sorted(PACKAGE.rglob("*.py"))
every_module = check_each_module(MODULES)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def resolve_module(node: ast.ImportFrom, path: Path) -> str:
    """Return the module that an import statement names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])


def list_imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, also in functions and for type checkers."""
    for node in list_nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_module(node, path)
            yield from (
                (f"rnnspec.{alias.name}" for alias in node.names)
                if module == "rnnspec"
                else [module]
            )


def list_other_stages(path: Path) -> set[str]:
    """Return the stages of rnnspec, other than its own, that a file imports."""
    names = {
        name.split(".")[1] if "." in name else "__init__"
        for name in list_imports(path)
        if name.split(".")[0] == "rnnspec"
    }
    return {"_version" if name == "__version__" else name for name in names} - {find_stage(path)}


def list_foreign_packages(path: Path) -> set[str]:
    """Return the packages outside the standard library that a file imports."""
    return (
        {name.split(".")[0] for name in list_imports(path)}
        - {"rnnspec", "__future__"}
        - standard_library.MODULES
    )


def list_functions(path: Path) -> Iterator[Function]:
    """Yield the functions and methods of a file."""
    return (node for node in list_nodes(path) if isinstance(node, Function))


def is_stub(function: Function) -> bool:
    """Return whether the body is an ellipsis, unless a decorator says that this is intended."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    intended = {"abstractmethod", "overload"} & {
        name.split(".")[-1] for name in map(ast.unparse, function.decorator_list)
    }
    return not intended and len(body) == 1 and ast.unparse(body[0]) == "..."


def find_protocol_lines(path: Path) -> set[int]:
    """Return the lines of the methods that protocols declare, which have no body on purpose."""
    classes = [node for node in list_nodes(path) if isinstance(node, ast.ClassDef)]
    protocols = [
        node for node in classes if any("Protocol" in ast.unparse(base) for base in node.bases)
    ]
    return {item.lineno for node in protocols for item in node.body if isinstance(item, Function)}


@every_module
def test_module_belongs_to_a_stage(path: Path) -> None:
    assert find_stage(path) in STAGES.keys() | FACES.keys(), (
        f"{path.name} belongs to no stage; add one to STAGES"
    )


@every_module
def test_module_imports_only_earlier_stages(path: Path) -> None:
    stage = find_stage(path)
    faces = FACES.keys() if STAGES.get(stage) == STAGES["__init__"] else set()
    allowed = (
        FACES.get(stage)
        or {name for name, number in STAGES.items() if number < STAGES.get(stage, 0)} | faces
    )
    assert list_other_stages(path) <= allowed, (
        f"{stage} imports {sorted(list_other_stages(path) - allowed)}; expected only earlier stages"
    )


@every_module
def test_module_imports_only_declared_dependencies(path: Path) -> None:
    stage = find_stage(path)
    more = ({"pytest"} if stage in PYTEST else set()) | (
        {"distributed"} if stage in DASK else LIBRARIES.get(stage, set())
    )
    allowed = ALLOWED.get(stage, DEPENDENCIES | more)
    assert list_foreign_packages(path) <= allowed, (
        f"{stage} imports {sorted(list_foreign_packages(path) - allowed)}; expected only {allowed}"
    )


@every_module
def test_module_and_its_public_names_have_docstrings(path: Path) -> None:
    assert ast.get_docstring(parse_module(path)), "the module has no docstring"
    public = [
        node
        for node in parse_module(path).body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
    ]
    bare = [node.name for node in public if not ast.get_docstring(node)]
    assert not bare, f"without a docstring: {bare}"


@every_module
def test_module_and_its_functions_are_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 700, f"{lines} lines; expected at most 700"
    spans = {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in list_functions(path)
    }
    assert not {name: span for name, span in spans.items() if span > 50}, (
        "functions of more than 50 lines"
    )


@pytest.mark.mostly_slow
@every_module
def test_module_is_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    assert not [
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and MARK.search(token.string)
    ], "comments such as TODO"
    assert not [
        node.name
        for node in list_functions(path)
        if is_stub(node) and node.lineno not in find_protocol_lines(path)
    ], "functions without a body"
    raised = [
        ast.unparse(node.exc)
        for node in list_nodes(path)
        if isinstance(node, ast.Raise) and node.exc
    ]
    assert find_stage(path) == "subjects" or not any(
        text.startswith("NotImplementedError") for text in raised
    ), "raises NotImplementedError"


AXES = {axis.name for axis in rnnspec.cases.axes.AXES}
# Private attributes of torch, enum and os that have no public equivalent.
PRIVATE = {"_base", "_version", "_value_", "_exit", "_schema"}


def find_string_comparisons(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield comparisons of something named after an axis with a string or a tuple of strings."""
    for node in nodes:
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = {name for side in sides for name in find_axis_names(side)}
            texts = [each for side in sides for each in ast.walk(side) if is_text(each)]
            if names and any(not is_subscript(each, node) for each in texts):
                yield ast.unparse(node)


def find_axis_names(node: ast.expr) -> Iterator[str]:
    """Yield the axis after which an attribute, or an item of a row, is named."""
    if isinstance(node, ast.Attribute) and node.attr in AXES:
        yield node.attr
    if isinstance(node, ast.Subscript) and is_text(node.slice) and node.slice.value in AXES:
        yield node.slice.value


def is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    """Return whether a node is a string."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_subscript(text: ast.AST, tree: ast.AST) -> bool:
    """Return whether a string is the key of a subscript in the tree."""
    return any(isinstance(node, ast.Subscript) and node.slice is text for node in ast.walk(tree))


@every_module
def test_module_compares_no_axis_with_a_string(path: Path) -> None:
    # The plain layer and those of the bank take the arguments of torch, which are strings.
    assert find_stage(path) in ("plain", "selftest") or not list(
        find_string_comparisons(list_nodes(path))
    )


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
def test_every_form_of_comparison_is_found(source: str, found: int) -> None:
    assert len(list(find_string_comparisons(ast.walk(ast.parse(source))))) == found


TEXTS = {"text", "remedy", "message"}
"""The names of what is written for people."""
READING = {
    *("startswith", "endswith", "removesuffix", "removeprefix", "partition", "rpartition"),
    *("split", "replace", "find", "index", "count"),
}
"""The methods that find words in a string, or replace them."""


def find_decisions_by_text(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield where a text is compared, searched or taken apart, and imports of `re`."""
    for node in nodes:
        if isinstance(node, ast.Compare) and any(map(is_written, [node.left, *node.comparators])):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in READING and is_written(node.func.value):
                yield ast.unparse(node)
        elif isinstance(node, ast.Import) and any(each.name == "re" for each in node.names):
            yield ast.unparse(node)


def is_written(node: ast.expr) -> bool:
    """Return whether a name or an attribute is that of something written for people."""
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name in TEXTS


@every_module
def test_no_text_of_a_mistake_or_a_cause_decides_anything(path: Path) -> None:
    is_about_mistakes = find_stage(path) in ("mistakes", "diagnosis")
    found = list(find_decisions_by_text(list_nodes(path))) if is_about_mistakes else []
    assert not found, found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"zero" in text', 1),
        ("reported.text == other.text", 1),
        ("reported.text.rpartition(': ')[2]", 1),
        ("text.removesuffix(CLIPPED)", 1),
        ("import re", 1),
        ("reported.key == other.key", 0),
        ("text.format(name)", 0),
        ("text + when", 0),
    ],
)
def test_every_form_of_decision_is_found(source: str, found: int) -> None:
    assert len(list(find_decisions_by_text(ast.walk(ast.parse(source))))) == found


def is_numeric(node: ast.AST) -> bool:
    """Return whether an expression consists of numbers only."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.UnaryOp(operand=operand):
            return is_numeric(operand)
        case ast.BinOp(left=left, right=right):
            return is_numeric(left) and is_numeric(right)
        case ast.Tuple(elts=values) | ast.Dict(values=values):
            return bool(values) and all(map(is_numeric, values))
    return False


def find_unexplained_numbers(tree: ast.Module, lines: list[str]) -> Iterator[str]:
    """Yield the constants of a module that are numbers, and have no comment directly above."""
    for node in tree.body:
        is_number = isinstance(node, ast.Assign | ast.AnnAssign) and is_numeric(node.value or node)
        if is_number and not lines[node.lineno - 2 : node.lineno - 1][0].startswith("#"):
            yield lines[node.lineno - 1]


@pytest.mark.parametrize("stage", ["diagnosis", "mistakes"])
def test_each_threshold_has_its_reason(stage: str) -> None:
    # What a number means stands below it, and above it how it was chosen, or that nobody knows.
    paths = [path for path in MODULES if find_stage(path) == stage]
    assert paths
    assert not [
        f"{path.name}: {line}"
        for path in paths
        for line in find_unexplained_numbers(
            parse_module(path), path.read_text(encoding="utf-8").splitlines()
        )
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 1\nLEAST = 0.5\n", 2),
        ("#\nLEAST, MOST = 2, 5\n", 0),
        ("\nLEAST: float = -(2.0**-3)\n", 1),
        ("\nSLACK = {8: 30.0, 4: 3.0}\n", 1),
        ("\nNAMES = ('a', 'b')\nFLAG = True\n", 0),
    ],
)
def test_every_form_of_threshold_is_found(source: str, found: int) -> None:
    text = f"\n{source}"
    assert len(list(find_unexplained_numbers(ast.parse(text), text.splitlines()))) == found


KIND_TUPLES = {"states", "initial", "final", "gates"}
KIND_NAMES = {"title", "name", "page", "qualified_name"}
KIND_OBJECTS = {name for name in vars(kinds) if isinstance(getattr(kinds, name), kinds.Kind)}


def find_tests_of_kinds(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield comparisons of kinds by name, or by the number of their states or gates."""
    for node in nodes:
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = [
                part
                for side in sides
                for part in (side.elts if isinstance(side, ast.Tuple | ast.List) else [side])
            ]
            is_count = any(map(counts_parts, sides)) and any(map(is_number, sides))
            if is_count or any(map(names_kind, parts)):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            place, *names = node.args
            named = {getattr(part, "attr", "") for name in names for part in ast.walk(name)}
            if ast.unparse(place) in ("nn", "torch.nn") and named & KIND_NAMES:
                yield ast.unparse(node)


def names_kind(node: ast.AST) -> bool:
    """Return whether an expression is a kind of torch, or its name."""
    if isinstance(node, ast.Attribute) and node.attr == "name":
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr in KIND_OBJECTS
    if isinstance(node, ast.Name):
        return node.id in KIND_OBJECTS
    return is_text(node) and node.value in kinds.KINDS


def counts_parts(node: ast.AST) -> bool:
    """Return whether an expression counts the states or the gates of a kind."""
    match node:
        case ast.Call(func=ast.Name(id="len"), args=[ast.Attribute(value=owner, attr=name)]):
            return name in KIND_TUPLES and ast.unparse(owner).endswith(("kind", "kind_data"))
    return False


def is_number(node: ast.AST) -> bool:
    """Return whether an expression is a number."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


@every_module
def test_module_asks_a_kind_for_its_data(path: Path) -> None:
    # A kind that torch does not have is declared by the same data, and has no name known here.
    # The layers of another library are built by the names that it gives them.
    is_free = path.name == "kinds.py" or find_stage(path) == "frameworks"
    assert is_free or not list(find_tests_of_kinds(list_nodes(path)))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("kind is GRU", 1),
        ("kind.name == LSTM.name", 1),
        ("kind == kinds.LSTM", 1),
        ('config.kind == "rnn"', 1),
        ('config.kind in ("gru", "lstm")', 1),
        ("len(kind.states) > 1", 1),
        ("1 == len(config.kind_data.gates)", 1),
        ("getattr(nn, kind.title)", 1),
        ('getattr(torch.nn, f"{kind.title}Cell")', 1),
        ("kind.has_several_states", 0),
        ('"c" in kind.states', 0),
        ("len(states) > 1", 0),
        ("len(found) == len(kind.states)", 0),
        ("getattr(nn, config.nonlinearity)", 0),
        ("{GRU.name: 1}[kind.name]", 0),
    ],
)
def test_every_comparison_of_kinds_is_found(source: str, found: int) -> None:
    assert len(list(find_tests_of_kinds(ast.walk(ast.parse(source))))) == found


OF_DEVICES = re.compile(
    r"torch\.(cuda|mps|xpu|accelerator)|\w*\.(data_ptr|untyped_storage|storage|is_cuda|is_xla|is_mps"
    r"|pin_memory|is_pinned|synchronize|Stream|get_rng_state_all)"
)
"""What some devices lack. `device.type`, `cpu()`, `to()` and `tolist()` work on every device."""
MAY_USE_DEVICES = {
    "subjects/devices.py",
    # It replaces the function by which a user's model chooses its device.
    "models/named_devices.py",
}


def find_uses_of_devices(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the attributes that not every device has, without the object before the last dot."""
    for node in nodes:
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            short = text if text.startswith("torch.") else f".{node.attr}"
            if OF_DEVICES.fullmatch(short):
                yield short


@every_module
def test_module_asks_a_device_through_one_module(path: Path) -> None:
    # The layers of the bank are subjects.
    is_free = str(path.relative_to(PACKAGE)) in MAY_USE_DEVICES or find_stage(path) == "selftest"
    assert is_free or not list(find_uses_of_devices(list_nodes(path)))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.cuda.is_available()", ["torch.cuda"]),
        ("f(x).data_ptr() == 0", [".data_ptr"]),
        ("tensor.untyped_storage().nbytes()", [".untyped_storage"]),
        ("torch.backends.cuda.matmul", []),
        ("tensor.device.type, tensor.cpu().tolist()", []),
    ],
)
def test_every_use_of_a_device_is_found(source: str, found: list[str]) -> None:
    assert list(find_uses_of_devices(ast.walk(ast.parse(source)))) == found


@every_module
def test_module_reads_no_private_attribute_of_others(path: Path) -> None:
    own = {"self", "cls", "super()"}
    text = path.read_text(encoding="utf-8")
    wrong = [
        ast.unparse(node)
        for node in list_nodes(path)
        if isinstance(node, ast.Attribute)
        and re.match(r"_(?!_)", node.attr)
        and node.attr not in PRIVATE
        and ast.unparse(node.value) not in own
        and f"self.{node.attr}" not in text
    ]
    assert find_stage(path) == "selftest" or not wrong


def find_callers(name: str) -> set[str]:
    """Return the files in which a function or method of a name is called."""
    return {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if name in path.read_text(encoding="utf-8")
        for node in list_nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name
    }


def test_whoever_starts_a_check_its_cases_and_results_pass_through_the_same_functions() -> None:
    checkers = {"isolation/checker.py", "testing/checking.py"}
    assert find_callers("check_one_case") == {"engine/campaign.py"} | checkers
    assert find_callers("report_progress") == {"pipeline.py"} | checkers
    assert find_callers("complete_report") == {"pipeline.py"}


def returns_nothing(function: Function) -> bool:
    """Return whether a function does nothing but return a constant or something empty."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    returned = ast.unparse(body[0]) if len(body) == 1 else ""
    return returned in {"pass", "return", *(f"return {each}" for each in EMPTY)}


EMPTY = ("None", "''", "()", "[]", "{}", "True", "False", "nullcontext([])")


def test_no_suite_has_methods_only_because_another_one_needs_them() -> None:
    suites = [path for path in MODULES if find_stage(path) == "suites"]
    assert suites
    assert not [
        f"{path.name}: {each.name}"
        for path in suites
        for each in list_functions(path)
        if returns_nothing(each)
    ]


def name_module(path: Path) -> str:
    """Return the full name of the module in a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PRIOR_USES = "rnnspec.cases.axes.prior_use."
MADE_OF_AXES = "rnnspec.cases.case"
"""What happened before a call depends on the call's case, and the case is made of such choices."""


def list_inner_imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the modules of rnnspec that statements import, each by its own name."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rnnspec"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if is_module(inner) else node.module or ""


def is_module(name: str) -> bool:
    """Return whether there is a module or package of this name."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_each_name_of_a_class_names_a_single_class() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in list_nodes(path):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_module(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_each_name_of_a_type_has_a_single_meaning() -> None:
    """Aliases such as `Row = Mapping[str, Any]` may be defined again, but not with another type."""
    meanings: dict[str, set[str]] = {}
    for path in MODULES:
        for node in list_nodes(path):
            if isinstance(node, ast.ClassDef):
                meanings.setdefault(node.name, set()).add(f"class of {name_module(path)}")
        for node in parse_module(path).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
                name = ast.unparse(node.targets[0])
                if name[:1].isupper() and not name.isupper():
                    meanings.setdefault(name, set()).add(ast.unparse(node.value))
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


def test_imports_have_no_cycle() -> None:
    known = {name_module(path): path for path in MODULES}
    graph = {
        name: {found for found in list_inner_imports(parse_module(path).body) if found in known}
        - {name}
        for name, path in known.items()
    }
    # Raises CycleError. A package may import its modules, which then must not import the package.
    list(TopologicalSorter(graph).static_order())


def test_imports_in_functions_and_for_annotations_have_no_cycle_either() -> None:
    known = {name_module(path): path for path in MODULES}
    graph = {
        name: {
            found
            for found in list_inner_imports(list_nodes(path))
            if found in known and not (name.startswith(PRIOR_USES) and found == MADE_OF_AXES)
        }
        - {name}
        for name, path in known.items()
    }
    list(TopologicalSorter(graph).static_order())


def test_every_form_of_import_is_found(tmp_path: Path) -> None:
    source = (
        "import torch.nn\n"
        "from numpy import linalg\n"
        "from rnnspec import cli\n"
        "def f():\n"
        "    from rnnspec.api import check\n"
    )
    (tmp_path / "module.py").write_text(source)
    assert set(list_imports(tmp_path / "module.py")) == {
        "torch.nn",
        "numpy",
        "rnnspec.cli",
        "rnnspec.api",
    }


def test_relative_import_is_resolved() -> None:
    (node,) = ast.parse("from ..cases import rows").body
    assert isinstance(node, ast.ImportFrom)
    assert resolve_module(node, PACKAGE / "contract" / "kinds.py") == "rnnspec.cases"


def test_a_check_of_each_module_names_the_files_that_fail() -> None:
    def is_a_page(path: Path) -> None:
        assert path.name != "page.py", "a page"

    paths = [PACKAGE / "stage" / name for name in ("page.py", "other.py")]
    with pytest.raises(AssertionError, match=r"^stage/page\.py: a page"):
        check_each_module(paths)(is_a_page)("stage")


def test_path_of_a_case_names_existing_functions() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = page.partition("## The path of a case")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z_.]+\.[A-Za-z_.]+)`", walk)
    assert len(named) > 15
    for name in named:
        path, parts = PACKAGE, name.split(".")
        while parts and (path / parts[0]).is_dir():
            path /= parts.pop(0)
        tree: ast.AST = parse_module(path / f"{parts.pop(0)}.py")
        for part in parts:
            nodes = [
                each for each in ast.iter_child_nodes(tree) if getattr(each, "name", "") == part
            ]
            assert nodes, f"{name}: there is no {part}"
            tree = nodes[0]
