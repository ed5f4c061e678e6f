"""Excerpts that pages quote: code of this project, and the output of commands.

A page asks for them in the markers of cog. `<!-- [[[cog show("rnnspec/rules/states.py", "order")
]]] -->` quotes definitions of a file, and `run("rnnspec rules")` shows a command and its output.
`table("parts")` shows a table of the recorded results, see `matrix`, and `form("junit")` the report
of this folder in another form.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from cogapp import Cog

from rnnspec.report.files import format_badge, format_junit, format_summary
from rnnspec.report.reading import read_report
from rnnspec.report.sarif import format_annotations, format_sarif

if TYPE_CHECKING:
    from docs.matrix import quote_table
else:  # the folder of the script is on the import path
    from matrix import quote_table

__all__ = [
    "fill_page",
    "quote_code",
    "quote_fault",
    "quote_form",
    "quote_run",
    "quote_table",
    "run_command",
    "shows_runs",
]

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"NO_COLOR": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
PROLOGUE = "import cog, excerpts\ndef show(*given): cog.outl(excerpts.quote_code(*given))\n"
TABLE = "def table(name): cog.outl(excerpts.quote_table(name))\n"
FORM = "def form(name): cog.outl(excerpts.quote_form(name))\n"
RUN = "def run(command): cog.outl(excerpts.quote_run(command))\n"
FAULT = "def run_fault(target): cog.outl(excerpts.quote_fault(target))\n"
LAST_OF_FAULT = "  seen in"
SAMPLE = ROOT / "docs" / "sample-report.json"
"""The report of `rnnspec check examples/in_blocks.py:FastRNN` with a few rules."""
FORMS = {
    "annotations": (format_annotations, "text"),
    "badge": (format_badge, "json"),
    "junit": (format_junit, "xml"),
    "sarif": (format_sarif, "json"),
    "summary": (format_summary, "markdown"),
}
"""The forms of a report that pages show, with the language of each."""
LONGEST = 160
"""The most characters of a line of a form."""


def fill_page(page: str, *, runs: bool) -> str:
    """Return a page in which the text between its markers is up to date.

    A page that shows runs of commands is returned unchanged unless `runs`.
    """
    if not runs and shows_runs(page):
        return page
    cog = Cog()
    cog.options.prologue = PROLOGUE + TABLE + FORM + RUN + FAULT
    cog.options.include_path = [str(ROOT / "docs")]
    filled: str = cog.process_string(page)
    return filled


def shows_runs(page: str) -> bool:
    """Return whether a page shows runs of commands."""
    return "[[[cog run(" in page or "[[[cog run_fault(" in page


def quote_code(file: str, *names: str) -> str:
    """Return definitions of a Python file as a block of code, or the whole file without names.

    Raises LookupError if the file does not define one of the names.
    """
    text = (ROOT / file).read_text(encoding="utf-8")
    found = [find_definition(text, name) for name in names] or [text.rstrip()]
    return "\n".join(["```python", "\n\n\n".join(found), "```"])


def find_definition(text: str, name: str) -> str:
    """Return the source of a function, class or constant of a module, with its decorators.

    Raises LookupError if the module does not define the name.
    """
    for node in ast.parse(text).body:
        if name in _list_names(node):
            decorators = getattr(node, "decorator_list", [])
            first = min(each.lineno for each in (node, *decorators))
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"no definition of {name}")


def _list_names(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [each.id for each in node.targets if isinstance(each, ast.Name)]
    return []


def quote_run(command: str) -> str:
    """Return a command and its output as a block of console text."""
    return f"```console\n$ {command}\n{run_command(command)}\n```"


def quote_fault(target: str) -> str:
    """Return the check of a model and what its report says of the first fault, but no program."""
    command = f"rnnspec check-model {target}"
    lines = run_command(f"{command} --profile quick").splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("FAIL"))
    last = next(n for n, line in enumerate(lines) if n > first and line.startswith(LAST_OF_FAULT))
    shown = lines[first : last + 1]
    return "\n".join(["```console", f"$ {command}", "...", *shown, "...", "```"])


def quote_form(name: str) -> str:
    """Return the report of this folder in a form, as a block. Long lines are cut."""
    write, language = FORMS[name]
    report = read_report(str(SAMPLE))
    lines = [line for line in write(report).rstrip("\n").splitlines() if line.strip()]
    shown = [line if len(line) <= LONGEST else f"{line[:LONGEST]} ..." for line in lines]
    return "\n".join([f"```{language}", *shown, "```"])


def run_command(command: str) -> str:
    """Return the output of a command, without trailing blanks.

    The command may find a violation and exit with status 1. Raises RuntimeError if it exits with
    any other status but 0.
    """
    process = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode not in (0, 1):
        output = process.stderr or process.stdout
        raise RuntimeError(f"{command!r} exited with status {process.returncode}: {output}")
    return "\n".join(line.rstrip() for line in process.stdout.strip("\n").splitlines())
