"""The accuracy of a layer in comparison with another layer: data, text and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log10
from typing import Any

from rnnspec.measuring.errors import ErrorScope, Quantity, Summary
from rnnspec.svg import draw_rectangle, draw_text, wrap_svg
from rnnspec.text import make_data_printable

SCHEMA = "rnnspec-accuracy-1"
CAPTION = (
    "Errors in units in the last place. One step: from the states that the layer itself returned",
    "before the step. Whole call: from the initial states on.",
)
ENVIRONMENT = ("torch", "numpy", "device")
NUMBER, RATIO = 9, 12
NAME = 37


@dataclass(frozen=True)
class ErrorPair:
    """The errors of a quantity, for your layer (`own`) and for the other layer."""

    quantity: Quantity
    own: Summary | None
    other: Summary | None

    @property
    def ratios(self) -> dict[str, float | None]:
        """Your layer's median, 99th percentile and worst error, each divided by the other layer's.

        Above 1, your layer is less accurate. A ratio is None if either value is unknown or
        infinite, or the other layer's value is zero.
        """
        return {
            name: _divide(getattr(self.own, name, inf), getattr(self.other, name, inf))
            for name in ("median", "p99", "worst")
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "name": self.quantity.name,
            "gradient": self.quantity.is_gradient,
            "scope": self.quantity.scope.value,
            "part": self.quantity.part,
            "own": None if self.own is None else self.own.as_dict(),
            "other": None if self.other is None else self.other.as_dict(),
            "ratios": self.ratios,
        }


def _divide(own: float, other: float) -> float | None:
    return own / other if isfinite(own) and isfinite(other) and other else None


@dataclass(frozen=True)
class Group:
    """The measurements with a size and dtype.

    config  the configuration of the layer
    """

    config: str
    dtype: str
    steps: int
    batch: int
    comparisons: tuple[ErrorPair, ...]

    def __str__(self) -> str:
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        samples = "1 sample" if self.batch == 1 else f"{self.batch} samples"
        return f"{self.config}, {self.dtype}, {steps}, {samples}"

    def list_comparisons(self, scope: ErrorScope, *, parts: bool) -> list[ErrorPair]:
        """Return the comparisons of a scope, for whole results only or also for their parts."""
        return [
            each
            for each in self.comparisons
            if each.quantity.scope is scope and (parts or not each.quantity.part)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the group as plain data."""
        return {**vars(self), "comparisons": [each.as_dict() for each in self.comparisons]}


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of your layer in comparison with another layer.

    subject      your layer
    other        the other layer, measured on the same cases
    groups       the measurements, by size and dtype
    notes        quantities that could not be measured, with the reasons
    seed         the seed of all random numbers
    environment  the versions on which the errors depend
    """

    subject: str
    other: str
    groups: Sequence[Group]
    notes: tuple[str, ...] = ()
    seed: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the errors as plain data, as written by `--json`, so that you can plot them."""
        found: dict[str, Any] = make_data_printable(
            {
                "schema": SCHEMA,
                **vars(self),
                "notes": list(self.notes),
                "groups": [group.as_dict() for group in self.groups],
            }
        )
        return found

    def format_text(self, *, parts: bool = False) -> str:
        """Return the errors as a table. Use `parts=True` to include gates and groups of steps."""
        return "\n".join(self._list_lines(parts))

    def _list_lines(self, parts: bool) -> Iterator[str]:
        found = self.environment
        versions = ", ".join(
            f"{name} {found[name]}" for name in ("torch", "numpy") if name in found
        )
        yield f"{self.subject} beside {self.other}   {versions}   seed {self.seed}"
        yield from ("", *CAPTION)
        for group in self.groups:
            yield from ("", str(group))
            yield "".join([" " * (NAME + 2), *map(_format_label, (self.subject, self.other))])
            yield from _format_group(group, parts)
        yield from (f"note: {note}" for note in self.notes)

    def draw_svg(self) -> str:
        """Return the errors as a picture, with a bar for each result of each group.

        A bar reaches from the median to the worst error, on a logarithmic scale. Write the text to
        a file that ends in .svg to open it in your browser.
        """
        return _draw(self)


def _format_label(label: str) -> str:
    """Return the end of a label, as the header of the three columns of a layer."""
    width = 3 * NUMBER
    return f"{label if len(label) < width else '...' + label[4 - width :]:>{width}}"


