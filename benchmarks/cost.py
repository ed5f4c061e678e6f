"""Measure what a check of a wrong layer costs, compared with one of a right layer.

    python -m benchmarks.cost --write

For each kind it checks the plain layer, a sample of its planted bugs, and layers that no known
mistake describes (`benchmarks.unknown_layers`), each with the quick profile in this process, and
measures CPU time and the work that the search for likely causes spends. The median over `--runs`
checks of the plain layer is what a right layer costs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import rnnspec
from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from benchmarks.unknown_layers import LAYERS
from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis.budget import Budget
from rnnspec.selftest.banks import find_bank

PLAIN_LAYERS = {
    **{"rnn": "Plain", "gru": "PlainGRU", "lstm": "PlainLSTM"},
    **{"rnn-cell": "PlainRNNCell", "gru-cell": "PlainGRUCell", "lstm-cell": "PlainLSTMCell"},
}
"""The correct layer of each bank from which most planted bugs are derived."""
HEAD = (
    *("kind", "right (s of CPU)", "wrong layers", "times as long: median", "90th percentile"),
    *("most", "most work for a case"),
)
PLAIN, UNKNOWN = "the right layer", "layers that no mistake describes"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, print the table, and write it if that is asked for."""
    options = _make_options().parse_args(arguments)
    known = {(line["kind"], line["layer"], line["run"]) for line in read_lines(options.log)}
    wanted = [each for each in _list_layers(options) if each[:3] not in known]
    lines = list(read_lines(options.log))
    for number, (kind, name, run, is_unknown, layer) in enumerate(wanted, start=1):
        show_progress(f"{number} of {len(wanted)}: {kind} {name}")
        line = {"kind": kind, "layer": name, "run": run, "unknown": is_unknown}
        line |= measure_check(layer, kind)
        add_line(options.log, line)
        lines.append(line)
    write_report(options, "speed.md", {"speed.wrong": make_table(lines)}, lines)


def measure_check(layer: Any, kind: str) -> dict[str, float]:
    """Return the CPU seconds of a quick check, its cases, and the work of its search for causes."""
    spent: list[Budget] = []
    make = Budget.for_cases

    def note(cases: int) -> Budget:
        spent.append(make(cases))
        return spent[-1]

    Budget.for_cases = note  # type: ignore[method-assign]
    begun = time.process_time()
    try:
        report = rnnspec.check(layer, kind=kind, profile="quick")
    finally:
        Budget.for_cases = make  # type: ignore[method-assign]
    work = sum(make(report.cases).left - each.left for each in spent)
    return {"cpu": time.process_time() - begun, "cases": report.cases, "work": work}


def make_table(lines: Iterable[dict[str, Any]]) -> str:
    """Return a row for each kind, and one for the layers of all kinds that nothing describes."""
    found = list(lines)
    right = {
        kind: statistics.median(times)
        for kind in KINDS
        if (times := [each["cpu"] for each in found if _is_right(each) and each["kind"] == kind])
    }
    wrong = [each for each in found if not _is_right(each) and each["kind"] in right]
    groups = {UNKNOWN: [each for each in wrong if each["unknown"]]}
    for kind in right:
        groups[kind] = [each for each in wrong if each["kind"] == kind and not each["unknown"]]
    rows = [_make_row(name, groups[name], right) for name in (*right, UNKNOWN)]
    return format_table(HEAD, [row for row in rows if row])


def _is_right(line: dict[str, Any]) -> bool:
    return bool(line["layer"] == PLAIN)


def _make_row(
    name: str, lines: Sequence[dict[str, Any]], right: dict[str, float]
) -> tuple[object, ...]:
    if not lines:
        return ()
    ratios = sorted(each["cpu"] / right[each["kind"]] for each in lines)
    work = max(each["work"] / each["cases"] for each in lines)
    last = ratios[min(len(ratios) - 1, int(0.9 * len(ratios)))]
    base = right.get(name, float("nan"))
    return name, base, len(lines), statistics.median(ratios), last, ratios[-1], round(work)


def _list_layers(options: argparse.Namespace) -> Iterator[tuple[str, str, int, bool, Any]]:
    """Yield kind, name, number of the run, whether no mistake describes it, and the layer."""
    for kind in options.kind or KINDS:
        bank = find_bank(kind)
        layer = bank.correct[PLAIN_LAYERS[kind]]
        yield from ((kind, PLAIN, run, False, layer) for run in range(options.runs))
        bugs = sorted(bank.bugs.items())
        chosen = random.Random(options.seed).sample(bugs, min(options.bugs, len(bugs)))
        yield from ((kind, name, 0, False, bug) for name, bug in chosen)
        yield from ((kind, each.__name__, 0, True, each) for each in LAYERS.get(kind, ()))


def _make_options() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--kind", nargs="+", choices=[*KINDS], help="the kinds, by default all")
    parser.add_argument("--bugs", type=int, default=30, help="planted bugs of each kind")
    parser.add_argument("--runs", type=int, default=3, help="checks of the right layer")
    parser.add_argument("--seed", type=int, default=0, help="chooses the planted bugs")
    add_log(parser)
    add_outputs(parser, "speed.md")
    return parser


if __name__ == "__main__":
    main()
