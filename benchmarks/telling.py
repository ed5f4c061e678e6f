"""Measure how faults are told: by which name, as how many, with which cause, how fast.

    python -m benchmarks.telling --log telling.jsonl --pairs 100 --write

Run it from the root of a checkout. Each planted bug is checked in quick. A report tells a bug first
if the first fault is named by the rule that the bug names, or by one that the bug declares as
equally good. Pairs of bugs, drawn at random from those that override different methods, are planted
in one layer; a bug of a pair is told if a fault has one of its names, or the name or the likely
cause that it has when it is planted alone. The time is CPU time, compared with that of a correct
layer that is checked before every fourth bug. Each finished check becomes a line of the log and is
not repeated.

The likely causes of the bugs of nn.RNN are compared with labels that were given by hand
(benchmarks/causes.py). `--part` writes some of the tables only, such as those of a run over a few
bugs:

    python -m benchmarks.telling --only 'State*' --log telling.jsonl --part causes

`--kind` measures the bank of another kind of layer. A bug about the cell of that kind is checked
whatever `--share` says, which divides those that can be planted in every kind:

    python -m benchmarks.telling --kind lstm --share 1/10 --log lstm.jsonl --pairs 20 --write
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import nn

from benchmarks.bugs import add_selection, select_bugs
from benchmarks.causes import Told, list_comparisons, read_labels
from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import (
    add_outputs,
    add_parts,
    format_share,
    format_table,
    make_parser,
    show_progress,
    write_report,
)
from rnnspec.api import check
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.report.data import FaultSummary, Report
from rnnspec.selftest.bank import list_good_names
from rnnspec.selftest.banks import Bank, find_bank
from rnnspec.selftest.bugs.planted import Planted

PAGE = "how-well-faults-are-told.md"
BUGS_PER_BASELINE = 4
"""The correct layer is checked again before so many bugs: machines are not always equally fast."""
PARTS = ("bugs", "causes", "times", "pairs")
MOST_ROOTS = 3
"""A report on a pair of bugs may have so many faults."""


@dataclass(frozen=True)
class Telling:
    """What the report on a layer tells.

    names     the bugs that it has
    roots     the ids of the rules that name the faults, in the order of the report
    causes    the key of the likely cause of each fault, or an empty text
    missing   the reasons for which faults have no program
    seconds   the CPU seconds of the check
    programs  the program of each fault, or an empty text
    kind      the kind of the layer
    correct   the CPU seconds of the last check of a correct layer, or 0 if none was timed
    """

    names: tuple[str, ...]
    roots: list[str]
    causes: list[str]
    missing: list[str]
    seconds: float
    verdict: str = ""
    kind: str = UNGATED.name
    programs: list[str] = field(default_factory=list)
    correct: float = 0.0


def tell(names: tuple[str, ...], layer: type[nn.Module], kind: str) -> Telling:
    """Check a layer of a kind and return what the report tells."""
    start = time.process_time()
    report = check(layer, profile="quick", kind=kind)
    seconds = time.process_time() - start
    return Telling(
        names,
        [fault.rule for fault in report.faults],
        [fault.likely_cause_key for fault in report.faults],
        [text for fault in report.faults if (text := find_missing(report, fault))],
        seconds,
        report.verdict.value,
        kind,
        [report.result(fault.rule).repro or "" for fault in report.faults],
    )


def find_missing(report: Report, fault: FaultSummary) -> str:
    """Return why a fault has no program, or an empty text."""
    result = report.result(fault.rule)
    return "" if result.repro else f"{fault.rule}: {result.no_repro}"


def draw_pairs(bank: Bank, names: Sequence[str], seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield random pairs of bugs that can be planted in one layer, because nothing is overridden
    by both."""
    numbers = random.Random(seed)
    seen = set()
    while True:
        first, second = sorted(numbers.sample(list(names), 2))
        shared = list_overridden(bank, first) & list_overridden(bank, second)
        if (first, second) in seen or shared:
            continue
        seen.add((first, second))
        try:
            combine(bank, first, second)
        except TypeError:
            continue
        yield first, second


