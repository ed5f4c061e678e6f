"""What rnnspec keeps with the objects of pytest, under keys that nobody else has."""

from __future__ import annotations

from typing import Any

import pytest

OUTCOME = pytest.StashKey[dict[str, Any]]()
"""With an item: what came of the rule of its test."""
KEPT = pytest.StashKey[dict[str, dict[str, Any]]]()
"""With the configuration: the failing cases of former sessions, as they were at the beginning."""
