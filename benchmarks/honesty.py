"""Check that rnnspec never accuses a correct layer, with many seeds and many cases.

    python -m benchmarks.honesty --quick 25 --default 3 --log honesty.jsonl --write
    python -m benchmarks.honesty --kind gru lstm-cell --cases 100000 --log torch.jsonl --write

Run it from the root of a checkout. The first command checks all correct RNNs of the bank with
several seeds; the second checks torch.nn.GRU and torch.nn.LSTMCell alone, each with many cases.
Each finished run becomes a line of the log, and runs in the log are not repeated, so that an
interrupted benchmark can be continued. It exits with status 1 if a rule of level MUST is violated
or a rule's check crashes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch

from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.api import check
from rnnspec.contract.clauses import Level
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.report.data import Result, RunVerdict, Verdict
from rnnspec.selftest.bank import find_departures
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.processes import start_processes

Job = tuple[str, str, str, int]
"""A kind, the name of a subject of this kind, a profile and a seed."""


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    `checked` is the number of verdicts. `must` has the violated rules of level MUST and all rules
    whose check crashed, `should` the violated rules of level SHOULD that the layer does not declare
    to depart from, and `unreached` the rules that too few cases reached.
    """

    kind: str
    subject: str
    profile: str
    seed: int
    verdict: str
    cases: int
    checked: int
    seconds: float
    must: list[str] = field(default_factory=list)
    should: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    @property
    def job(self) -> Job:
        """The kind, subject, profile and seed of this run."""
        return self.kind, self.subject, self.profile, self.seed


def list_subjects(kind: str) -> dict[str, Callable[..., Any]]:
    """Return torch's own and all other correct implementations of a kind, by name."""
    own = KINDS[kind].qualified_name
    return {own: getattr(torch.nn, own.rpartition(".")[2]), **find_bank(kind).correct}


def run_job(job: Job) -> Outcome:
    """Run one check."""
    kind, name, profile, seed = job
    subject = list_subjects(kind)[name]
    departures = find_departures(subject) if isinstance(subject, type) else ()
    found = check(subject, profile=profile, seed=seed, kind=kind)
    broken = [each for each in found.results if each.is_broken]
    return Outcome(
        *job,
        found.verdict.value,
        found.cases,
        sum(each.cases for each in found.results),
        found.duration_s,
        [each.rule for each in broken if _is_accusation(each)],
        [
            each.rule
            for each in broken
            if each.level is Level.SHOULD and each.verdict is Verdict.FAIL
            if each.rule not in departures
        ],
        [each.rule for each in found.results if each.verdict is Verdict.UNREACHED],
    )


def _is_accusation(result: Result) -> bool:
    """Return whether a broken rule has level MUST, or its check crashed."""
    return result.level is Level.MUST or result.verdict is Verdict.CHECKER_ERROR


def run_jobs(
    jobs: Iterable[Job], options: argparse.Namespace, enough: Callable[[list[Outcome]], bool]
) -> list[Outcome]:
    """Run the jobs that are not in the log, several at a time, until there are enough outcomes.

    Returns the outcomes of all jobs, including those from the log.
    """
    wanted = dict.fromkeys(jobs)
    logged = (Outcome(**line) for line in read_lines(options.log))
    found = [outcome for outcome in logged if outcome.job in wanted]
    known = {outcome.job for outcome in found}
    rest = (job for job in wanted if job not in known)
    if enough(found):
        return found
    with start_processes(options.jobs) as pool:
        for outcome in yield_outcomes(pool, rest, options.jobs, lambda: enough(found)):
            found.append(outcome)
            add_line(options.log, asdict(outcome))
            show_progress(describe_outcome(outcome, len(found), len(wanted)))
    return found


def yield_outcomes(
    pool: ProcessPoolExecutor, jobs: Iterator[Job], workers: int, done: Callable[[], bool]
) -> Iterator[Outcome]:
    """Yield outcomes in the order in which the runs finish.

    Jobs are submitted only as fast as workers need them, and none after `done()` is true.
    """
    running = {pool.submit(run_job, job) for job in islice(jobs, 2 * workers)}
    while running:
        future = next(as_completed(running))
        running.remove(future)
        yield future.result()
        if done():
            pool.shutdown(wait=False, cancel_futures=True)
            return
        running |= {pool.submit(run_job, job) for job in islice(jobs, 1)}


def describe_outcome(outcome: Outcome, number: int, planned: int) -> str:
    """Return a line about a finished run."""
    accused = (
        f", violated: {', '.join([*outcome.must, *outcome.should])}"
        if outcome.must or outcome.should
        else ""
    )
    return (
        f"{number} of at most {planned}: {outcome.kind}, {outcome.subject}, {outcome.profile}, "
        f"seed {outcome.seed}, {outcome.seconds:.0f} s{accused}"
    )


RUNS = ("quick", "default")
COUNTS = ("cases", "verdicts", "MUST violated", "SHOULD violated")


def format_seeds(found: Sequence[Outcome], subjects: Sequence[tuple[str, str]]) -> str:
    """Return a table with the runs, cases and accusations of each subject, and of all."""
    head = ("kind", "implementation", *(f"{each} runs" for each in RUNS), "inconclusive", *COUNTS)
    rows = [
        (
            KINDS[kind].page,
            name,
            *count_runs([each for each in found if (each.kind, each.subject) == (kind, name)]),
        )
        for kind, name in subjects
    ]
    return format_table(head, [*rows, ("", "all", *count_runs(found))])


