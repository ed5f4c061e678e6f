"""The example of a layer in another language is right, where a C compiler is."""

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
