"""The report as text. The verdict is the last line, directly below the reasons for it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from rnnspec.contract.clauses import Level
from rnnspec.engine.explanations import ANY_MODEL_CASE, DependenceKind
from rnnspec.report.conclusion import format_conclusion, list_applicable, list_lacking
from rnnspec.report.data import FaultSummary, Report, Result, Verdict
from rnnspec.text import count_cases, make_printable


def list_deviations(report: Report) -> Iterator[str]:
    """Yield a line for each declared deviation: first known deviations, then stale deviations.

    Rules that fail because of the same deviation of another rule share a line.
    """
    for verdict in (Verdict.KNOWN, Verdict.STALE):
        shown = verdict.value.upper() if verdict is Verdict.STALE else verdict.value
        groups: dict[str, list[str]] = {}
        for result in report.results:
            if result.verdict is verdict:
                groups.setdefault(result.message, []).append(result.rule)
        for message, rules in groups.items():
            who = f"{rules[0]}:" if len(rules) == 1 else f"{len(rules)} rules:"
            yield f"{shown}  {who} {message}"


__all__ = [
    "format_conclusion",
    "format_failure",
    "format_headline",
    "format_report",
    "format_table",
    "list_facts",
    "list_headline",
]

WIDTH = 100
MOST_UNREACHED = 8
NARROW_CELL = 33
"""The width of a table cell when three cells fit on a line."""
SUSPICIOUS = "SUSPICIOUS"
"""The label of a rule of level NOTE that fails; such a rule tests no promise."""
LONGEST_PROGRAM = 30_000
"""Limit on the characters of a printed program, enough for about a thousand numbers."""
TOO_LONG = "it has too many numbers to print; --json writes it, and export-tests makes a file of it"
LABELS = {
    Verdict.FAIL: "FAIL",
    Verdict.CHECKER_ERROR: "CHECKER ERROR",
    Verdict.UNREACHED: "UNREACHED",
}


def format_report(report: Report) -> str:
    """Return the whole report as text."""
    return make_printable("\n".join(_list_lines(report)), keep="\n\t")


def _list_lines(report: Report) -> Iterator[str]:
    yield format_headline(report)
    yield from report.heading
    yield ""
    yield "rules that hold, by theme:"
    yield from format_table(report)
    yield ""
    for fault in report.faults:
        yield format_failure(report.result(fault.rule), fault)
        yield ""
    for fault in report.faults:
        yield from _list_followers(fault, report)
    yield from list_deviations(report)
    yield from _list_unchecked(report)
    yield from (f"note  {note}" for note in report.notes)
    if report.largest_sizes and not report.faults:
        yield _fill(f"right up to     {_describe_sizes(report)}")
    if lacking := list_lacking(report):
        yield _fill(f"left out        {', '.join(lacking)}")
    yield format_conclusion(report)


def _describe_sizes(report: Report) -> str:
    """Return the largest sizes of right cases, and the block sizes that no right case exceeds."""
    sizes = [f"{size} {name}" for name, size in report.largest_sizes.items()]
    open_ = [
        f"{name} {', '.join(map(str, blocks))}" for name, blocks in report.uncrossed_blocks.items()
    ]
    found = ", ".join(sizes)
    return f"{found}; blocks not crossed: {'; '.join(open_)}" if open_ else found


def format_headline(report: Report) -> str:
    """Return the versions, the seed, the profile and the size of the run on one line."""
    return "   ".join(list_headline(report))


def list_headline(report: Report) -> list[str]:
    """Return the version of rnnspec, the versions of its environment, and the run's settings."""
    found = report.environment
    versions = f"torch {found['torch']}, Python {found['python']}, {found['device']}"
    size = f"{report.duration_s:.1f} s, {count_cases(report.cases)}"
    sizes = "" if report.sizes == "free" else f", sizes of a {report.sizes}"
    run = f"seed {report.seed}, {report.profile} profile{sizes} ({size})"
    return [f"rnnspec {found['rnnspec']}", versions, run]


def format_table(report: Report) -> list[str]:
    """Return a table of the number of rules of each theme that hold, with two or three per line."""
    themes = list(dict.fromkeys(result.theme for result in report.results))
    cells = [_format_cell(theme, report.results) for theme in themes]
    width = max(NARROW_CELL, *(len(cell) + 2 for cell in cells)) if cells else NARROW_CELL
    columns = 3 if width == NARROW_CELL else 2
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return ["  " + "".join(f"{cell:<{width}}" for cell in row).rstrip() for row in rows]


def _format_cell(theme: str, results: Sequence[Result]) -> str:
    of_theme = [result for result in results if result.theme == theme]
    return f"{theme:<13} {_format_counts(of_theme)}"


