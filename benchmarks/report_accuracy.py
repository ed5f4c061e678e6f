"""Measure the quality of reports: the names, number and causes of faults, and the time taken.

    python -m benchmarks.report_accuracy --log reports.jsonl --pairs 100 --write

Run it from the root of a checkout. Each planted bug of each kind of layer, and each wrong model, is
checked in quick. A report names a bug first if the name of the first fault is the rule in the label
of the bug, or a rule that the label declares as equally good. Random pairs of bugs that override
different methods are planted in one layer; a bug of a pair is reported if a fault has one of its
names, or the name or the likely cause that the bug has when it is planted alone. The time is CPU
time, divided by that of a correct layer, which is checked before every fourth bug. Likely causes
are compared with the labels of `benchmarks.causes`. Each finished check becomes a line of the log
and is not repeated.

The whole takes many hours. `--kind` selects kinds, `--only` bugs by name, `--sample` draws some of
them at random, and `--part` writes some of the tables only:

    python -m benchmarks.report_accuracy --kind lstm gru --sample 60 --log reports.jsonl \
        --part bugs pairs
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

from benchmarks.bugs import MODELS, add_selection, find_bank, select_bugs
from benchmarks.causes import CauseResult, list_comparisons, read_labels, select_labels
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
from rnnspec.api import check, check_model
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.report.data import FaultSummary, Report
from rnnspec.selftest.bank import list_good_names
from rnnspec.selftest.banks import Bank
from rnnspec.selftest.bugs.planted import Planted

PAGE = "report-accuracy.md"
BUGS_PER_BASELINE = 4
"""The number of bugs between checks of the correct layer, since machines change their speed."""
MOST_ROOTS = 3
"""The most faults that the report on a pair of bugs may have."""
COMPARED = (CauseResult.RIGHT, CauseResult.WRONG, CauseResult.SILENT)
HEADS = {
    "bugs": ("kind", "bugs detected", "named first", "one fault", "faults with a program"),
    "causes": (
        *("kind", "cause right", "wrong", "missing"),
        "wrong, of bugs that no known mistake describes",
    ),
    "times": ("kind", "wrong layers", "median", "90th percentile", "most"),
    "pairs": ("kind", "pairs", "both reported", f"in at most {MOST_ROOTS} faults"),
}
PARTS = tuple(HEADS)


@dataclass(frozen=True)
class CheckedBug:
    """The content of the report on a layer.

    names     the bugs that it has
    roots     the ids of the rules that name the faults, in the order of the report
    causes    the key of the likely cause of each fault, or an empty text
    missing   the reasons for which faults have no program
    seconds   the CPU seconds of the check
    programs  the program of each fault, or an empty text
    kind      the kind of the layer
    correct   the CPU seconds of the last check of a correct layer, or 0 if none was timed
    broken    the ids of all rules that the layer breaks, and so its row of the kill matrix
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
    broken: list[str] = field(default_factory=list)


