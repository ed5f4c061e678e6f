"""Time by category, each moment counted once: what is called within a timed call is taken from it."""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Seconds by category; a category that is entered within another stops the other's clock."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def running(self, category: str) -> Iterator[None]:
        """Count what happens inside under a category."""
        self._book()
        self._open.append(category)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def _book(self) -> None:
        """Count the time since the last change under what was running then."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since  # type: ignore[assignment]
        self._since = now

    def timed(self, function: Callable[..., Any], category: str) -> Callable[..., Any]:
        """The function, its time counted under a category."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.running(category):
                return function(*args, **kwargs)

        return wrapper


def exchange(old: Any, new: Any, package: str = "rnnspec") -> None:
    """Put `new` wherever a loaded module of the package has the name of `old`; LookupError where none has."""
    places = [
        (module, name)
        for key, module in list(sys.modules.items())
        if key.split(".")[0] == package
        for name, value in list(vars(module).items())
        if value is old
    ]
    if not places:
        raise LookupError(f"no module of {package} has {old!r}")
    for module, name in places:
        setattr(module, name, new)
