"""The report as text: the verdict is the last line, and the reasons stand right above it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from rnnspec.contract.clauses import Level
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.dependence import ANY_MODEL_CASE
from rnnspec.report.data import (
    FaultSummary,
    PartVerdict,
    Report,
    Result,
    RunVerdict,
    Verdict,
)
from rnnspec.report.deviations import list_deviations
from rnnspec.text import count_cases, make_printable

__all__ = [
    "format_conclusion",
    "format_failure",
    "format_headline",
    "format_report",
    "format_table",
]

WIDTH = 100
MOST_UNREACHED = 8
NARROW_CELL = 33
"""The width of a cell of the table of which three fit on a line."""
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
    yield format_conclusion(report)


def format_headline(report: Report) -> str:
    """Return the versions, the seed, the profile and the size of the run on one line."""
    found = report.environment
    versions = f"torch {found['torch']}, Python {found['python']}, {found['device']}"
    size = f"{report.duration_s:.1f} s, {count_cases(report.cases)}"
    sizes = "" if report.sizes == "free" else f", sizes of a {report.sizes}"
    run = f"seed {report.seed}, {report.profile} profile{sizes} ({size})"
    return f"rnnspec {found['rnnspec']}   {versions}   {run}"


def format_table(report: Report) -> list[str]:
    """Return lines that say how many rules of each theme hold, with two or three on a line."""
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
    applicable = _list_applicable(results)
    own = Counter(result.verdict for result in applicable if not result.is_following)
    following = [result for result in applicable if result.is_following]
    blocked = sum(result.verdict is Verdict.BLOCKED for result in following)
    failing = sum(result.is_broken for result in following)
    shown = (
        *(Verdict.FAIL, Verdict.UNREACHED, Verdict.CHECKER_ERROR, Verdict.KNOWN, Verdict.STALE),
    )
    rest = [f"{own[verdict]} {verdict}" for verdict in shown if own[verdict]]
    rest += [f"{failing} follow"] if failing else []
    rest += [f"{blocked} {Verdict.BLOCKED}"] if blocked else []
    held = sum(result.verdict is Verdict.PASS for result in applicable)
    text = f"{held:>2} of {len(applicable)}" if applicable else f" - of {len(results)}"
    return "  ".join([text, *rest])


def _list_applicable(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.verdict is not Verdict.NOT_APPLICABLE]


def format_failure(result: Result, fault: FaultSummary | None = None) -> str:
    """Return everything about one broken rule, followed by the program that reproduces it.

    `fault` is the fault that the rule names.
    """
    label = LABELS.get(result.verdict, result.verdict.value.upper())
    head = f"{label}  {result.rule}"
    lines = [
        f"{head:<62} {result.level:<6}   {result.part:<9}   {result.source}",
        "",
        *_wrap(result.requirement),
        "",
        f"  {result.message}",
        *_list_facts(result, fault),
    ]
    program = [f"  {line}".rstrip() for line in (result.repro or "").splitlines()]
    return "\n".join([*lines, "", *program] if program else lines)


def _list_facts(result: Result, fault: FaultSummary | None) -> Iterator[str]:
    """Yield what is known about a broken rule, one fact on a line."""
    if fault is not None and fault.likely_cause:
        seen = f"({fault.explained} of {count_cases(fault.seen)})"
        yield from _align("likely cause", f"{fault.likely_cause} {seen}")
        yield from _align("to conform", fault.remedy)
    if result.counterexample is not None:
        if result.depends_on != ANY_MODEL_CASE:
            yield from _align(*_split_dependence(result.depends_on))
        yield from _align("smallest", result.counterexample.text)
        seen = f"{result.violations} of {count_cases(result.cases)}"
        first = f"first in case {result.counterexample.index}"
        yield from _align("seen in", f"{seen}, {first}")
    if fault is not None and fault.avoided_by:
        yield from _align("if it is meant", f"--without {fault.avoided_by}")
    if result.no_repro:
        yield from _align("no program", result.no_repro)


def _split_dependence(text: str) -> tuple[str, str]:
    """Return what a failure depends on as a label and the rest."""
    for label in ("only with", "happens"):
        if text.startswith(f"{label} "):
            return label, text.removeprefix(f"{label} ")
    return "depends on", text


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
    """Yield the rules that do not apply, one line per reason, and those reached too rarely.

    A line names the features that are lacking for this reason, if it is about features.
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


