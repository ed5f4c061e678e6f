"""Compare the time of checking a wrong layer with that of checking a right layer.

    python -m benchmarks.cost --write

For each kind it checks a sample of planted bugs, and layers that no known mistake describes
(`benchmarks.unknown_layers`), each with the quick profile in this process. Since the load of the
machine changes CPU times, each wrong layer is checked together with the plain layer, and the two
times are compared.
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
from rnnspec.diagnosis.faults import SPENT
from rnnspec.selftest.banks import find_bank

PLAIN_LAYERS = {
    **{"rnn": "Plain", "gru": "PlainGRU", "lstm": "PlainLSTM"},
    **{"rnn-cell": "PlainRNNCell", "gru-cell": "PlainGRUCell", "lstm-cell": "PlainLSTMCell"},
}
"""The correct layer of each bank from which most planted bugs are derived."""
HEAD = (
    *("kind", "right (s of CPU)", "wrong layers", "times as long: median", "90th percentile"),
    *("most", "checking alone: median", "budget used up"),
)
UNKNOWN = "layers that no mistake describes"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the selected kinds, print the table, and write it with `--write`."""
    options = _make_options().parse_args(arguments)
    lines = list(read_lines(options.log))
    known = {(line["kind"], line["layer"]) for line in lines}
    wanted = [each for each in _list_layers(options) if each[:2] not in known]
    for number, (kind, name, is_unknown, layer) in enumerate(wanted, start=1):
        show_progress(f"{number} of {len(wanted)}: {kind} {name}")
        right = find_bank(kind).correct[PLAIN_LAYERS[kind]]
        if number == 1:  # what the first check of a process imports and compiles
            measure_check(right, kind)
        line = {"kind": kind, "layer": name, "unknown": is_unknown}
        line |= {"right": measure_check(right, kind), "wrong": measure_check(layer, kind)}
        add_line(options.log, line)
        lines.append(line)
    write_report(options, "speed.md", {"speed.wrong": make_table(lines)}, lines)


def measure_check(layer: Any, kind: str) -> dict[str, Any]:
    """Return the CPU seconds of a quick check and of checking its cases, and its findings.

    The rest of the seconds goes into postponed rules, the search for faults and programs.
    """
    checked = begun = time.process_time()

    def watch(done: int, total: int) -> None:
        nonlocal checked
        checked = time.process_time()

    report = rnnspec.check(layer, kind=kind, profile="quick", watch=watch)
    return {
        "cpu": time.process_time() - begun,
        "checking": checked - begun,
        "spent": SPENT in report.notes,
        "causes": [each.likely_cause_key for each in report.faults if each.likely_cause_key],
    }


def make_table(lines: Iterable[dict[str, Any]]) -> str:
    """Return a row for each kind, and a row for the layers that no known mistake describes."""
    found = list(lines)
    groups = {
        kind: [each for each in found if each["kind"] == kind and not each["unknown"]]
        for kind in KINDS
    }
    groups[UNKNOWN] = [each for each in found if each["unknown"]]
    rows = [_make_row(name, group) for name, group in groups.items() if group]
    return format_table(HEAD, rows)


def _make_row(name: str, lines: Sequence[dict[str, Any]]) -> tuple[object, ...]:
    ratios = sorted(each["wrong"]["cpu"] / each["right"]["cpu"] for each in lines)
    checking = [each["wrong"]["checking"] / each["right"]["checking"] for each in lines]
    right = statistics.median(each["right"]["cpu"] for each in lines)
    return (
        name,
        float("nan") if name == UNKNOWN else right,
        len(lines),
        statistics.median(ratios),
        ratios[min(len(ratios) - 1, int(0.9 * len(ratios)))],
        ratios[-1],
        statistics.median(checking),
        sum(each["wrong"]["spent"] for each in lines),
    )


def _list_layers(options: argparse.Namespace) -> Iterator[tuple[str, str, bool, Any]]:
    """Yield kind, name, whether no mistake describes it, and the layer."""
    for kind in options.kind or KINDS:
        bugs = sorted(find_bank(kind).bugs.items())
        chosen = random.Random(options.seed).sample(bugs, min(options.bugs, len(bugs)))
        yield from ((kind, name, False, bug) for name, bug in chosen)
        yield from ((kind, each.__name__, True, each) for each in LAYERS.get(kind, ()))


def _make_options() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--kind", nargs="+", choices=[*KINDS], help="the kinds, by default all")
    parser.add_argument("--bugs", type=int, default=30, help="planted bugs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="chooses the planted bugs")
    add_log(parser)
    add_outputs(parser, "speed.md")
    return parser


if __name__ == "__main__":
    main()
