"""Keep Hypothesis to itself while it draws cases, so that a seed gives the same cases everywhere.

Hypothesis also draws numbers that it finds in the modules of a project, so the cases of a check
would depend on what else is imported: on the target, on how rnnspec is installed, and on the test
that ran before. It takes what settings do not say from a profile, which the target may have loaded.
And it seeds the global random number generators, whose functions the target may have replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, settings


def make_settings(examples: int) -> settings:
    """Return settings for so many examples that say everything, so that no profile does."""
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
    # It keeps which numbers may be drawn, with those of modules that were found earlier.
    (PROVIDERS, "CONSTANTS_CACHE", _make_cache),
    ("hypothesis.core", "deterministic_PRNG", lambda: nullcontext),
)
"""What is replaced while cases are drawn: the module, the name, and what makes the replacement.

There is no setting for any of it. Releases of Hypothesis that lack a name do not do what it does;
tests/cases/test_undisturbed.py notices if a release does it under another name.
"""


@contextmanager
def leave_hypothesis_alone() -> Iterator[None]:
    """Return a context in which what Hypothesis draws depends on the seed and its release only."""
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
