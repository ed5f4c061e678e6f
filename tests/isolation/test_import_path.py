"""Workers find each module where the process that starts them finds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnspec
from rnnspec.cli import status
from rnnspec.cluster.node import START
from rnnspec.isolation import import_path

ROOT = Path(rnnspec.__file__).parents[1]
COMMAND = """
import os, sys
sys.path[:] = {places!r}
import json
os.environ["EXPECTED"] = json.dumps(sys.path)
from rnnspec.cli import main
main({arguments!r})
"""
LAYER = """
import json, os, sys
import torch

class Layer(torch.nn.RNN):
    def __init__(self, *given, **named):
        assert sys.path == json.loads(os.environ["EXPECTED"]), sys.path
        super().__init__(*given, **named)
"""
FEW = ("--rule", "recurrence.output", "--cases", "2", "--profile", "quick")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with rnnspec, and with another NumPy than that of this process."""
    place = tmp_path / "base"
    (place / "numpy").mkdir(parents=True)
    (place / "numpy" / "__init__.py").write_text("raise RuntimeError('the NumPy of the base')\n")
    (place / "rnnspec").symlink_to(ROOT / "rnnspec", target_is_directory=True)
    (tmp_path / "layer.py").write_text(LAYER)
    return place


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server of workers")
def test_a_worker_has_the_import_path_of_the_command_and_finds_the_same_numpy(
    base: Path, tmp_path: Path
) -> None:
    # A source tree is left out, so that rnnspec is found in the base; an installed rnnspec lies
    # beside the packages that it needs.
    is_installed = (ROOT / "click").is_dir()
    own = [each for each in sys.path if each and (is_installed or Path(each) != ROOT)]
    places = ["", str(tmp_path / "some.zip"), *own, str(base)]
    arguments = ["check", "layer.py:Layer", *FEW]
    found = subprocess.run(
        [sys.executable, "-c", COMMAND.format(places=places, arguments=arguments)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_process_of_a_node_can_import_the_modules_of_the_node(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "/elsewhere"])
    places = import_path.add_own_place(import_path.read_absolute_path())
    assert places == [str(tmp_path), str(tmp_path / "lib"), "/elsewhere", import_path.OWN_PLACE]
    shown = START.replace("from rnnspec.cluster.agent import main\nmain()", "print(sys.path)")
    found = subprocess.run(
        [sys.executable, "-c", shown, *places], cwd="/", capture_output=True, text=True, check=True
    )
    assert found.stdout == f"{places}\n"


def test_the_path_leads_to_rnnspec_though_it_is_found_through_a_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", ["/a", Path("/ignored"), "", "/b"])
    given = import_path.describe_import_path()
    assert given["PYTHONPATH"] == os.pathsep.join(["/a", "/b", import_path.OWN_PLACE])
    monkeypatch.setenv(import_path.PLACES, given[import_path.PLACES])
    import_path.take_import_path()
    assert sys.path == ["/a", "", "/b", import_path.OWN_PLACE]
    assert import_path.PLACES not in os.environ
    assert json.loads(given[import_path.PLACES]) == sys.path


@pytest.mark.slow
def test_an_import_that_takes_too_long_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late.py").write_text("import time\ntime.sleep(1000)\n")
    assert status(["check", f"{tmp_path / 'late.py'}:Layer", "--timeout", "0.1"]) == 2
    said = capsys.readouterr().err
    assert "did not return within 0.1 s. If it needs longer, try --timeout 0.2." in said
