"""Show the progress of a run: as a bar on a terminal, otherwise as a line at intervals."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rnnspec.cli.parts import Bar, LineWriter
from rnnspec.errors import SelectionError
from rnnspec.isolation.standing import Standing, StandingWatcher
from rnnspec.text import count_cases

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Parse a duration in seconds: a number, optionally with the unit s, m or h.

    Raises SelectionError if the text is not a duration above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise SelectionError(f"{text!r}: write a duration such as 90, 60s or 5m.", "max_time")
    if float(found[1]) == 0.0:
        raise SelectionError(f"{text!r}: it must be more than 0, such as 60s or 5m.", "max_time")
    return float(found[1]) * UNITS[found[2]]


def describe_standing(standing: Standing) -> str:
    """Describe the progress of a run: cases, rate, failing cases, activity, and time left."""
    failing = "1 case fails" if standing.failing == 1 else f"{standing.failing} cases fail"
    failing += f", first by {standing.first}" if standing.first else ""
    doing = f"; {', '.join(standing.doing)}" if standing.doing else ""
    rate, left = estimate_rest(standing)
    speed = f" ({rate:.3g} per second)"
    rest = f", about {left:.0f} s left" if rate else ""
    if standing.checked == standing.size:
        speed = rest = ""
    return (
        f"{standing.checked} of {count_cases(standing.size)} "
        f"after {standing.seconds:.0f} s{speed}, "
        f"{failing}{rest}{doing}"
    )


def describe_shortly(standing: Standing) -> tuple[str, ...]:
    """Return the texts that a bar shows besides the cases, the most important first.

    These are the time left, the failing cases and the rate, or the current activity in place of the
    times.
    """
    failing = f"{standing.failing} fail"
    if standing.doing:
        first, *rest = standing.doing
        return first, failing, *rest
    rate, left = estimate_rest(standing)
    times = (f"about {left:.0f} s left",) if rate else ()
    return *times, failing, f"{rate:.3g} per second"


def estimate_rest(standing: Standing) -> tuple[float, float]:
    """Return the number of cases checked per second, and the number of seconds left.

    The time to start and prepare the run does not count.
    """
    rate = (standing.checked - standing.known) / max(standing.seconds, 1e-9)
    return rate, (standing.size - standing.checked) / max(rate, 1e-9)


@contextmanager
def show_standing(remark: str = "") -> Iterator[StandingWatcher]:
    """Show the progress of a run on standard error while the context is active.

    A terminal shows a bar, otherwise a line is printed every half minute of a long run. Both show
    the remark after the first half minute.
    """
    once = LineWriter(is_repeated=False)

    def print_remark(standing: Standing) -> None:
        if remark:
            once.write(standing.seconds, lambda: remark)

    if not sys.stderr.isatty():
        writer = LineWriter()

        def write(standing: Standing) -> None:
            writer.write(standing.seconds, partial(describe_standing, standing))
            print_remark(standing)

        yield write
        return
    with Bar() as bar:

        def watch(standing: Standing) -> None:
            print_remark(standing)
            bar.show(standing.checked, standing.size, describe_shortly(standing))

        yield watch
