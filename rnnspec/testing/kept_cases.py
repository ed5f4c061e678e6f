"""The seed of a pytest session, and the failing cases that earlier sessions left in its cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

CACHE = "rnnspec/failing"
"""Key in pytest's cache: maps each test to its smallest failing cases, by rule id."""
GIVEN = "rnnspec_failing"
"""Key in `workerinput` for the cache's content at session start, sent to pytest-xdist workers."""
SEED_OPTION = "--hypothesis-seed"
SEEDS = 2**32

Kept = dict[str, dict[str, Any]]


def read_kept(config: Any) -> Kept:
    """Return the cache's content at session start; workers receive it from the main process."""
    given = getattr(config, "workerinput", {}).get(GIVEN)
    if given is not None:
        return dict(given)
    cache = getattr(config, "cache", None)
    if cache is None:
        return {}
    found = cache.get(CACHE, {})
    return found if isinstance(found, dict) else {}


def list_cases(config: Any, test: str) -> tuple[dict[str, Any], ...]:
    """Return the cases that failed in a test in earlier sessions, as data."""
    from rnnspec.testing.stash import KEPT

    if KEPT not in config.stash:
        config.stash[KEPT] = read_kept(config)
    return tuple(config.stash[KEPT].get(test, {}).values())


def describe_outcome(test: str, rule: str, case: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describe the outcome of a rule in a test: its smallest failing case, or None if it holds."""
    return {"test": test, "rule": rule, "case": None if case is None else dict(case)}


def update_kept(kept: Kept, outcome: Mapping[str, Any]) -> None:
    """Update the kept cases with the outcome of a rule."""
    cases = kept.setdefault(outcome["test"], {})
    if outcome["case"] is None:
        cases.pop(outcome["rule"], None)
    else:
        cases[outcome["rule"]] = outcome["case"]
    if not cases:
        del kept[outcome["test"]]


def read_seed(config: Any) -> int | None:
    """Return the seed given for Hypothesis as a number. A seed that is not an integer is hashed."""
    text = config.getoption(SEED_OPTION, None)
    if text is None:
        return None
    try:
        return int(text) % SEEDS
    except ValueError:
        return int(hashlib.sha256(str(text).encode()).hexdigest()[:8], 16)
