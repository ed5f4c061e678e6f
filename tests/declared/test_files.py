"""Test the file of a project: declarations are found, and invalid entries refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from rnnspec.declared.deviations import list_deviations
from rnnspec.declared.files import NOWHERE, find_file
from rnnspec.errors import SelectionError
from rnnspec.rules.catalogue import select_layer_rules

RIGHT = """
[targets.mine]
target = "mylib:RNN"
profile = "quick"

[[known]]
target = "mine"
rule = "shapes.empty-batch"
when = {batch = 1}
kind = "bug"
reason = "raises IndexError"
issue = "https://example.org/12"

[[known]]
part = "gradients"
kind = "unsupported"
reason = "inference only"
expires = 2030-01-31
"""


def write(folder: Path, text: str, name: str = "rnnspec.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_nearest_file_counts(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    write(tmp_path, RIGHT)
    found = find_file(None, deep)
    assert found is not None
    assert found.path == tmp_path / "rnnspec.toml"
    write(deep, "[project]\n", "pyproject.toml")
    nearest = find_file(None, deep)
    assert nearest is not None
    assert nearest.path == found.path
    write(deep.parent, "[tool.rnnspec.targets.x]\ntarget = 'a:B'\n", "pyproject.toml")
    nearer = find_file(None, deep)
    assert nearer is not None
    assert nearer.targets == {"x": {"target": "a:B"}}
    assert find_file(NOWHERE, deep) is None


def test_entries_are_about_a_target_by_its_name_or_about_all(tmp_path: Path) -> None:
    found = find_file(str(write(tmp_path, RIGHT)))
    rules = select_layer_rules(())
    own, _ = list_deviations(found, "mylib:RNN", rules, date(2029, 1, 1))
    assert [each.rule for each in own] == ["shapes.empty-batch", "gradients.present"]
    assert own[0].label == ("bug: raises IndexError (rnnspec.toml:6, https://example.org/12)")
    assert "gradients.second-order" in own[1].follows
    other, _ = list_deviations(found, "torch.nn:RNN", rules, date(2029, 1, 1))
    assert [each.kind.value for each in other] == ["unsupported"]


def test_expired_deviation_counts_no_longer(tmp_path: Path) -> None:
    found = find_file(str(write(tmp_path, RIGHT)))
    own, notes = list_deviations(found, "mylib:RNN", select_layer_rules(()), date(2031, 1, 1))
    assert [each.rule for each in own] == ["shapes.empty-batch"]
    assert notes == ("the deviation in rnnspec.toml:14 has expired on 2030-01-31",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("when =", "wen =", "rnnspec.toml:9: unknown key 'wen' in [[known]]. Did you mean 'when'?"),
        ("batch = 1", "bach = 1", "rnnspec.toml:9: 'bach' is no size and no axis of a case."),
        ("shapes.empty", "shape.empty", "rnnspec.toml:8: no rule 'shape.empty-batch'. Did you"),
        ('"bug"', '"bugg"', "rnnspec.toml:10: kind 'bugg' is none of bug, difference, unsupported"),
        ('"gradients"', '"gradient"', "rnnspec.toml:15: part 'gradient' is none of"),
        ('reason = "raises IndexError"\n', "", "an entry of [[known]] needs a reason"),
        ("2030-01-31", '"soon"', "rnnspec.toml:18: expires must be a date such as 2030-01-31"),
        ("part =", 'rule = "shapes.output"\npart =', "has either a rule or a part"),
        ("[targets.mine]", "[target.mine]", "rnnspec.toml:2: unknown key 'target'. Did you mean"),
        ("profile =", "profil =", "rnnspec.toml:4: unknown option 'profil' of mine. Did you mean"),
        ('target = "mylib:RNN"\n', "", "rnnspec.toml:2: mine has no target"),
        ("[[known]]", "[[known]", "is no TOML"),
        ('kind = "unsupported"', "kind = \"bug\"\ncase = '{}'", "rnnspec.toml:17: this is no case"),
        ('profile = "quick"', "cases = 'many'", "rnnspec.toml:4: cases must be an integer, got"),
        ('profile = "quick"', "adapt = 'yes'", "rnnspec.toml:4: adapt must be true or false, got"),
        ('profile = "quick"', "profile = 3", "rnnspec.toml:4: profile must be a text, got 3"),
        ('profile = "quick"', "rules = [3]", "rnnspec.toml:4: rules must be a text or a list of"),
        ('profile = "quick"', "arguments = 3", "rnnspec.toml:4: arguments must be a table such as"),
        ('"mylib:RNN"', "3", "rnnspec.toml:3: target must be a text, got 3"),
        (
            '"mine"',
            '"mone"',
            "rnnspec.toml:7: no target 'mone' in rnnspec.toml. Did you mean 'mine'",
        ),
        ('"raises IndexError"', "['x']", "rnnspec.toml:11: reason must be a text, got ['x']"),
        ('"https://example.org/12"', "12", "rnnspec.toml:12: issue must be a text, got 12"),
        ("batch = 1", "batch = -1", "rnnspec.toml:9: batch -1 is neither a number nor a text such"),
        ("2030-01-31", "2030-01-31T00:00:00", "rnnspec.toml:18: expires must be a date such as"),
        ("part =", "follows = 'shapes.output'\npart =", "rnnspec.toml:15: follows must be a list"),
    ],
)
def test_an_invalid_entry_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write(tmp_path, RIGHT.replace(old, new, 1))
    with pytest.raises(SelectionError) as caught:
        list_deviations(find_file(str(path)), "mylib:RNN", select_layer_rules(()))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("known = 3\n", "rnnspec.toml:1: known must be tables with the header [[known]]"),
        ("\n[known]\nrule = 'a'\n", "rnnspec.toml:2: known must be tables with the header"),
        ("\n\ntargets = 3\n", "rnnspec.toml:3: targets must be tables with the header"),
        ("[targets]\nx = 'a:B'\n", "rnnspec.toml:1: targets must be tables with the header"),
        ("\n\nkown = 1\n", "rnnspec.toml:3: unknown key 'kown'. Did you mean 'known'?"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SelectionError) as caught:
        find_file(str(write(tmp_path, text)))
    assert message in str(caught.value)


def test_tool_that_is_no_table_is_refused_or_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "[tool]\nrnnspec = 3\n", "pyproject.toml")
    with pytest.raises(SelectionError, match=r"tool\.rnnspec must be a table, got 3"):
        find_file(str(path))
    write(tmp_path, "tool = 3\n", "pyproject.toml")
    assert find_file(None, tmp_path) is None


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="No such file"):
        find_file(str(tmp_path / "rnnspec.toml"))