def count_runs(found: Sequence[Outcome]) -> tuple[int, ...]:
    """Return the runs by profile, the inconclusive ones, the cases and the accusations."""
    return (
        *(sum(outcome.profile == profile for outcome in found) for profile in RUNS),
        sum(outcome.verdict == RunVerdict.INCONCLUSIVE.value for outcome in found),
        *count_verdicts(found),
    )


def count_verdicts(found: Sequence[Outcome]) -> tuple[int, ...]:
    """Return the numbers of cases and verdicts, and of violated rules of each level."""
    return (
        count_cases(found),
        sum(outcome.checked for outcome in found),
        sum(len(outcome.must) for outcome in found),
        sum(len(outcome.should) for outcome in found),
    )


def sum_seeds(found: Sequence[Outcome]) -> str:
    """Return a table with the runs, cases and accusations of the correct layers of each kind."""
    head = ("kind", "correct ones", *(f"{each} runs" for each in RUNS), "inconclusive", *COUNTS)
    rows = []
    for kind in dict.fromkeys(outcome.kind for outcome in found):
        runs = [outcome for outcome in found if outcome.kind == kind]
        rows.append((KINDS[kind].page, len({each.subject for each in runs}), *count_runs(runs)))
    return format_table(head, rows)


def list_accusations(found: Sequence[Outcome]) -> str:
    """List each accusation with its seed, or report that there is none."""
    lines = [
        f"- {outcome.subject}, {outcome.profile}, seed {outcome.seed}: {', '.join(broken)}"
        for outcome in sorted(found, key=lambda outcome: outcome.job)
        if (broken := [*outcome.must, *outcome.should])
    ]
    return "\n".join(lines) or "No correct layer was accused."


def format_cases(found: Sequence[Outcome]) -> str:
    """Return the table of the runs on torch's own layers and cells, one row a kind."""
    rows = []
    for kind in dict.fromkeys(outcome.kind for outcome in found):
        runs = [outcome for outcome in found if outcome.kind == kind]
        hours = sum(outcome.seconds for outcome in runs) / 3600
        rows.append((KINDS[kind].page, runs[0].profile, len(runs), *count_verdicts(runs), hours))
    return format_table(("kind", "profile", "seeds", *COUNTS, "hours in one process"), rows)


def _parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--quick",
        type=int,
        default=0,
        metavar="N",
        help="number of seeds of the quick profile for each correct layer",
    )
    parser.add_argument(
        "--default",
        type=int,
        default=0,
        metavar="N",
        help="number of seeds of the default profile for each correct layer",
    )
    parser.add_argument(
        "--cases",
        type=int,
        default=0,
        metavar="N",
        help="number of cases on torch's own layer or cell of each kind alone",
    )
    parser.add_argument(
        "--profile",
        default="default",
        help="profile of the runs that make up --cases (default: %(default)s)",
    )
    parser.add_argument(
        "--kind",
        nargs="+",
        choices=list(KINDS),
        default=[UNGATED.name],
        help=f"kinds of layers or cells (default: {UNGATED.name})",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="check only these implementations (default: all)"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="number of worker processes (default: %(default)s)"
    )
    add_log(parser)
    add_outputs(parser, "honesty.md")
    options = parser.parse_args()
    if not options.quick + options.default + options.cases:
        parser.error("nothing to do: add --quick, --default or --cases")
    known = {name for kind in options.kind for name in list_subjects(kind)}
    if unknown := set(options.only or ()) - known:
        parser.error(f"no such implementation: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Read the arguments, run the checks and print the tables."""
    options = _parse_arguments()
    begun, subjects = time.perf_counter(), list_chosen(options)
    seeds, cases = measure_by_seeds(options, subjects), measure_by_cases(options)
    show_progress(f"done in {time.perf_counter() - begun:.0f} s")
    found = [*seeds, *cases]
    rows = [("honesty.seeds", sum_seeds(seeds))] if seeds else []
    rows += [("honesty.cases", format_cases(cases))] if cases else []
    texts = {"honesty.each": format_seeds(seeds, subjects)} if seeds else {}
    write_report(options, "honesty.md", texts, [asdict(outcome) for outcome in found], rows=rows)
    print(f"\n{list_accusations(found)}")
    return 1 if any(outcome.must for outcome in found) else 0


def list_chosen(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the kind and the name of each correct layer to check."""
    return [
        (kind, name)
        for kind in options.kind
        for name in list_subjects(kind)
        if name in (options.only or [name])
    ]


def measure_by_seeds(
    options: argparse.Namespace, subjects: Sequence[tuple[str, str]]
) -> list[Outcome]:
    """Check every correct layer with the requested numbers of seeds of quick and default."""
    profiles = (("quick", options.quick), ("default", options.default))
    jobs = [
        (*subject, profile, seed)
        for profile, number in profiles
        for seed in range(number)
        for subject in subjects
    ]
    return run_jobs(jobs, options, lambda _: False) if jobs else []


def measure_by_cases(options: argparse.Namespace) -> list[Outcome]:
    """Check torch's own of each kind, seed after seed, until there are as many cases as asked."""
    seeds, found = range(1000, 1000 + options.cases), list[Outcome]()
    for kind in options.kind if options.cases else ():
        jobs = [(kind, KINDS[kind].qualified_name, options.profile, seed) for seed in seeds]
        found += run_jobs(jobs, options, lambda each: count_cases(each) >= options.cases)
    return found


def count_cases(found: Iterable[Outcome]) -> int:
    """Return the number of cases of some runs."""
    return sum(outcome.cases for outcome in found)


if __name__ == "__main__":
    sys.exit(main())
