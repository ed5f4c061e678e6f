"""Writes what can be generated: the README's first screen, from a real run of the command that stands there.

Run it from an environment where rnnspec is installed: `python docs/build.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCREEN = re.compile(r"(?<=<!-- check -->\n)```console\n\$ (?P<command>[^\n]+)\n.*?```(?=\n<!-- /check -->)", re.DOTALL)
PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}


def output(command: str) -> str:
    """What a command of rnnspec prints, a violation (exit 1) being as good as a success; RuntimeError where it could not check."""
    done = subprocess.run(shlex.split(command), cwd=ROOT, env=os.environ | PLAIN, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command!r} ended with status {done.returncode}: {done.stderr or done.stdout}")
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def with_first_screen(readme: str) -> str:
    """The README with the command between its two `check` markers run again; ValueError where it has no such block."""
    found = SCREEN.search(readme)
    if not found:
        raise ValueError("README.md has no console block between <!-- check --> and <!-- /check -->")
    command = found["command"]
    return readme[: found.start()] + f"```console\n$ {command}\n{output(command)}\n```" + readme[found.end() :]


def main() -> None:
    """Rewrites every generated text in place."""
    readme = ROOT / "README.md"
    readme.write_text(with_first_screen(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
