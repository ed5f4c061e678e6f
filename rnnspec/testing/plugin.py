"""The plugin of pytest: what the processes of a session tell each other, and what the user is told.

It imports nothing that takes time, since pytest loads it in every session.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rnnspec.testing.session import DISTRIBUTION, REMARK


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist how tests are distributed, which it does not know."""
    node.workerinput[DISTRIBUTION] = node.config.option.dist


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what was remarkable about checks, each line once."""
    lines = dict.fromkeys(_list_remarks(terminalreporter.stats))
    if lines:
        terminalreporter.section("rnnspec")
        for line in lines:
            terminalreporter.line(line)


def _list_remarks(stats: dict[str, list[Any]]) -> Iterator[str]:
    for reports in stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == REMARK:
                    yield value