def format_conclusion(report: Report) -> str:
    """Return the verdict of the run, with its main numbers, on one line."""
    applicable, total = _list_applicable(report.results), len(report.results)
    extra = _format_unscored(report)
    if len(applicable) < total:
        extra += f"; {len(applicable)} of the {total} rules apply"
    if report.verdict is RunVerdict.INCONCLUSIVE:
        broken = "No MUST is broken" if _list_unscored(report) else "No rule is broken"
        return f"{report.subject}: inconclusive. {broken}, but {_explain_doubt(report)}{extra}."
    if report.verdict is RunVerdict.CONFORMS:
        lacking = _format_lacking(report)
        held = _format_held(report)
        parts = f". {_format_parts(report)}" if Feature.DROP_IN in report.unsupported else ""
        end = f"{held}{parts}{extra}"
        return f"{report.subject} conforms to {_name_contract(report)}{lacking}: {end}."
    faults = _format_faults(report)
    return f"{report.subject} violates {_name_contract(report)}: {faults}{extra}."


def _name_contract(report: Report) -> str:
    """Return which contract was judged: that of a kind of layer, or of a model."""
    if report.kind not in KINDS:
        return "the contract"
    return f"the contract of {KINDS[report.kind].page}"


def _format_lacking(report: Report) -> str:
    """Return what the subject openly refuses or the user excluded, except what no CPU has.

    What an adapter stands in for is said of the parts of the contract.
    """
    said = {Feature.TF32}
    if Feature.DROP_IN in report.unsupported:
        said |= {Feature.DROP_IN, Feature.PICKLE}
    names = [feature.text for feature in report.unsupported if feature not in said]
    return f", without {', '.join(names)}" if names else ""


def _format_held(report: Report) -> str:
    """Return how many of the applicable rules hold."""
    known = sum(result.verdict is Verdict.KNOWN for result in report.results)
    applicable = len(_list_applicable(report.results))
    held = applicable - len(_list_unscored(report)) - known
    if known:
        return f"{held} of {applicable} rules hold, {known} with a declared deviation"
    if held < applicable:
        return f"{held} of {applicable} rules hold"
    return "1 rule holds" if held == 1 else f"all {held} rules hold"


def _format_faults(report: Report) -> str:
    """Return the number of faults that count, and the verdict on each part of the contract."""
    scored = [fault for fault in report.faults if report.result(fault.rule).is_scored]
    stale = sum(result.verdict is Verdict.STALE for result in report.results)
    total = _count_faults(len(scored))
    if stale:
        what = "deviation is" if stale == 1 else "deviations are"
        total += f", {stale} declared {what} stale"
    if report.kind == "model":
        return total
    return f"{total}. {_format_parts(report)}"


def _format_parts(report: Report) -> str:
    """Return the verdict on each part of the contract."""
    texts = {part: _describe_part(part, report) for part in report.parts}
    groups: dict[str, list[str]] = {}
    for part, text in texts.items():
        groups.setdefault(text, []).append(part.value)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


def _count_faults(number: int) -> str:
    return "1 fault" if number == 1 else f"{number} faults"


def _describe_part(part: Part, report: Report) -> str:
    """Return the verdict on a part, and how much of it was judged if an adapter hides the rest."""
    own = [result for result in report.results if result.part is part]
    reason = report.unsupported.get(Feature.DROP_IN)
    hidden = sum(result.message == reason for result in own if not result.is_broken)
    if reason is None or part in (Part.VALUES, Part.GRADIENTS) or not hidden:
        return _describe_verdict(report.parts[part])
    if hidden == len(own):
        return "not judged"
    judged = f"{len(own) - hidden} of {len(own)} rules judged"
    return f"{_describe_verdict(report.parts[part])} ({judged})"


def _describe_verdict(verdict: PartVerdict) -> str:
    faults = verdict.faults - verdict.stale
    if verdict.stale:
        what = "deviation is" if verdict.stale == 1 else "deviations are"
        told = f"{_count_faults(faults)}, " if faults else ""
        return f"{told}{verdict.stale} declared {what} stale"
    if faults:
        return _count_faults(faults)
    if verdict.doubtful:
        return f"{verdict.doubtful} of {verdict.rules} could not be judged"
    if verdict.unreached:
        return f"{verdict.unreached} of {verdict.rules} not reached"
    if verdict.known:
        return f"known deviations in {verdict.known} of {verdict.rules} rules"
    return "conform" if verdict.rules else "not checked"


def _list_unscored(report: Report) -> list[Result]:
    return [
        result
        for result in report.results
        if result.is_broken and not result.is_scored and not result.is_following
    ]


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
    errors = sum(each.verdict is Verdict.CHECKER_ERROR for each in report.results)
    if errors:
        rules = "1 rule" if errors == 1 else f"{errors} rules"
        return f"rnnspec itself failed in {rules}, which says nothing about it; please report that"
    unreached = sum(result.verdict is Verdict.UNREACHED for result in report.results)
    rules = "1 rule was" if unreached == 1 else f"{unreached} rules were"
    return f"{rules} not reached often enough"
