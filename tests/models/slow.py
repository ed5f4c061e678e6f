"""Models that are tried by the slow tests only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


def mark_slow(*models: type[Any]) -> Iterator[Any]:
    """Yield parameters of a test for models of which others are tried by the fast tests."""
    for model in models:
        yield pytest.param(model, marks=pytest.mark.slow)
