"""Settings of all tests: torch uses one thread, and in CI Hypothesis draws the same every time."""

from __future__ import annotations

import os
import random
import re
import sys
from functools import lru_cache
from pathlib import Path

import hypothesis
import pytest
import torch

import rnnspec

# The benchmarks are imported from the checkout, which stands last: rnnspec is the installed one.
sys.path.append(str(Path(__file__).parents[1]))

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

torch.set_num_threads(1)
os.environ.setdefault("RNNSPEC_JOBS", "1")
# In jobs of GitHub, commands annotate the source; the tests that are about that set the variable.
os.environ.pop("GITHUB_ACTIONS", None)


SLOW = re.compile(r"mark\.(mostly_)?slow\b")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose among the slow tests."""
    parser.addoption(
        "--slow-sample",
        metavar="COUNT:SEED",
        help="run only this many slow tests, each of another module, as the seed chooses them",
    )
    parser.addoption(
        "--slow-part", metavar="PART/PARTS", help="run only one of several parts of the slow tests"
    )


def pytest_report_header() -> str:
    """Return the version under test, and the folder it was imported from."""
    folder = Path(rnnspec.__file__).parent
    return f"rnnspec {rnnspec.__version__} from {folder}, torch {torch.__version__}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out most modules if a sample of all slow tests is asked for: to collect all takes 10 s.

    A sample of the tests that you name is drawn from all of them.
    """
    sample, is_whole = config.getoption("--slow-sample"), config.args == config.getini("testpaths")
    if not sample or not is_whole or not collection_path.match("test_*.py"):
        return None
    count, _, seed = sample.partition(":")
    folders = tuple(config.rootpath / each for each in config.getini("testpaths"))
    return collection_path not in choose_modules(folders, int(count), seed) or None


@lru_cache
def choose_modules(folders: tuple[Path, ...], count: int, seed: str) -> set[Path]:
    """Return modules with slow tests, several for each of `count` tests: the tests of some take
    minutes.
    """
    found = (path for folder in folders for path in folder.rglob("test_*.py"))
    modules = sorted(path for path in found if SLOW.search(path.read_text("utf-8")))
    return set(random.Random(seed).sample(modules, min(4 * count, len(modules))))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse names of tests that contain an address, and choose a sample if one is asked for.

    Another process has other addresses, and xdist runs no test if its workers find other names.
    """
    mark_slow_tests(items)
    if found := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"the name of a test contains an address: {found[0]}")
    chosen = items
    if sample := config.getoption("--slow-sample"):
        count, _, seed = sample.partition(":")
        chosen = choose_slow_tests(items, int(count), seed)
    elif part := config.getoption("--slow-part"):
        number, parts = map(int, part.split("/"))
        slow = [item for item in items if item.get_closest_marker("slow")]
        chosen = slow[number - 1 :: parts]
    if chosen is not items:
        kept = set(chosen)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = chosen


def mark_slow_tests(items: list[pytest.Item]) -> None:
    """Mark the tests of a mostly slow function as slow, but for its usual parameters.

    These are the first with an id that begins as the mark says, or the first of all.
    """
    usual: set[tuple[pytest.Item | pytest.Collector | None, str]] = set()
    for item in items:
        mark = item.get_closest_marker("mostly_slow")
        if mark is None or not isinstance(item, pytest.Function):
            continue
        function = item.parent, item.originalname
        begins = mark.kwargs.get("usual", "")
        if function not in usual and item.callspec.id.startswith(begins):
            usual.add(function)
        else:
            item.add_marker("slow")


def choose_slow_tests(items: list[pytest.Item], count: int, seed: str) -> list[pytest.Item]:
    """Return one slow test each of as many modules, chosen by a seed.

    One module has thousands of slow tests, and would fill any other sample. A test that takes
    minutes has them in its mark, and is never chosen.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        mark = item.get_closest_marker("slow")
        if mark is not None and "minutes" not in mark.kwargs:
            modules.setdefault(item.path, []).append(item)
    draw = random.Random(seed)
    chosen = draw.sample(sorted(modules), min(count, len(modules)))
    return [draw.choice(modules[module]) for module in chosen]


@pytest.fixture(autouse=True)
def seed_torch() -> None:
    """Seed torch before every test, so that no test depends on those that ran before it."""
    torch.manual_seed(0)