def _format_group(group: Group, parts: bool) -> Iterator[str]:
    columns = ("median", "99 %", "worst")
    head = "".join(f"{name:>{NUMBER}}" for name in columns)
    yield f"  {'':<{NAME}}{head}{head}  ratio of 99 %, of worst"
    for scope in ErrorScope:
        found = group.list_comparisons(scope, parts=parts)
        if found:
            yield f"  {scope}"
            yield from (_format_comparison(each) for each in found)
    seen = [each for each in group.comparisons if each.own is not None and not each.quantity.part]
    if seen:
        worst = max(seen, key=lambda each: each.own.worst if each.own else 0.0)
        assert worst.own is not None
        place = ", ".join(map(str, worst.own.worst_at))
        quantity = worst.quantity
        yield f"  worst: {quantity}, {quantity.scope}, at [{place}] of {worst.own.case}"


def _format_comparison(each: ErrorPair) -> str:
    quantity = each.quantity
    name = f"    {quantity.part}" if quantity.part else f"  {quantity}"
    shown = (each.ratios[name] for name in ("p99", "worst"))
    ratio = "".join(f"{'-' if one is None else format_units(one):>{RATIO}}" for one in shown)
    return (
        f"  {name:<{NAME}}{_format_summary(each.own)}{_format_summary(each.other)}{ratio}".rstrip()
    )


def _format_summary(summary: Summary | None) -> str:
    if summary is None:
        return f"{'-':>{NUMBER}}" * 3
    return "".join(
        f"{format_units(value):>{NUMBER}}" for value in (summary.median, summary.p99, summary.worst)
    )


def format_units(value: float) -> str:
    """Return a number of units with two or three digits."""
    if not isfinite(value):
        return "inf"
    return f"{value:.2f}" if value < 99.5 else f"{value:.0f}" if value < 1e6 else f"{value:.1e}"


LEFT, ROW, WIDTH, TOP = 230, 26, 460, 46
LEAST = 1e-2
COLOURS = {"own": "#0969da", "other": "#afb8c1"}


def _draw(found: Accuracy) -> str:
    rows = [
        (group, each)
        for group in found.groups
        for each in (
            *group.list_comparisons(ErrorScope.STEP, parts=False),
            *group.list_comparisons(ErrorScope.CALL, parts=False),
        )
    ]
    summaries = [each for _, row in rows for each in (row.own, row.other) if each is not None]
    largest = max((each.worst for each in summaries if isfinite(each.worst)), default=1.0)
    decades = max(3, int(log10(max(largest, 1.0))) + 3)
    body, y = list(_draw_axis(found, decades)), TOP
    above: Group | None = None
    for group, each in rows:
        if group is not above:
            y, above = y + ROW, group
            body.append(draw_text(8, y - 8, str(group)))
        name = f"{each.quantity} ({each.quantity.scope})"
        body.append(draw_text(LEFT - 8, y + 12, name, anchor="end"))
        pairs = (("own", each.own, found.subject), ("other", each.other, found.other))
        for place, (colour, summary, label) in enumerate(pairs):
            if summary is not None:
                body.append(_draw_bar(summary, y + 9 * place, COLOURS[colour], label, decades))
        y += ROW
    return wrap_svg(body, LEFT + WIDTH + 30, y + 12, font=11)


def _draw_axis(found: Accuracy, decades: int) -> Iterator[str]:
    yield draw_rectangle(8, 8, 10, 10, COLOURS["own"])
    yield draw_text(24, 17, f"{found.subject}: from the median to the worst error, in units")
    yield draw_rectangle(8, 24, 10, 10, COLOURS["other"])
    yield draw_text(24, 33, f"{found.other}")
    for decade in range(decades + 1):
        value = LEAST * 10.0**decade
        yield draw_text(LEFT + WIDTH * decade // decades, 44, f"{value:g}", anchor="middle")


def _draw_bar(summary: Summary, y: int, colour: str, label: str, decades: int) -> str:
    left, right = (_place(value, decades) for value in (summary.median, summary.worst))
    texts = (format_units(each) for each in (summary.median, summary.p99, summary.worst))
    title = f"{label}: median {{}}, 99 % {{}}, worst {{}}".format(*texts)
    return draw_rectangle(left, y, max(2, right - left), 8, colour, title=title)


def _place(value: float, decades: int) -> int:
    share = log10(max(value, LEAST) / LEAST) / decades if isfinite(value) else 1.0
    return LEFT + int(WIDTH * min(share, 1.0))
