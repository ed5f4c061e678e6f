"""Test the environment variables that control the threads of a check."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rnnspec.isolation.server import IS_SERVER
from rnnspec.isolation.threads import DEFAULTS, set_thread_defaults


def test_variables_that_the_user_has_set_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    set_thread_defaults()
    found = {name: os.environ.pop(name) for name in DEFAULTS}
    assert found == {**DEFAULTS, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}


def test_workers_wait_without_their_processor_before_torch_is_imported() -> None:
    program = (
        "import os, sys, rnnspec.isolation.server\n"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    others = {name: value for name, value in os.environ.items() if name not in DEFAULTS}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**others, IS_SERVER: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["PASSIVE", "False"]
