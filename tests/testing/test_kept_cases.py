"""Failing cases are kept between sessions and tried first, and the seed of Hypothesis counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from rnnspec.api.layer import prepare_check
from rnnspec.cases.axes import Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.options import CheckOptions
from rnnspec.testing.run import Run
from rnnspec.testing.session import KeptCases, Session, describe_outcome, read_seed, update_kept

RULE = "gradients.reach-first-step"
LAYER = """
import torch


class Layer(torch.nn.RNN):
    def forward(self, input, hx=None):
        output, h_n = super().forward(input, hx)
        is_long = isinstance(output, torch.Tensor) and len(output) > 32 {mended}
        return (2 * output if is_long else output), h_n
"""
TEST = """
import rnnspec
from layers import Layer


@rnnspec.conformance(Layer, rules="recurrence.output", cases={cases}, seed=3)
def test_layer(rule):
    rule.check()
"""
PACKED = Case(config=Config(2, 3), steps=4, batch=1, layout=Layout.PACKED, lengths=(4,), seed=7)


def run_pytest(folder: Path, *given: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-p", "cacheprovider", *given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def read_cache(folder: Path) -> KeptCases:
    path = folder / ".pytest_cache" / "v" / "rnnspec" / "failing"
    found: KeptCases = json.loads(path.read_text("utf-8"))
    return found


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_failing_case_is_tried_first_in_the_next_session(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    write(tmp_path, "layers.py", LAYER.format(mended=""))
    few = ("--rnnspec", "layers:Layer", "--rnnspec-option", "rules='recurrence.output'")
    one = (*few, "--rnnspec-option", "cases=2")
    assert run_pytest(tmp_path, *few, *workers)[0] == 1
    ((case,),) = (kept.values() for kept in read_cache(tmp_path).values())
    assert case["steps"] == 33
    status, said = run_pytest(tmp_path, *one, "--lf", *workers)
    assert status == 1, said
    assert "1 failed" in said
    write(tmp_path, "layers.py", LAYER.format(mended="and False"))
    assert run_pytest(tmp_path, *one, *workers)[0] == 0
    assert read_cache(tmp_path) == {}


@pytest.mark.slow
def test_failing_case_of_a_decorated_test_is_tried_first(tmp_path: Path) -> None:
    write(tmp_path, "layers.py", LAYER.format(mended=""))
    write(tmp_path, "test_layers.py", TEST.format(cases=2))
    assert run_pytest(tmp_path)[0] == 0
    write(tmp_path, "test_layers.py", TEST.format(cases=None))
    assert run_pytest(tmp_path)[0] == 1
    write(tmp_path, "test_layers.py", TEST.format(cases=2))
    status, said = run_pytest(tmp_path, "--lf")
    assert status == 1, said
    assert run_pytest(tmp_path, "-p", "no:cacheprovider")[0] == 0


@pytest.mark.slow
def test_seed_of_hypothesis_is_that_of_the_check(tmp_path: Path) -> None:
    write(tmp_path, "layers.py", LAYER.format(mended=""))
    few = ("--rnnspec", "layers:Layer", "--rnnspec-option", "rules='recurrence.output'")
    status, said = run_pytest(tmp_path, *few, "--hypothesis-seed", "41")
    assert status == 1
    assert "--profile quick --seed 41" in said


def make_config(seed: str | None) -> Any:
    return SimpleNamespace(getoption=lambda name, default: default if seed is None else seed)


def test_any_text_is_a_seed() -> None:
    assert read_seed(make_config(None)) is None
    assert read_seed(make_config("17")) == 17
    assert read_seed(make_config("random")) == read_seed(make_config("random"))
    assert read_seed(make_config("random")) != read_seed(make_config("other"))


def test_typed_seed_counts_more_than_that_of_the_options() -> None:
    run = Run("torch.nn:RNN", CheckOptions(seed=3), prepare_check, session=Session(seed=5))
    assert run.chosen.seed == 5
    assert Run("torch.nn:RNN", CheckOptions(seed=3), prepare_check).chosen.seed == 3


def test_case_that_holds_again_is_forgotten() -> None:
    kept: KeptCases = {}
    update_kept(kept, describe_outcome("test", "a", {"steps": 1}))
    update_kept(kept, describe_outcome("test", "b", {"steps": 2}))
    update_kept(kept, describe_outcome("test", "a", None))
    assert kept == {"test": {"b": {"steps": 2}}}
    update_kept(kept, describe_outcome("test", "b", None))
    update_kept(kept, describe_outcome("other", "b", None))
    assert kept == {}


@pytest.mark.parametrize(
    ("changes", "options", "count"),
    [
        ({}, {}, 1),
        ({}, {"without": ("packed",)}, 0),
        ({"layout": "no such layout"}, {}, 0),
        ({"config": {"input_size": 2, "hidden_size": 3, "kind": "gru"}}, {}, 0),
    ],
)
def test_only_cases_that_the_layer_takes_are_tried_first(
    changes: dict[str, Any], options: dict[str, Any], count: int
) -> None:
    data = json.loads(json.dumps({**PACKED.as_dict(), **changes}))
    chosen = CheckOptions(profile="quick", rules=("recurrence.output",), **options)
    suite, _ = prepare_check(nn.RNN, chosen, replayed=[data])
    assert len(suite.replayed) == count
    first = next(suite.draw_cases(0, 1))[1]
    assert (first == PACKED) == bool(count)
