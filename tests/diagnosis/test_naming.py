"""Test the name of a fault: the rule that describes it best."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.naming import rank_rules
from rnnspec.rulekit.rule import Fact
from rnnspec.rules.catalogue import list_layer_rules
from tests.engine.toy import make_rule

PLAIN = make_rule("recurrence.output")
LAYOUT = make_rule("layouts.batch-first", about=["batch_first"])
BOTH = make_rule("directions.h-n-order", about=["batch_first", "bidirectional"])
SAVED = make_rule(
    "modules.state-dict", part=Part.MODULE, about=["prior_use"], establishes=[Fact.RESULTS]
)
WEIGHTS = make_rule("parameters.weight-shape", establishes=[Fact.RESULTS])
ADVICE = make_rule("shapes.advice", level=Level.SHOULD, about=["batch_first"])
GRADIENT = make_rule("gradients.input", establishes=[Fact.GRADIENTS, Fact.CALL])
PACKED = make_rule("packed.h-n", about=["layout"])
DROPPED = make_rule(
    "dropout.backward",
    about=["dropout"],
    establishes=[Fact.GRADIENTS],
    presupposes=["gradients.input"],
)
RULES = (BOTH, ADVICE, PLAIN, WEIGHTS, SAVED, LAYOUT, GRADIENT)
ALL = frozenset(rule.id for rule in RULES)


def rank(
    needed: Collection[str],
    fact: Fact | None = Fact.RESULTS,
    checked: Collection[str] = ALL - {WEIGHTS.id},
    preferred: Sequence[str] = (),
) -> list[str]:
    return [rule.id for rule in rank_rules(RULES, needed, fact, checked, preferred)]


def test_a_rule_about_an_irrelevant_choice_names_no_fault() -> None:
    assert set(rank([])) == {PLAIN.id, WEIGHTS.id}
    assert LAYOUT.id not in rank(["bidirectional"])
    assert BOTH.id not in rank(["batch_first"])


def test_a_rule_about_more_relevant_choices_ranks_higher() -> None:
    assert rank(["batch_first"])[0] == LAYOUT.id
    assert rank(["batch_first", "bidirectional"])[:2] == [BOTH.id, LAYOUT.id]


def test_a_must_comes_before_a_should_about_anything() -> None:
    ranked = rank(["batch_first"], preferred=[ADVICE.id])
    assert ranked[-1] == ADVICE.id
    assert PLAIN.id in ranked


def test_a_rule_about_how_the_layer_is_called_comes_first_if_that_matters() -> None:
    assert rank(["prior_use", "batch_first"])[0] == SAVED.id
    assert SAVED.id not in rank(["batch_first"])


def test_an_earlier_call_ranks_above_the_layout() -> None:
    rules = (PACKED, SAVED)
    for preferred in ((), (PACKED.id,)):
        ranked = rank_rules(rules, ["layout", "prior_use"], Fact.RESULTS, ALL, preferred)
        assert [rule.id for rule in ranked] == [SAVED.id, PACKED.id]


def test_a_rule_about_a_needed_choice_ranks_above_other_rules() -> None:
    def rank_both(needed: Collection[str]) -> list[str]:
        rules, checked = (GRADIENT, DROPPED), {GRADIENT.id, DROPPED.id}
        return [rule.id for rule in rank_rules(rules, needed, Fact.GRADIENTS, checked)]

    assert rank_both(["dropout"])[0] == DROPPED.id
    assert rank_both(["steps"]) == [GRADIENT.id]


def test_a_choice_that_most_faults_need_names_none() -> None:
    def rank_both(usual: frozenset[str]) -> list[str]:
        ranked = rank_rules((LAYOUT, PLAIN), ["batch_first"], Fact.RESULTS, ALL, usual=usual)
        return [rule.id for rule in ranked]

    assert rank_both(frozenset()) == [LAYOUT.id, PLAIN.id]
    assert rank_both(frozenset({"batch_first"})) == [PLAIN.id, LAYOUT.id]


def test_a_rule_that_fails_comes_before_one_that_is_only_stopped() -> None:
    assert rank([], checked=[PLAIN.id])[0] == PLAIN.id
    assert rank([], checked=[WEIGHTS.id])[0] == WEIGHTS.id


def test_rules_named_by_the_likely_cause_come_first() -> None:
    assert rank(["batch_first"], preferred=[BOTH.id])[0] == BOTH.id
    assert rank(["batch_first"], preferred=[PLAIN.id, BOTH.id])[:2] == [PLAIN.id, BOTH.id]


def test_a_rule_that_does_not_establish_the_fact_is_no_name() -> None:
    assert rank(["batch_first", "prior_use"], Fact.GRADIENTS) == [GRADIENT.id]
    assert GRADIENT.id not in rank([], Fact.CALL), "a gradient presupposes a call"
    assert set(rank(["batch_first", "bidirectional", "prior_use"], None)) == ALL


def test_packed_input_with_a_wrong_output_is_not_named_by_h_n_which_follows() -> None:
    """Rules of equal rank are named in the order of the catalogue."""
    rules = [rule for rule in list_layer_rules() if rule.id in {"packed.output", "packed.h-n"}]
    ranked = rank_rules(rules, ["layout", "steps"], Fact.RESULTS, [rule.id for rule in rules])
    assert [rule.id for rule in ranked] == ["packed.output", "packed.h-n"]
