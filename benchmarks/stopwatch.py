"""Measure time by category with a stopwatch that counts every moment once."""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Seconds by category.

    Entering a category inside another one stops the clock of the outer category until the inner one
    is left.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def running(self, category: str) -> Iterator[None]:
        """Count the time inside the `with` block under a category."""
        self._record_time()
        self._open.append(category)
        try:
            yield
        finally:
            self._record_time()
            self._open.pop()

    def _record_time(self) -> None:
        """Count the time since the last change under the category that was running."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since  # type: ignore[assignment]
        self._since = now

    def timed(self, function: Callable[..., Any], category: str) -> Callable[..., Any]:
        """Return a wrapper that counts the function's time under a category."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.running(category):
                return function(*args, **kwargs)

        return wrapper


def replace_in_modules(old: Any, new: Any, package: str = "rnnspec") -> None:
    """Replace `old` by `new` in every loaded module of a package, under any name.

    Raises LookupError if no module has `old`.
    """
    places = [
        (module, name)
        for key, module in list(sys.modules.items())
        if key.split(".")[0] == package
        for name, value in list(vars(module).items())
        if value is old
    ]
    if not places:
        raise LookupError(f"no loaded module of {package} contains {old!r}")
    for module, name in places:
        setattr(module, name, new)
