"""The parts of a picture as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = "<style>text{font:%dpx sans-serif;fill:#24292f}</style>"


def wrap_svg(body: Iterable[str], width: int, height: int, *, font: int) -> str:
    """Return a picture of a size in pixels on white, whose text is `font` pixels high."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
    )
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, STYLE % font, ground, *body, "</svg>"]) + "\n"


def draw_text(x: int, y: int, text: str, *, anchor: str = "start") -> str:
    """Return text that begins, ends (`anchor` is "end") or is centred ("middle") at a place."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}"{where}>{escape(text)}</text>'


def draw_rectangle(x: int, y: int, width: int, height: int, colour: str, *, title: str = "") -> str:
    """Return a rectangle; its title is shown by browsers where the pointer rests on it."""
    tag = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{colour}"'
    return f"{tag}><title>{escape(title)}</title></rect>" if title else f"{tag}/>"
