"""The lines of a report about declared deviations."""

from __future__ import annotations

from collections.abc import Iterator

from rnnspec.report.data import Report, Verdict


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
