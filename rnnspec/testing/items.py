"""Tests of targets that are named on pytest's command line, one for each rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rnnspec.api.layer import prepare_check
from rnnspec.declared.files import find_file
from rnnspec.errors import RnnspecError
from rnnspec.options import CheckOptions, ignore_clock
from rnnspec.report.data import Result
from rnnspec.rulekit.rule import Theme
from rnnspec.subjects.target import resolve_target
from rnnspec.testing.layer import RuleTest, choose_kind, list_tested_rules, note_outcome
from rnnspec.testing.run import Run
from rnnspec.testing.session import REMARK, describe_session

DEFAULTS = {"profile": "quick"}
"""Options whose default under pytest is another than that of a check."""


class Request:
    """What a test tells of its session, as a request for a fixture does."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def getfixturevalue(self, name: str) -> Any:
        """Return the factory of temporary folders, the only fixture that is asked for."""
        return getattr(self.config, f"_{name}")


class RuleItem(pytest.Item):
    """The test of one rule for one target."""

    def __init__(self, *, rule_test: RuleTest, label: str, **given: Any) -> None:
        super().__init__(**given)
        self.rule_test, self.label = rule_test, label
        rule = rule_test.rule
        for mark in (rule.theme.value, rule.part.value, rule.level.value.lower()):
            self.add_marker(name_mark(mark))

    def runtest(self) -> None:
        """Check the rule; the first test of a target judges all its rules."""
        run = self.rule_test.run
        run.session = describe_session(Request(self.config), run.test)
        try:
            self.rule_test.check()
        finally:
            note_outcome(self, self.rule_test)
            self.user_properties.extend(
                (REMARK, f"{self.label}: {remark}") for remark in run.remarks
            )
            run.remarks = ()

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        """Return everything about the failure, and the command that runs it again."""
        if isinstance(excinfo.value, pytest.fail.Exception):
            return f"{excinfo.value}\n\nagain: {self._write_command()}"
        return str(super().repr_failure(excinfo, style))

    def _write_command(self) -> str:
        options = self.rule_test.run.chosen
        rule = self.rule_test.rule.id
        return (
            f"rnnspec check {self.label} --rule {rule} --profile {options.profile} "
            f"--seed {options.seed}"
        )

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what the test is about: no file, but a target and a rule."""
        return self.config.rootpath, None, f"{self.label} {self.rule_test.rule.id}"

    @property
    def result(self) -> Result:
        """What the rule said."""
        return self.rule_test.result


def make_items(session: pytest.Session, targets: Sequence[str]) -> Iterator[RuleItem]:
    """Yield a test for each rule of each target. Raises UsageError if there is no such target."""
    given = session.config.getoption("rnnspec_options") or []
    for text in targets:
        try:
            label, options = _choose_options(text, given)
            target = resolve_target(label).factory
            options = choose_kind(target, options)
        except RnnspecError as error:
            raise pytest.UsageError(f"--rnnspec {text}: {error}") from error
        run = Run(label, options, prepare_check)
        run.test = f"--rnnspec {text}"
        for rule in list_tested_rules(options):
            yield RuleItem.from_parent(
                session,
                name=f"{text}::{rule.id}",
                nodeid=f"{text}::{rule.id}",
                rule_test=RuleTest(rule, run),
                label=label,
            )


def _choose_options(text: str, given: Sequence[str]) -> tuple[str, CheckOptions]:
    """Return the target that a text names, and the options of the file and of the command line."""
    named = dict(_parse_option(each) for each in given)
    declared = find_file(named.get("known"))
    table = {} if declared is None else dict(declared.targets.get(text, {}))
    label = str(table.pop("target", text))
    try:
        options = CheckOptions.from_keywords("--rnnspec-option", {**DEFAULTS, **table, **named})
    except TypeError as error:
        raise pytest.UsageError(str(error)) from error
    return label, ignore_clock(options)


def _parse_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise pytest.UsageError(f"--rnnspec-option {text!r}: write NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def list_marks() -> Iterator[str]:
    """Yield the description of each marker that tests of rules have."""
    for theme in Theme:
        if not theme.is_about_models:
            yield f"{name_mark(theme.value)}: rules of rnnspec about {theme.value}"
    for word in ("values", "module", "interface", "must", "should", "note"):
        yield f"{word}: rules of rnnspec of this part or level"


def name_mark(text: str) -> str:
    """Return the name of the marker for a theme, a part or a level."""
    return text.replace("-", "_")
