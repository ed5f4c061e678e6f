"""What pages quote, for the markers of cog: code as it stands, and the output of commands.

`<!-- [[[cog show("rnnspec/rules/states.py", "order") ]]] -->` quotes definitions of a file, and
`run("rnnspec rules")` shows a command with its output.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
from pathlib import Path

from cogapp import Cog

ROOT = Path(__file__).parents[1]
PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
PROLOGUE = "import cog, excerpts\ndef show(*given): cog.outl(excerpts.quote_code(*given))\n"
RUN = "def run(command): cog.outl(excerpts.quote_run(command))\n"


def fill_page(page: str, *, runs: bool) -> str:
    """Return a page with what stands between its markers written anew.

    Commands are run only if `runs`; otherwise a page that has any is returned as it is.
    """
    if not runs and "[[[cog run(" in page:
        return page
    cog = Cog()
    cog.options.prologue = PROLOGUE + RUN
    cog.options.include_path = [str(ROOT / "docs")]
    filled: str = cog.process_string(page)
    return filled


def quote_code(file: str, *names: str) -> str:
    """Return definitions of a Python file as a block of code.

    Raises LookupError if there is none of a name.
    """
    text = (ROOT / file).read_text(encoding="utf-8")
    found = [find_definition(text, name) for name in names]
    return "\n".join(["```python", "\n\n\n".join(found), "```"])


def find_definition(text: str, name: str) -> str:
    """Return a function, class or constant of a module, with its decorators. Raises LookupError."""
    for node in ast.parse(text).body:
        if name in _names_of(node):
            decorators = getattr(node, "decorator_list", [])
            first = min(each.lineno for each in (node, *decorators))
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"no definition of {name}")


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [each.id for each in node.targets if isinstance(each, ast.Name)]
    return []


def quote_run(command: str) -> str:
    """Return a command and what it prints as a console block."""
    return f"```console\n$ {command}\n{run_command(command)}\n```"


def run_command(command: str) -> str:
    """Return what a command prints; it may find a violation (exit 1).

    Raises RuntimeError if it could not check.
    """
    done = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=os.environ | PLAIN,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        said = done.stderr or done.stdout
        raise RuntimeError(f"{command!r} ended with status {done.returncode}: {said}")
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
