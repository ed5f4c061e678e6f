"""Count words that mark clipped, hard-to-read English in docstrings and comments.

Run `python -m benchmarks.language`, with `--write` to fill the table in docs/architecture.md. It
counts per 10,000 words, in rnnspec and in the installed projects that are known for readable code
(`pip install '.[dev]'`). `--folders` counts each folder of rnnspec.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.code_shape import find_folder
from benchmarks.tables import add_outputs, format_table, make_parser, write_report

PACKAGES = ("rnnspec", "structlog", "pluggy", "attr", "hypothesis")
PAGE = "architecture.md"
WORD = re.compile(r"[A-Za-z][A-Za-z']*")
COUNTED = {
    "what": r"what",
    "one": r"ones?",
    "says, said": r"says|said",
    "those": r"those",
    "in which": r"in which",
    "judge": r"judg\w+",
    "tell": r"tells?|told|telling",
    "use": r"uses?|used|using",
    "you": r"you|your",
}
"""The expressions that are counted as whole words, in any case, by the name of their row."""
DEFINITIONS = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Prose:
    """The docstrings and comments of some files, and how many lines these have."""

    texts: tuple[str, ...]
    comments: int
    lines: int

    @cached_property
    def words(self) -> int:
        """The number of words."""
        return sum(len(WORD.findall(text)) for text in self.texts)

    def count(self, row: str) -> float:
        """Return how often the expression of a row occurs in 10,000 words."""
        pattern = re.compile(rf"\b(?:{COUNTED[row]})\b", re.IGNORECASE)
        found = sum(len(pattern.findall(text)) for text in self.texts)
        return 1e4 * found / max(1, self.words)

    def count_openings(self) -> float:
        """Return the number of sentences per 10,000 words that begin with "What"."""
        pattern = re.compile(r"(?:\A|[.:]\s+|\n\n\s*)What\b")
        found = sum(len(pattern.findall(text)) for text in self.texts)
        return 1e4 * found / max(1, self.words)

    @property
    def comment_density(self) -> float:
        """The number of comments in 1,000 lines."""
        return 1e3 * self.comments / max(1, self.lines)


def list_docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, its classes, functions and constants."""
    for node in walk_statements(tree):
        if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node)):
            yield text
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef) and isinstance(body, list):
            yield from (
                each.value.value
                for before, each in itertools.pairwise(body)
                if isinstance(before, ast.Assign | ast.AnnAssign)
                and isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Constant)
                and isinstance(each.value.value, str)
            )


def walk_statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and the statements in it: no expression contains a docstring."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from walk_statements(child)


def list_comments(text: str) -> list[str]:
    """Return the comments of a source file; adjacent comment lines are one comment."""
    found: list[str] = []
    last = -2
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith(("#!", "# type:", "# noqa")):
            continue
        line = token.string.lstrip("# ")
        stands_alone = token.line.lstrip().startswith("#")
        if stands_alone and token.start[0] == last + 1:
            found[-1] = f"{found[-1]} {line}"
        else:
            found.append(line)
        last = token.start[0] if stands_alone else -2
    return found


def read_prose(folder: Path) -> Prose:
    """Return the docstrings and comments of all files below a folder."""
    texts: list[str] = []
    comments = lines = 0
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        own = list_comments(source)
        texts += [*list_docstrings(ast.parse(source)), *own]
        comments += len(own)
        lines += source.count("\n")
    return Prose(tuple(texts), comments, lines)


def describe(prose: Prose) -> list[int]:
    """Return the column of one package or folder."""
    counts = [*map(prose.count, COUNTED), prose.count_openings(), prose.comment_density]
    return [*map(round, counts), prose.words]


ROWS = (*COUNTED, 'sentences that begin with "What"', "comments per 1,000 lines", "words")


def write_table(names: tuple[str, ...], columns: list[Prose]) -> str:
    """Return the table in Markdown."""
    described = [describe(each) for each in columns]
    rows = [(row, *(column[place] for column in described)) for place, row in enumerate(ROWS)]
    return format_table(("", *names), rows)


def main() -> None:
    """Print the table, and store it if asked."""
    parser = make_parser(__doc__)
    add_outputs(parser, PAGE)
    parser.add_argument("--folders", action="store_true", help="count each folder of rnnspec")
    options = parser.parse_args()
    if options.folders:
        folders = sorted(each for each in find_folder("rnnspec").iterdir() if each.is_dir())
        found = [(each.name, read_prose(each)) for each in folders]
        rows = [(name, *describe(prose)) for name, prose in found if prose.lines]
        print(format_table(("folder", *ROWS), rows))
        return
    text = write_table(PACKAGES, [read_prose(find_folder(name)) for name in PACKAGES])
    write_report(options, PAGE, {"code.language": text}, text)


if __name__ == "__main__":
    main()
