"""Test shards: merged in any order, they give the report of one run, or name missing shards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnspec.cli import status
from rnnspec.errors import SelectionError
from rnnspec.isolation.checker import begin_progress
from rnnspec.isolation.merging import merge_files
from rnnspec.isolation.ranges import Share, parse_share
from rnnspec.pipeline import report_progress
from rnnspec.report.conclusion import format_conclusion
from tests.engine.subjects import IMPORTED as WRONG
from tests.engine.toy import ToyLayer, make_rule, make_suite

FEW = ("--profile", "quick", "--cases", "24", "--rule", "recurrence.*")
RULES = ("--profile", "quick", "--cases", "24", "--rule", "recurrence.output", "--jobs", "2")
LEAVING = """
import os, torch

print("imported")

class Leaves(torch.nn.RNN):
    def forward(self, *given):
        if self.num_layers >= 3:
            os._exit(7)
        return super().forward(*given)
"""

Shards = dict[str, bytes]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The files of the three shards of a run, and `whole.json`, its report."""
    place = tmp_path_factory.mktemp("shards")
    for number in (1, 2, 3):
        options = ("--shard", f"{number}/3", "--stream", str(place / f"{number}.jsonl"))
        assert status(["check", WRONG, *FEW, *options]) == 0
    assert status(["check", WRONG, *FEW, "--json", str(place / "whole.json")]) == 1
    return {path.name: path.read_bytes() for path in place.iterdir()}


@pytest.fixture
def files(shards: Shards, folder: Path, capsys: pytest.CaptureFixture[str]) -> Shards:
    """The same files in the working directory."""
    for name, content in shards.items():
        (folder / name).write_bytes(content)
    capsys.readouterr()
    return shards


def read_report(text: str | bytes) -> dict[str, Any]:
    return {**json.loads(text), "duration_s": 0}


