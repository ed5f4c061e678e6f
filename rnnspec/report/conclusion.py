"""The last line of the report as text: the verdict of the run, with its main numbers."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.contract.clauses import Level
from rnnspec.contract.features import OF_DEVICES, STOOD_IN_FOR, Feature
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.report.data import PartVerdict, Report, Result, RunVerdict, Verdict
from rnnspec.text import ask_for_report

MOST_LACKING = 2
"""Limit on the missing features named in the conclusion; more are listed in a separate line."""


def format_conclusion(report: Report) -> str:
    """Return the verdict of the run, with its main numbers and its conditions, on one line."""
    otherwise = f" {report.otherwise}" if report.otherwise else ""
    return f"{_format_verdict(report)}{otherwise}"


def _format_verdict(report: Report) -> str:
    condition = f" if {report.condition}" if report.condition else ""
    applicable, total = list_applicable(report.results), len(report.results)
    applying = f"; {len(applicable)} of the {total} rules apply" if len(applicable) < total else ""
    extra = _format_unscored(report) + applying
    if report.verdict is RunVerdict.INCONCLUSIVE:
        broken = "No MUST is broken" if _list_unscored(report) else "No rule is broken"
        doubt = f"{broken}, but {_explain_doubt(report)}{extra}"
        return f"{report.subject}: inconclusive{condition}. {doubt}."
    if report.verdict is RunVerdict.CONFORMS:
        lacking = _format_lacking(report)
        held = _format_held(report)
        parts = f". {_format_parts(report)}" if Feature.DROP_IN in report.unsupported else ""
        end = f"{held}{parts}{applying}"
        met = f"{report.subject} conforms to {_name_contract(report)}{lacking}{condition}"
        return f"{met}{_format_although(report)}: {end}."
    faults = _format_faults(report)
    if _count_errors(report):
        extra += f"; {_format_errors(report)}, which is no fault of it; {ask_for_report()}"
    return f"{report.subject} violates {_name_contract(report)}{condition}: {faults}{extra}."


def _name_contract(report: Report) -> str:
    """Return the name of the contract, which is about a kind of layer or about models."""
    if report.kind not in KINDS:
        return "the contract of models"
    return f"the contract of {KINDS[report.kind].page}"


def list_lacking(report: Report) -> list[str]:
    """Return the features that a conforming subject lacks, if the conclusion cannot list them."""
    names = _list_lacking(report) if report.verdict is RunVerdict.CONFORMS else []
    return names if len(names) > MOST_LACKING else []


def _list_lacking(report: Report) -> list[str]:
    """Return the features that the subject refuses openly or the user excluded.

    Those that only depend on the device are left out. Features that an adapter replaces are
    left out because the verdicts on the parts of the contract cover them.
    """
    is_adapted = Feature.DROP_IN in report.unsupported
    said = {*OF_DEVICES, *((*STOOD_IN_FOR, Feature.PICKLE) if is_adapted else ())}
    return [feature.text for feature in report.unsupported if feature not in said]


def _format_lacking(report: Report) -> str:
    """Return the features that the subject lacks, or their number if they are listed elsewhere."""
    names = _list_lacking(report)
    if len(names) > MOST_LACKING:
        return f", without {len(names)} features"
    return f", without {' and '.join(names)}" if names else ""


def _format_held(report: Report) -> str:
    """Return the number of applicable rules that hold."""
    known = sum(result.verdict is Verdict.KNOWN for result in report.results)
    applicable = len(list_applicable(report.results))
    held = applicable - len(_list_unscored(report)) - known
    if known:
        return f"{held} of {applicable} rules hold, {known} with a declared deviation"
    if held < applicable:
        return f"{held} of {applicable} rules hold"
    return "1 rule holds" if held == 1 else f"all {held} rules hold"


def _format_faults(report: Report) -> str:
    """Return the number of scored faults, and the verdict on each part of the contract."""
    scored = [fault for fault in report.faults if report.result(fault.rule).is_fault]
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
    groups: dict[str, list[str]] = {}
    for part, text in describe_parts(report).items():
        groups.setdefault(text, []).append(part.value)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


def describe_parts(report: Report) -> dict[Part, str]:
    """Return the verdict on each part of the contract in words."""
    return {part: _describe_part(part, report) for part in report.parts}


def _count_faults(number: int) -> str:
    return "1 fault" if number == 1 else f"{number} faults"


def _describe_part(part: Part, report: Report) -> str:
    """Return the verdict on a part, with the number of checked rules if an adapter hides some."""
    own = [result for result in report.results if result.part is part]
    is_adapted = Feature.DROP_IN in report.unsupported
    hidden = sum(result.lacking in STOOD_IN_FOR for result in own)
    if not is_adapted or part in (Part.VALUES, Part.GRADIENTS) or not hidden:
        return _describe_verdict(report.parts[part])
    if hidden == len(own):
        return "not checked"
    checked = f"{len(own) - hidden} of {len(own)} rules checked"
    return f"{_describe_verdict(report.parts[part])} ({checked})"


def _describe_verdict(verdict: PartVerdict) -> str:
    faults = verdict.faults - verdict.stale
    if verdict.stale:
        what = "deviation is" if verdict.stale == 1 else "deviations are"
        counted = f"{_count_faults(faults)}, " if faults else ""
        return f"{counted}{verdict.stale} declared {what} stale"
    if faults:
        return _count_faults(faults)
    if verdict.doubtful:
        return f"{verdict.doubtful} of {verdict.rules} could not be checked"
    if verdict.unreached:
        return f"{verdict.unreached} of {verdict.rules} not reached"
    if verdict.known:
        return f"known deviations in {verdict.known} of {verdict.rules} rules"
    return "conform" if verdict.rules else "not checked"


LESS_ACCURATE = "its errors are larger than usual"


def _list_unscored(report: Report) -> list[Result]:
    return [
        result
        for result in report.results
        if result.is_broken and not result.is_scored and not result.is_following
    ]


def _format_unscored(report: Report) -> str:
    """Return the number of broken rules that do not count against the subject, if there are any."""
    unscored = _list_unscored(report)
    number = sum(result.level is not Level.NOTE for result in unscored)
    broken = f"; {number} {Level.SHOULD} {'is' if number == 1 else 'are'} broken" if number else ""
    return f"{broken}; {LESS_ACCURATE}" if number < len(unscored) else broken


def _format_although(report: Report) -> str:
    """Return a remark on broken rules of a conforming subject, with the options that count them."""
    unscored = _list_unscored(report)
    number = sum(result.level is not Level.NOTE for result in unscored)
    rules, it = ("rule", "it") if number == 1 else ("rules", "them")
    reasons = [f"it breaks {number} {Level.SHOULD} {rules} (--strict counts {it})"] * bool(number)
    reasons += [f"{LESS_ACCURATE} (--strict-accuracy counts that)"] * (number < len(unscored))
    return f", although {' and '.join(reasons)}" if reasons else ""


def _explain_doubt(report: Report) -> str:
    """Return the reason why a run without a violation is inconclusive."""
    if not list_applicable(report.results):
        return "no rule applies"
    if report.stopped:
        return report.stop_reason or "the run was stopped early"
    if _count_errors(report):
        return f"{_format_errors(report)}, which shows nothing about it; {ask_for_report()}"
    unreached = sum(result.verdict is Verdict.UNREACHED for result in report.results)
    rules = "1 rule was" if unreached == 1 else f"{unreached} rules were"
    return f"{rules} not reached often enough"


def _count_errors(report: Report) -> int:
    """Return the number of rules whose check raised an error, which is no fault of the subject."""
    return sum(each.verdict is Verdict.CHECKER_ERROR for each in report.results)


def _format_errors(report: Report) -> str:
    errors = _count_errors(report)
    return f"rnnspec itself failed in {'1 rule' if errors == 1 else f'{errors} rules'}"


def list_applicable(results: Sequence[Result]) -> list[Result]:
    """Return the results of the rules that apply."""
    return [result for result in results if result.verdict is not Verdict.NOT_APPLICABLE]
