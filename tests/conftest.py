"""What all tests share: one torch thread, the same examples in every run, and a word on which rnnspec is tested."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

import rnnspec

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

torch.set_num_threads(1)
os.environ.setdefault("RNNSPEC_JOBS", "1")


def pytest_report_header() -> str:
    """The version under test and where it was imported from: the source tree, or an installed wheel."""
    return f"rnnspec {rnnspec.__version__} from {Path(rnnspec.__file__).parent}, torch {torch.__version__}"


@pytest.fixture(autouse=True)
def same_torch_seed() -> None:
    """Every test starts from the same state of torch's generator, whatever ran before it."""
    torch.manual_seed(0)
