"""The report on a terminal: the verdict is the last line, the reason the first thing above it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from rnnspec.report.data import Report, Result

WIDTH = 100


def format_failure(result: Result) -> str:
    """Everything about one broken rule, as text of one screen and the program that shows it."""
    head = f"{LABELS.get(result.verdict, result.verdict.upper())}  {result.rule}"
    lines = [
        f"{head:<70} {result.level}   {result.source}",
        "",
        f"  {result.requirement}",
        "",
        f"  {result.message}",
    ]
    if result.counterexample is not None:
        lines.append(f"  smallest       {result.counterexample.text}")
        lines.append(f"  depends on     {result.depends_on}")
        lines.append(
            f"  seen in        {result.violations} of {result.cases} cases, first in case {result.counterexample.index}"
        )
    program = [f"  {line}".rstrip() for line in (result.repro or "").splitlines()]
    return "\n".join([*lines, "", *program]) if program else "\n".join(lines)


LABELS = {"fail": "FAIL", "unreached": "UNREACHED", "crashed": "CRASHED"}


def format_report(report: Report) -> str:
    """The whole report as text."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield format_headline(report)
    yield ""
    yield from format_table(report)
    yield ""
    failures = [result for result in report.results if result.verdict in ("fail", "crashed")]
    for result in failures:
        if result.caused_by is None:
            yield format_failure(result)
            yield ""
    yield from _followers(failures)
    yield from _unjudged(report)
    yield from (f"note  {note}" for note in report.notes)
    yield format_conclusion(report)


def _followers(failures: Sequence[Result]) -> Iterator[str]:
    """What only sees the fault of another rule: one line a cause."""
    by_cause: dict[str, list[Result]] = {}
    for result in failures:
        if result.caused_by is not None:
            by_cause.setdefault(result.caused_by, []).append(result)
    for cause, found in by_cause.items():
        if len(found) == 1:
            yield f"{LABELS[found[0].verdict]}  {found[0].rule}   (follows from {cause})"
        else:
            names = ", ".join(result.rule for result in found)
            yield textwrap.fill(
                f"FAIL  {len(found)} more rules follow from {cause}: {names}",
                WIDTH,
                subsequent_indent="      ",
                break_on_hyphens=False,
            )


def format_headline(report: Report) -> str:
    """Versions, seed, profile and the size of the run in one line."""
    known = report.environment
    where = f"torch {known['torch']}, Python {known['python']}, {known['device']}"
    size = f"{report.duration_s:.1f} s, {report.cases} cases"
    return f"rnnspec {known['rnnspec']}   {where}   seed {report.seed}, {report.profile} profile ({size})"


def format_table(report: Report) -> list[str]:
    """How many rules of each theme hold, three themes a line."""
    themes = list(dict.fromkeys(result.theme for result in report.results))
    cells = [
        f"{theme:<13} {_count([r for r in report.results if r.theme == theme]):<19}"
        for theme in themes
    ]
    return ["  " + "".join(cells[start : start + 3]).rstrip() for start in range(0, len(cells), 3)]


def _count(results: Sequence[Result]) -> str:
    applicable = [result for result in results if result.verdict != "not-applicable"]
    counts = Counter(result.verdict for result in applicable)
    rest = [
        f"{counts[verdict]} {verdict}"
        for verdict in ("fail", "unreached", "crashed")
        if counts[verdict]
    ]
    held = f"{counts['pass']:>2} of {len(applicable)}" if applicable else f" - of {len(results)}"
    return "  ".join([held, *rest])


def _unjudged(report: Report) -> Iterator[str]:
    reasons = Counter(
        result.message for result in report.results if result.verdict == "not-applicable"
    )
    for reason, number in reasons.items():
        yield f"not applicable  {number} {'rule' if number == 1 else 'rules'}: {reason}"
    unreached = [result for result in report.results if result.verdict == "unreached"]
    for result in unreached[:8]:
        yield f"unreached  {result.rule}: {result.message}"
    if len(unreached) > 8:
        yield f"unreached  ... and {len(unreached) - 8} more rules"


def format_conclusion(report: Report) -> str:
    """The verdict in one line."""
    applicable = [result for result in report.results if result.verdict != "not-applicable"]
    broken = [result for result in report.results if result.verdict in ("fail", "crashed")]
    held = len(applicable) - len(broken)
    scored = (
        f"{len(report.violations)} of {len(applicable)} rules fail"
        if report.violations
        else _held(held, len(applicable))
    )
    unscored = len(broken) - len(report.violations)
    extra = f"; {unscored} SHOULD {'is' if unscored == 1 else 'are'} broken" if unscored else ""
    extra += (
        f"; {len(applicable)} of the {len(report.results)} rules apply"
        if len(applicable) < len(report.results)
        else ""
    )
    nothing = "no MUST is broken" if unscored else "no rule is broken"
    words = {
        "conforms": f"{report.subject} conforms to the contract: {scored}{extra}.",
        "violates": f"{report.subject} violates the contract: {scored}{extra}.",
        "inconclusive": f"{report.subject}: inconclusive, {nothing} but {_open(report)}{extra}.",
    }
    return words[report.verdict]


def _held(held: int, applicable: int) -> str:
    return (
        f"all {applicable} rules hold"
        if held == applicable
        else f"{held} of {applicable} rules hold"
    )


def _open(report: Report) -> str:
    """Why a run without a broken rule does not conform."""
    if all(result.verdict == "not-applicable" for result in report.results):
        return "no rule applies"
    unreached = sum(result.verdict == "unreached" for result in report.results)
    return (
        "the run was stopped early"
        if report.stopped
        else f"{unreached} of them {'was' if unreached == 1 else 'were'} not reached often enough"
    )
