"""Settings of all tests: torch uses one thread, and in CI Hypothesis draws the same every time."""

from __future__ import annotations

import os
import sys
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


def pytest_report_header() -> str:
    """Return the version under test, and the folder it was imported from."""
    folder = Path(rnnspec.__file__).parent
    return f"rnnspec {rnnspec.__version__} from {folder}, torch {torch.__version__}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that contain an address.

    Another process has other addresses, and xdist runs no test if its workers find other names.
    """
    if found := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"the name of a test contains an address: {found[0]}")


@pytest.fixture(autouse=True)
def seed_torch() -> None:
    """Seed torch before every test, so that no test depends on those that ran before it."""
    torch.manual_seed(0)
