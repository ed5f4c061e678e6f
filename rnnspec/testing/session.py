"""What a check under pytest has to know of the session that it belongs to."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnspec.testing.kept_cases import list_cases, read_seed

DISTRIBUTION = "rnnspec_distribution"
"""The key under which a worker of pytest-xdist is told how tests are distributed."""
REMARK = "rnnspec"
"""The property of a test that holds a line for the user."""
EACH = "each"
"""How pytest-xdist calls a distribution in which each worker runs all tests."""
LOCAL = "popen-"
"""How the temporary folders begin of processes on the machine of pytest-xdist itself."""
DEBUGGERS = ("pydevd",)
"""The modules by which the debuggers of editors are known."""


@dataclass(frozen=True)
class Session:
    """What is known of a session of pytest.

    stops_early  whether it ends at the first failing test
    needs_here   why targets must be used in the process of the test, if there is a reason
    folder       what the processes share between which the tests are divided, if they are divided
    workers      the number of these processes
    seed         the seed that the user typed for Hypothesis, if there is one
    cases        what failed in former sessions and is judged first, as data
    """

    stops_early: bool = False
    needs_here: str = ""
    folder: Path | None = None
    workers: int = 1
    seed: int | None = None
    cases: tuple[Any, ...] = ()


def describe_session(request: Any, test: str = "") -> Session:
    """Return what is known of the session that a request for a fixture belongs to.

    `test` is what tells the test from all others.
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
    """Return whether coverage is measured: what runs in other processes would not count."""
    coverage: Any = sys.modules.get("coverage")
    is_measured = coverage is not None and coverage.Coverage.current() is not None
    return "its coverage is measured there" if is_measured else ""


def _choose_folder(request: Any, run: str) -> Path | None:
    """Return a folder that only the processes of a run with this interpreter share, or None.

    The processes that pytest-xdist starts on its own machine have temporary folders in the same
    place. Those on other machines share nothing.
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
    """Return a name for a folder from any text; different texts have different names."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def name_run(test: str, run: dict[str, Any]) -> str:
    """Return the name of the folder of a check, from its test and what its results depend on.

    It is the same in every process, so addresses in memory are left out.
    """
    text = json.dumps([test, run], sort_keys=True, default=repr)
    return shorten_text(re.sub(r"\b0x[0-9a-f]+", "0x", text))
