"""Tests for targets named on pytest's command line, with a test for each rule."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pytest

from rnnspec.api.layer import prepare_check, refuse_options
from rnnspec.declared.files import read_target
from rnnspec.errors import RnnspecError, SelectionError, suggest_similar
from rnnspec.options import CheckOptions, describe_wrong_type, ignore_clock, spell_options
from rnnspec.report.data import Result
from rnnspec.rulekit.rule import Theme
from rnnspec.subjects.target import resolve_target
from rnnspec.testing.layer import (
    RuleTest,
    choose_kind,
    list_selected,
    list_tested_rules,
    list_tests,
    note_outcome,
)
from rnnspec.testing.run import Run
from rnnspec.testing.session import REMARK, describe_session

DEFAULTS = {"profile": "quick"}
"""Options whose default under pytest differs from the default of `rnnspec check`."""


@dataclass(frozen=True)
class NamedTarget:
    """A target named on the command line, with its options.

    label    where the target is found: `package.module:attribute`, or a file and a name
    options  the options of the check
    given    the names of the options set by the user or by the project's file
    """

    label: str
    options: CheckOptions
    given: tuple[str, ...]


class Request:
    """A stand-in for pytest's `request` fixture, for items that have no fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def getfixturevalue(self, name: str) -> Any:
        """Return the factory of temporary folders, the only fixture that rnnspec requests."""
        return getattr(self.config, f"_{name}")


class RuleItem(pytest.Item):
    """The pytest item that checks a rule on a target."""

    def __init__(self, *, rule_test: RuleTest, choice: NamedTarget, **given: Any) -> None:
        super().__init__(**given)
        self.rule_test, self.choice = rule_test, choice
        rule = rule_test.rule
        for mark in (rule.theme.value, rule.part.value, rule.level.value.lower()):
            self.add_marker(name_mark(mark))

    def runtest(self) -> None:
        """Check the rule. The first test of a target runs the check for all its rules."""
        run = self.rule_test.run
        run.session = describe_session(Request(self.config), run.test)
        if run.selected is None:
            run.selected = list_selected(self.session.items, run)
        try:
            self.rule_test.check()
        finally:
            note_outcome(self, self.rule_test)
            self.user_properties.extend(
                (REMARK, f"{self.choice.label}: {remark}") for remark in run.remarks
            )
            run.remarks = ()

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        """Return the failure message, followed by the command that repeats the check."""
        if isinstance(excinfo.value, pytest.fail.Exception):
            return f"{excinfo.value}\n\nagain: {self._write_command()}"
        return str(super().repr_failure(excinfo, style))

    def _write_command(self) -> str:
        own = {"profile", "seed", *self.choice.given} - {"rules", "parts", "fail_fast"}
        words = spell_options(self.rule_test.run.chosen, own)
        return shlex.join(
            ["rnnspec", "check", self.choice.label, "--rule", self.rule_test.rule.id, *words]
        )

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return the location of the test: the target and the rule instead of a file and a line."""
        return self.config.rootpath, None, f"{self.choice.label} {self.rule_test.rule.id}"

    @property
    def result(self) -> Result:
        """The result of the rule."""
        return self.rule_test.result


def make_items(session: pytest.Session, targets: Sequence[str]) -> Iterator[RuleItem]:
    """Yield a test for each rule of each target. Raises UsageError if a target does not exist."""
    given = session.config.getoption("rnnspec_options") or []
    for text in targets:
        try:
            choice = _choose_options(text, given)
            target = resolve_target(choice.label).factory
            options = choose_kind(target, choice.options)
            rules = list_tested_rules(options)
        except RnnspecError as error:
            raise pytest.UsageError(f"--rnnspec {text}: {error}") from error
        run = Run(choice.label, options, prepare_check)
        run.test = f"--rnnspec {text}"
        for name, rule, marks in list_tests(run, rules):
            item = RuleItem.from_parent(
                session,
                name=f"{text}::{name}",
                nodeid=f"{text}::{name}",
                rule_test=RuleTest(rule, run),
                choice=choice,
            )
            for mark in marks:
                item.add_marker(mark)
            yield item


def _choose_options(text: str, given: Sequence[str]) -> NamedTarget:
    """Parse a target, and merge the options of the project's file and of the command line.

    Raises SelectionError for an option or a value that does not exist.
    """
    named = dict(_parse_option(each) for each in given)
    _refuse_unknown(named)
    label, chosen = read_target(text, named)
    options = CheckOptions(**{**DEFAULTS, **chosen})
    refuse_options(options)
    return NamedTarget(label, ignore_clock(options), tuple(chosen))


def _refuse_unknown(named: dict[str, Any]) -> None:
    """Raise UsageError for an unknown option, and SelectionError for a value of the wrong type."""
    known = {each.name: each for each in fields(CheckOptions)}
    for name, value in named.items():
        if name not in known:
            near = suggest_similar(name, known)
            raise pytest.UsageError(f"--rnnspec-option {name}: no such option.{near}")
        if wanted := describe_wrong_type(known[name], value):
            raise SelectionError(f"must be {wanted}, got {value!r}", name)


def _parse_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise pytest.UsageError(f"--rnnspec-option {text!r}: write NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def list_marks() -> Iterator[str]:
    """Yield the description of every marker that rnnspec puts on its tests."""
    for theme in Theme:
        if not theme.is_about_models:
            yield f"{name_mark(theme.value)}: rules of rnnspec about {theme.value}"
    for word in ("values", "module", "interface", "must", "should", "note"):
        yield f"{word}: rules of rnnspec of this part or level"


def name_mark(text: str) -> str:
    """Return the name of the marker for a theme, a part or a level."""
    return text.replace("-", "_")
