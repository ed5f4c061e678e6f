"""Tests of the script that records how torch.nn follows its documentation."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from rnnspec.contract.kinds import KINDS
from tests.test_docs_build import load_module

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def record() -> ModuleType:
    return load_module("record", "conformance")


def test_other_devices_have_one_setting_and_cuda_has_four(record: ModuleType) -> None:
    assert [(each.name, each.options) for each in record.list_settings("cpu")] == [("cpu", ())]
    off = ("--import", "conformance.without_cudnn")
    assert [(each.name, each.options) for each in record.list_settings("cuda:1")] == [
        ("cuda-ieee", ("--float32-precision", "ieee")),
        ("cuda-tf32", ("--float32-precision", "tf32")),
        ("cuda-ieee-without-cudnn", ("--float32-precision", "ieee", *off)),
        ("cuda-tf32-without-cudnn", ("--float32-precision", "tf32", *off)),
    ]


def test_a_rehearsal_has_the_settings_of_cuda(record: ModuleType) -> None:
    names = [each.name for each in record.list_settings("xla", is_rehearsal=True)]
    assert names == ["xla-ieee", "xla-tf32", "xla-ieee-without-cudnn", "xla-tf32-without-cudnn"]


def test_one_command_runs_every_part_of_cuda() -> None:
    on_device = load_module("on_device", "conformance")
    parts = on_device.list_parts("cuda", (), ("rnn",), ["--cases", "3"], ["--each", "1"])
    scripts = {name: [Path(words[1]).name, *words[2:]] for name, words in parts.items()}
    assert scripts == {
        "records": [
            *("record.py", "--device", "cuda", "--kind", "rnn"),
            *("--profile", "quick", "--cases", "3"),
        ],
        "bank": ["planted.py", "--device", "cuda", "--kind", "rnn", "--each", "1"],
        "tests": ["-m", "pytest", "-m", "cuda", "conformance", "tests"],
    }
    text = CliRunner().invoke(on_device.run, ["--help"]).output
    assert "--device cpu --rehearse --kind rnn-cell --cases 8 --each 1" in text


@pytest.mark.slow
def test_the_command_for_cuda_can_be_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    few = ["--rehearse", "--kind", "rnn-cell", "--cases", "8", "--each", "1", "--correct", "1"]
    words = [sys.executable, "conformance/on_device.py", "--device", "cpu", *few]
    done = subprocess.run(
        [*words, "--to", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # Eight cases do not reach every rule, so the records are inconclusive.
    assert done.stdout.endswith("records: exit status 3\nbank: exit status 0\n"), done.stderr
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {
        f"rnn-cell-cpu-{precision}{cudnn}.json"
        for precision in ("ieee", "tf32")
        for cudnn in ("", "-without-cudnn")
    }


def test_results_of_a_release_are_in_one_folder(record: ModuleType) -> None:
    assert record.find_folder(Path("results"), "2.13.0+cpu") == Path("results/torch-2.13")
    assert record.find_folder(Path("results"), "3.0.0a1") == Path("results/torch-3.0")


@pytest.mark.parametrize(("found", "expected"), [((0, 1, 3), 1), ((0, 2, 1), 2), ((0, 3, 0), 3)])
def test_every_kind_is_recorded_in_every_setting_of_the_device(
    record: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    found: tuple[int, ...],
    expected: int,
) -> None:
    asked: list[list[str]] = []

    def answer(arguments: list[str]) -> int:
        asked.append(arguments)
        return found[len(asked) % len(found)]

    monkeypatch.setattr(record, "status", answer)
    given = ["--device", "cuda", "--profile", "quick", "--to", str(tmp_path)]
    assert CliRunner().invoke(record.record, given).exit_code == expected
    assert len(asked) == 4 * len(KINDS)
    folder = record.find_folder(tmp_path, torch.__version__)
    assert [each[-1] for each in asked[:4]] == [
        str(folder / f"{next(iter(KINDS))}-{each.name}.json")
        for each in record.list_settings("cuda")
    ]
    assert {each[1] for each in asked} == {f"torch.nn:{kind.title}" for kind in KINDS.values()}
    assert all(each[2:6] == ["--profile", "quick", "--device", "cuda"] for each in asked)


def test_other_devices_than_the_cpu_are_recorded_in_a_folder_of_their_own(
    record: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def answer(arguments: list[str]) -> int:
        asked.append(arguments)
        return 0

    monkeypatch.setattr(record, "status", answer)
    monkeypatch.setattr(record, "DEVICES", tmp_path)
    given = ["--device", "meta", "--import", "json", "--sizes", "pool", "--kind", "gru"]
    assert CliRunner().invoke(record.record, given).exit_code == 0
    (arguments,) = asked
    assert arguments[arguments.index("--sizes") :][:4] == ["--sizes", "pool", "--import", "json"]
    assert arguments[-1] == str(record.find_folder(tmp_path, torch.__version__) / "gru-meta.json")
    assert "--fewest" not in arguments
    assert CliRunner().invoke(record.record, [*given, "--fewest"]).exit_code == 0
    assert "--fewest" in asked[1]


@pytest.mark.parametrize(
    ("verdict", "status"), [("fail", 0), ("not-applicable", 0), ("pass", 1), ("blocked", 1)]
)
def test_a_device_may_hide_no_planted_bug(
    verdict: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted = load_module("planted", "conformance")
    verdicts = {"cpu": ("fail", "wrong"), "meta": (verdict, "why")}
    used: list[str] = []

    def find_verdict(kind: str, name: str, device: str) -> tuple[str, str]:
        assert used == ["meta"], "the device is used before the CPU"
        return verdicts[device]

    monkeypatch.setattr(planted, "find_verdict", find_verdict)
    monkeypatch.setattr(planted, "check_device", used.append)
    path = tmp_path / "verdicts.json"
    given = ["--device", "meta", "--each", "2", "--json", str(path)]
    done = CliRunner().invoke(planted.compare, given)
    assert done.exit_code == status
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [row["kind"] for row in rows] == [kind for kind in KINDS for _ in range(2)]
    assert {row["meta"] for row in rows} == {verdict}


def test_a_plugin_is_imported_from_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted = load_module("planted", "conformance")
    (tmp_path / "plugin_of_a_device.py").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    given = ["--device", "cpu", "--import", "plugin_of_a_device", "--each", "0", "--kind", "rnn"]
    assert CliRunner().invoke(planted.compare, given).exit_code == 0


def test_a_planted_bug_is_checked_with_the_rule_that_it_names() -> None:
    planted = load_module("planted", "conformance")
    verdict, message = planted.find_verdict("rnn", "ZeroBiases", "cpu")
    assert (verdict, bool(message)) == ("fail", True)


def test_import_of_the_module_turns_cudnn_off() -> None:
    with torch.backends.cudnn.flags(enabled=True):
        runpy.run_path(str(ROOT / "conformance" / "without_cudnn.py"))
        assert not torch.backends.cudnn.enabled


def test_record_of_the_installed_release_is_written(
    record: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = record.status
    fewer = ["--cases", "4", "--rule", "shapes.output", "--no-isolate"]
    monkeypatch.setattr(record, "status", lambda given: real([*given, *fewer]))
    given = ["--profile", "quick", "--kind", "gru", "--to", str(tmp_path)]
    assert CliRunner().invoke(record.record, given).exit_code == 0
    (path,) = tmp_path.rglob("*.json")
    assert path.name == "gru-cpu.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert (data["kind"], data["environment"]["torch"]) == ("gru", torch.__version__)
    assert data["rules"] == {"shapes.output": {"verdict": "pass", "cases": 4}}


def test_device_that_is_not_there_is_refused(record: ModuleType, tmp_path: Path) -> None:
    given = ["--device", "meta", "--kind", "rnn", "--to", str(tmp_path)]
    assert CliRunner().invoke(record.record, given).exit_code == 2
    assert not list(tmp_path.iterdir())
