"""Test rules as data: their parts, their topics, and the facts they presuppose and establish."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from rnnspec.cases.space import FIELDS
from rnnspec.contract.clauses import find_clause
from rnnspec.contract.parts import Part
from rnnspec.errors import SelectionError
from rnnspec.rulekit.rule import Fact, Theme, rule
from rnnspec.rulekit.selection import AnyRule, select_in_force, select_parts
from rnnspec.rules.catalogue import list_layer_rules


def test_every_rule_belongs_to_a_part_and_each_part_has_rules() -> None:
    parts = [each.part for each in list_layer_rules()]
    assert set(parts) == set(Part)
    assert Theme.GRADIENTS.part is Part.GRADIENTS
    assert Theme.STATES.part is Part.VALUES
    assert all(part.meaning for part in Part)


def test_rules_are_about_axes_and_sizes_and_presuppose_facts_and_rules() -> None:
    rules = list_layer_rules()
    ids = [each.id for each in rules]
    for each in rules:
        assert each.about <= set(FIELDS), each.id
        patterns = [name for name in each.presupposes if isinstance(name, str)]
        for pattern in patterns:
            assert any(fnmatchcase(name, pattern) for name in ids), f"{each.id}: {pattern}"
            assert not fnmatchcase(each.id, pattern) or "*" in pattern, each.id
        if each.part is Part.GRADIENTS:
            assert Fact.RESULTS in each.presupposes, each.id
        if each.theme is Theme.ERRORS:
            assert not each.establishes, f"{each.id}: what is refused says nothing about a call"


def test_patterns_of_rules_about_results_leave_out_those_about_gradients() -> None:
    rules = list_layer_rules()
    about_gradients = [each.id for each in rules if each.part is Part.GRADIENTS]
    for each in (each for each in rules if each.part is not Part.GRADIENTS):
        patterns = [name for name in each.presupposes if isinstance(name, str) and "*" in name]
        for pattern in patterns:
            if pattern.startswith("gradients."):
                continue  # it says so
            matched = [name for name in about_gradients if fnmatchcase(name, pattern)]
            assert not matched, f"{each.id}: results do not follow from gradients"
    assert "dropout.backward" in about_gradients


def test_a_rule_about_an_unknown_axis_is_refused() -> None:
    decorate: Any = rule("rnn.recurrence.tanh", id="recurrence.unknown", about=("layot",))

    def check(observation: object) -> None:
        """Require something.

        It is checked.

        Catches faults.
        """

    with pytest.raises(ValueError, match=r"recurrence\.unknown is about 'layot'; expected one of"):
        decorate(check)


def test_parts_select_rules() -> None:
    rules = list_layer_rules()
    assert select_parts(rules, ()) == rules
    chosen = select_parts(rules, ("module", "interface"))
    assert [each.part for each in chosen if each.part in (Part.VALUES, Part.GRADIENTS)] == []
    assert len(chosen) + len(select_parts(rules, ("values", "gradients"))) == len(rules)
    with pytest.raises(SelectionError, match=r"parts 'modul': choose .* Did you mean 'module'\?"):
        select_parts(rules, ("modul",))
    with pytest.raises(SelectionError, match="gradients: none of the chosen rules belongs to it"):
        select_parts(select_parts(rules, ("values",)), ("gradients",))


def make_rule(*clauses: str) -> AnyRule:
    """Return a rule about these clauses, which is in no registry."""
    return replace(list_layer_rules()[0], clauses=tuple(map(find_clause, clauses)))


def test_a_rule_has_the_clauses_and_the_source_of_a_kind() -> None:
    shape = make_rule("rnn.parameters.weight-hh.shape", "rnn.output.shape.unbatched")
    assert [each.id for each in shape.clauses_of("gru")] == ["rnn.output.shape.unbatched"]
    assert shape.clauses_of("rnn") == shape.clauses_of("model") == shape.clauses
    assert shape.source_of("gru") == "nn.GRU: Outputs, output"
    assert shape.source_of("rnn") == shape.source_of("model")
    assert shape.source_of("rnn") == "Attributes: weight_hh_l[k]"


def test_a_rule_without_a_clause_about_a_kind_has_no_source_for_it() -> None:
    relu = make_rule("rnn.recurrence.relu")
    assert relu.clauses_of("gru") == ()
    with pytest.raises(ValueError, match="has no clause about the kind 'gru'"):
        relu.source_of("gru")


def test_rules_are_in_force_for_a_kind_if_one_of_their_clauses_is() -> None:
    relu, bias = make_rule("rnn.recurrence.relu"), make_rule("rnn.args.bias.false")
    unbatched = make_rule("rnn.parameters.weight-hh.shape", "rnn.output.shape.unbatched")
    rules = (relu, bias, unbatched)
    assert select_in_force(rules, "2.13.0") == rules
    assert select_in_force(rules, "2.13.0", "gru") == (bias, unbatched)
    assert select_in_force(rules, "1.12.1", "gru") == (bias,)
    assert select_in_force(rules, "1.12.1", "lstm") == (bias, unbatched)


def test_a_rule_about_relu_applies_to_no_other_kind_than_rnn() -> None:
    for kind in ("gru", "lstm"):
        found = {each.id for each in select_in_force(list_layer_rules(), "2.13.0", kind)}
        assert found.isdisjoint({"nonlinearity.relu", "construction.refuses-nonlinearity"})
        assert found >= {"layouts.unbatched", "states.order", "dropout.rate"}
