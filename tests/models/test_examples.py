"""Reproduce the tutorial: the scripts run, and learn as well as the tutorial's run."""

from __future__ import annotations

import importlib.util
import statistics
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_rnn1_learns_from_nearly_every_seed() -> None:
    train = load("rnn1_last_step").train
    results = [train(seed) for seed in range(40)]
    assert sum(loss < 0.5 for loss, _ in results) >= 38
    assert 3.5 < statistics.median(prediction for _, prediction in results) < 4.8


def test_rnn2_learns_its_targets_at_every_step() -> None:
    train = load("rnn2_every_step").train
    results = [train(seed) for seed in range(10)]
    assert sum(loss < 0.7 for loss, _ in results) >= 9
    assert all(len(predictions) == 3 for _, predictions in results)


def test_rnn1_prints_its_loss_and_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    load("rnn1_last_step").main(["--seed", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("epoch  10   loss ")
    assert lines[-1].startswith("prediction for [3, 4, 5]: ")


def test_rnn2_prints_three_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    load("rnn2_every_step").main([])
    assert capsys.readouterr().out.splitlines()[-1].count(",") == 4


def test_the_bidirectional_shapes_are_those_of_the_tutorial(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load("bidirectional_states")
    script.one_layer()
    one = capsys.readouterr().out
    assert "output           (2, 5, 8)" in one
    assert "h_n              (2, 2, 4)" in one
    assert one.count("True") == 2
    script.two_layers()
    two = capsys.readouterr().out
    assert "output           (1, 5, 8)" in two
    assert "h_n              (4, 1, 4)" in two
    assert "h_n[2] is layer 2, forward" in two
    assert "layer 2, both directions (1, 8)" in two


def test_the_deep_model_gets_one_piece_of_advice_and_its_remedy_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    load("deep_birnn").main()
    out = capsys.readouterr().out
    assert "every step: (2, 4, 1)" in out
    assert "last step:  (2, 1)" in out
    assert out.count("SHOULD") == 1
    assert "idle        rnn.weight_hh_l1_reverse" in out
    assert out.endswith("0 pieces of advice\n")
