"""Declare today's faults as known, an entry for each, so that your layer conforms from now on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rnnspec.api.layer import LayerTarget, prepare_suite
from rnnspec.cases.case import Case
from rnnspec.declared.region import describe_region, keep_conditions, parse_region
from rnnspec.declared.writing import write_entry
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.faults import find_faults
from rnnspec.engine.campaign import check_by_all, list_applicable_rules, run_campaign
from rnnspec.isolation.standing import TaskWatcher, describe_search
from rnnspec.options import CheckOptions, list_scored_levels
from rnnspec.rulekit.deviation import Deviation, DeviationKind
from rnnspec.rulekit.guard import guard_rules
from rnnspec.subjects.devices import keep_random_numbers
from rnnspec.subjects.threads import use_one_thread
from rnnspec.suites.layer import LayerSuite

MOST_ROUNDS = 5
"""Limit on the rounds, which end earlier if every failure is covered by an entry."""


@dataclass(frozen=True)
class Baseline:
    """Entries that declare today's faults.

    entries   the source of each entry, as you would write it in your project's file
    rules     the rule that names the fault of each entry
    is_whole  whether every failure is covered by an entry; if not, your next check still fails
    """

    entries: tuple[str, ...]
    rules: tuple[str, ...]
    is_whole: bool


@use_one_thread()
def write_baseline(
    target: LayerTarget, options: CheckOptions, *, watch: TaskWatcher | None = None
) -> Baseline:
    """Return entries for the faults that a check finds in this process and no entry declares yet.

    Add them to the text of your project's file with `rnnspec.declared.writing.add_entries`. From
    then on, your checks fail only because of new faults and of declared faults that are gone. Each
    round checks with the entries so far, so that you also get the faults that other faults hide.

    Raises CannotCheck, and KeyboardInterrupt in any round.
    """
    suite = prepare_suite(target, options)
    plain, given = suite.rules, suite.replayed
    deviations: list[Deviation[Case]] = []
    entries: list[str] = []
    levels = list_scored_levels(options)
    for number in range(1, MOST_ROUNDS + 1):
        reporter = _Round(number, suite.size, watch)
        with keep_random_numbers():
            progress = run_campaign(suite, watch=reporter.report_cases)
            faults = find_faults(
                suite, progress, remark=lambda _: None, watch=reporter.report_search
            )
        if progress.stopped:
            raise KeyboardInterrupt
        scored = [fault for fault in faults if fault.root.level in levels]
        if not scored:
            return Baseline(tuple(entries), tuple(each.rule for each in deviations), True)
        for fault in faults:
            deviation, entry = _declare(suite, fault, len(deviations))
            deviations.append(deviation)
            entries.append(entry)
        # A check replays the recorded case of each entry, so the rounds do too.
        replayed = tuple(each.case for each in deviations if each.case is not None)
        suite = replace(suite, rules=guard_rules(plain, deviations), replayed=given + replayed)
    return Baseline(tuple(entries), tuple(each.rule for each in deviations), False)


@dataclass
class _Round:
    """Reports the progress of a round to its watcher."""

    number: int
    size: int
    watch: TaskWatcher | None

    def report_cases(self, done: int, total: int) -> None:
        """Report the number of checked cases, with the number of the round from the second on."""
        doing = () if self.number == 1 else (f"checking once more, round {self.number}",)
        if self.watch is not None:
            self.watch(done, total, doing)

    def report_search(self, explained: int, failures: int) -> None:
        """Report the number of explained failures."""
        if self.watch is not None:
            self.watch(self.size, self.size, describe_search(explained, failures))


def _declare(suite: LayerSuite, fault: Fault[Case], number: int) -> tuple[Deviation[Case], str]:
    """Return the deviation that describes a fault, and its entry."""
    finding = fault.minimum.finding
    cases = [finding.case, *(event.finding.case for event in fault.events)]
    table = keep_conditions(describe_region(finding.case, fault.situation.needed), cases)
    others = {*fault.consequences, *fault.waiting, *(event.rule for event in fault.events)}
    # The entry records this case, which was minimised by one rule only.
    _, failing = check_by_all(suite, list_applicable_rules(suite, finding.case), 0, finding.case)
    others.update(failing.findings if failing else ())
    follows = tuple(sorted(others - {fault.root.id}))
    reason = fault.cause.text if fault.cause else finding.message
    deviation = Deviation(
        fault.root.id,
        follows,
        parse_region(table).covers,
        DeviationKind.BUG,
        reason,
        f"fault {number + 1}",
        case=finding.case,
    )
    entry = write_entry(suite.label, fault.root.id, follows, table, reason, finding.case)
    return deviation, entry
