"""The guide for implementers, followed in an empty directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "implementers.md"
BLOCK = re.compile(r"<!-- (file|run) (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


@pytest.mark.slow
def test_guide_can_be_followed(tmp_path: Path) -> None:
    environment = {**os.environ, "RNNSPEC_JOBS": "1"}
    said = ""
    for what, value, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if what == "file":
            path = tmp_path / value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            words = line.split()
            assert words[0] == "rnnspec"
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == int(value), f"{line}\n{done.stdout}{done.stderr}"
            said += done.stdout
    assert "gradients: 1 fault" in said
    assert "values: conform" in said
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [fault["rule"] for fault in report["faults"]] == ["gradients.weights"]
    assert "with a declared deviation" in said
    assert "gradients: known deviations in" in said


def test_workflow_uses_options_that_exist() -> None:
    from rnnspec.cli.check import check

    text = PAGE.read_text(encoding="utf-8")
    known = {option for parameter in check.params for option in parameter.opts}
    used = set(re.findall(r"rnnspec check [^\n]*", text))
    assert used
    for line in used:
        assert set(re.findall(r"--[a-z-]+", line)) <= known
