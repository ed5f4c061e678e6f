"""Facts about the current pytest session that a check depends on: its seed, the failing cases that
earlier sessions left in its cache, and its processes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = "rnnspec/failing"
"""Key in pytest's cache: maps each test to its smallest failing cases, by rule id."""
GIVEN = "rnnspec_failing"
"""Key in `workerinput` for the cache's content at session start, sent to pytest-xdist workers."""
SEED_OPTION = "--hypothesis-seed"
SEEDS = 2**32

KeptCases = dict[str, dict[str, Any]]


def read_kept(config: Any) -> KeptCases:
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


def update_kept(kept: KeptCases, outcome: Mapping[str, Any]) -> None:
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


DISTRIBUTION = "rnnspec_distribution"
"""Key in `workerinput` that passes the distribution mode to a pytest-xdist worker."""
REMARK = "rnnspec"
"""Name of the test property that holds a line for the user."""
EACH = "each"
"""The distribution mode of pytest-xdist that runs all tests in every worker."""
LOCAL = "popen-"
"""Prefix of the temporary folders of pytest-xdist workers on the machine of the session."""
DEBUGGERS = ("pydevd",)
"""Modules whose presence shows that an editor's debugger is active."""


@dataclass(frozen=True)
class Session:
    """Facts about a session of pytest.

    stops_early  whether it stops at the first failing test
    needs_here   why targets must run in the process of the test, or an empty string
    folder       the folder shared by the processes, if the tests are distributed over several
    workers      the number of these processes
    seed         the seed given for Hypothesis, or None
    cases        cases that failed in earlier sessions and are checked first, as data
    """

    stops_early: bool = False
    needs_here: str = ""
    folder: Path | None = None
    workers: int = 1
    seed: int | None = None
    cases: tuple[Any, ...] = ()


def describe_session(request: Any, test: str = "") -> Session:
    """Return facts about the session of a fixture request.

    `test` identifies the test.
    """
    given: dict[str, Any] = getattr(request.config, "workerinput", {})
    is_divided = given.get(DISTRIBUTION, EACH) != EACH
    return Session(
        stops_early=request.config.getoption("maxfail") == 1,
        needs_here=_find_debugger(request.config) or _find_coverage(),
        folder=_choose_folder(request, given["testrunuid"]) if is_divided else None,
        workers=given.get("workercount", 1),
        seed=read_seed(request.config),
        cases=list_cases(request.config, test),
    )


def _find_debugger(config: Any) -> str:
    for option in ("usepdb", "trace"):
        if config.getoption(option, False):
            return "--pdb and --trace need it there"
    return "a debugger is at work" if any(name in sys.modules for name in DEBUGGERS) else ""


def _find_coverage() -> str:
    """Return a reason if coverage is measured; code in other processes would not count."""
    coverage: Any = sys.modules.get("coverage")
    is_measured = coverage is not None and coverage.Coverage.current() is not None
    return "its coverage is measured there" if is_measured else ""


def _choose_folder(request: Any, run: str) -> Path | None:
    """Return a folder shared only by the processes of a run that use this interpreter, or None.

    The workers of pytest-xdist on the same machine have their temporary folders in the same place.
    Workers on other machines share nothing.
    """
    import pytest

    try:
        own: Path = request.getfixturevalue("tmp_path_factory").getbasetemp()
    except pytest.FixtureLookupError:
        return None
    if not own.name.startswith(LOCAL):
        return None
    interpreter = shorten_text(f"{sys.executable} {sys.version}")
    return own.parent / f"rnnspec-{run}-{interpreter}"


def shorten_text(text: str) -> str:
    """Return a short folder name for any text: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def name_run(test: str, run: dict[str, Any]) -> str:
    """Name the folder of a check after its test and everything that its results depend on.

    The name has to be the same in every process, so addresses in memory are removed from it.
    """
    text = json.dumps([test, run], sort_keys=True, default=repr)
    return shorten_text(re.sub(r"\b0x[0-9a-f]+", "0x", text))
