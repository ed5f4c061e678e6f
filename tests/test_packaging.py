"""Checks that the package metadata, the README and the script of CI agree with each other."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Mapping
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rnnspec
from rnnspec.comparing import report as comparison
from rnnspec.report import changes, data, history, record
from rnnspec.text import ask_for_report
from tests import standard_library

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
SUFFIXES = {".css", ".html", ".json", ".py", ".toml", ".typed"}
"""The files of the package: code, and the data that it reads."""
MOST_BYTES = 8_000_000
"""Nearly twice the size of the package in 0.1.0, which has no large files."""
MODULE_OF = {
    "check-jsonschema": "check_jsonschema",
    "python-flint": "flint",
    "pytest-cov": "pytest_cov",
    "pytest-xdist": "xdist",
}


def list_modules(requirements: list[str]) -> set[str]:
    """Return the modules that a list of requirements installs."""
    found = {re.split(r"[\s<>=!~;\[]", requirement)[0] for requirement in requirements}
    return {MODULE_OF.get(name, name) for name in found}


def find_command(name: str) -> str:
    """Return the command in the README between the markers of this name."""
    (text,) = re.findall(
        rf"<!-- {name} -->\n```\w+\n(.*?)\n```\n<!-- /{name} -->", README, re.DOTALL
    )
    return str(text)


def test_version_has_one_source() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", rnnspec.__version__)


def test_torch_is_required_as_a_range() -> None:
    (torch,) = [
        requirement for requirement in PROJECT["dependencies"] if requirement.startswith("torch")
    ]
    assert re.fullmatch(r"torch>=[\d.]+(,<[\d.]+)?", torch), (
        "a pinned version would replace the torch that the user wants to check"
    )


def test_tests_import_only_packages_of_their_extra() -> None:
    allowed = (
        list_modules(PROJECT["dependencies"])
        | list_modules(PROJECT["optional-dependencies"]["test"])
        | {"rnnspec", "tests", "conformance", "benchmarks"}
    )
    files = [path for folder in ("tests", "conformance") for path in (ROOT / folder).rglob("*.py")]
    local = {path.stem for path in files} | {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir()
    }
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).split(".")[0])
    assert not found - allowed - local - standard_library.MODULES


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^readme (\w+)", script, re.MULTILINE) == ["main", "tests"]
    assert find_command("main") == "pip install . && rnnspec check torch.nn:RNN --profile quick"
    assert find_command("tests") == "pip install '.[test]' && pytest -n 2 -m 'not slow'"


def test_readme_lists_every_exit_status() -> None:
    rows = dict(re.findall(r"^\| (\d) \| `([\w-]+)` \|", README, re.MULTILINE))
    assert rows == {"0": "conforms", "1": "violates", "2": "cannot-check", "3": "inconclusive"}


def test_installed_package_is_complete_and_under_test() -> None:
    try:
        installed = importlib.metadata.distribution("rnnspec")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("rnnspec is not installed: the source tree is tested")
    if '"editable": true' in (installed.read_text("direct_url.json") or ""):
        pytest.skip("rnnspec is installed as editable: the source tree is tested")
    here = Path(str(installed.locate_file("rnnspec"))).resolve()
    assert Path(rnnspec.__file__).resolve().parent == here
    data = [
        path.relative_to(ROOT) for path in (ROOT / "rnnspec").rglob("*") if path.suffix in SUFFIXES
    ]
    assert not [str(path) for path in data if not (here.parent / path).is_file()]


def test_the_package_has_only_files_that_users_need() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["rnnspec"]}
    files = [
        path
        for path in (ROOT / "rnnspec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {path.suffix for path in files} == SUFFIXES
    assert (ROOT / "rnnspec" / "py.typed").is_file()
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_the_page_of_versions_names_the_form_of_every_file() -> None:
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(rnnspec-[a-z]+-\d+)` \|", page, re.MULTILINE)
    assert named == [each.SCHEMA for each in (data, comparison, record, changes, history)]
    assert f"version = {{{rnnspec.__version__}}}" in page


def test_the_plugin_of_pytest_is_declared_under_the_name_by_which_it_can_be_given() -> None:
    declared = PROJECT["entry-points"]["pytest11"]
    assert all(name == module for name, module in declared.items())
    for name in declared:
        assert hasattr(importlib.import_module(name), "pytest_terminal_summary")


CLONED = {"url": "https://c.example/rnnspec.git", "vcs_info": {"vcs": "git"}}


@pytest.mark.parametrize(
    ("urls", "origin", "place"),
    [
        (
            ["Issues, https://a.example/1", "Repository, https://a.example"],
            {},
            "https://a.example/1",
        ),
        (["Repository, https://a.example"], CLONED, "https://a.example"),
        (["Homepage, https://b.example"], CLONED, "https://c.example/rnnspec.git"),
        ([], {"url": "file:///home/me/rnnspec", "dir_info": {}}, "the maintainers of rnnspec"),
        ([], None, "the maintainers of rnnspec"),
    ],
)
def test_mistakes_are_reported_to_the_address_in_the_metadata(
    urls: list[str],
    origin: dict[str, object] | None,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Message()
    for each in urls:
        found["Project-URL"] = each
    text = None if origin is None else json.dumps(origin)
    installed = SimpleNamespace(metadata=found, read_text=lambda name: text)
    monkeypatch.setattr("rnnspec.text.distribution", lambda name: installed)
    assert ask_for_report() == f"please report that to {place}"


def list_obstacles(changelog: str, project: Mapping[str, Any], pages: Iterable[str]) -> list[str]:
    """Return what a version lacks whose entry in the changelog has a date: a release."""
    if re.findall(r"^## \[.+\] - (.+)$", changelog, re.MULTILINE)[0] == "Unreleased":
        return []
    missing = {"Repository", "Issues"} - project.get("urls", {}).keys()
    found = [f"pyproject.toml has no address for {label}" for label in sorted(missing)]
    unknown = any("<address of the repository>" in page for page in pages)
    return [*found, *(["pages have no address to install from"] if unknown else [])]


def test_no_version_is_released_without_the_address_of_the_repository() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert list_obstacles(changelog, PROJECT, pages) == [], "put the address there, then a date"


def test_a_release_needs_both_addresses_and_pages_with_them() -> None:
    entry, page = "## [0.1.0] - {}\n", "pip install git+<address of the repository>"
    assert list_obstacles(entry.format("Unreleased"), {}, [page]) == []
    released = entry.format("2027-01-01")
    assert list_obstacles(released, {}, [page]) == [
        "pyproject.toml has no address for Issues",
        "pyproject.toml has no address for Repository",
        "pages have no address to install from",
    ]
    urls = {"Issues": "https://a.example/issues", "Repository": "https://a.example"}
    assert list_obstacles(released, {"urls": urls}, ["pip install ."]) == []


def test_pages_install_from_the_index_only_extras_of_an_installed_rnnspec() -> None:
    """There is no rnnspec on the package index; an extra of an installed one needs none."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    named = [line for line in lines if re.search(r"pip install\b[^&]*\brnnspec\b", line)]
    assert named
    assert not [line for line in named if "rnnspec[" not in line]
