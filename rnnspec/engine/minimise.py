"""A failing case made small: fields tried at simpler values, one after the other, while the rule still fails.

Deterministic, and 30 times cheaper than asking Hypothesis to shrink for each rule. What was tried and passed tells what the failure
depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rnnspec.engine.outcome import Finding, judge
from rnnspec.engine.protocol import Checks
from rnnspec.judging.rule import Rule

SEEDS = (0, 1)
MOST_TRIALS = 160


@dataclass
class Minimum:
    """The smallest failing case that was found, and by field the simpler value at which the rule passed or did not apply."""

    finding: Finding
    passed: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    interrupted: bool = False


def minimise(rule: Rule, checks: Checks, finding: Finding) -> Minimum:
    """The smallest case, by one change at a time, on which the rule still fails; after an interrupt, the smallest so far."""
    minimum = Minimum(finding)
    shrunk = True
    try:
        while shrunk and minimum.trials < MOST_TRIALS:
            minimum.passed.clear()
            shrunk = sum(_shrink(rule, checks, minimum, name) for name in checks.space.fields) > 0
    except KeyboardInterrupt:
        minimum.interrupted = True
    return minimum


def _shrink(rule: Rule, checks: Checks, minimum: Minimum, name: str) -> bool:
    """Try the simpler values of one field, the largest step first, and keep the first that still fails."""
    for value in checks.space.simpler(minimum.finding.case, name):
        candidate = checks.space.changed(minimum.finding.case, name, value)
        if candidate is None:
            continue
        smaller = _still_fails(rule, checks, candidate, minimum) if rule.when(candidate) else None
        if smaller is not None:
            minimum.finding = smaller
            return True
        minimum.passed[name] = value
    return False


def _still_fails(rule: Rule, checks: Checks, case: Any, minimum: Minimum) -> Finding | None:
    for seed in (case.seed, *SEEDS):
        tried = checks.space.reseeded(case, seed)
        if not rule.when(tried):
            continue
        minimum.trials += 1
        outcome = judge(rule, checks.observe(tried), minimum.finding.index)
        if isinstance(outcome, Finding) and outcome.alike(minimum.finding):
            return outcome
    return None
