"""Checks that the package metadata, the README and the script of CI agree with each other."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import sys
from email.message import Message
from pathlib import Path

import pytest

import rnnspec
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


def test_tests_import_only_what_their_extra_installs() -> None:
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
        path.relative_to(ROOT)
        for path in (ROOT / "rnnspec").rglob("*")
        if path.suffix in {".toml", ".json", ".typed", ".py"}
    ]
    assert not [str(path) for path in data if not (here.parent / path).is_file()]


def test_the_plugin_of_pytest_is_declared_under_the_name_by_which_it_can_be_given() -> None:
    declared = PROJECT["entry-points"]["pytest11"]
    assert all(name == module for name, module in declared.items())
    for name in declared:
        assert hasattr(importlib.import_module(name), "pytest_terminal_summary")


@pytest.mark.parametrize(
    ("urls", "place"),
    [
        (["Issues, https://a.example/issues", "Repository, https://a.example"], "issues"),
        (["Repository, https://a.example/issues"], "issues"),
        (["Homepage, https://b.example"], None),
        ([], None),
    ],
)
def test_mistakes_are_reported_where_the_metadata_say(
    urls: list[str], place: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Message()
    for each in urls:
        found["Project-URL"] = each
    monkeypatch.setattr("rnnspec.text.metadata", lambda name: found)
    expected = "the maintainers of rnnspec" if place is None else f"https://a.example/{place}"
    assert ask_for_report() == f"please report that to {expected}"


def test_pages_install_from_the_index_only_what_adds_to_an_installed_rnnspec() -> None:
    """There is no rnnspec on the package index; an extra of an installed one needs none."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    named = [line for line in lines if re.search(r"pip install\b[^&]*\brnnspec\b", line)]
    assert named
    assert not [line for line in named if "rnnspec[" not in line]
