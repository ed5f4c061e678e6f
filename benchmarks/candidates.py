"""Compare every candidate of the bank in `tests/comparing` with its model, and time it.

    python -m benchmarks.candidates --write

Each comparison is the command `rnnspec compare` at the original sizes, in a new process and with
nothing beside it. Its time is that of the faster of two runs, and includes all imports. The column
`allclose` is what that function accepts on one random input. Run it from the root of a checkout, on
a machine that does nothing else; it takes about 20 minutes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.comparing.evaluation import list_results
from rnnspec.subjects.settings import restore_settings
from tests.comparing.forms import FORMS
from tests.comparing.hacks import HACKS, Hack, write_candidate
from tests.comparing.right import RIGHT, Right

RUNS = 2
"""How often each comparison is run; its time is that of the faster run."""
TOLERANCE = 1e-4
"""The tolerances of `allclose` that harnesses of generated kernels use."""


def measure(folder: Path, name: str, candidate: Hack | Right) -> dict[str, Any]:
    """Return whether the verdict is right, the causes, the seconds, and the verdict of `allclose`.

    A candidate that falls back to the library computes the right values, so a remark reports it.
    """
    stem, form = name.replace("-", "_"), FORMS[candidate.form]
    (folder / f"reference_{stem}.py").write_text(form, encoding="utf-8")
    source = write_candidate(form, candidate.body, candidate.before)
    (folder / f"candidate_{stem}.py").write_text(source, encoding="utf-8")
    pair = f"reference_{stem}.py:Model", f"candidate_{stem}.py:ModelNew"
    options: tuple[str, ...] = ("--json", "-")
    if isinstance(candidate, Right):
        options = ("--float32-precision", str(candidate.precision), *options)
    runs = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "rnnspec", "compare", *pair, *options],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        runs.append(time.perf_counter() - begun)
    report = json.loads(done.stdout)
    causes = [each["cause"] for each in report["faults"]]
    causes += [each["key"] for each in report["remarks"]]
    is_correct = isinstance(candidate, Right)
    wanted = set() if isinstance(candidate, Right) else {str(each) for each in candidate.causes}
    return {
        "name": name,
        "correct": is_correct,
        "right": done.returncode == 0 if is_correct else bool(wanted & {*causes}),
        "causes": causes,
        "seconds": min(runs),
        "allclose": is_accepted_by_allclose(stem),
    }


def is_accepted_by_allclose(stem: str) -> bool:
    """Return whether one random input and a fixed tolerance show no difference."""
    results: list[torch.Tensor] = []
    for place in (f"reference_{stem}", f"candidate_{stem}"):
        names = vars(importlib.import_module(place))
        torch.manual_seed(0)
        module = (names.get("ModelNew") or names["Model"])(*names["get_init_inputs"]())
        torch.manual_seed(0)
        with restore_settings(), torch.no_grad():
            returned = list_results(module(*names["get_inputs"]()))
            results.append(torch.cat([each.flatten() for _, each in returned]))
    return torch.allclose(results[0], results[1], rtol=TOLERANCE, atol=TOLERANCE)


def format_found(found: list[dict[str, Any]]) -> str:
    """Return a table with a row for the wrong candidates, and a row for the correct candidates."""
    head = ("candidates", "`rnnspec compare`", "`allclose`", "median, s", "slowest, s")
    rows: list[tuple[object, ...]] = []
    for word, verb in (("wrong", "finds"), ("correct", "accepts")):
        bank = [each for each in found if each["correct"] == (word == "correct")]
        seconds = [each["seconds"] for each in bank]
        rows.append(
            (
                f"{len(bank)} {word} candidates",
                f"{verb} {sum(each['right'] for each in bank)}",
                f"accepts {sum(each['allclose'] for each in bank)}",
                f"{median(seconds):.1f}",
                f"{max(seconds):.1f}",
            )
        )
    return format_table(head, rows)


def main() -> int:
    """Measure, and print the table. The status is 1 if a verdict is wrong."""
    parser = make_parser(__doc__)
    add_log(parser)
    add_outputs(parser, "generated-kernels.md")
    options = parser.parse_args()
    bank: dict[str, Hack | Right] = {**HACKS, **RIGHT}
    found = [each for each in read_lines(options.log) if each["name"] in bank]
    known = {each["name"] for each in found}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.path.insert(0, name)
        for candidate in bank:
            if candidate in known:
                continue
            show_progress(f"{len(found) + 1} of {len(bank)}: {candidate}")
            found.append(measure(folder, candidate, bank[candidate]))
            add_line(options.log, found[-1])
    write_report(options, "generated-kernels.md", {"candidates": format_found(found)}, found)
    return int(not all(each["right"] for each in found))


if __name__ == "__main__":
    sys.exit(main())
