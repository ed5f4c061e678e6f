"""The pytest plugin: it passes data between the processes of a session and prints remarks.

pytest loads it in all of your sessions, so it imports nothing that is slow to import.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from rnnspec.testing.session import CACHE, DISTRIBUTION, GIVEN, REMARK, read_kept, update_kept
from rnnspec.testing.stash import OUTCOME

TARGET = "Check a layer, 'package.module:attribute', with one test for each rule. Repeatable."
ATTRIBUTE = "rnnspec_outcome"
"""Attribute of a report with the outcome of a rule; pytest-xdist sends a report's attributes."""
OTHER_ANNOTATIONS = "pytest_github_actions_annotate_failures"
"""The plugin that annotates every failed test, so that this one need not."""
OPTION = "An option of the check, such as profile=default. Repeatable."


def pytest_addoption(parser: Any) -> None:
    """Add the options that name a target. Without them, the plugin adds no tests."""
    group = parser.getgroup("rnnspec")
    group.addoption("--rnnspec", action="append", metavar="TARGET", help=TARGET)
    group.addoption(
        "--rnnspec-option",
        action="append",
        dest="rnnspec_options",
        metavar="NAME=VALUE",
        help=OPTION,
    )


def pytest_configure(config: Any) -> None:
    """Register the markers of rules. If no path was given, collect no other tests."""
    if not config.getoption("rnnspec"):
        return
    from rnnspec.testing.items import list_marks

    for line in list_marks():
        config.addinivalue_line("markers", line)
    if config.args_source is not config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: Any, config: Any, items: list[Any]) -> None:
    """Add the tests of the targets before other plugins select by name, mark or last failure."""
    if targets := config.getoption("rnnspec"):
        from rnnspec.testing.items import make_items

        made: list[Any] = list(make_items(session, targets))
        report = pytest.CollectReport("rnnspec", "passed", None, made)
        config.hook.pytest_collectreport(report=report)  # so that the terminal reporter counts them
        items.extend(made)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send a pytest-xdist worker the distribution mode and the cases that failed earlier."""
    node.workerinput[DISTRIBUTION] = node.config.option.dist
    node.workerinput[GIVEN] = read_kept(node.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    """Copy the outcome of a rule to the report of its test.

    pytest-xdist sends the attributes of reports to the main process.
    """
    report: Any = yield
    if call.when == "call" and OUTCOME in item.stash:
        setattr(report, ATTRIBUTE, item.stash[OUTCOME])
    return report


def pytest_sessionfinish(session: Any) -> None:
    """Keep the failing cases, so that the next session starts with them."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(config, "workerinput") or reporter is None or getattr(config, "cache", None) is None:
        return
    outcomes = [
        getattr(report, ATTRIBUTE)
        for reports in reporter.stats.values()
        for report in reports
        if hasattr(report, ATTRIBUTE)
    ]
    if outcomes:
        kept = read_kept(config)
        for outcome in outcomes:
            update_kept(kept, outcome)
        config.cache.set(CACHE, kept)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print each remark on the checks once, and annotations in jobs of GitHub."""
    for line in _list_annotations(terminalreporter):
        terminalreporter.line(line)
    lines = dict.fromkeys(_list_remarks(terminalreporter.stats))
    if lines:
        terminalreporter.section("rnnspec")
        for line in lines:
            terminalreporter.line(line)


def _list_annotations(reporter: Any) -> Iterator[str]:
    """Yield the commands by which GitHub shows each fault on the line of the test that found it.

    There are none outside such jobs, and none if you have installed the plugin that annotates every
    failed test.
    """
    is_job = os.environ.get("GITHUB_ACTIONS") == "true"
    if not is_job or reporter.config.pluginmanager.has_plugin(OTHER_ANNOTATIONS):
        return
    for report in reporter.stats.get("failed", ()):
        if hasattr(report, ATTRIBUTE):
            from rnnspec.report.sarif import format_annotation

            path, line, name = report.location
            where = {} if line is None else {"file": path, "line": str(line + 1)}
            yield format_annotation("error", report.longreprtext, title=name, **where)


def _list_remarks(stats: dict[str, list[Any]]) -> Iterator[str]:
    for reports in stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == REMARK:
                    yield value
