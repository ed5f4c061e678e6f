"""The report as text: the verdict is the last line, and the reasons stand right above it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from rnnspec.contract.clauses import Level
from rnnspec.report.data import Report, Result, RunVerdict, Verdict

__all__ = [
    "format_conclusion",
    "format_failure",
    "format_headline",
    "format_report",
    "format_table",
]

WIDTH = 100
MOST_UNREACHED = 8
LABELS = {
    Verdict.FAIL: "FAIL",
    Verdict.CHECKER_ERROR: "CHECKER ERROR",
    Verdict.UNREACHED: "UNREACHED",
}


def format_report(report: Report) -> str:
    """Return the whole report as text."""
    return "\n".join(_list_lines(report))


def _list_lines(report: Report) -> Iterator[str]:
    yield format_headline(report)
    yield ""
    yield from format_table(report)
    yield ""
    broken = [result for result in report.results if result.is_broken]
    for result in broken:
        if result.caused_by is None:
            yield format_failure(result)
            yield ""
    yield from _list_consequences(broken)
    yield from _list_unchecked(report)
    yield from (f"note  {note}" for note in report.notes)
    yield format_conclusion(report)


def format_headline(report: Report) -> str:
    """Return the versions, the seed, the profile and the size of the run on one line."""
    found = report.environment
    versions = f"torch {found['torch']}, Python {found['python']}, {found['device']}"
    size = f"{report.duration_s:.1f} s, {report.cases} cases"
    run = f"seed {report.seed}, {report.profile} profile ({size})"
    return f"rnnspec {found['rnnspec']}   {versions}   {run}"


def format_table(report: Report) -> list[str]:
    """Return lines that say how many rules of each theme hold, with three themes on a line."""
    themes = list(dict.fromkeys(result.theme for result in report.results))
    cells = [_format_cell(theme, report.results) for theme in themes]
    return ["  " + "".join(cells[start : start + 3]).rstrip() for start in range(0, len(cells), 3)]


def _format_cell(theme: str, results: Sequence[Result]) -> str:
    of_theme = [result for result in results if result.theme == theme]
    return f"{theme:<13} {_format_counts(of_theme):<19}"


def _format_counts(results: Sequence[Result]) -> str:
    applicable = _list_applicable(results)
    counts = Counter(result.verdict for result in applicable)
    shown = (Verdict.FAIL, Verdict.UNREACHED, Verdict.CHECKER_ERROR)
    rest = [f"{counts[verdict]} {verdict}" for verdict in shown if counts[verdict]]
    held = f"{counts[Verdict.PASS]:>2} of {len(applicable)}"
    return "  ".join([held if applicable else f" - of {len(results)}", *rest])


def _list_applicable(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.verdict is not Verdict.NOT_APPLICABLE]


def format_failure(result: Result) -> str:
    """Return everything about one broken rule, followed by the program that reproduces it."""
    label = LABELS.get(result.verdict, result.verdict.value.upper())
    head = f"{label}  {result.rule}"
    lines = [
        f"{head:<70} {result.level}   {result.source}",
        "",
        *_wrap(result.requirement),
        "",
        f"  {result.message}",
    ]
    if result.counterexample is not None:
        seen = f"{result.violations} of {result.cases} cases"
        lines += [
            f"  smallest       {result.counterexample.text}",
            f"  depends on     {result.depends_on}",
            f"  seen in        {seen}, first in case {result.counterexample.index}",
        ]
    program = [f"  {line}".rstrip() for line in (result.repro or "").splitlines()]
    return "\n".join([*lines, "", *program] if program else lines)


def _wrap(text: str) -> list[str]:
    margin = "  "
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin)


def _list_consequences(broken: Sequence[Result]) -> Iterator[str]:
    """Yield one paragraph per cause, with the rules that fail because of it."""
    by_cause: dict[str, list[str]] = {}
    for result in broken:
        if result.caused_by is not None:
            by_cause.setdefault(result.caused_by, []).append(result.rule)
    for cause, rules in by_cause.items():
        count = "1 other rule fails" if len(rules) == 1 else f"{len(rules)} other rules fail"
        text = f"{count} because of {cause}: {', '.join(rules)}"
        yield textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _list_unchecked(report: Report) -> Iterator[str]:
    """Yield the rules that do not apply, one line per reason, and those reached too rarely."""
    results = report.results
    reasons = [each.message for each in results if each.verdict is Verdict.NOT_APPLICABLE]
    for reason, number in Counter(reasons).items():
        yield f"not applicable  {number} {'rule' if number == 1 else 'rules'}: {reason}"
    unreached = [result for result in results if result.verdict is Verdict.UNREACHED]
    for result in unreached[:MOST_UNREACHED]:
        yield f"unreached  {result.rule}: {result.message}"
    if len(unreached) > MOST_UNREACHED:
        yield f"unreached  ... and {len(unreached) - MOST_UNREACHED} more rules"


def format_conclusion(report: Report) -> str:
    """Return the verdict of the run, with its main numbers, on one line."""
    applicable, total = _list_applicable(report.results), len(report.results)
    extra = _format_unscored(report)
    if len(applicable) < total:
        extra += f"; {len(applicable)} of the {total} rules apply"
    if report.verdict is RunVerdict.INCONCLUSIVE:
        broken = "No MUST is broken" if _list_unscored(report) else "No rule is broken"
        return f"{report.subject}: inconclusive. {broken}, but {_explain_doubt(report)}{extra}."
    verb = "conforms to" if report.verdict is RunVerdict.CONFORMS else "violates"
    return f"{report.subject} {verb} the contract: {_format_held(report, len(applicable))}{extra}."


def _format_held(report: Report, applicable: int) -> str:
    """Return how many of the applicable rules hold or, if any counts against it, fail."""
    if report.violations:
        return f"{len(report.violations)} of {applicable} rules fail"
    held = applicable - len(_list_unscored(report))
    if held < applicable:
        return f"{held} of {applicable} rules hold"
    return "1 rule holds" if held == 1 else f"all {held} rules hold"


def _list_unscored(report: Report) -> list[Result]:
    return [result for result in report.results if result.is_broken and not result.is_scored]


def _format_unscored(report: Report) -> str:
    """Return how many rules are broken that do not count against the subject, if any."""
    number = len(_list_unscored(report))
    if not number:
        return ""
    return f"; {number} {Level.SHOULD} {'is' if number == 1 else 'are'} broken"


def _explain_doubt(report: Report) -> str:
    """Return the reason for which a run without a violation is inconclusive."""
    if not _list_applicable(report.results):
        return "no rule applies"
    if report.stopped:
        return "the run was stopped early"
    unreached = sum(result.verdict is Verdict.UNREACHED for result in report.results)
    rules = "1 rule was" if unreached == 1 else f"{unreached} rules were"
    return f"{rules} not reached often enough"
