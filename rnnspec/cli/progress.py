"""How far a run is, for whoever waits for it: a bar on a terminal, and else a line now and then."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rnnspec.cli.parts import Bar, LineWriter
from rnnspec.errors import SelectionError
from rnnspec.isolation.standing import Standing, Watcher
from rnnspec.text import count_cases

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return a duration in seconds: a number of them, or a number with the unit s, m or h.

    Raises SelectionError if the text is no duration above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise SelectionError(f"{text!r}: write a duration such as 90, 60s or 5m.", "max_time")
    if float(found[1]) == 0.0:
        raise SelectionError(f"{text!r}: it must be more than 0, such as 60s or 5m.", "max_time")
    return float(found[1]) * UNITS[found[2]]


def describe_standing(standing: Standing) -> str:
    """Return how far a run is: cases, rate, failing cases, what goes on, and the time left."""
    failing = "1 case fails" if standing.failing == 1 else f"{standing.failing} cases fail"
    failing += f", first by {standing.first}" if standing.first else ""
    doing = f"; {', '.join(standing.doing)}" if standing.doing else ""
    rate, left = estimate_rest(standing)
    speed, rest = f" ({rate:.3g} per second)", f", about {left:.0f} s left"
    if standing.judged == standing.size:
        speed = rest = ""
    return (
        f"{standing.judged} of {count_cases(standing.size)} after {standing.seconds:.0f} s{speed}, "
        f"{failing}{rest}{doing}"
    )


def describe_shortly(standing: Standing) -> tuple[str, ...]:
    """Return what a bar shows besides the cases, the most important first.

    These are the time left, the failing cases and the rate, or what goes on instead of the times.
    """
    failing = f"{standing.failing} fail"
    if standing.doing:
        first, *rest = standing.doing
        return first, failing, *rest
    rate, left = estimate_rest(standing)
    return f"about {left:.0f} s left", failing, f"{rate:.3g} per second"


def estimate_rest(standing: Standing) -> tuple[float, float]:
    """Return how many cases are judged in a second, and how many seconds are left.

    The time in which the run was started and prepared does not count.
    """
    rate = (standing.judged - standing.known) / max(standing.seconds, 1e-9)
    return rate, (standing.size - standing.judged) / max(rate, 1e-9)


@contextmanager
def show_standing(remark: str = "") -> Iterator[Watcher]:
    """Return a context in which a run can be watched on standard error.

    A bar is shown if that is a terminal, and else a line every half minute of a long run. After the
    first half minute, both say the remark.
    """
    once = LineWriter(is_repeated=False)

    def tell_remark(standing: Standing) -> None:
        if remark:
            once.write(standing.seconds, lambda: remark)

    if not sys.stderr.isatty():
        writer = LineWriter()

        def write(standing: Standing) -> None:
            writer.write(standing.seconds, partial(describe_standing, standing))
            tell_remark(standing)

        yield write
        return
    with Bar() as bar:

        def watch(standing: Standing) -> None:
            tell_remark(standing)
            bar.show(standing.judged, standing.size, describe_shortly(standing))

        yield watch
