"""Compare the shape of this project's code with that of structlog and pluggy, in a table.

Run `python -m benchmarks.code_shape`, with `--write` to fill the tables in docs/architecture.md.
Use an environment in which both other packages are installed (`pip install '.[dev]'`), and a
repository with its history: a second table has the lines of each folder in earlier commits.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.tables import add_outputs, format_table, make_parser, write_report

PACKAGES = ("rnnspec", "structlog", "pluggy")
PAGE = "architecture.md"
COMMITS = {"118b80d4": "before", "44e7c26c": "after the redesign", "HEAD": "now"}
"""The commits whose lines are counted, and their columns."""
TOPICS = {
    "known mistakes and the search for faults": ("diagnosis", "mistakes", "reference"),
    "planted bugs and mutants": ("selftest",),
    "rules and their programs": ("rules", "rulekit"),
    "models": ("models", "readout"),
    "comparing modules, errors at real sizes": ("comparing", "measuring"),
    "contract, cases, subjects, observations": ("contract", "cases", "subjects", "observe"),
    "oracle and plain layers": ("oracle", "plain"),
    "adapters, frameworks, deviations": ("adapters", "inference", "frameworks", "declared"),
    "running and suites": ("engine", "suites", "isolation", "cluster"),
    "reports, command, Python, pytest": ("report", "cli", "api", "testing"),
}
"""The folders of each row; the row "others" has the other modules."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Shape:
    """The counts of one package.

    functions   lines of each function, decorators and docstring included
    modules     lines of each module
    lines       length of each line of code that is not empty
    names       the name of each function that is not special and no rule
    annotations how many annotations there are
    any         how many of them mention Any
    """

    functions: tuple[int, ...]
    modules: tuple[int, ...]
    lines: tuple[int, ...]
    names: tuple[str, ...]
    annotations: int
    any: int


def find_folder(package: str) -> Path:
    """Return the folder of an installed package. Raises LookupError if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])


def measure_package(name: str) -> Shape:
    """Return the shape of an installed package. Raises LookupError if it is not installed."""
    paths = sorted(find_folder(name).rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    trees = [ast.parse(text) for text in texts]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, Function)]
    annotations = [each for tree in trees for each in list_annotations(tree)]
    own = [node for node in functions if not node.name.startswith("__")]
    return Shape(
        functions=tuple(count_lines(node) for node in functions),
        modules=tuple(len(text.splitlines()) for text in texts),
        lines=tuple(len(line) for text in texts for line in text.splitlines() if line.strip()),
        names=tuple(node.name for node in own if not is_rule(node)),
        annotations=len(annotations),
        any=sum("Any" in ast.unparse(each) for each in annotations),
    )


def count_lines(node: Function) -> int:
    """Return how many lines a function takes, its decorators included."""
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return (node.end_lineno or first) - first + 1


def is_rule(node: Function) -> bool:
    """Return whether a function is a rule, whose name is part of the rule's id."""
    return any(ast.unparse(each).startswith("rule(") for each in node.decorator_list)


def is_one_word(name: str) -> bool:
    """Return whether a name is one word, leading underscores aside."""
    return "_" not in name.strip("_")


def list_annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield every annotation of arguments, results and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        if isinstance(node, Function) and node.returns is not None:
            yield node.returns


def find_quantile(values: Sequence[int], share: float) -> int:
    """Return the value below which a share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def describe_shape(shape: Shape) -> list[str]:
    """Return the column of one package."""
    one_word = sum(map(is_one_word, shape.names))
    return [
        str(len(shape.modules)),
        str(len(shape.functions)),
        *(
            f"{median(counts):g}, {find_quantile(counts, 0.9)}, {max(counts)}"
            for counts in (shape.functions, shape.modules, shape.lines)
        ),
        f"{one_word / len(shape.names):.0%}",
        f"{shape.any / max(1, shape.annotations):.0%}",
    ]


ROWS = (
    "modules",
    "functions",
    "lines of a function: median, 90th percentile, most",
    "lines of a module: median, 90th percentile, most",
    "characters of a line: median, 90th percentile, most",
    "functions with a one-word name",
    "annotations that mention Any",
)


def write_table() -> str:
    """Return the table in Markdown; functions that are rules carry the names of their ids."""
    columns = [describe_shape(measure_package(name)) for name in PACKAGES]
    rows = [(row, *(column[place] for column in columns)) for place, row in enumerate(ROWS)]
    return format_table(("", *PACKAGES), rows)


def count_folders(commit: str) -> Counter[str]:
    """Return the lines of each folder of the package in a commit.

    Raises CalledProcessError if the repository does not have the commit.
    """
    packed = subprocess.run(
        ["git", "archive", commit, "rnnspec"],
        cwd=find_folder("rnnspec").parent,
        check=True,
        capture_output=True,
    ).stdout
    lines: Counter[str] = Counter()
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        for each in files:
            content = files.extractfile(each)
            if content is not None and each.name.endswith(".py"):
                lines[each.name.split("/")[1]] += len(content.read().splitlines())
    return lines


def write_folders() -> str:
    """Return the table of lines by topic and commit in Markdown."""
    columns = [count_folders(commit) for commit in COMMITS]
    known = {name for folders in TOPICS.values() for name in folders}
    others = [name for lines in columns for name in lines.keys() - known]
    topics = {**TOPICS, "others": {*others}, "all": {*known, *others}}
    rows = [
        (topic, *(sum(lines[name] for name in folders) for lines in columns))
        for topic, folders in topics.items()
    ]
    return format_table(("lines", *COMMITS.values()), rows)


def main() -> None:
    """Print the tables, and store them if asked."""
    parser = make_parser(__doc__)
    add_outputs(parser, PAGE)
    options = parser.parse_args()
    texts = {"code.shape": write_table(), "code.folders": write_folders()}
    write_report(options, PAGE, texts, texts)


if __name__ == "__main__":
    main()
