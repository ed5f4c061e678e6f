"""The rules as a whole: every clause is tested or excluded, every id is well formed, every part of a rule is told."""

from __future__ import annotations

import re

import pytest

from rnnspec.cases.axes import FEATURES
from rnnspec.contract.clauses import load_clauses
from rnnspec.models.catalogue import load_model_clauses
from rnnspec.rulekit.rule import Rule
from rnnspec.rules.catalogue import ORDER, list_layer_rules
from rnnspec.suites.catalogue import list_all_rules

CLAUSES = {**load_clauses(), **load_model_clauses()}
TESTED = {clause.id for rule in list_all_rules() for clause in rule.clauses}
every = pytest.mark.parametrize("rule", list_all_rules(), ids=lambda rule: rule.id)


def test_every_clause_is_tested_or_excluded() -> None:
    assert not [
        clause.id
        for clause in CLAUSES.values()
        if clause.excluded is None and clause.id not in TESTED
    ]


def test_what_is_excluded_is_not_tested() -> None:
    assert not [id for id in TESTED if CLAUSES[id].excluded is not None]


def test_ids_are_unique() -> None:
    ids = [rule.id for rule in list_all_rules()]
    assert len(ids) == len(set(ids))


def test_every_theme_has_rules_and_a_place_in_the_report() -> None:
    assert {rule.theme for rule in list_layer_rules()} == set(ORDER)


@every
def test_the_clauses_of_a_rule_exist_and_have_its_level(rule: Rule) -> None:
    assert [CLAUSES[clause.id] for clause in rule.clauses] == list(rule.clauses)
    assert {clause.level for clause in rule.clauses} == {rule.level}


@every
def test_a_rule_is_told_in_sentences(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*", rule.id)
    assert rule.requirement.endswith(".")
    assert rule.how.endswith(".")
    assert rule.catches.endswith(".")


@every
def test_a_rule_needs_only_features_that_there_are(rule: Rule) -> None:
    assert rule.needs <= FEATURES.keys()
