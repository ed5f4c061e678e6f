"""The pictures of a report page: errors beside their bounds, and the positions of wrong elements.

Their colours come from the style sheet of the page, so that they follow its dark and light mode.
Wrong elements also have a shape of their own, for readers who cannot distinguish the colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from rnnspec.report.error_map import ErrorMap, ErrorProfile, WrongShares

Scale = Callable[[float], float]

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 34
MOST_TICKS = 5
"""Limit on the number of labels on an axis."""
NOT_FINITE = 18
"""The height of the strip above the axis for errors that are infinite or not a number."""
LEAST_DECADES, MOST_DECADES = 2, 16
"""Limits on the height of the axis of errors, in powers of ten.

Smaller values are drawn at the bottom, such as the bound of a result that is exactly zero.
"""


def draw_errors(errors: ErrorMap) -> Iterator[tuple[str, str]]:
    """Yield the title and the SVG of each picture of an error map."""
    for profile in errors.profiles:
        yield f"Error and bound by {profile.name}", draw_profile(profile)
    for shares in errors.maps if errors.wrong else ():
        title = f"Where {errors.quantity} is wrong: {shares.rows} and {shares.columns}"
        yield title, draw_shares(shares)


def draw_profile(profile: ErrorProfile) -> str:
    """Return a picture of the errors along a dimension, with the bounds of rounding errors."""
    numbers = [each for each in (*profile.errors, *profile.bounds) if each]
    low = floor(log10(min(numbers, default=1.0)))
    high = max(ceil(log10(max(numbers, default=1.0))), low + LEAST_DECADES)
    low = max(low, high - MOST_DECADES)
    places = len(profile.errors)
    has_infinite = None in profile.errors
    top = TOP + NOT_FINITE * has_infinite

    def find_x(place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / places

    def find_y(number: float) -> float:
        share = (log10(number) - low) / (high - low) if number > 0.0 else 0.0
        return HEIGHT - BOTTOM - (HEIGHT - top - BOTTOM) * min(1.0, max(0.0, share))

    body = [*_draw_decades(low, high, find_y), *_draw_indices(profile.size, places, find_x)]
    body.append(_write(WIDTH - RIGHT, HEIGHT - 4, profile.name, "end"))
    if has_infinite:
        body.append(_write(LEFT - 4, TOP + 4, "inf, nan", "end"))
    body += _draw_bounds(profile.bounds, find_x, find_y)
    for place, error in enumerate(profile.errors):
        text = _describe_place(profile, place)
        at = find_x(place), TOP if error is None else find_y(error)
        body.append(_draw_mark(*at, text, is_wrong=profile.wrong[place] > 0.0))
    label = f"Error and bound by {profile.name}"
    return _wrap(body, WIDTH, HEIGHT, label)


def _draw_mark(x: float, y: float, text: str, *, is_wrong: bool) -> str:
    title = f"<title>{escape(text)}</title>"
    if is_wrong:
        place = f'x="{x - 2.5:.1f}" y="{y - 2.5:.1f}" width="5" height="5"'
        return f'<rect class="wrong" {place}>{title}</rect>'
    return f'<circle class="right" cx="{x:.1f}" cy="{y:.1f}" r="2.5">{title}</circle>'


def _describe_place(profile: ErrorProfile, place: int) -> str:
    error, bound = profile.errors[place], profile.bounds[place]
    shown = "is not finite" if error is None else f"{error:.2g}"
    most = "" if bound is None else f", bound {bound:.2g}"
    where = _name_place(place, len(profile.errors), profile.size)
    return f"{profile.name} {where}: error {shown}{most}, {profile.wrong[place]:.0%} wrong"


def _name_place(place: int, places: int, size: int) -> str:
    """Return the index of a place, or its first and last index."""
    # numpy.array_split makes the first groups longer by one.
    least, longer = divmod(size, places)
    first = place * least + min(place, longer)
    last = first + least - (place >= longer)
    return str(first) if first == last else f"{first} to {last}"


def _draw_bounds(bounds: Sequence[float | None], find_x: Scale, find_y: Scale) -> list[str]:
    """Return a line for each run of places that have a bound."""
    runs: list[list[str]] = [[]]
    for place, bound in enumerate(bounds):
        if bound is None:
            runs.append([])
        else:
            y = find_y(bound)
            ends = (find_x(place - 0.5), find_x(place + 0.5))
            runs[-1] += [f"{x:.1f},{y:.1f}" for x in ends]
    return [f'<polyline class="bound" points="{" ".join(run)}"/>' for run in runs if run]


def _draw_decades(low: int, high: int, find_y: Scale) -> Iterator[str]:
    """Yield the axis of errors, with lines at some powers of ten."""
    step = -(-(high - low) // (MOST_TICKS - 1))
    for power in range(low, high + 1, step):
        y = find_y(10.0**power)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield _write(LEFT - 4, y + 4, f"1e{power}", "end")


def _draw_indices(size: int, places: int, find_x: Scale) -> Iterator[str]:
    """Yield the labels of the axis of indices."""
    step = -(-places // MOST_TICKS)
    for place in range(0, places, step):
        index = _name_place(place, places, size).split()[0]
        yield _write(find_x(place), HEIGHT - BOTTOM + 14, index, "middle")


def draw_shares(shares: WrongShares) -> str:
    """Return a picture with a cell for each pair of indices; wrong elements make it darker.

    The first dimension runs to the right.
    """
    columns, rows = len(shares.shares), len(shares.shares[0])
    side = min(18.0, (WIDTH - LEFT - RIGHT) / columns)
    tall = min(18.0, max(3.0, 200.0 / rows))
    height = TOP + tall * rows + BOTTOM
    body: list[str] = []
    for column, cells in enumerate(shares.shares):
        for row, share in enumerate(cells):
            names = (
                f"{shares.rows} {_name_place(column, columns, shares.sizes[0])}",
                f"{shares.columns} {_name_place(row, rows, shares.sizes[1])}",
            )
            body += _draw_cell(
                LEFT + side * column, TOP + tall * row, side, tall, share, ", ".join(names)
            )
    for column in range(0, columns, -(-columns // MOST_TICKS)):
        index = _name_place(column, columns, shares.sizes[0]).split()[0]
        body.append(_write(LEFT + side * (column + 0.5), height - BOTTOM + 14, index, "middle"))
    for row in range(0, rows, -(-rows // MOST_TICKS)):
        index = _name_place(row, rows, shares.sizes[1]).split()[0]
        body.append(_write(LEFT - 4, TOP + tall * (row + 0.5) + 4, index, "end"))
    body.append(_write(LEFT, height - 4, f"{shares.rows} to the right, {shares.columns} down"))
    label = f"Share of wrong elements by {shares.rows} and {shares.columns}"
    return _wrap(body, WIDTH, height, label)


def _draw_cell(
    x: float, y: float, width: float, height: float, share: float, name: str
) -> Iterator[str]:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width - 0.6:.1f}" height="{height - 0.6:.1f}"'
    title = f"<title>{escape(name)}: {share:.0%} wrong</title>"
    yield f'<rect class="cell" {place}>{title}</rect>'
    if share:
        # A single wrong element of many has to be visible.
        yield f'<rect class="wrong" {place} opacity="{max(0.25, share):.2f}">{title}</rect>'


def _write(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _wrap(body: Sequence[str], width: float, height: float, label: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{escape(label)}">'
    )
    return "\n".join([head, *body, "</svg>"])
