"""Test the record of a report, which a comparison of releases reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rnnspec.report import environment
from rnnspec.report.data import Report, Verdict
from rnnspec.report.environment import describe_environment
from rnnspec.report.files import write_files
from rnnspec.report.record import format_record
from tests.report.reports import FAIL, FOLLOWS, PASS, make_report

SKIPPED = replace(PASS, rule="packed.ties", verdict=Verdict.NOT_APPLICABLE, message="no packed")


@pytest.fixture
def report() -> Report:
    return make_report(PASS, FAIL, FOLLOWS, SKIPPED)


def test_record_has_the_verdict_on_every_rule_and_its_explanation(report: Report) -> None:
    data: dict[str, Any] = json.loads(format_record(report))
    assert data["verdict"] == "violates"
    assert data["parts"]["values"] == "violates"
    assert data["rules"]["shapes.output"] == {"verdict": "pass", "cases": 40}
    assert data["rules"]["packed.ties"] == {
        "verdict": "not-applicable",
        "level": "MUST",
        "message": "no packed",
    }
    failed = data["rules"]["states.initial-state-used"]
    assert (failed["cases"], failed["violations"]) == (12, 9)
    assert (failed["level"], failed["message"]) == ("MUST", FAIL.message)
    assert failed["smallest"] == "RNN(1, 1), input (1, 1, 1), initial_state given, seed 417"
    assert failed["fault"] == {"likely_cause_key": "", "situation": "initial_state=given"}
    assert data["rules"]["states.carried"]["caused_by"] == "states.initial-state-used"


def test_record_has_one_line_for_each_rule_and_names_no_host(report: Report) -> None:
    environment = {**report.environment, "platform": "Linux-6.1.0-rc7-x86_64-with-glibc2.36"}
    text = format_record(replace(report, environment=environment, duration_s=12.5))
    assert json.loads(text)["environment"]["platform"] == "Linux"
    assert "12.5" not in text
    for rule in ("shapes.output", "states.initial-state-used", "states.carried", "packed.ties"):
        assert sum(line.startswith(f'  "{rule}": {{') for line in text.splitlines()) == 1


def test_text_of_unknown_origin_is_escaped_in_a_record() -> None:
    report = make_report(replace(FAIL, message="\x1b[31mred"))
    assert "\x1b" not in json.loads(format_record(report))["rules"][FAIL.rule]["message"]


def test_record_is_written_to_the_given_path(report: Report, tmp_path: Path) -> None:
    write_files(report, {"record": str(tmp_path / "record.json"), "badge": None})
    assert (tmp_path / "record.json").read_text(encoding="utf-8") == format_record(report)


def test_environment_on_the_cpu_names_versions_only() -> None:
    found = describe_environment("cpu")
    assert (found["torch"], found["device"]) == (str(torch.__version__), "cpu")
    assert not {"cuda", "cudnn", "device-name"} & set(found)


def test_environment_on_another_device_names_the_package_that_registers_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "torch_meta" not in describe_environment("meta")
    versions = {"torch_meta": "1.5"}
    monkeypatch.setattr(environment, "version", lambda name: versions.get(name, "0"))
    assert describe_environment("meta")["torch_meta"] == "1.5"


@pytest.mark.parametrize(("enabled", "shown"), [(True, "91002"), (False, "off")])
def test_environment_on_cuda_names_the_device_and_its_libraries(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, shown: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"stand-in for {device}")
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    with torch.backends.cudnn.flags(enabled=enabled):
        found = describe_environment("cuda:0")
    assert found["device-name"] == "stand-in for cuda:0"
    assert (found["cuda"], found["cudnn"]) == ("12.4", shown)
