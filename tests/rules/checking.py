"""Helpers of the rules' tests: make a case in a few words, and check a layer against one rule."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from typing import Any

from torch import nn

from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import Finding, FindingKind, UnsupportedCase, check_case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.selection import AnyRule
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

CONFIG_FIELDS = {field.name for field in fields(Config)}
MOST_SEEDS = 1000

Passes = dict[str, list[Case]]
"""By rule: cases on which torch.nn.RNN passes."""

Fails = list[tuple[str, str, Case, str]]
"""Rule, planted bug, a case that shows it, and a pattern for the result of `prove_violation`."""


def make_case(**changes: Any) -> Case:
    """Return a case of 3 features, 4 units, 5 steps and 3 samples, with some fields changed."""
    given = {"input_size": 3, "hidden_size": 4, "steps": 5, "batch": 3, **changes}
    config = {name: value for name, value in given.items() if name in CONFIG_FIELDS}
    others = {name: value for name, value in given.items() if name not in CONFIG_FIELDS}
    return Case(config=Config(**config), **others).fit_lengths()


def find_applicable_cases(rule: AnyRule, near: Case, count: int = 1) -> list[Case]:
    """Return the case with the first `count` seeds for which the rule applies.

    Fails if fewer than `count` of the first `MOST_SEEDS` seeds do.
    """
    seeded = (near.replace(seed=seed) for seed in range(MOST_SEEDS))
    found = list(islice(filter(rule.when, seeded), count))
    assert len(found) == count, (
        f"{rule.id} applies to {near} with only {len(found)} of {MOST_SEEDS} seeds"
    )
    return found


def check_layer(
    name: str, kind: type[nn.Module], near: Case, seeds: int = 3
) -> Finding[Any] | UnsupportedCase | None:
    """Return the first outcome that is not a pass, or None if the layer passes.

    The rule called `name` checks the layer on the case with the first few seeds that fit.
    """
    rule, subject = find_layer_rule(name), _make_subject(kind, near)
    outcomes = (
        check_case(rule, Observation(subject, each))
        for each in find_applicable_cases(rule, near, seeds)
    )
    return next((outcome for outcome in outcomes if outcome is not None), None)


def _make_subject(layer: type[nn.Module], near: Case) -> TorchSubject:
    return TorchSubject(resolve_target(layer), kind=near.config.kind)


def load_standard(near: Case) -> type[nn.Module]:
    """Return the layer or cell of torch that the kind of a case documents."""
    return require_documented(near.config.kind_data)


def make_test_ids(fails: Fails) -> list[str]:
    """Return the pytest id of each row of a table."""
    return [f"{name}-{bug}" for name, bug, *_ in fails]


def find_violation(name: str, bug: str, near: Case, seeds: int = 8) -> Finding[Any]:
    """Return the violation that a rule reports for a planted bug.

    Fails if there is none, or if the layer could not be observed.
    """
    finding = check_layer(name, find_bank(near.config.kind).bugs[bug], near, seeds)
    assert isinstance(finding, Finding), f"{name} reports {finding} for {bug}"
    assert finding.kind is FindingKind.VIOLATION, f"{bug} breaks {name}: {finding.message}"
    return finding


def describe_violation(name: str, bug: str, near: Case, seeds: int = 8) -> str:
    """Return the message of the violation that a rule reports for a planted bug."""
    return find_violation(name, bug, near, seeds).message
