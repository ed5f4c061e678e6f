"""Compare the CPU time of `--fail-fast` with that of the usual test, on the bugs that both detect.

    python -m benchmarks.fail_fast --write

Run it from the root of a checkout. The usual test is the Hypothesis test of forty lines in
benchmarks/rivals.py, with 100 examples; it ends at its first failing example. rnnspec runs as
`rnnspec.check(layer, profile="quick", fail_fast=True)`. Each of both runs on each bug in a process
of its own, forked after all imports, so that nothing is left from an earlier run. Imports include
those that torch makes in the first backward pass.
"""

from __future__ import annotations

import argparse
import importlib
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from statistics import median, quantiles
from typing import TypeVar

import torch
import torch.fx.experimental.symbolic_shapes  # imported by the first call of torch.autograd.grad

import rnnspec.api
from benchmarks.detection import find_complaint
from benchmarks.rivals import run_usual_test
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.report.data import RunVerdict
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest import BUGS

PAGE = "speed.md"
T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """The CPU seconds of both on one bug that the usual test detects, and rnnspec's verdict."""

    name: str
    usual: float
    fail_fast: float
    verdict: str


def run_usual(name: str) -> tuple[str, float]:
    """Return the complaint of the usual test about a bug, or '', and its CPU seconds."""
    start = time.process_time()
    complaint = find_complaint(lambda layer: run_usual_test(layer, 100), BUGS[name])
    return complaint, time.process_time() - start


def run_fail_fast(name: str) -> tuple[str, float]:
    """Return the verdict of rnnspec on a bug with fail_fast, and the CPU seconds."""
    start = time.process_time()
    report = rnnspec.check(BUGS[name], profile="quick", fail_fast=True)
    seconds = time.process_time() - start
    return report.verdict.value, seconds


def run_in_fork(work: Callable[[str], T], name: str) -> T:
    """Return what a function returns in a process that is forked from this one."""
    with get_context("fork").Pool(1, torch.set_num_threads, (1,)) as pool:
        return pool.apply(work, (name,))


def compare_bugs(names: Sequence[str], enough: int) -> list[Comparison]:
    """Compare both on the bugs that the usual test detects, until there are enough of them."""
    found: list[Comparison] = []
    for number, name in enumerate(names, 1):
        complaint, usual = run_in_fork(run_usual, name)
        progress = f"{number} of {len(names)}: {name}"
        if complaint:
            verdict, seconds = run_in_fork(run_fail_fast, name)
            found.append(Comparison(name, usual, seconds, verdict))
            progress += f", {usual:.2f} s and with fail_fast {seconds:.2f} s"
        show_progress(progress)
        if len(found) == enough:
            break
    return found


def format_comparisons(found: Sequence[Comparison]) -> str:
    """Return a table of the CPU seconds of both."""
    usual, ours = [each.usual for each in found], [each.fail_fast for each in found]
    rows = [
        ("usual test, 100 examples", *summarise(usual)),
        ("rnnspec, quick, `--fail-fast`", *summarise(ours)),
        ("the latter by the former", *summarise([b / a for a, b in zip(usual, ours, strict=True)])),
    ]
    faster = sum(each.fail_fast < each.usual for each in found)
    seen = sum(each.verdict == RunVerdict.VIOLATES.value for each in found)
    return (
        f"{format_table(('CPU seconds', 'median', '90th percentile', 'most'), rows)}\n\n"
        f"Bugs that the usual test detects: {len(found)}. On these, rnnspec needs less CPU time "
        f"in {faster}, and detects {seen}."
    )


def summarise(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 90th percentile and the maximum."""
    spread = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [*values] * 9
    return median(values), spread[-1], max(values)


def import_late_modules() -> None:
    """Import what torch and Hypothesis import on first use, so that no check pays for it.

    torch imports sympy with the first gradient that is given a cotangent, its comparisons with the
    first of them, and its compiler with the first call on the meta device. rnnspec imports the
    modules of its rules when it first needs them.
    """
    list_layer_rules()
    names = (
        "torch.fx.experimental.symbolic_shapes",
        "torch.testing",
        "torch.distributed.tensor",
        "torch._dynamo",
    )
    for name in names:
        with suppress(ImportError):  # not every release has all of them
            importlib.import_module(name)


def main() -> None:
    """Read the arguments, run the benchmark and print the table."""
    import_late_modules()
    parser = make_parser(__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(BUGS),
        default=list(BUGS),
        metavar="NAME",
        help="compare on these bugs only (default: all)",
    )
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="stop after N bugs that the usual test detects, in a random order",
    )
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    names = list(options.only)
    if options.sample is not None:
        random.Random(0).shuffle(names)
    found = compare_bugs(names, options.sample or len(names))
    write_report(
        options,
        PAGE,
        {"speed.fail-fast": format_comparisons(found)},
        [asdict(each) for each in found],
    )


if __name__ == "__main__":
    main()