def find_plain(bank: Bank) -> type[nn.Module]:
    """Return the reference layer of a bank, which is its first correct one."""
    return next(iter(bank.correct.values()))


def list_overridden(bank: Bank, name: str) -> frozenset[str]:
    """Return the names that a bug and its bases define, up to the reference layer.

    What a bug says about itself, such as that it is narrow, changes nothing about the layer.
    """
    known = find_plain(bank).__mro__
    bases = [base for base in bank.bugs[name].__mro__ if base not in known]
    own = {key for base in bases for key in vars(base) if not key.startswith("__")}
    special = {key for base in bases for key in vars(base) if key in ("__init__", "__setstate__")}
    return frozenset((own | special) - vars(Planted).keys())


def measure_plain(bank: Bank, kind: str) -> float:
    """Return the CPU seconds of a check of the reference layer of a bank."""
    return tell(("correct",), find_plain(bank), kind).seconds


def combine(bank: Bank, first: str, second: str) -> type[nn.Module]:
    """Return a layer with two bugs, which can be pickled.

    Raises TypeError if their classes cannot be combined.
    """
    name = f"{first}And{second}"
    layer = type(name, (bank.bugs[first], bank.bugs[second]), {"__module__": __name__})
    globals()[name] = layer
    return layer


def read_log(path: Path | None, kind: str) -> dict[tuple[str, ...], Telling]:
    """Return the finished checks of layers of a kind in a log."""
    found = (Telling(**{**line, "names": tuple(line["names"])}) for line in read_lines(path))
    return {each.names: each for each in found if each.kind == kind}


def run_all(
    jobs: Sequence[tuple[str, ...]], path: Path | None, kind: str, *, is_timed: bool = False
) -> dict[tuple[str, ...], Telling]:
    """Check the layers that are not in the log yet, and return all results."""
    bank, done = find_bank(kind), read_log(path, kind)
    checked, correct = 0, 0.0
    for number, names in enumerate(jobs, 1):
        if names in done:
            continue
        if is_timed and checked % BUGS_PER_BASELINE == 0:
            if not checked:
                measure_plain(bank, kind)  # imports what all later checks share
            correct = measure_plain(bank, kind)
        checked += 1
        layer = bank.bugs[names[0]] if len(names) == 1 else combine(bank, *names)
        done[names] = replace(tell(names, layer, kind), correct=correct)
        told = ", ".join(done[names].roots) or "nothing"
        show_progress(f"{number} of {len(jobs)}: {' and '.join(names)}: {told}")
        add_line(path, asdict(done[names]))
    return {names: done[names] for names in jobs}


def summarise_bugs(found: Sequence[Telling]) -> str:
    """Return a table of what the reports on single bugs tell."""
    seen = [each for each in found if each.roots]
    first = [each for each in seen if each.roots[0] in list_names(each.kind, each.names[0])]
    single = [each for each in seen if len(each.roots) == 1]
    caused = [each for each in seen if each.causes[0]]
    programs = sum(len(each.roots) - len(each.missing) for each in seen)
    rows = [
        ("planted bugs, of which quick sees", f"{len(seen)} of {len(found)}"),
        ("told first by their name", format_share(len(first), len(seen))),
        ("told as one fault", format_share(len(single), len(seen))),
        ("with a likely cause", format_share(len(caused), len(seen))),
        ("faults with a program", format_share(programs, sum(len(each.roots) for each in seen))),
    ]
    return format_table(("single bugs", ""), rows)


def summarise_causes(found: Sequence[Telling], labels: Mapping[str, Sequence[str]]) -> str:
    """Return a table of how the likely causes of bugs compare with their labels."""
    seen = {each.names[0]: each.causes for each in found if each.roots}
    compared = list_comparisons(seen, labels)
    described = [told for name, told in compared.items() if labels[name]]
    others = [told for name, told in compared.items() if not labels[name]]
    shares = {told: format_share(described.count(told), len(described)) for told in Told}
    rows = [
        ("bugs that a known mistake describes", f"{len(described)}"),
        ("told with such a mistake, and no other", shares[Told.RIGHT]),
        ("told with another mistake", shares[Told.WRONG]),
        ("told without a cause", shares[Told.SILENT]),
        ("bugs that no known mistake describes", f"{len(others)}"),
        ("told with a mistake", format_share(others.count(Told.WRONG), len(others))),
    ]
    return format_table(("likely causes", ""), rows)


