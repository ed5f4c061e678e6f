"""Tests of the report as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rnnspec.cases.axes import Feature
from rnnspec.contract.parts import Part
from rnnspec.engine.explanations import (
    ANY_CASE,
    ANY_MODEL_CASE,
    INTERRUPTED,
    Dependence,
    DependenceKind,
)
from rnnspec.report.console import (
    format_conclusion,
    format_failure,
    format_headline,
    format_report,
    format_table,
)
from rnnspec.report.data import Result, Verdict
from rnnspec.text import ask_for_report
from tests.report.reports import (
    BLOCKED,
    CRASHED,
    FAIL,
    FOLLOWS,
    HELD,
    NOT_APPLICABLE,
    NOTE,
    PASS,
    SHOULD,
    UNREACHED,
    make_fault,
    make_report,
)


def test_whole_report_line_by_line() -> None:
    found = make_report(
        *(PASS, FAIL, FOLLOWS, BLOCKED, HELD, NOT_APPLICABLE, UNREACHED), notes=("mind the gap",)
    )
    assert format_report(found).splitlines() == [
        "rnnspec 0.1.0   torch 2.13.0, Python 3.11.7, cpu   "
        "seed 0, quick profile (1.2 s, 45 cases)",
        "",
        "rules that hold, by theme:",
        "  shapes         1 of 1                            "
        "states         0 of 2  1 fail  1 due to a fault",
        "  modules        1 of 2  1 blocked                 dropout        - of 1",
        "  packed         0 of 1  1 unreached",
        "",
        f"{'FAIL  states.initial-state-used':<62} MUST     values      Inputs: h_0",
        "",
        "  Every layer starts from its own row of h_0.",
        "",
        "  h_n[0, 0, 0] is 2, expected 1 (3 times what rounding can explain, 1 of 4 elements)",
        "  only with      initial_state=given; dtype and layout do not matter",
        "  smallest       RNN(1, 1), input (1, 1, 1), initial_state given, seed 417",
        "  seen in        9 of 12 cases, first in case 3",
        "",
        "  import torch",
        "",
        "  assert False",
        "",
        "1 other rule fails because of states.initial-state-used: states.carried",
        "1 other rule could not be checked in every case because of states.initial-state-used; "
        "otherwise it",
        "  holds.",
        "1 rule could not be checked because of states.initial-state-used: modules.copied",
        "not applicable  1 rule: no dropout here",
        "unreached  packed.h-n: too few cases (checked 0 times, at least 1 needed: packed input)",
        "note  mind the gap",
        "mine:RNN violates the contract of nn.RNN: 1 fault. values: 1 fault; gradients, interface: "
        "not checked; module: 1 of 2 could not be checked; 6 of the 7 rules apply.",
    ]


@pytest.mark.parametrize(
    ("results", "line"),
    [
        ([PASS], "mine:RNN conforms to the contract of nn.RNN: 1 rule holds."),
        (
            [PASS, NOT_APPLICABLE],
            "mine:RNN conforms to the contract of nn.RNN: 1 rule holds; 1 of the 2 rules apply.",
        ),
        (
            [PASS, SHOULD],
            "mine:RNN conforms to the contract of nn.RNN, although it breaks 1 SHOULD rule "
            "(--strict counts it): 1 of 2 rules hold.",
        ),
        (
            [FAIL, SHOULD, SHOULD],
            "mine:RNN violates the contract of nn.RNN: 1 fault. values: 1 fault; "
            "gradients, module, interface: not checked; 2 SHOULD are broken.",
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
        (
            [CRASHED],
            "mine:RNN: inconclusive. No rule is broken, but rnnspec itself failed in 1 rule, which "
            f"shows nothing about it; {ask_for_report()}.",
        ),
        (
            [FAIL, CRASHED],
            "mine:RNN violates the contract of nn.RNN: 1 fault. values: 1 fault; "
            "gradients, module, interface: not checked; rnnspec itself failed in 1 rule, which is "
            f"no fault of it; {ask_for_report()}.",
        ),
    ],
)
def test_conclusion_is_the_last_line(results: list[Result], line: str) -> None:
    assert format_conclusion(make_report(*results)) == line
    assert format_report(make_report(*results)).splitlines()[-1] == line


def test_three_short_cells_of_the_table_fit_on_a_line_and_two_long_ones_do() -> None:
    themes = ("states", "packed", "shapes", "modes")
    held = [replace(PASS, rule=f"{theme}.rule") for theme in themes]
    assert format_table(make_report(*held)) == [
        "  states         1 of 1            packed         1 of 1            shapes         1 of 1",
        "  modes          1 of 1",
    ]
    long = [replace(each, verdict=Verdict.UNREACHED) for each in held]
    assert format_table(make_report(*long)) == [
        "  states         0 of 1  1 unreached  packed         0 of 1  1 unreached",
        "  shapes         0 of 1  1 unreached  modes          0 of 1  1 unreached",
    ]


def test_verdict_of_each_part_is_in_the_conclusion() -> None:
    gradient = replace(PASS, rule="gradients.input", part=Part.GRADIENTS)
    follows = replace(FOLLOWS, rule="gradients.weights", part=Part.GRADIENTS)
    module = replace(PASS, rule="modules.copied", part=Part.MODULE)
    interface = replace(UNREACHED, rule="errors.types", part=Part.INTERFACE)
    texts = [
        (
            [FAIL, gradient, module],
            "values: 1 fault; gradients, module: conform; interface: not checked",
        ),
        (
            [FAIL, gradient, follows],
            "values: 1 fault; gradients: conform; module, interface: not checked",
        ),
        (
            [FAIL, gradient, replace(follows, holds_otherwise=False)],
            "values: 1 fault; gradients: 1 of 2 could not be checked; "
            "module, interface: not checked",
        ),
        (
            [FAIL, interface],
            "values: 1 fault; gradients, module: not checked; interface: 1 of 1 not reached",
        ),
        (
            [FAIL, BLOCKED, HELD],
            "values: 1 fault; gradients, interface: not checked; "
            "module: 1 of 2 could not be checked",
        ),
    ]
    for results, text in texts:
        line = f"mine:RNN violates the contract of nn.RNN: 1 fault. {text}."
        assert format_conclusion(make_report(*results)) == line
    two = make_report(FAIL, replace(FAIL, rule="states.order"))
    assert "contract of nn.RNN: 2 faults. values: 2 faults; " in format_conclusion(two)


def test_faults_of_a_model_are_counted_without_parts() -> None:
    report = make_report(replace(FAIL, rule="model.output-shape"), kind="model")
    assert format_conclusion(report) == "mine:RNN violates the contract of models: 1 fault."


def test_the_conclusion_on_a_conforming_layer_lists_its_unsupported_features() -> None:
    lacking = {Feature.PACKED: "no packed input", Feature.TF32: "the device is a CPU"}
    assert format_conclusion(make_report(PASS, unsupported=lacking)) == (
        "mine:RNN conforms to the contract of nn.RNN, without packed: 1 rule holds."
    )
    many = lacking | {Feature.DROPOUT: "no dropout", Feature.BIAS: "no bias"}
    report = make_report(PASS, unsupported=many)
    assert format_report(report).splitlines()[-2:] == [
        "left out        packed, dropout, bias",
        "mine:RNN conforms to the contract of nn.RNN, without 3 features: 1 rule holds.",
    ]
    alone = {Feature.TF32: "the device is a CPU"}
    assert format_conclusion(make_report(PASS, unsupported=alone)) == (
        "mine:RNN conforms to the contract of nn.RNN: 1 rule holds."
    )


def test_likely_cause_stands_under_the_message_with_its_remedy_and_its_cases() -> None:
    fault = make_fault(
        FAIL,
        likely_cause="the states are batch first if batch_first=True",
        remedy="transpose them back: states.transpose(0, 1)",
        explained=9,
        seen=11,
    )
    lines = format_failure(FAIL, fault).splitlines()
    assert lines[4:8] == [
        f"  {FAIL.message}",
        "  likely cause   the states are batch first if batch_first=True (9 of 11 cases)",
        "  to conform     transpose them back: states.transpose(0, 1)",
        "  only with      initial_state=given; dtype and layout do not matter",
    ]
    assert "likely cause" not in format_failure(FAIL, make_fault(FAIL))
    mistaken = replace(make_fault(FAIL), known_mistake="c_0 is ignored")
    assert format_failure(FAIL, mistaken).splitlines()[5] == (
        "  known mistake  c_0 is ignored (in the smallest case)"
    )
    assert "likely cause" not in format_failure(FAIL)


def test_feature_that_avoids_a_fault_is_named() -> None:
    fault = make_fault(FAIL, avoided_by="packed")
    assert format_failure(replace(FAIL, repro=None), fault).splitlines()[-1] == (
        "  if it is meant --without packed"
    )


def test_rules_that_wait_are_counted_and_those_that_could_never_be_checked_are_named() -> None:
    never = [replace(BLOCKED, rule=f"modules.r{number}") for number in range(10)]
    report = make_report(FAIL, HELD, replace(HELD, rule="modules.kept"), *never)
    text = " ".join(format_report(report).split())
    because = "because of states.initial-state-used"
    assert f"2 other rules could not be checked in every case {because}; otherwise they" in text
    listed = ", ".join(f"modules.r{number}" for number in range(8))
    assert f"10 rules could not be checked {because}: {listed} and 2 more" in text
    assert "modules.moved" not in text


def test_largest_sizes_are_one_line_unless_something_is_wrong() -> None:
    sizes = {"features": 513, "units": 129, "steps": 513, "samples": 64, "layers": 4}
    text = " ".join(format_report(make_report(PASS, largest_sizes=sizes)).split())
    line = "right up to 513 features, 129 units, 513 steps, 64 samples, 4 layers; "
    assert f"{line}blocks not crossed: units 256; samples 64, 128, 256 mine:RNN" in text
    smaller = {**sizes, "units": 257, "samples": 257}
    assert "crossed" not in format_report(make_report(PASS, largest_sizes=smaller))
    assert "right up to" not in format_report(make_report(PASS))
    wrong = make_report(FAIL, largest_sizes=sizes)
    assert "right up to" not in format_report(wrong)


def test_conclusion_states_that_a_run_was_stopped() -> None:
    assert (
        format_conclusion(make_report(PASS, stopped=True))
        == "mine:RNN: inconclusive. No rule is broken, but the run was stopped early."
    )


def test_error_of_the_checker_is_labelled_as_one() -> None:
    assert format_failure(CRASHED).startswith("CHECKER ERROR  states.crash ")
    assert "1 checker-error" in format_report(make_report(CRASHED))


def test_a_broken_note_is_suspicious_and_counts_only_with_strict_accuracy() -> None:
    report = make_report(PASS, NOTE)
    assert format_failure(NOTE).startswith(f"SUSPICIOUS  {NOTE.rule}")
    assert format_report(report).splitlines()[-1] == (
        "mine:RNN conforms to the contract of nn.RNN, although its errors are larger than "
        "usual (--strict-accuracy counts that): 1 of 2 rules hold."
    )


def test_a_program_with_too_many_numbers_is_not_printed() -> None:
    text = format_failure(replace(FAIL, repro="weights = [" + "0.123456789, " * 10_000 + "]"))
    assert len(text) < 2_000
    assert "  program        it has too many numbers to print; --json writes it" in text


def test_failure_without_a_program_ends_with_the_case() -> None:
    lines = format_failure(replace(FAIL, repro=None, no_repro="it needs a GPU")).splitlines()
    assert lines[-2:] == [
        "  seen in        9 of 12 cases, first in case 3",
        "  no program     it needs a GPU",
    ]


def test_the_conditions_of_a_fault_have_their_own_line() -> None:
    for depends_on, label, text in (
        (Dependence(DependenceKind.NEEDED, "steps >= 2"), "only with", "steps >= 2"),
        (ANY_CASE, "depends on", str(ANY_CASE)),
        (INTERRUPTED, "depends on", "unknown: interrupted before the case was minimised"),
    ):
        lines = format_failure(replace(FAIL, depends_on=depends_on)).splitlines()
        assert lines[5] == f"  {label:<14} {text}"


def test_a_fault_of_a_model_that_needs_nothing_has_no_such_line() -> None:
    lines = format_failure(replace(FAIL, depends_on=ANY_MODEL_CASE)).splitlines()
    assert lines[5].startswith("  smallest ")


def test_one_case_is_counted_in_the_singular() -> None:
    failing = replace(FAIL, cases=1, violations=1)
    text = format_report(replace(make_report(failing), cases=1))
    assert " s, 1 case)\n" in text
    assert "  seen in        1 of 1 case, first in case 3\n" in text


def test_a_rule_that_fails_only_in_the_smallest_case_is_not_counted() -> None:
    # The search may name a fault by a rule that no drawn case breaks, but the smallest case does.
    lines = format_failure(replace(FAIL, violations=0)).splitlines()
    expected = "only the smallest case; other rules find the fault first in case 3"
    assert f"  seen in        {expected}" in lines


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


def test_rules_that_do_not_apply_are_listed_with_the_missing_features() -> None:
    lacking = {Feature.DROPOUT: "no dropout here", Feature.PACKED: "no"}
    other = replace(NOT_APPLICABLE, message="no")
    found = format_report(make_report(NOT_APPLICABLE, other, unsupported=lacking))
    assert "not applicable  dropout (1 rule): no dropout here\n" in found
    assert "not applicable  packed (1 rule): no\n" in found


def test_headline_has_seed_profile_and_size_of_the_run() -> None:
    assert format_headline(make_report(PASS, seed=7, profile="thorough", duration_s=61.0)).endswith(
        "seed 7, thorough profile (61.0 s, 45 cases)"
    )
