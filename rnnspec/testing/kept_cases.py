"""The failing cases of former sessions, kept in pytest's cache, and the seed of a session."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

CACHE = "rnnspec/failing"
"""The key of pytest's cache: for each test its smallest failing cases, by the id of the rule."""
GIVEN = "rnnspec_failing"
"""The key under which a worker of pytest-xdist is told what the cache had at the beginning."""
SEED_OPTION = "--hypothesis-seed"
SEEDS = 2**32

Kept = dict[str, dict[str, Any]]


def read_kept(config: Any) -> Kept:
    """Return what the cache had when the session began; workers are told by the main process."""
    given = getattr(config, "workerinput", {}).get(GIVEN)
    if given is not None:
        return dict(given)
    cache = getattr(config, "cache", None)
    if cache is None:
        return {}
    found = cache.get(CACHE, {})
    return found if isinstance(found, dict) else {}


def list_cases(config: Any, test: str) -> tuple[dict[str, Any], ...]:
    """Return the cases that failed in a test before, as data."""
    from rnnspec.testing.stash import KEPT

    if KEPT not in config.stash:
        config.stash[KEPT] = read_kept(config)
    return tuple(config.stash[KEPT].get(test, {}).values())


def describe_outcome(test: str, rule: str, case: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what came of a rule in a test: the smallest failing case, or None if it holds."""
    return {"test": test, "rule": rule, "case": None if case is None else dict(case)}


def update_kept(kept: Kept, outcome: Mapping[str, Any]) -> None:
    """Take note of what came of a rule."""
    cases = kept.setdefault(outcome["test"], {})
    if outcome["case"] is None:
        cases.pop(outcome["rule"], None)
    else:
        cases[outcome["rule"]] = outcome["case"]
    if not cases:
        del kept[outcome["test"]]


def read_seed(config: Any) -> int | None:
    """Return the seed that the user typed for Hypothesis, which may be any text, as a number."""
    text = config.getoption(SEED_OPTION, None)
    if text is None:
        return None
    try:
        return int(text) % SEEDS
    except ValueError:
        return int(hashlib.sha256(str(text).encode()).hexdigest()[:8], 16)
