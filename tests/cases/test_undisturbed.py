"""The same seed gives the same cases, whatever other modules do to Hypothesis and to `random`."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given, strategies

from rnnspec.cases.case import Case
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.models.case import draw_model_cases

NUMBERS = "SIZES = [{}]\n".format(", ".join(map(str, (*range(100, 321), *range(321, 65_000, 97)))))
"""A module with numbers that Hypothesis would draw as sizes, and as seeds of lengths.

It ignores all of a module that has more than 1,024.
"""
MISCHIEF = """
import random
import hypothesis
import numpy
import torch


class Broken:
    def seed(self, value):
        raise RuntimeError("no seeds here")

    def getstate(self):
        return None

    def setstate(self, state):
        pass


hypothesis.settings.register_profile(
    "mine", derandomize=True, max_examples=3, verbosity=hypothesis.Verbosity.verbose
)
hypothesis.settings.load_profile("mine")
random.seed(3)
numpy.random.seed(3)
BROKEN = Broken()
hypothesis.register_random(BROKEN)
random.Random = random.SystemRandom
random.random = lambda: 0.5
numpy.random.default_rng = lambda *given: None


class Layer(torch.nn.RNN):
    pass
"""


def draw_some() -> list[Case]:
    """Return cases of which many have large sizes and lengths."""
    plan_rows.__globals__["build_covering_rows"].cache_clear()
    rows = plan_rows(PROFILES["quick"], 5, Scope())
    return [case for _, case in draw_cases(rows, 5, 0, 60)]


def import_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import a module of the user that has numbers in it, and draw some of them in a test."""
    path = folder / "numbers_of_a_user.py"
    path.write_text(NUMBERS)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, path.stem, module)

    @hypothesis.settings(max_examples=200, database=None, deadline=None)
    @given(*[strategies.tuples(strategies.integers(7, 320), strategies.integers(0, 2**16))] * 4)
    def draw_numbers(first: object, second: object, third: object, fourth: object) -> None:
        """Let Hypothesis remember which numbers of the module these strategies may draw."""

    draw_numbers()


def load_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load a profile in which every setting that matters has another value."""
    hypothesis.settings.register_profile(
        "mine",
        derandomize=True,
        max_examples=2,
        stateful_step_count=3,
        phases=(hypothesis.Phase.explicit,),
    )
    hypothesis.settings.load_profile("mine")


def seed_generators(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed the generators of Python and NumPy."""
    random.seed(1)
    np.random.seed(1)


def replace_random(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace functions and classes of `random` and `numpy.random`."""

    def refuse(*given: Any) -> Any:
        raise RuntimeError("replaced")

    for name in ("seed", "random", "choice", "shuffle", "Random"):
        monkeypatch.setattr(random, name, refuse)
    for name in ("seed", "default_rng"):
        monkeypatch.setattr(np.random, name, refuse)


Disturbance = Callable[[Path, pytest.MonkeyPatch], None]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("disturb", [import_numbers, load_profile, seed_generators, replace_random])
def test_nothing_that_a_target_does_changes_the_cases(
    disturb: Disturbance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = random.getstate(), np.random.get_state()
    expected, expected_of_models = draw_some(), draw_model_cases("default", 3)
    default = hypothesis.settings()
    disturb(tmp_path, monkeypatch)
    try:
        assert draw_some() == expected
        assert draw_model_cases("default", 3) == expected_of_models
    finally:
        hypothesis.settings.register_profile("as before", default)
        hypothesis.settings.load_profile("as before")
        random.setstate(states[0])
        np.random.set_state(states[1])


def test_drawing_leaves_hypothesis_and_the_generators_as_they_were() -> None:
    from hypothesis.internal.conjecture import providers

    names = ("CONSTANTS_CACHE", "_get_local_constants")
    before = [getattr(providers, name, None) for name in names]
    states = random.getstate(), repr(np.random.get_state(legacy=False))
    draw_some()
    assert [getattr(providers, name, None) for name in names] == before
    assert random.getstate() == states[0]
    assert repr(np.random.get_state(legacy=False)) == states[1]


@pytest.mark.slow
def test_cases_can_be_drawn_inside_a_test_of_hypothesis() -> None:
    expected = draw_some()

    @hypothesis.settings(
        max_examples=2, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @given(strategies.integers())
    def check(number: int) -> None:
        assert draw_some() == expected

    check()


@pytest.mark.slow
def test_a_target_that_disturbs_all_it_can_gets_the_cases_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "mischief.py").write_text(NUMBERS + MISCHIEF)
    program = """
        import sys
        from rnnspec.api.layer import prepare_suite
        from rnnspec.options import CheckOptions

        suite = prepare_suite(sys.argv[1], CheckOptions(profile="quick"))
        for each in suite.draw_cases(0, None):
            print(each)
        """
    # A process keeps the cases that it has drawn.
    expected, disturbed = (
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), target],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for target in ("torch.nn:RNN", "mischief.py:Layer")
    )
    assert disturbed.returncode == 0, disturbed.stderr
    assert len(expected.stdout.splitlines()) > 200
    assert disturbed.stdout == expected.stdout