def merge(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the report of a merge."""
    found = status(["merge", *names, "--json", "-"])
    return found, read_report(capsys.readouterr().out)


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line with which a command is refused."""
    assert status(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return str(line)


@pytest.mark.slow
def test_shards_merged_in_any_order_give_the_report_of_the_whole_run(
    files: Shards, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(capsys, "3.jsonl", "1.jsonl", "2.jsonl") == (1, read_report(files["whole.json"]))


def test_every_case_is_in_one_shard(files: Shards) -> None:
    cases = [
        line["case"]
        for number in (1, 2, 3)
        for line in map(json.loads, files[f"{number}.jsonl"].splitlines())
        if "case" in line
    ]
    assert sorted(cases) == list(range(24))


@pytest.mark.slow
def test_a_missing_or_killed_shard_is_named_and_a_killed_one_can_be_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["check", "torch.nn:RNN", *RULES]
    for number in (1, 2):
        assert status([*check, "--shard", f"{number}/2", "--stream", f"{number}.jsonl"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^Shard 2/2 of torch.nn:RNN: 12 cases checked, none fails\.", text, re.M)
    assert status([*check, "--json", "-"]) == 0
    whole = 0, read_report(capsys.readouterr().out)
    assert merge(capsys, "1.jsonl", "2.jsonl") == whole
    found, report = merge(capsys, "1.jsonl")
    assert report["notes"] == ["shard 2/2 is missing: the report covers 12 of 24 cases"]
    assert report["stop_reason"] == "shard 2/2 is missing"
    assert (found, report["stopped"], report["cases"]) == (3, True, 12)
    path = folder / "2.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:100])
    found, report = merge(capsys, "1.jsonl", "2.jsonl")
    assert report["notes"] == [
        "2.jsonl is cut off at its end: 8 of the 12 cases of shard 2/2 are missing; "
        "'rnnspec check' with --shard 2/2 and --resume 2.jsonl checks the missing cases"
    ]
    assert (found, report["stopped"], report["cases"]) == (3, True, 16)
    assert status([*check, "--shard", "2/2", "--resume", "2.jsonl"]) == 0
    capsys.readouterr()
    assert merge(capsys, "2.jsonl", "1.jsonl") == whole


def test_missing_shards_are_the_reason_for_rules_not_reached() -> None:
    suite = make_suite(ToyLayer(), make_rule("recurrence.output"))
    progress = begin_progress(suite)
    progress.stopped, progress.stop_reason = True, "shards 1/3 and 2/3 are missing"
    report = report_progress(suite, progress)
    (result,) = report.results
    assert result.message.startswith("shards 1/3 and 2/3 are missing (checked 0 times, at least ")
    assert "but shards 1/3 and 2/3 are missing" in format_conclusion(report)


@pytest.mark.slow
def test_shards_of_a_layer_that_ends_its_process_have_the_results_of_the_whole_run(
    folder: Path,
) -> None:
    (folder / "leaving.py").write_text(LEAVING)
    cases = {}
    for shard in ("1/1", "1/2", "2/2"):
        options = ("--cases", "9", "--shard", shard, "--stream", "run.jsonl")
        (folder / "run.jsonl").unlink(missing_ok=True)
        assert status(["check", "leaving.py:Leaves", *RULES, *options]) == 0
        cases[shard] = (folder / "run.jsonl").read_text().splitlines()[1:-1]
    assert sorted(cases["1/2"] + cases["2/2"]) == sorted(cases["1/1"])
    assert len(cases["1/1"]) == 9
    assert "the call ended the process with exit status 7" in "".join(cases["1/1"])


@pytest.mark.slow
def test_a_shard_lists_failures_and_its_status_shows_whether_it_finished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check = ["check", WRONG, *FEW]
    assert status([*check, "--shard", "1/2", "--stream", "a.jsonl"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("rnnspec ")
    assert f"{WRONG}, shard 1/2   seed 0, quick profile (" in first
    assert re.fullmatch(
        rf"Shard 1/2 of {re.escape(WRONG)}: \d+ cases checked, \d+ fails?\. The results are in "
        r"a\.jsonl; for the verdict, merge the files of all 2 shards with 'rnnspec merge'\.",
        last,
    )
    options = ("--shard", "2/2", "--stream", "b.jsonl", "--max-time", "0.01")
    assert status([*check, *options]) == 3
    out = capsys.readouterr().out
    assert "; go on with --shard 2/2 --resume b.jsonl, and then, for the verdict, merge the" in out
    assert "note  the run was stopped after 0.01 s: " in out
    assert re.search(r": \d+ of its \d+ cases checked, ", out)


def test_a_file_of_stream_without_a_shard_can_be_merged_alone(
    files: Shards, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = files["1.jsonl"].splitlines(keepends=True)[0]
    (folder / "run.jsonl").write_bytes(header.replace(b'"shard": "1/3"', b'"shard": "1/1"'))
    found, report = merge(capsys, "run.jsonl")
    assert (found, report["cases"]) == (3, 0)
    assert report["notes"] == [
        "run.jsonl has no last line, because its run was killed or it was cut off: 24 of the 24 "
        "cases are missing; 'rnnspec check' with --resume run.jsonl checks the "
        "missing cases"
    ]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "seed": (
        lambda header: header["options"].update(seed=1),
        "2.jsonl: it is about another run than 1.jsonl: it has seed 1, not 0.",
    ),
    "rules": (
        lambda header: header["options"].update(rules=["states.*"]),
        "2.jsonl: it is about another run than 1.jsonl: it has rules ['states.*'], not "
        "['recurrence.*'].",
    ),
    "target": (
        lambda header: header.update(target="a:B"),
        f"2.jsonl: it is about another run than 1.jsonl: it has target 'a:B', not {WRONG!r}.",
    ),
    "versions": (
        lambda header: header["versions"].update(torch="1.0"),
        "2.jsonl: it is about another run than 1.jsonl: it has torch '1.0', not ",
    ),
    "cases": (
        lambda header: header.update(cases=25),
        "2.jsonl: it is about another run than 1.jsonl: it has cases 25, not 24.",
    ),
    "drawn": (
        lambda header: header.update(drawn="0123"),
        "2.jsonl: other cases were drawn than for 1.jsonl. The features of the target decide ",
    ),
    "count": (
        lambda header: header.update(shard="2/4"),
        "2.jsonl is shard 2/4, and 1.jsonl is shard 1/3.",
    ),
    "number": (
        lambda header: header.update(shard="1/3"),
        "1.jsonl and 2.jsonl are both shard 1/3.",
    ),
    "schema": (
        lambda header: header.update(schema="other"),
        "2.jsonl: it was not written by --stream, or its first line is damaged.",
    ),
}


def change_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    first, *rest = path.read_text().splitlines(keepends=True)
    header = json.loads(first)
    change(header)
    path.write_text("".join([json.dumps(header) + "\n", *rest]))


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_do_not_belong_together_are_refused(
    name: str, files: Shards, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = CHANGES[name]
    change_header(folder / "2.jsonl", change)
    refused = refuse(capsys, "merge", "1.jsonl", "2.jsonl", "3.jsonl")
    assert refused.startswith(f"rnnspec: {message}")


def test_a_file_that_is_given_twice_is_refused_as_that(
    files: Shards, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refuse(capsys, "merge", "1.jsonl", "./1.jsonl") == "rnnspec: 1.jsonl is given twice."


def test_files_of_other_versions_or_of_another_target_are_refused(
    files: Shards, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "1.jsonl"
    change_header(path, lambda header: header["versions"].update(numpy="1.0"))
    assert refuse(capsys, "merge", "1.jsonl").startswith(
        "rnnspec: 1.jsonl: it was written with other versions than those here: "
        "it has numpy '1.0', not '"
    )
    path.write_bytes(files["1.jsonl"])
    change_header(path, lambda header: header.update(cases=23))
    assert refuse(capsys, "merge", "1.jsonl") == (
        f"rnnspec: {WRONG}: it has 24 cases here and had 23 where they were checked; is it the "
        "same version of it?"
    )
    path.write_bytes(files["1.jsonl"])
    change_header(path, lambda header: header.update(drawn="0123"))
    assert refuse(capsys, "merge", "1.jsonl").startswith(
        f"rnnspec: {WRONG}: other cases were drawn than where they were checked. The features "
    )


def test_files_that_cannot_be_read_are_refused(
    files: Shards, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.jsonl").touch()
    (folder / "report.json").write_bytes(files["whole.json"])
    (folder / "damaged.jsonl").write_bytes(files["1.jsonl"].replace(b'"drawn"', b'"drown"', 1))
    for name, message in (
        ("none.jsonl", "it cannot be read (No such file or directory)."),
        ("empty.jsonl", "it was not written by --stream, or its first line is damaged."),
        ("report.json", "it was not written by --stream, or its first line is damaged."),
        ("damaged.jsonl", "it was not written by --stream, or its first line is damaged."),
    ):
        refused = refuse(capsys, "merge", "2.jsonl", name)
        assert refused.startswith(f"rnnspec: {name}: {message}")
    assert "Missing argument 'FILE...'" in refuse(capsys, "merge")


def damage(content: bytes, *numbers: int) -> bytes:
    """Return the content of a file without one letter in the results of some lines."""
    lines = content.splitlines(keepends=True)
    for number in numbers:
        lines[number - 1] = re.sub(rb'("result": ".{20}).', rb"\1", lines[number - 1])
    return b"".join(lines)


@pytest.mark.parametrize(
    ("change", "reason", "left"),
    [
        (lambda content: damage(content, 3), "2.jsonl, line 3 is damaged", 1),
        (lambda content: damage(content, 2, 3, 5), "2.jsonl, lines 2, 3 and 5 are damaged", 3),
        (lambda content: content.replace(b'"case"', b'"cbse"', 1), "2.jsonl, line 2 is damaged", 1),
        (lambda content: content.replace(b'{"checked"', b'{"?\n{"judged"'), "", 0),
        (lambda content: content[: content.rindex(b'{"checked"') - 9], "2.jsonl is cut off", 1),
        (
            lambda content: b"".join(content.splitlines(keepends=True)[:4]),
            "2.jsonl has no last line, because its run was killed or it was cut off",
            5,
        ),
        (
            lambda content: b"".join(content.splitlines(keepends=True)[::9]),
            "2.jsonl lacks lines that its run has written",
            8,
        ),
    ],
)
def test_a_damaged_file_is_named_with_its_line(
    change: Callable[[bytes], bytes], reason: str, left: int, files: Shards, folder: Path
) -> None:
    (folder / "2.jsonl").write_bytes(change(files["2.jsonl"]))
    merged = merge_files([folder / name for name in ("1.jsonl", "2.jsonl", "3.jsonl")])
    notes = [note.replace(f"{folder}/", "") for note in merged.notes]
    assert len(merged.results) == 24 - left
    if left == 0:
        assert notes == []
    else:
        (note,) = notes
        verb = "is" if left == 1 else "are"
        assert note.startswith(reason)
        assert f": {left} of the 8 cases of shard 2/3 {verb} missing; " in note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("3",), "'3': write which shard of how many, e.g. 3/8."),
        (("0/3",), "'0/3': shards are numbered 1 to 3."),
        (("4/3",), "'4/3': shards are numbered 1 to 3."),
        (("1/0",), "'1/0': there must be at least one shard."),
        (("1/3",), "1/3: name a file for the results, e.g. --stream shard-1.jsonl."),
        (("1/3", "--json", "a"), "1/3: a shard has no report; give --json to rnnspec merge."),
    ],
)
def test_wrong_shards_are_refused(
    options: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refuse(capsys, "check", "torch.nn:RNN", "--shard", *options)
    assert refused.startswith(f"rnnspec: --shard {message}")
    assert list(folder.iterdir()) == []


def test_a_shard_cannot_end_at_the_first_violation(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--shard", "1/3", "--fail-fast", "--stream", "a.jsonl")
    assert refuse(capsys, "check", "torch.nn:RNN", *options).startswith(
        "rnnspec: --fail-fast cannot be used with --shard 1/3: "
    )


@pytest.mark.parametrize("size", [0, 1, 7, 231, 5000])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 300])
def test_shares_are_disjoint_complete_and_of_about_the_same_size(size: int, count: int) -> None:
    shares = [Share(number, count).select(size) for number in range(1, count + 1)]
    assert sorted(index for each in shares for index in each) == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= max(32, -(-size // (12 * count)))
    assert all(each == sorted(each) for each in shares)


def test_shares_are_written_as_they_are_read() -> None:
    assert [str(parse_share(text)) for text in ("1/1", "3/8")] == ["1/1", "3/8"]
    with pytest.raises(SelectionError, match=r"e\.g\. 3/8"):
        parse_share("3 of 8")
