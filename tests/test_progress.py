"""Test the display of progress."""

from __future__ import annotations

import re

import pytest

from rnnspec.cli import parts
from rnnspec.cli.progress import describe_shortly, describe_standing, parse_duration, show_standing
from rnnspec.errors import SelectionError
from rnnspec.isolation.standing import SEARCHING, Standing, describe_search

SEARCH = describe_search(1, 12)


def test_the_time_left_is_unknown_while_no_further_case_has_been_checked() -> None:
    standing = Standing(51, 239, 7, 30.0, known=51)
    assert describe_standing(standing) == "51 of 239 cases after 30 s (0 per second), 7 cases fail"
    assert describe_shortly(standing) == ("7 fail", "0 per second")


def test_a_standing_has_cases_rate_failures_and_the_time_left() -> None:
    assert describe_standing(Standing(120, 900, 1, 30.0)) == (
        "120 of 900 cases after 30 s (4 per second), 1 case fails, about 195 s left"
    )
    assert describe_standing(Standing(0, 900, 0, 0.0)).startswith("0 of 900 cases after 0 s (0 ")


def test_a_standing_names_the_first_failing_rule_and_the_current_activity() -> None:
    slow = Standing(120, 900, 2, 30.0, 0, "gates.order", ("the call takes 5 s so far",))
    assert describe_standing(slow) == (
        "120 of 900 cases after 30 s (4 per second), 2 cases fail, first by gates.order, about 195"
        " s left; the call takes 5 s so far"
    )
    searching = Standing(900, 900, 1, 30.0, 0, "gates.order", SEARCH)
    assert describe_search(0, 0) == (SEARCHING,), "nothing fails in the last round of a baseline"
    assert describe_standing(searching) == (
        "900 of 900 cases after 30 s, 1 case fails, first by gates.order; 1 of 12 failures "
        "explained, looking for the faults, their smallest cases and likely causes"
    )


def test_without_a_terminal_a_line_is_written_every_half_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with show_standing() as watch:
        for seconds in range(100):
            watch(Standing(seconds + 1, 200, seconds // 40, float(seconds)))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" (")[0] for line in err.splitlines()] == [
        "rnnspec: 31 of 200 cases after 30 s",
        "rnnspec: 61 of 200 cases after 60 s",
        "rnnspec: 91 of 200 cases after 90 s",
    ]


def test_without_a_terminal_a_long_selftest_prints_its_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with parts.show_progress() as watch:
        watch(1, 4)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(parts, "SECONDS_BETWEEN_LINES", 0.0)
    with parts.show_progress() as watch:
        watch(1, 4)
        watch(4, 4)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "rnnspec: 1 of 4 after 0 s, about 0 s left",
        "rnnspec: 4 of 4 after 0 s, about 0 s left",
    ]


def test_on_a_terminal_a_bar_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with show_standing() as watch:
        for checked in (1, 100, 200):
            watch(Standing(checked, 200, checked // 100, 1.0))
        watch(Standing(200, 200, 99_999, 1.0, 0, "gates.order", SEARCH))
    out, err = capsys.readouterr()
    assert out == ""
    assert "200/200" in err
    assert "2 fail" in err
    assert "about 1 s left, 1 fail, 100 per second" in err
    assert "1 of 12 failures explained, 99999 fail" in err
    assert max(map(len, re.split(r"[\r\n]|\x1b\[\?25[lh]", err))) < 80


def read_lines(err: str) -> list[str]:
    """Return what was shown on a terminal, without what only controls it."""
    return [re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]", err)]


@pytest.mark.parametrize("columns", [24, 40, 60, 80, 200])
def test_a_line_on_a_terminal_fits_its_width_and_starts_with_the_essentials(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    with show_standing() as watch:
        for checked in (0, 5, 1_000):
            watch(Standing(checked, 1_000, checked, 1.0, 0, "gates.order", SEARCH))
            watch(Standing(checked, 1_000, checked, 1.0))
    with parts.show_progress() as report:
        report(3, 1_000)
        report(1_000, 1_000, SEARCH)
    lines = read_lines(capsys.readouterr().err)
    assert max(map(len, lines)) < columns
    assert any("1000/1000" in line for line in lines)
    left = any("5/1000" in line and "about 199 s left" in line for line in lines)
    assert left == (columns > 24)
    assert sum("1 of 12 failures explained" in line for line in lines) == (4 if columns > 24 else 0)
    assert any(SEARCHING in line for line in lines) == (columns == 200)


def test_a_file_of_results_is_named_once_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal)
        with show_standing("the results so far are in /tmp/x") as watch:
            for seconds in (1.0, 40.0, 80.0):
                watch(Standing(1, 2, 0, seconds))
        said = [line for line in read_lines(capsys.readouterr().err) if "/tmp/x" in line]
        assert said == ["rnnspec: the results so far are in /tmp/x"]


def test_the_activity_after_the_cases_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "SECONDS_BETWEEN_LINES", 0.0)
    with parts.show_progress() as watch:
        watch(4, 4, ("1 of 3 failures explained", "looking for the faults"))
    assert capsys.readouterr().err == (
        "rnnspec: 4 of 4 after 0 s; 1 of 3 failures explained, looking for the faults\n"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("0.5", 0.5), ("60s", 60.0), ("5m", 300.0), ("2h", 7200.0)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1 m", "1d", "1e3"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="write a duration such as 90, 60s or 5m"):
        parse_duration(text)
    for nothing in ("0", "0s", "0.0m"):
        with pytest.raises(SelectionError, match="it must be more than 0, such as 60s or 5m"):
            parse_duration(nothing)
