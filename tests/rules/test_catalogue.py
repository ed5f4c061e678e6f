"""All rules together: every clause is checked or excluded, and every rule is well formed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from rnnspec.cases.axes import Feature
from rnnspec.contract.clauses import load_clauses
from rnnspec.contract.kinds import KINDS
from rnnspec.rulekit.rule import Theme
from rnnspec.rulekit.selection import AnyRule
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.suites.catalogue import list_all_rules

CLAUSES = load_clauses()
CHECKED = {clause.id for rule in list_all_rules() for clause in rule.clauses}
EXCLUDED = {
    "rnn.args.order.device",
    "rnn.module.all-weights",
    "rnn.module.configuration",
    "rnn.module.repr",
    "rnn.errors.h_0-batch.packed",
    "rnn.errors.h_0-dtype",
    "rnn-cell.args.unchecked",
    "rnn-cell.errors.mixed-rank",
    "lstm-cell.rocm",
    "rnn.cudnn.determinism",
    "rnn.cudnn.persistent",
    "gru.args.order.device",
    "gru.args.no-nonlinearity",
    "gru.h_0.keyword",
    "gru.dropout.factor-without-scale",
    "gru.effects.globals",
    "gru.effects.results-separate",
    "gru.module.configuration",
    "lstm.args.proj-size.smaller",
    "lstm.errors.packed-unchecked",
    "packing.pack.refuses-unsorted",
    "packing.pack.lengths",
    "packing.pad.total-length",
    "packing.made-by-helpers",
    "use.module.state-dict.extra-state",
    "use.module.hooks.keywords",
    "use.module.hooks.always",
    "use.module.hooks.global",
    "use.module.copy.shallow",
    "use.module.conversion.memory-format",
    "use.module.parts",
    "use.module.named-parameters",
    "use.module.compile",
    "use.module.other-devices",
    "use.autograd.graph-freed",
    "use.autograd.saved-tensor-hooks",
    "use.autograd.gradient-form",
    "use.func.vmap",
    "use.serialisation.module",
    "use.serialisation.safetensors",
    "use.utils.clipped",
    "use.func.jacrev",
    "use.autograd.checkpoint",
    "use.module.share-memory",
    "use.utils.skip-init",
    "use.func.jvp",
}
"""The clauses that no rule checks. Each has a reason, and a new one needs an entry here."""
every_rule = pytest.mark.parametrize("rule", list_all_rules(), ids=lambda rule: rule.id)


@pytest.mark.parametrize("kind", KINDS)
def test_every_clause_of_a_kind_is_checked_or_excluded(kind: str) -> None:
    checked = {clause.id for rule in list_all_rules() for clause in rule.clauses_of(kind)}
    assert not [
        clause.id
        for clause in CLAUSES.values()
        if kind in clause.kinds and clause.excluded is None and clause.id not in checked
    ]


def test_no_other_clause_is_excluded() -> None:
    assert {clause.id for clause in CLAUSES.values() if clause.excluded is not None} == EXCLUDED


def test_excluded_clauses_are_not_checked() -> None:
    assert not [id for id in CHECKED if CLAUSES[id].excluded is not None]


def test_ids_are_unique() -> None:
    ids = [rule.id for rule in list_all_rules()]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_the_order_does_not_depend_on_which_module_is_imported_first() -> None:
    program = (
        "import rnnspec.rules.training, rnnspec.rules.modes\n"
        "from rnnspec.suites.catalogue import list_all_rules\n"
        "print(*(rule.id for rule in list_all_rules()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    by_module = sorted(
        list_layer_rules(),
        key=lambda rule: (list(Theme).index(rule.theme), rule.check.__module__),
    )
    assert ran.stdout.split()[: len(by_module)] == [rule.id for rule in by_module]


def test_every_theme_has_rules() -> None:
    assert {rule.theme for rule in list_all_rules()} == set(Theme)
    assert not [rule.id for rule in list_layer_rules() if rule.theme.is_about_models]


@pytest.mark.mostly_slow
@every_rule
def test_the_clauses_of_a_rule_exist_and_have_its_level(rule: AnyRule) -> None:
    assert [CLAUSES[clause.id] for clause in rule.clauses] == list(rule.clauses)
    assert {clause.level for clause in rule.clauses} == {rule.level}


@pytest.mark.mostly_slow
@every_rule
def test_a_rule_is_described_in_sentences(rule: AnyRule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*\.[a-z0-9]+(-[a-z0-9]+)*", rule.id)
    assert rule.requirement.endswith(".")
    assert rule.how.endswith(".")
    assert rule.catches.endswith(".")


@pytest.mark.mostly_slow
@every_rule
def test_a_rule_needs_only_known_features(rule: AnyRule) -> None:
    assert rule.needs <= set(Feature)
