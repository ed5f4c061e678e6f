"""The report as text: the verdict is the last line, and each fault is reported once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rnnspec.report.console import format_conclusion, format_failure, format_headline, format_report
from rnnspec.report.data import Result
from tests.report.reports import (
    CRASHED,
    FAIL,
    FOLLOWS,
    NOT_APPLICABLE,
    PASS,
    SHOULD,
    UNREACHED,
    report,
)


def test_the_whole_report_line_by_line() -> None:
    found = report(PASS, FAIL, FOLLOWS, NOT_APPLICABLE, UNREACHED, notes=("mind the gap",))
    assert format_report(found).splitlines() == [
        "rnnspec 0.1.0   torch 2.13.0, Python 3.11.7, cpu   seed 0, quick profile (1.2 s, 45 cases)",
        "",
        "  shapes         1 of 1            states         0 of 2  2 fail    dropout        - of 1",
        "  packed         0 of 1  1 unreached",
        "",
        f"{'FAIL  states.initial-state-used':<70} MUST   Inputs: h_0",
        "",
        "  Every layer starts from its own row of h_0.",
        "",
        "  h_n[0, 0, 0]   expected 1   got 2   (3 times what rounding can explain, 1 of 4 elements)",
        "  smallest       RNN(1, 1), input (1, 1, 1), initial_state given, seed 417",
        "  depends on     only with initial_state=given; any layout, dtype",
        "  seen in        9 of 12 cases, first in case 3",
        "",
        "  import torch",
        "",
        "  assert False",
        "",
        "1 other rule fails because of states.initial-state-used: states.carried",
        "not applicable  1 rule: no dropout here",
        "unreached  packed.h-n: reached 0 times, at least 1 needed: packed input",
        "note  mind the gap",
        "mine:RNN violates the contract: 2 of 4 rules fail; 4 of the 5 rules apply.",
    ]


@pytest.mark.parametrize(
    ("results", "line"),
    [
        ([PASS], "mine:RNN conforms to the contract: all 1 rules hold."),
        (
            [PASS, NOT_APPLICABLE],
            "mine:RNN conforms to the contract: all 1 rules hold; 1 of the 2 rules apply.",
        ),
        (
            [PASS, SHOULD],
            "mine:RNN conforms to the contract: 1 of 2 rules hold; 1 SHOULD is broken.",
        ),
        (
            [FAIL, SHOULD, SHOULD],
            "mine:RNN violates the contract: 1 of 3 rules fail; 2 SHOULD are broken.",
        ),
        (
            [PASS, UNREACHED],
            "mine:RNN: inconclusive, no rule is broken but 1 of them was not reached often enough.",
        ),
        (
            [UNREACHED, UNREACHED, SHOULD],
            "mine:RNN: inconclusive, no MUST is broken but 2 of them were not reached often enough; 1 SHOULD is broken.",
        ),
        ([CRASHED], "mine:RNN violates the contract: 1 of 1 rules fail."),
    ],
)
def test_the_verdict_in_one_line(results: list[Result], line: str) -> None:
    assert format_conclusion(report(*results)) == line
    assert format_report(report(*results)).splitlines()[-1] == line


def test_a_run_that_was_stopped_says_so() -> None:
    assert (
        format_conclusion(report(PASS, stopped=True))
        == "mine:RNN: inconclusive, no rule is broken but the run was stopped early."
    )


def test_an_error_of_the_checker_is_reported_as_one() -> None:
    assert format_failure(CRASHED).startswith("CHECKER ERROR  states.crash ")
    assert "1 checker-error" in format_report(report(CRASHED))


def test_without_a_program_none_is_shown() -> None:
    assert (
        format_failure(replace(FAIL, repro=None)).splitlines()[-1]
        == "  seen in        9 of 12 cases, first in case 3"
    )


def test_many_unreached_rules_are_not_all_listed() -> None:
    lines = format_report(
        report(*[replace(UNREACHED, rule=f"packed.r{number}") for number in range(11)])
    ).splitlines()
    assert sum(line.startswith("unreached  packed.") for line in lines) == 8
    assert "unreached  ... and 3 more rules" in lines


def test_rules_that_do_not_apply_for_one_reason_are_told_together() -> None:
    found = format_report(
        report(
            NOT_APPLICABLE,
            replace(NOT_APPLICABLE, rule="dropout.place"),
            replace(NOT_APPLICABLE, message="no"),
        )
    )
    assert "not applicable  2 rules: no dropout here\nnot applicable  1 rule: no\n" in found


def test_the_headline_has_what_is_needed_to_run_it_again() -> None:
    assert format_headline(report(PASS, seed=7, profile="thorough", duration_s=61.0)).endswith(
        "seed 7, thorough profile (61.0 s, 45 cases)"
    )
