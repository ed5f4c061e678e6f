"""The kill matrix as text and as an SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from rnnspec.selftest.matrix import Matrix, MatrixRow
from rnnspec.svg import draw_rectangle, draw_text, wrap_svg

CELL = 11
LEFT, TOP = 210, 190
COLOURS = {"named": "#1a7f37", "also": "#9ccfa8", "survived": "#cf222e", "none": "#eef1f4"}


def format_matrix(found: Matrix) -> str:
    """Return a line per layer, followed by a summary.

    A line names the profile with which the named rule detects a bug, that rule, and the number of
    other rules that also detect it.
    """
    width = max(len(row.name) for row in found.rows)
    return "\n".join(
        [*(_format_row(row, width) for row in found.rows), "", *_format_summary(found)]
    )


def _format_row(row: MatrixRow, width: int) -> str:
    others = [rule for rule in row.seen_by if rule != row.rule]
    more = ""
    if others and row.rule:
        more = f"   and {len(others)} other rule{'s' if len(others) > 1 else ''}"
    elif others:
        more = f"by {', '.join(others)}"
    result = (
        (row.profile or "SURVIVES")
        if row.rule
        else ("conforms" if row.as_it_should_be else "ACCUSED")
    )
    return f"{row.name:<{width}}  {result:<9} {row.rule}{more}"


def _format_summary(found: Matrix) -> Iterator[str]:
    bugs = [row for row in found.rows if row.rule]
    correct = [row for row in found.rows if not row.rule]
    by_profile = Counter(row.profile for row in bugs if row.profile)
    if bugs:
        detected = ", ".join(f"{number} in {profile}" for profile, number in by_profile.items())
        survivors = sum(not row.profile for row in bugs)
        yield (
            f"planted bugs              {len(bugs)}; "
            f"detected by the rule they name: {detected or 'none'}; survivors: {survivors}"
        )
        for words, number in (
            ("from a public report", sum(row.report is not None for row in bugs)),
            ("narrow", sum(row.narrow for row in bugs)),
        ):
            if number:
                yield f"{words:<25} {number}"
    if correct:
        accused = sum(not row.as_it_should_be for row in correct)
        yield f"correct implementations   {len(correct)}; accused: {accused}"
    if found.stopped:
        yield "interrupted               those that follow were not checked"


def draw_svg(found: Matrix) -> str:
    """Return the matrix as an SVG, with a row per layer and a column per rule.

    A cell is dark green if the rule that a bug names detects it, light green if another rule does,
    and red if the named rule misses it.
    """
    rules = sorted(
        {rule for row in found.rows for rule in (*row.seen_by, *([row.rule] if row.rule else []))}
    )
    width, height = LEFT + CELL * len(rules) + 10, TOP + CELL * len(found.rows) + 10
    body = [
        *_draw_rule_names(rules),
        *(cell for place, row in enumerate(found.rows) for cell in _draw_row(place, row, rules)),
    ]
    return wrap_svg(body, width, height, font=9)


def _draw_rule_names(rules: list[str]) -> Iterator[str]:
    for place, rule in enumerate(rules):
        x = LEFT + CELL * place + CELL - 2
        yield f'<text transform="translate({x},{TOP - 6}) rotate(-90)">{escape(rule)}</text>'


def _draw_row(place: int, row: MatrixRow, rules: list[str]) -> Iterator[str]:
    y = TOP + CELL * place
    yield draw_text(LEFT - 6, y + CELL - 2, row.name, anchor="end")
    yield draw_rectangle(LEFT, y, CELL * len(rules) - 1, CELL - 1, COLOURS["none"])
    for column, rule in enumerate(rules):
        if _classify_cell(row, rule) == "none":
            continue
        colour = COLOURS[_classify_cell(row, rule)]
        number = row.seen_by.get(rule, 0)
        title = f"{row.name}, {rule}: {number} case{'' if number == 1 else 's'}"
        x = LEFT + CELL * column
        yield draw_rectangle(x, y, CELL - 1, CELL - 1, colour, title=title)


def _classify_cell(row: MatrixRow, rule: str) -> str:
    if rule in row.seen_by:
        return "named" if rule == row.rule else "also"
    return "survived" if rule == row.rule else "none"
