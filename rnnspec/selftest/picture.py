"""The kill matrix as text and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from rnnspec.selftest.matrix import Matrix, Row

CELL = 11
LEFT, TOP = 210, 190
COLOURS = {"named": "#1a7f37", "also": "#9ccfa8", "survived": "#cf222e", "none": "#eef1f4"}


def format_matrix(found: Matrix) -> str:
    """One line a bug: the rule that it names, the profile that saw it, and what else saw it."""
    width = max(len(row.name) for row in found.rows)
    return "\n".join([*(_line(row, width) for row in found.rows), "", *_summary(found)])


def _line(row: Row, width: int) -> str:
    others = [rule for rule in row.seen_by if rule != row.rule]
    more = (
        f"   and {len(others)} other rules"
        if others and row.rule
        else f"   accused by {', '.join(others)}"
        if others
        else ""
    )
    fate = (
        (row.profile or "SURVIVES")
        if row.rule
        else ("conforms" if row.as_it_should_be else "ACCUSED")
    )
    return f"{row.name:<{width}}  {fate:<9} {row.rule}{more}"


def _summary(found: Matrix) -> Iterator[str]:
    bugs = [row for row in found.rows if row.rule]
    correct = [row for row in found.rows if not row.rule]
    by_profile = Counter(row.profile for row in bugs if row.profile)
    if bugs:
        seen = (
            ", ".join(f"{number} in {profile}" for profile, number in by_profile.items()) or "none"
        )
        survivors = sum(not row.profile for row in bugs)
        yield f"planted bugs              {len(bugs)}, seen by the rule they name: {seen}; survivors: {survivors}"
        for words, number in (
            ("re-creating a report", sum(row.report is not None for row in bugs)),
            ("narrow", sum(row.narrow for row in bugs)),
        ):
            if number:
                yield f"{words:<25} {number}"
    if correct:
        yield f"correct implementations   {len(correct)}, accused: {sum(not row.as_it_should_be for row in correct)}"


def draw_svg(found: Matrix) -> str:
    """The matrix as an SVG: bugs down, rules across; dark green is the rule that a bug names, light green any other that saw it."""
    rules = sorted(
        {rule for row in found.rows for rule in (*row.seen_by, *([row.rule] if row.rule else []))}
    )
    width, height = LEFT + CELL * len(rules) + 10, TOP + CELL * len(found.rows) + 10
    body = [
        *_columns(rules),
        *(cell for place, row in enumerate(found.rows) for cell in _row(place, row, rules)),
    ]
    style = "<style>text{font:9px sans-serif;fill:#24292f}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return (
        "\n".join([head, style, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>"])
        + "\n"
    )


def _columns(rules: list[str]) -> Iterator[str]:
    for place, rule in enumerate(rules):
        x = LEFT + CELL * place + CELL - 2
        yield f'<text transform="translate({x},{TOP - 6}) rotate(-90)">{escape(rule)}</text>'


def _row(place: int, row: Row, rules: list[str]) -> Iterator[str]:
    y = TOP + CELL * place
    yield f'<text x="{LEFT - 6}" y="{y + CELL - 2}" text-anchor="end">{escape(row.name)}</text>'
    yield f'<rect x="{LEFT}" y="{y}" width="{CELL * len(rules) - 1}" height="{CELL - 1}" fill="{COLOURS["none"]}"/>'
    for column, rule in enumerate(rules):
        if _fate(row, rule) == "none":
            continue
        colour = COLOURS[_fate(row, rule)]
        title = f"<title>{escape(f'{row.name}, {rule}: {row.seen_by.get(rule, 0)} cases')}</title>"
        yield f'<rect x="{LEFT + CELL * column}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{colour}">{title}</rect>'


def _fate(row: Row, rule: str) -> str:
    if rule in row.seen_by:
        return "named" if rule == row.rule else "also"
    return "survived" if rule == row.rule else "none"
