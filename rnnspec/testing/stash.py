"""Keys for the data that rnnspec stores on pytest's objects; no other plugin has access to them."""

from __future__ import annotations

from typing import Any

import pytest

OUTCOME = pytest.StashKey[dict[str, Any]]()
"""On an item: the outcome of the rule of its test."""
KEPT = pytest.StashKey[dict[str, dict[str, Any]]]()
"""On the configuration: the failing cases of earlier sessions, as they were at session start."""
