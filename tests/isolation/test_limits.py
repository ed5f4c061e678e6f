"""Test the errors for a memory limit that is too low."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rnnspec.cli import status
from rnnspec.isolation.ends import OUT_OF_MEMORY


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memory_limit_too_low_for_a_worker_is_refused_with_a_sufficient_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status(["check", "torch.nn:RNN", "--memory", "10"]) == 2
    said = capsys.readouterr().err
    found = re.fullmatch(
        r"rnnspec: --memory 10: a worker process holds (\d+) MiB before it uses the target; allow "
        r"at least (\d+)\.\n",
        said,
    )
    assert found, said
    assert int(found[1]) + 128 < int(found[2]) < 2000


def test_a_target_out_of_memory_is_reported_with_the_option_to_raise_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large.py").write_text(f"import os\nos._exit({OUT_OF_MEMORY})\n")
    monkeypatch.chdir(tmp_path)
    assert status(["check", "large.py:Large", "--memory", "1500"]) == 2
    assert capsys.readouterr().err == (
        "rnnspec: large.py:Large: importing large.py used up the memory of the process, of which "
        "it may allocate 1500 MiB; try --memory 3000\n"
    )
