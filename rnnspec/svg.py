"""Elements of SVG pictures."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = "<style>text{font:%dpx sans-serif;fill:#24292f}</style>"


def wrap_svg(body: Iterable[str], width: int, height: int, *, font: int) -> str:
    """Return a picture on a white background, in pixels; `font` is the height of its text."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
    )
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, STYLE % font, ground, *body, "</svg>"]) + "\n"


def draw_text(x: int, y: int, text: str, *, anchor: str = "start") -> str:
    """Return text that begins, ends (anchor="end") or is centred (anchor="middle") at a point."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}"{where}>{escape(text)}</text>'


def draw_rectangle(x: int, y: int, width: int, height: int, colour: str, *, title: str = "") -> str:
    """Return a rectangle. Browsers show its title when the pointer rests on it."""
    tag = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{colour}"'
    return f"{tag}><title>{escape(title)}</title></rect>" if title else f"{tag}/>"
