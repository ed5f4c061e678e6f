"""Checks that tox, the workflow and the lowest versions name the same environments and ranges."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from check_jsonschema import main as check_schema
from click.testing import CliRunner

from rnnspec.cli.check import check
from tests.conftest import choose_modules, choose_slow_tests

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OLDEST, NEWEST = 2, 15
"""The minor numbers of the releases 2.x that have environments."""


@pytest.fixture(scope="module")
def tox() -> ConfigParser:
    parsed = ConfigParser()
    parsed.read(ROOT / "tox.ini", encoding="utf-8")
    return parsed


@pytest.fixture(scope="module")
def releases(tox: ConfigParser) -> list[str]:
    """The environments that `tox -m releases` runs."""
    (label,) = tox["tox"]["labels"].strip().splitlines()
    return label.removeprefix("releases = ").split(", ")


def test_every_minor_release_of_torch_has_an_environment(
    tox: ConfigParser, releases: list[str]
) -> None:
    numbers = [re.fullmatch(r"py3(\d+)-torch2(\d+)", each) for each in releases]
    assert [int(each[2]) for each in numbers if each] == list(range(OLDEST, NEWEST + 1))
    deps = tox["testenv"]["deps"].splitlines()
    for minor in range(OLDEST, NEWEST + 1):
        assert f"torch2{minor}: torch~=2.{minor}.0" in deps
    assert {int(each[1]) for each in numbers if each} == {10, 11, 12, 13}


def test_oldest_release_is_the_lowest_that_the_package_allows() -> None:
    assert f"torch>=2.{OLDEST}" in PROJECT["dependencies"]


def read_bounds(requirements: list[str]) -> dict[str, str]:
    """Return the lower bound of each requirement by name."""
    found = [re.match(r"([\w-]+)>=([\d.]+)", each) for each in requirements]
    return {each[1]: each[2] for each in found if each}


def test_lowest_versions_are_the_bounds_of_the_package_and_of_its_tests() -> None:
    extras = PROJECT["optional-dependencies"]
    bounds = read_bounds(
        [*PROJECT["dependencies"], *extras["test"], *extras["dask"], *extras["html"]]
    )
    lines = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins == bounds


def test_every_requirement_has_a_lower_bound() -> None:
    requirements = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    others = [each for each in requirements if not each.startswith("rnnspec[")]
    assert len(read_bounds(others)) == len(others)


def test_workflow_runs_the_environments_of_tox(releases: list[str]) -> None:
    listed = re.findall(r'\{python: "3\.(\d+)", env: (\S+)\}', WORKFLOW)
    assert [env for _, env in listed] == ["lowest", *releases]
    assert all(env.startswith((f"py3{minor}-", "lowest")) for minor, env in listed)


def check_workflow(text: str, folder: Path) -> int:
    """Return the exit status of the check of a workflow against its schema, without a network."""
    path = folder / "workflow.yml"
    path.write_text(text, encoding="utf-8")
    given = ["--builtin-schema", "vendor.github-workflows", str(path)]
    return CliRunner().invoke(check_schema, given).exit_code


def test_workflow_follows_the_schema_of_workflows(tmp_path: Path) -> None:
    assert check_workflow(WORKFLOW, tmp_path) == 0
    wrong = WORKFLOW.replace("runs-on:", "run-on:")
    assert wrong != WORKFLOW
    assert check_workflow(wrong, tmp_path) == 1


ACTION = ROOT / ".github" / "actions" / "check" / "action.yml"


def test_action_follows_the_schema_of_actions() -> None:
    given = ["--builtin-schema", "vendor.github-actions", str(ACTION)]
    assert CliRunner().invoke(check_schema, given).exit_code == 0


def test_hook_of_pre_commit_runs_a_command_that_exists() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    lines = [line[2:] for line in text.splitlines() if not line.startswith("#")]
    hook = dict(line.split(": ", 1) for line in lines)
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert (hook["language"], hook["pass_filenames"]) == ("system", "false")
    program, command, *options = hook["entry"].split()
    assert (program, command) == ("rnnspec", "check")
    assert set(options) <= {option for parameter in check.params for option in parameter.opts}


def test_action_uses_options_that_exist_and_takes_no_input_as_a_command() -> None:
    text = ACTION.read_text(encoding="utf-8")
    script = text.partition("run: |\n")[2].partition("\n    - name:")[0]
    known = {option for parameter in check.params for option in parameter.opts}
    used = set(re.findall(r"(--[a-z]+) ", script))
    assert {"--html", "--sarif", "--junit"} <= used <= known
    assert "${{" not in script
    assert set(re.findall(r"\$\{\{ inputs\.(\w+) \}\}", text)) == {
        *("target", "options", "command", "reports")
    }


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_action_passes_inputs_on_as_they_are(tmp_path: Path) -> None:
    text = ACTION.read_text(encoding="utf-8")
    script = textwrap.dedent(text.partition("run: |\n")[2].partition("    - name:")[0])
    command = tmp_path / "rnnspec"
    command.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > given\n', encoding="utf-8")
    command.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "COMMAND": "check",
        "TARGET": "a b.py:RNN; $(touch hacked)",
        "OPTIONS": "--profile quick --rule *",
        "REPORTS": "out",
        "GITHUB_STEP_SUMMARY": "summary.md",
    }
    subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True
    )
    given = (tmp_path / "given").read_text(encoding="utf-8").splitlines()
    assert given[:6] == ["check", environment["TARGET"], "--profile", "quick", "--rule", "*"]
    assert given[-2:] == ["--summary", "summary.md"]
    assert not (tmp_path / "hacked").exists()


def test_workflow_runs_the_script_of_ci_for_every_change() -> None:
    assert "- run: bash .ci/run\n" in WORKFLOW
    assert re.search(r"^on:\n  push:\n  pull_request:\n", WORKFLOW, re.MULTILINE)
    assert "github.event_name == 'schedule' || github.event_name == 'workflow_dispatch'" in WORKFLOW


@dataclass
class Item:
    """As much of a test as is needed to choose among tests."""

    path: Path
    mark: pytest.Mark | None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.mark if self.mark is not None and self.mark.name == name else None


def test_a_sample_has_one_slow_test_each_of_as_many_modules() -> None:
    slow, long = pytest.mark.slow.mark, pytest.mark.slow(minutes=5).mark
    items: list[Any] = [
        Item(Path(f"{module}.py"), mark)
        for module in "abcdef"
        for mark in (None, long, *[slow] * 50)
        if module != "f" or mark is not slow
    ]
    seeds = [str(seed) for seed in range(20)]
    samples = [choose_slow_tests(items, 3, seed) for seed in seeds]
    assert samples == [choose_slow_tests(items, 3, seed) for seed in seeds]
    assert all(len({item.path for item in sample}) == 3 for sample in samples)
    assert {item.path.stem for sample in samples for item in sample} == {*"abcde"}
    assert all(item.get_closest_marker("slow") is slow for sample in samples for item in sample)
    assert len({tuple(map(id, sample)) for sample in samples}) > 15
    assert len(choose_slow_tests(items, 9, "0")) == 5


def test_a_sample_comes_from_modules_with_slow_tests(tmp_path: Path) -> None:
    for number in range(20):
        mark = ("@pytest.mark.slow", "@pytest.mark.mostly_slow", "# slow")[number % 3]
        (tmp_path / f"test_{number}.py").write_text(f"{mark}\ndef test(): ...")
    samples = [choose_modules((tmp_path,), 2, str(seed)) for seed in range(20)]
    assert {len(sample) for sample in samples} == {8}
    names = {int(path.stem.removeprefix("test_")) for sample in samples for path in sample}
    assert names == {number for number in range(20) if number % 3 < 2}


def test_every_slow_test_is_in_one_part_of_the_scheduled_workflow() -> None:
    parts = re.search(r"part: \[(.*)\]", WORKFLOW)
    assert parts is not None
    numbers = [int(part) for part in parts[1].split(",")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert f"--slow-part ${{{{ matrix.part }}}}/{len(numbers)}" in WORKFLOW