def _format_counts(results: Sequence[Result]) -> str:
    applicable = list_applicable(results)
    own = Counter(result.verdict for result in applicable if not result.is_following)
    following = [result for result in applicable if result.is_following]
    blocked = sum(result.verdict is Verdict.BLOCKED for result in following)
    failing = sum(result.is_broken for result in following)
    shown = (
        *(Verdict.FAIL, Verdict.UNREACHED, Verdict.CHECKER_ERROR, Verdict.KNOWN, Verdict.STALE),
    )
    rest = [f"{own[verdict]} {verdict}" for verdict in shown if own[verdict]]
    rest += [f"{failing} due to a fault"] if failing else []
    rest += [f"{blocked} {Verdict.BLOCKED}"] if blocked else []
    held = sum(result.verdict is Verdict.PASS for result in applicable)
    text = f"{held:>2} of {len(applicable)}" if applicable else f" - of {len(results)}"
    return "  ".join([text, *rest])


def format_failure(result: Result, fault: FaultSummary | None = None) -> str:
    """Return everything about a broken rule, followed by the program that reproduces its failure.

    `fault` is the fault that the rule names.
    """
    label = LABELS.get(result.verdict, result.verdict.value.upper())
    if result.verdict is Verdict.FAIL and result.level is Level.NOTE:
        label = SUSPICIOUS
    head = f"{label}  {result.rule}"
    lines = [
        f"{head:<62} {result.level:<6}   {result.part:<9}   {result.source}",
        "",
        *_wrap(result.requirement),
        "",
        f"  {result.message}",
        *(line for fact in list_facts(result, fault) for line in _align(*fact)),
    ]
    program = [f"  {line}".rstrip() for line in (result.repro or "").splitlines()]
    if len(result.repro or "") > LONGEST_PROGRAM:
        return "\n".join([*lines, *_align("program", TOO_LONG)])
    return "\n".join([*lines, "", *program] if program else lines)


def list_facts(result: Result, fault: FaultSummary | None) -> Iterator[tuple[str, str]]:
    """Yield the facts about a broken rule, each with its label."""
    if fault is not None and fault.likely_cause:
        seen = f"({fault.explained} of {count_cases(fault.seen)})"
        yield "likely cause", f"{fault.likely_cause} {seen}"
        yield "to conform", fault.remedy
    elif fault is not None and fault.known_mistake:
        yield "known mistake", f"{fault.known_mistake} (in the smallest case)"
    if result.counterexample is not None:
        found = result.depends_on
        if found is not None and found != ANY_MODEL_CASE:
            is_needed = found.kind is DependenceKind.NEEDED
            label = found.kind if is_needed else DependenceKind.NOTHING
            yield label.value, found.text if is_needed else str(found)
        yield "smallest", result.counterexample.text
        index = result.counterexample.index
        if result.violations:
            seen = f"{result.violations} of {count_cases(result.cases)}"
            yield "seen in", f"{seen}, first in case {index}"
        else:
            others = f"other rules find the fault first in case {index}"
            yield "seen in", f"only the smallest case; {others}"
    if fault is not None and fault.avoided_by:
        yield "if it is meant", f"--without {fault.avoided_by}"
    if result.no_repro:
        yield "no program", result.no_repro


def _align(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:<14} ",
        subsequent_indent=" " * 17,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _wrap(text: str) -> list[str]:
    margin = "  "
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin)


def _list_followers(fault: FaultSummary, report: Report) -> Iterator[str]:
    """Yield the rules that fail, or could not be checked, because of a fault."""
    results = [result for result in report.results if result.caused_by == fault.rule]
    failing = [result.rule for result in results if result.is_broken]
    if failing:
        count = "1 other rule fails" if len(failing) == 1 else f"{len(failing)} other rules fail"
        yield _fill(f"{count} because of {fault.rule}: {', '.join(failing)}")
    stopped = [result for result in results if not result.is_broken]
    because = f"could not be checked in every case because of {fault.rule}"
    held = sum(result.holds_otherwise for result in stopped)
    if held:
        subject = "1 other rule" if held == 1 else f"{held} other rules"
        rest = "it holds" if held == 1 else "they hold"
        yield _fill(f"{subject} {because}; otherwise {rest}.")
    doubtful = [result.rule for result in stopped if not result.holds_otherwise]
    if doubtful:
        subject = "1 rule" if len(doubtful) == 1 else f"{len(doubtful)} rules"
        listed = ", ".join(doubtful[:MOST_UNREACHED])
        left = len(doubtful) - MOST_UNREACHED
        more = f" and {left} more" if left > 0 else ""
        yield _fill(f"{subject} could not be checked because of {fault.rule}: {listed}{more}")


def _fill(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _list_unchecked(report: Report) -> Iterator[str]:
    """Yield a line for each reason why rules do not apply, and a line for each unreached rule.

    If a reason is about features, its line names them.
    """
    results = report.results
    reasons = [each.message for each in results if each.verdict is Verdict.NOT_APPLICABLE]
    for reason, number in Counter(reasons).items():
        count = "1 rule" if number == 1 else f"{number} rules"
        named = ", ".join(each.text for each, why in report.unsupported.items() if why == reason)
        yield f"not applicable  {f'{named} ({count})' if named else count}: {reason}"
    unreached = [result for result in results if result.verdict is Verdict.UNREACHED]
    for result in unreached[:MOST_UNREACHED]:
        yield f"unreached  {result.rule}: {result.message}"
    if len(unreached) > MOST_UNREACHED:
        yield f"unreached  ... and {len(unreached) - MOST_UNREACHED} more rules"
