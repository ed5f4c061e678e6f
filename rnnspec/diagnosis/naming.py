"""Naming a fault: which of the rules that fail because of it tells best what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rnnspec.cases.case import SIZES
from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.rulekit.rule import Fact, Rule, Theme

EARLIER_USE = "prior_use"
"""The field that says what was done with a layer before the call."""
CIRCUMSTANCES = frozenset({"constructor_style", EARLIER_USE, "memory_layout", "grad_mode"})
"""The axes that say how a layer is built and called. If a fault needs one of them, it is about it,
whatever goes wrong."""
SITUATIONS = CIRCUMSTANCES | {"layout", "dropout"}
"""If a fault needs one of these axes, a rule about it names the fault, whatever the cause is."""
NUMERIC = frozenset({"distribution", "dtype"})
"""The axes that say what the numbers are. Many faults need large or exact numbers to show."""
READING_CHOOSES = frozenset({"steps", "batch", "lengths", "distribution", "dtype"})
"""The fields that a reading of dropout chooses itself."""
SHOWING = frozenset(SIZES) - {"num_layers"}
"""The sizes that many faults need to show, whatever they are about."""
PREPARATION = (Theme.CONSTRUCTION, Theme.PARAMETERS)
"""The themes of what comes before the call."""


def rank_rules(
    rules: Iterable[Rule[Any, Any]],
    needed: Collection[str],
    fact: Fact | None,
    judged: Collection[str],
    preferred: Collection[str] = (),
    *,
    shown: Collection[str] = (),
    required: Collection[str] = (),
    usual: frozenset[str] = frozenset(),
    is_small: bool = False,
) -> list[Rule[Any, Any]]:
    """Return the rules that can be the name of a fault, the best first.

    `needed` are the fields of the minimal case that matter, `fact` is what does not hold there, and
    `judged` are the ids of the rules that were judged, not just stopped. `preferred` are the ids
    that the likely cause names, and `shown` those that fail on the minimal case. A MUST comes
    before a SHOULD. A rule about an axis is a name only if that axis matters or the cause names it;
    the more of what matters it is about, the better. A circumstance tells more than the layout or
    dropout: few faults need it. If the subject is stopped, a rule that applies to the minimal case
    comes before one that does not. A simplest value that is `required` tells more than another one:
    few faults need it. A choice or the number of layers tells more than another size, which many
    faults need to show, and a `usual` choice tells nothing: most faults of a kind need it, such as
    an initial state in a cell. What is wrong with the construction or the parameters comes before
    what is wrong with a call. If all errors are small, they add up along sizes and layers, and a
    rule about numbers tells more.
    """
    eligible = [rule for rule in rules if rule.id in preferred or _is_eligible(rule, needed, fact)]

    def rank(rule: Rule[Any, Any]) -> tuple[Any, ...]:
        order, about = list(preferred), rule.about - usual
        return (
            rule.level is not Level.MUST,
            not rule.about & CIRCUMSTANCES & set(needed),
            not rule.about & SITUATIONS & set(needed),
            order.index(rule.id) if rule.id in order else len(order),
            not (rule.theme in PREPARATION and rule.id in judged),
            fact is Fact.CALL and rule.id not in shown,
            -len(about & NUMERIC if is_small else about - NUMERIC),
            -len(about),
            not about & set(required),
            -len(about - SHOWING),
            bool(rule.about & usual),
            rule.id not in shown,
            rule.id not in judged,
            list(Theme).index(rule.theme),
        )

    return sorted(drop_consequences(eligible, judged, needed), key=rank)


def drop_consequences(
    rules: Sequence[Rule[Any, Any]], judged: Collection[str], needed: Collection[str]
) -> list[Rule[Any, Any]]:
    """Return the rules without those that presuppose another of them, which does not presuppose
    them in turn.

    Where rules were judged, one that was only stopped says nothing about the others, unless it is
    about a situation that the fault needs. A rule about such a situation follows from no rule that
    is not about it: without the situation, that rule holds.
    """
    situations = SITUATIONS & set(needed)
    telling = [rule for rule in rules if rule.id in judged or rule.about & situations] or rules

    def follows(rule: Rule[Any, Any], other: Rule[Any, Any]) -> bool:
        return (
            rule.id != other.id
            and rule.presupposes_rule(other.id)
            and not other.presupposes_rule(rule.id)
            and not (rule.about - other.about) & situations
        )

    return [rule for rule in rules if not any(follows(rule, other) for other in telling)]


def _is_eligible(rule: Rule[Any, Any], needed: Collection[str], fact: Fact | None) -> bool:
    if not rule.about <= set(needed):
        return False
    if fact is None:
        return True
    if fact is Fact.CALL and rule.part is Part.GRADIENTS:
        return False
    return fact in rule.establishes
