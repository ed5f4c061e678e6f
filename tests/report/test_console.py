"""Tests of the report as text."""

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
    make_report,
)


def test_whole_report_line_by_line() -> None:
    found = make_report(PASS, FAIL, FOLLOWS, NOT_APPLICABLE, UNREACHED, notes=("mind the gap",))
    assert format_report(found).splitlines() == [
        "rnnspec 0.1.0   torch 2.13.0, Python 3.11.7, cpu   "
        "seed 0, quick profile (1.2 s, 45 cases)",
        "",
        "  shapes         1 of 1            states         0 of 2  2 fail    dropout        - of 1",
        "  packed         0 of 1  1 unreached",
        "",
        f"{'FAIL  states.initial-state-used':<70} MUST   Inputs: h_0",
        "",
        "  Every layer starts from its own row of h_0.",
        "",
        "  h_n[0, 0, 0] is 2, expected 1 (3 times what rounding can explain, 1 of 4 elements)",
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
        ([PASS], "mine:RNN conforms to the contract: 1 rule holds."),
        (
            [PASS, NOT_APPLICABLE],
            "mine:RNN conforms to the contract: 1 rule holds; 1 of the 2 rules apply.",
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
            "mine:RNN: inconclusive. No rule is broken, but 1 rule was not reached often enough.",
        ),
        (
            [UNREACHED, UNREACHED, SHOULD],
            "mine:RNN: inconclusive. No MUST is broken, but 2 rules were not reached often enough; "
            "1 SHOULD is broken.",
        ),
        ([CRASHED], "mine:RNN violates the contract: 1 of 1 rules fail."),
    ],
)
def test_conclusion_is_the_last_line(results: list[Result], line: str) -> None:
    assert format_conclusion(make_report(*results)) == line
    assert format_report(make_report(*results)).splitlines()[-1] == line


def test_conclusion_says_that_a_run_was_stopped() -> None:
    assert (
        format_conclusion(make_report(PASS, stopped=True))
        == "mine:RNN: inconclusive. No rule is broken, but the run was stopped early."
    )


def test_error_of_the_checker_is_labelled_as_one() -> None:
    assert format_failure(CRASHED).startswith("CHECKER ERROR  states.crash ")
    assert "1 checker-error" in format_report(make_report(CRASHED))


def test_failure_without_a_program_ends_with_the_case() -> None:
    assert (
        format_failure(replace(FAIL, repro=None)).splitlines()[-1]
        == "  seen in        9 of 12 cases, first in case 3"
    )


def test_only_the_first_unreached_rules_are_listed() -> None:
    lines = format_report(
        make_report(*[replace(UNREACHED, rule=f"packed.r{number}") for number in range(11)])
    ).splitlines()
    assert sum(line.startswith("unreached  packed.") for line in lines) == 8
    assert "unreached  ... and 3 more rules" in lines


def test_rules_that_do_not_apply_are_grouped_by_reason() -> None:
    found = format_report(
        make_report(
            NOT_APPLICABLE,
            replace(NOT_APPLICABLE, rule="dropout.place"),
            replace(NOT_APPLICABLE, message="no"),
        )
    )
    assert "not applicable  2 rules: no dropout here\nnot applicable  1 rule: no\n" in found


def test_headline_has_seed_profile_and_size_of_the_run() -> None:
    assert format_headline(make_report(PASS, seed=7, profile="thorough", duration_s=61.0)).endswith(
        "seed 7, thorough profile (61.0 s, 45 cases)"
    )
