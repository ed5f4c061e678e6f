"""Draw read-out maps as an SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rnnspec.readout.map import ReadoutMap
from rnnspec.readout.render import describe_parameters, describe_source, list_rows, list_samples
from rnnspec.svg import draw_rectangle, draw_text, wrap_svg

CELL, GAP, MARGIN = 18, 2, 12
LABEL_WIDTH, LETTER = 170, 7
COLOURS = {"#": "#1a7f37", "?": "#d4a72c", ".": "#eef1f4"}
MEANINGS = {"#": "can change it", "?": "only a NaN arrives: undecided", ".": "cannot change it"}


def draw_readout_maps(maps: Mapping[str, ReadoutMap]) -> str:
    """Return read-out maps, one below the other, as an SVG.

    `maps` contains the maps of a model's predictions, by the expressions of the calls. A row is a
    feature of the read-out, or several that depend on the same positions; a column is an input
    position.
    """
    body: list[str] = []
    top, width = MARGIN, 0
    for call, readout in maps.items():
        for kind, content in _list_lines(call, readout):
            if kind == "text":
                body.append(draw_text(MARGIN, top + CELL - 5, content[0]))
                width = max(width, LETTER * len(content[0]))
            else:
                body += _draw_row(top, content[0], content[1], is_head=kind == "head")
                width = max(width, LABEL_WIDTH + CELL * len(content[1]))
            top += CELL
        top += CELL // 2
    body += _draw_legend(top)
    width = max(width, sum(CELL + LETTER * (len(each) + 2) for each in MEANINGS.values()))
    return wrap_svg(body, width + 2 * MARGIN, top + CELL + MARGIN, font=12)


def _list_lines(call: str, readout: ReadoutMap) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the lines of a map: text, the head of the columns, or a row of cells."""
    yield "text", (f"{call}: {describe_source(readout)}",)
    positions = "".join(str(position % 10) for position in range(readout.positions))
    yield "head", ("input position", positions)
    for row in list_rows(readout):
        yield "cells", row
    if readout.samples_mix:
        yield "text", ("Samples: which input (row) can change which prediction (column)",)
        for row in list_samples(readout):
            yield "cells", row
    for line in describe_parameters(readout):
        yield "text", (line,)


def _draw_row(top: int, label: str, marks: str, *, is_head: bool) -> Iterator[str]:
    middle = top + CELL - 5
    yield draw_text(LABEL_WIDTH - 6, middle, label, anchor="end")
    for index, mark in enumerate(marks):
        x = LABEL_WIDTH + CELL * index
        if is_head:
            yield draw_text(x + CELL // 2 - 1, middle, mark, anchor="middle")
        else:
            title = f"position {index}, {label}: {MEANINGS[mark]}"
            yield draw_rectangle(x, top, CELL - GAP, CELL - GAP, COLOURS[mark], title=title)


def _draw_legend(top: int) -> Iterator[str]:
    x = MARGIN
    for mark, meaning in MEANINGS.items():
        yield draw_rectangle(x, top, CELL - GAP, CELL - GAP, COLOURS[mark])
        yield draw_text(x + CELL + 4, top + CELL - 5, meaning)
        x += CELL + LETTER * (len(meaning) + 2)