def check_bug(names: tuple[str, ...], layer: type[nn.Module], kind: str) -> CheckedBug:
    """Check a layer of a kind and return the content of the report."""
    start = time.process_time()
    if kind == MODELS:
        report: Report = check_model(layer, profile="quick")
    else:
        report = check(layer, profile="quick", kind=kind)
    seconds = time.process_time() - start
    return CheckedBug(
        names,
        [fault.rule for fault in report.faults],
        [fault.likely_cause_key for fault in report.faults],
        [text for fault in report.faults if (text := find_missing(report, fault))],
        seconds,
        report.verdict.value,
        kind,
        [report.result(fault.rule).repro or "" for fault in report.faults],
        broken=[result.rule for result in report.results if result.is_broken],
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

    Attributes that describe the bug, such as that it is narrow, do not change the layer.
    """
    known = find_plain(bank).__mro__
    bases = [base for base in bank.bugs[name].__mro__ if base not in known]
    own = {key for base in bases for key in vars(base) if not key.startswith("__")}
    special = {key for base in bases for key in vars(base) if key in ("__init__", "__setstate__")}
    return frozenset((own | special) - vars(Planted).keys())


def measure_plain(bank: Bank, kind: str) -> float:
    """Return the CPU seconds of a check of the reference layer of a bank."""
    return check_bug(("correct",), find_plain(bank), kind).seconds


def combine(bank: Bank, first: str, second: str) -> type[nn.Module]:
    """Return a layer with two bugs, which can be pickled.

    Raises TypeError if their classes cannot be combined.
    """
    name = f"{first}And{second}"
    layer = type(name, (bank.bugs[first], bank.bugs[second]), {"__module__": __name__})
    globals()[name] = layer
    return layer


def read_log(path: Path | None, kind: str) -> dict[tuple[str, ...], CheckedBug]:
    """Return the finished checks of layers of a kind in a log."""
    found = (CheckedBug(**{**line, "names": tuple(line["names"])}) for line in read_lines(path))
    return {each.names: each for each in found if each.kind == kind}


def run_all(
    jobs: Sequence[tuple[str, ...]], path: Path | None, kind: str, *, is_timed: bool = False
) -> dict[tuple[str, ...], CheckedBug]:
    """Check the layers that are not in the log yet, and return all results."""
    bank, done = find_bank(kind), read_log(path, kind)
    checked, correct = 0, 0.0
    for number, names in enumerate(jobs, 1):
        if names in done:
            continue
        if is_timed and checked % BUGS_PER_BASELINE == 0:
            if not checked:
                measure_plain(bank, kind)  # imports the modules that all later checks share
            correct = measure_plain(bank, kind)
        checked += 1
        layer = bank.bugs[names[0]] if len(names) == 1 else combine(bank, *names)
        done[names] = replace(check_bug(names, layer, kind), correct=correct)
        result = ", ".join(done[names].roots) or "nothing"
        show_progress(f"{number} of {len(jobs)}: {' and '.join(names)}: {result}")
        add_line(path, asdict(done[names]))
    return {names: done[names] for names in jobs}


def summarise_bugs(found: Sequence[CheckedBug]) -> tuple[object, ...]:
    """Return how many single bugs are detected, named rightly, and reported as one fault."""
    seen = [each for each in found if each.roots]
    first = [each for each in seen if each.roots[0] in list_names(each.kind, each.names[0])]
    single = [each for each in seen if len(each.roots) == 1]
    programs = sum(len(each.roots) - len(each.missing) for each in seen)
    return (
        f"{len(seen)} of {len(found)}",
        format_share(len(first), len(seen)),
        format_share(len(single), len(seen)),
        format_share(programs, sum(len(each.roots) for each in seen)),
    )


def summarise_causes(
    found: Sequence[CheckedBug], labels: Mapping[str, Sequence[str]]
) -> tuple[object, ...]:
    """Return how the likely causes of bugs compare with their labels."""
    seen = {each.names[0]: each.causes for each in found if each.roots}
    compared = list_comparisons(seen, labels)
    described = [result for name, result in compared.items() if labels[name]]
    others = [result for name, result in compared.items() if not labels[name]]
    return (
        *(format_share(described.count(result), len(described)) for result in COMPARED),
        format_share(others.count(CauseResult.WRONG), len(others)),
    )


def list_wrong_causes(
    found: Sequence[CheckedBug], labels: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield a line on each bug whose cause is none of its labels, or is missing."""
    causes = {each.names[0]: each.causes for each in found if each.roots}
    for name, result in list_comparisons(causes, labels).items():
        if result in (CauseResult.WRONG, CauseResult.SILENT):
            named = "; ".join(cause for cause in causes[name] if cause) or "nothing"
            wanted = " or ".join(labels[name]) or "anything"
            yield f"{name} is {result.value}: {named}, not {wanted}"


def list_unclear(found: Sequence[CheckedBug]) -> Iterator[str]:
    """Yield a line on each bug that is not reported as a single fault under a good name."""
    for each in found:
        names = list_names(each.kind, each.names[0])
        if len(each.roots) != 1 or each.roots[0] not in names:
            found_as, named = ", ".join(each.roots) or "nothing", " or ".join(names)
            yield f"{each.kind}: {each.names[0]} is reported as {found_as}, not as {named}"


def summarise_pairs(
    pairs: Sequence[CheckedBug], alone: Mapping[tuple[str, ...], CheckedBug]
) -> tuple[object, ...]:
    """Return for how many pairs of bugs both are reported, and in few faults."""
    both = [each for each in pairs if all(is_reported(name, each, alone) for name in each.names)]
    few = [each for each in both if len(each.roots) <= MOST_ROOTS]
    return len(pairs), format_share(len(both), len(pairs)), format_share(len(few), len(pairs))


def list_names(kind: str, name: str) -> tuple[str, ...]:
    """Return the rules that describe a bug of a kind."""
    return list_good_names(find_bank(kind).bugs[name])


def is_reported(name: str, pair: CheckedBug, alone: Mapping[tuple[str, ...], CheckedBug]) -> bool:
    """Return whether a fault has a name of this bug, or the name or cause that it has alone."""
    single = alone[(name,)]
    names = {*list_names(pair.kind, name), *single.roots[:1]}
    cause = single.causes[0]
    return bool(names & set(pair.roots)) or bool(cause and cause in pair.causes)


def summarise_times(found: Sequence[CheckedBug]) -> tuple[object, ...]:
    """Return the CPU time of checks of wrong layers, divided by that of a correct one."""
    ratios = [each.seconds / each.correct for each in found if each.roots and each.correct]
    if not ratios:
        return 0, "", "", ""
    spread = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else ratios * 9
    return len(ratios), *(f"{each:.2f}" for each in (median(ratios), spread[-1], max(ratios)))


def main() -> None:
    """Read the arguments, run the benchmark and print the tables."""
    parser = make_parser(__doc__)
    add_selection(parser)
    choices = [*KINDS, MODELS]
    parser.add_argument(
        "--kind", nargs="+", choices=choices, default=choices, help="the kinds of layers, or models"
    )
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="and N pairs of bugs")
    parser.add_argument("--sample", type=int, metavar="N", help="N of the bugs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="draws the sample and the pairs")
    add_log(parser)
    add_parts(parser, *PARTS)
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    labels = read_labels()
    rows: dict[str, list[tuple[object, ...]]] = {part: [] for part in options.part}
    measured: list[CheckedBug] = []
    for kind in options.kind:
        names = select_bugs(kind, options.only, options.share)
        random.Random(options.seed).shuffle(names)
        names = names[: options.sample]
        alone = run_all([(each,) for each in names], options.log, kind, is_timed="times" in rows)
        seen = sorted(name for name in names if alone[(name,)].roots)
        # Models have other arguments each, so two of them are not joined.
        wanted = 0 if kind == MODELS else options.pairs
        drawn = list(islice(draw_pairs(find_bank(kind), seen, options.seed), wanted))
        pairs = run_all(drawn, options.log, kind)
        singles = list(alone.values())
        described = labels if kind == MODELS else select_labels(labels, kind)
        summaries = {
            "bugs": partial(summarise_bugs, singles),
            "times": partial(summarise_times, singles),
            "causes": partial(summarise_causes, singles, described),
            "pairs": partial(summarise_pairs, list(pairs.values()), alone),
        }
        for part in rows:
            if (part != "causes" or kind != MODELS) and (part != "pairs" or pairs):
                rows[part].append((kind, *summaries[part]()))
        print(*list_unclear(singles), sep="\n")
        print(*list_wrong_causes(singles, described) if kind != MODELS else (), sep="\n")
        measured += [*singles, *pairs.values()]
    texts = {
        f"reports.{part}": format_table(HEADS[part], found) for part, found in rows.items() if found
    }
    write_report(options, PAGE, texts, [asdict(each) for each in measured])


if __name__ == "__main__":
    main()
