"""Count the planted bugs that a quick check detects by any rule.

    python -m benchmarks.seen --log seen.jsonl --write
    python -m benchmarks.seen --kind lstm-cell --share 1/12

Run it from the root of a checkout. Each bug of the bank of a kind is checked until the first case
that breaks a rule, so that most take a second. Nothing is minimised or explained. For the quality
of reports, use `benchmarks.report_accuracy`; for the rules that detect a bug, `rnnspec selftest`.
`--share` divides the bugs that can be planted in every kind. Each bug becomes a line of the log and
is not checked again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.bugs import add_selection, select_bugs
from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.api.layer import prepare_suite
from rnnspec.contract.clauses import Level
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.engine.campaign import run_campaign
from rnnspec.options import CheckOptions
from rnnspec.selftest.bank import find_public_report, is_narrow
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.devices import keep_random_numbers

PAGE = "detection.md"
LEVELS = (Level.MUST, Level.SHOULD)
HEAD = (
    "kind",
    "planted bugs",
    "not in RNNs",
    "narrow",
    "after a public report",
    "seen in quick",
    "not seen",
)


@dataclass(frozen=True)
class Seen:
    """The rules that the first failing case of a quick check breaks, if any."""

    kind: str
    bug: str
    rules: list[str]
    seconds: float


def look(kind: str, bug: str) -> Seen:
    """Check a bug until the first case that breaks a rule."""
    start = time.process_time()
    suite = prepare_suite(find_bank(kind).bugs[bug], CheckOptions(profile="quick", kind=kind))
    with keep_random_numbers():
        tallies = run_campaign(suite, until=LEVELS).tallies
    rules = [name for name, tally in tallies.items() if tally.violations]
    return Seen(kind, bug, rules, time.process_time() - start)


def look_at_all(kind: str, names: Sequence[str], log: Path | None) -> Iterator[Seen]:
    """Yield the detection of each bug of a kind. Bugs in the log are not checked again."""
    done = {(line["kind"], line["bug"]): Seen(**line) for line in read_lines(log)}
    for number, name in enumerate(names, 1):
        if (kind, name) not in done:
            done[kind, name] = look(kind, name)
            show_progress(f"{kind}: {number} of {len(names)}: {name}")
            add_line(log, asdict(done[kind, name]))
        yield done[kind, name]


def summarise(found: Sequence[Seen]) -> str:
    """Return a table of how many bugs of each kind are seen, and which are not."""
    rows, shared = [], find_bank(UNGATED.name).bugs
    for kind in dict.fromkeys(each.kind for each in found):
        looked_at = {each.bug: each.rules for each in found if each.kind == kind}
        bugs = [find_bank(kind).bugs[name] for name in looked_at]
        missed = [f"`{name}`" for name, rules in looked_at.items() if not rules]
        rows.append(
            (
                KINDS[kind].page,
                len(looked_at),
                len(looked_at.keys() - shared.keys()),
                sum(map(is_narrow, bugs)),
                sum(find_public_report(bug) is not None for bug in bugs),
                len(looked_at) - len(missed),
                ", ".join(missed) or "none",
            )
        )
    return format_table(HEAD, rows)


def main() -> None:
    """Read the arguments, look at the bugs and print the table."""
    parser = make_parser(__doc__)
    add_selection(parser)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    add_log(parser)
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    names = {kind: select_bugs(kind, options.only, options.share) for kind in options.kind}
    found = [seen for kind in names for seen in look_at_all(kind, names[kind], options.log)]
    write_report(
        options, PAGE, {"detection.kinds": summarise(found)}, [asdict(each) for each in found]
    )


if __name__ == "__main__":
    main()
