"""The examples of layers that exchange arrays are right; that in C needs a C compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rnnspec.contract.kinds import LSTM
from rnnspec.inference.smoke import format_smoke, smoke_target
from rnnspec.subjects.target import resolve_target

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_adapter_of_the_lstm_in_c_is_right() -> None:
    found = smoke_target(resolve_target(f"{ROOT / 'examples/c_lstm.py'}:LSTM"), LSTM)
    assert found.is_right, format_smoke(found)


@pytest.mark.parametrize("name", ["numpy_engine.py:LSTM", "numpy_stack.py:Stack"])
def test_adapters_of_the_layers_in_numpy_are_right(name: str) -> None:
    found = smoke_target(resolve_target(f"{ROOT / 'examples'}/{name}"), LSTM)
    assert found.is_right, format_smoke(found)
