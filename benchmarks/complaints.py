"""Run the tests that rival rnnspec on planted bugs and correct layers, and store their complaints.

The rivals are the usual tests in benchmarks/rivals.py and the tests of vendors in
benchmarks/vendors. Any exception that a test raises is a complaint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from time import process_time

from torch import nn

from benchmarks.log import add_line, read_lines
from benchmarks.rivals import run_generic_samples, run_usual_test
from benchmarks.tables import show_progress
from benchmarks.vendors.problems import find_own
from benchmarks.vendors.recipes import list_recipes
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.processes import start_processes
from rnnspec.subjects.settings import restore_settings

Test = Callable[[type[nn.Module]], None]
Complaints = dict[str, tuple[str, float]]
"""By test, why a layer is wrong, or '' if the test accepts it, and the CPU seconds."""
RIVALS, VENDORS = "rivals", "vendors"


def list_usual_tests(kind: Kind) -> dict[str, Test]:
    """Return the usual tests of a kind, by name."""
    return {
        "Hypothesis test, 100 examples": partial(run_usual_test, examples=100, kind=kind),
        "Hypothesis test, 1,000 examples": partial(run_usual_test, examples=1000, kind=kind),
        "samples of PyTorch's generic module tests": partial(run_generic_samples, kind=kind),
    }


def list_vendors_tests(kind: Kind) -> dict[str, Test]:
    """Return the tests of vendors for a kind of layer, by name, with their reference results.

    Raises ValueError for cells.
    """
    tests = {recipe.name: recipe.run for recipe in list_recipes(kind)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for test in tests.values():
            test(find_own(kind))  # so that no layer is charged for the reference results
    return tests


LISTS: Mapping[str, Callable[[Kind], dict[str, Test]]] = {
    RIVALS: list_usual_tests,
    VENDORS: list_vendors_tests,
}


@cache
def prepare_tests(part: str, kind: str) -> dict[str, Test]:
    """Return the tests of a part for a kind, by name; they are prepared once in each process."""
    return LISTS[part](KINDS[kind])


def find_complaint(test: Test, layer: type[nn.Module]) -> str:
    """Return the exception that a test raises, on one line, or '' if it passes."""
    with restore_settings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            test(layer)
        except Exception as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return ""


def check_layer(part: str, kind: str, name: str) -> Complaints:
    """Return the complaints of all tests of a part about a layer of the bank of a kind."""
    bank, found = find_bank(kind), Complaints()
    layer = bank.bugs[name] if name in bank.bugs else bank.correct[name]
    for check, test in prepare_tests(part, kind).items():
        start = process_time()
        complaint = find_complaint(test, layer)
        found[check] = complaint, process_time() - start
    return found


def read_complaints(log: Path | None, part: str, kind: str) -> dict[str, Complaints]:
    """Return the complaints about layers of a kind that a log contains, by layer."""
    return {
        line["layer"]: {check: (text, seconds) for check, (text, seconds) in line["found"].items()}
        for line in read_lines(log)
        if (line["part"], line["kind"]) == (part, kind)
    }


def check_all(
    part: str, kind: str, names: Sequence[str], workers: int, log: Path | None = None
) -> dict[str, Complaints]:
    """Return the complaints about every layer. Layers in the log are not tested again."""
    known = read_complaints(log, part, kind)
    rest = [name for name in names if name not in known]
    if rest:
        with start_processes(workers) as pool:
            checked = pool.map(partial(check_layer, part, kind), rest)
            for number, (name, found) in enumerate(zip(rest, checked, strict=True), 1):
                known[name] = found
                show_progress(f"{number} of {len(rest)}: {name}")
                add_line(log, {"part": part, "kind": kind, "layer": name, "found": found})
    return {name: known[name] for name in names}
