"""Isolate Hypothesis while it draws cases, so that a seed gives the same cases everywhere.

Hypothesis also draws constants that it finds in the modules of a project. The cases of a check
would therefore depend on the imported modules: on the target, on how rnnspec is installed, and on
the test that ran before. Hypothesis takes settings that are not given from a profile, which the
target may have loaded, and seeds the global random number generators, whose functions the target
may have replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, settings


def make_settings(examples: int) -> settings:
    """Return settings that set every option, so that no profile does."""
    return settings(
        max_examples=examples,
        backend="hypothesis",
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate,),
        print_blob=False,
        report_multiple_bugs=False,
        stateful_step_count=1,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
    )


def _find_no_numbers() -> Any:
    from hypothesis.internal.constants_ast import Constants

    return Constants()


def _make_cache() -> Any:
    from hypothesis.internal.cache import LRUCache

    return LRUCache(64)


PROVIDERS = "hypothesis.internal.conjecture.providers"
REPLACEMENTS: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    (PROVIDERS, "_get_local_constants", lambda: _find_no_numbers),
    # It caches the constants that may be drawn, including those of modules that were found earlier.
    (PROVIDERS, "CONSTANTS_CACHE", _make_cache),
    ("hypothesis.core", "deterministic_PRNG", lambda: nullcontext),
)
"""The names to replace while cases are drawn: the module, the name, and a factory.

Hypothesis has no settings for these. A release that lacks a name lacks its behaviour;
tests/cases/test_undisturbed.py fails if a release has the behaviour under another name.
"""


@contextmanager
def leave_hypothesis_alone() -> Iterator[None]:
    """Return a context that makes Hypothesis draws depend only on the seed and its release."""
    with ExitStack() as stack:
        for module, name, make in REPLACEMENTS:
            stack.enter_context(_replace(module, name, make))
        yield


@contextmanager
def _replace(module: str, name: str, make: Callable[[], Any]) -> Iterator[None]:
    """Replace a name in a module of Hypothesis, if that release has it."""
    try:
        holder = import_module(module)
        before = getattr(holder, name)
    except (ImportError, AttributeError):
        yield
        return
    setattr(holder, name, make())
    try:
        yield
    finally:
        setattr(holder, name, before)