def list_wrong_causes(
    found: Sequence[Telling], labels: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield a line on each bug whose cause is none of its labels, or is missing."""
    causes = {each.names[0]: each.causes for each in found if each.roots}
    for name, told in list_comparisons(causes, labels).items():
        if told in (Told.WRONG, Told.SILENT):
            named = "; ".join(cause for cause in causes[name] if cause) or "nothing"
            yield f"{name} is {told.value}: {named}, not {' or '.join(labels[name]) or 'anything'}"


def summarise_pairs(pairs: Sequence[Telling], alone: dict[tuple[str, ...], Telling]) -> str:
    """Return a table of what the reports on pairs of bugs tell."""
    both = [each for each in pairs if all(is_told(name, each, alone) for name in each.names)]
    few = [each for each in both if len(each.roots) <= MOST_ROOTS]
    rows = [
        ("pairs", f"{len(pairs)}"),
        ("both told", format_share(len(both), len(pairs))),
        (
            f"both told, with at most {MOST_ROOTS} faults in the report",
            format_share(len(few), len(pairs)),
        ),
    ]
    return format_table(("pairs of bugs in one layer", ""), rows)


def list_names(kind: str, name: str) -> tuple[str, ...]:
    """Return the rules that tell what is wrong with a bug of a kind."""
    return list_good_names(find_bank(kind).bugs[name])


def is_told(name: str, pair: Telling, alone: dict[tuple[str, ...], Telling]) -> bool:
    """Return whether a fault has a name of this bug, or the name or cause that it has alone."""
    single = alone[(name,)]
    names = {*list_names(pair.kind, name), *single.roots[:1]}
    cause = single.causes[0]
    return bool(names & set(pair.roots)) or bool(cause and cause in pair.causes)


def summarise_times(found: Sequence[Telling]) -> str:
    """Return a table of the CPU time of checks of wrong layers by that of a correct one."""
    ratios = [each.seconds / each.correct for each in found if each.roots and each.correct]
    spread = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else ratios * 9
    title = f"wrong layer by correct layer, {len(ratios)} bugs"
    rows = [(title, median(ratios), spread[-1], max(ratios))] if ratios else []
    return format_table(("CPU time", "median", "90th percentile", "most"), rows)


def main() -> None:
    """Read the arguments, run the benchmark and print the tables."""
    parser = make_parser(__doc__)
    add_selection(parser)
    parser.add_argument(
        "--kind", choices=list(KINDS), default=UNGATED.name, help="the kind of the layers"
    )
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="and N pairs of bugs")
    parser.add_argument("--seed", type=int, default=0, help="the seed that draws the pairs")
    add_log(parser)
    add_parts(parser, *PARTS)
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    kind, log = options.kind, options.log
    bank = find_bank(kind)
    names = select_bugs(kind, options.only, options.share)
    is_timed = "times" in options.part
    alone = run_all([(name,) for name in names], log, kind, is_timed=is_timed)
    seen = sorted(name for name in names if alone[(name,)].roots)
    pairs = run_all(list(islice(draw_pairs(bank, seen, options.seed), options.pairs)), log, kind)
    singles = list(alone.values())
    tables = {"bugs": partial(summarise_bugs, singles)}
    if is_timed:
        tables["times"] = partial(summarise_times, singles)
    if kind == UNGATED.name:
        tables["causes"] = partial(summarise_causes, singles, read_labels())
        print(*list_wrong_causes(singles, read_labels()), sep="\n")
    if pairs:
        tables["pairs"] = partial(summarise_pairs, list(pairs.values()), alone)
    place = "telling" if kind == UNGATED.name else f"telling.{kind}"
    texts = {f"{place}.{part}": tables[part]() for part in options.part if part in tables}
    write_report(
        options, PAGE, texts, [asdict(each) for each in (*alone.values(), *pairs.values())]
    )


if __name__ == "__main__":
    main()
