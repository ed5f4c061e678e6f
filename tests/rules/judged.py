"""What the tests of the rules share: a case in a few words, and what a rule says of a layer on it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import Finding, UnsupportedCase, judge_case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import Rule
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

CONFIG = {field.name for field in fields(Config)}
MOST_SEEDS = 200

Passes = dict[str, list[Case]]
"""By rule: cases on which torch.nn.RNN passes."""

Fails = list[tuple[str, str, Case, str]]
"""Rule, planted bug, a case that shows it, and a pattern of what is told."""


def case(**given: Any) -> Case:
    """A case of three features, four units, five steps and three samples, with some fields changed."""
    config = {
        "input_size": 3,
        "hidden_size": 4,
        **{name: value for name, value in given.items() if name in CONFIG},
    }
    rest = {
        "steps": 5,
        "batch": 3,
        **{name: value for name, value in given.items() if name not in CONFIG},
    }
    return Case(config=Config(**config), **rest).fitted()


def fitting(rule: Rule, near: Case, count: int = 1) -> list[Case]:
    """The case with the first seeds with which the rule applies; fails where there are not so many."""
    found = [
        candidate
        for candidate in (near.replace(seed=seed) for seed in range(MOST_SEEDS))
        if rule.when(candidate)
    ]
    assert len(found) >= count, (
        f"{rule.id} applies to {near} with {len(found)} of {MOST_SEEDS} seeds only"
    )
    return found[:count]


def verdict(
    name: str, kind: type[nn.Module], near: Case, seeds: int = 3
) -> Finding | UnsupportedCase | None:
    """The first thing that a rule has to say against a layer on a case, with the first few seeds that fit."""
    rule, subject = find_layer_rule(name), TorchSubject(resolve_target(kind))
    said = (
        judge_case(rule, Observation(subject, candidate))
        for candidate in fitting(rule, near, seeds)
    )
    return next((finding for finding in said if finding is not None), None)


def names(fails: Fails) -> list[str]:
    """What each line of a table is called in the report of pytest."""
    return [f"{name}-{bug}" for name, bug, *_ in fails]


def message(name: str, bug: str, near: Case, seeds: int = 8) -> str:
    """What a rule tells of a planted bug; fails where it has nothing to tell or the layer could not be observed."""
    finding = verdict(name, BUGS[bug], near, seeds)
    assert isinstance(finding, Finding), f"{name} says {finding} of {bug}"
    assert not finding.blocked, f"{name} is blocked by {bug}: {finding.message}"
    return finding.message
