"""Test minimal cases: a failing case is simplified until only relevant choices remain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import Distribution, DType, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.contract.clauses import Level
from rnnspec.contract.config import Config
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.campaign import run_campaign
from rnnspec.engine.explanations import ANY_CASE
from rnnspec.engine.minimise import (
    MAX_EVALUATIONS,
    RULE_EVALUATIONS,
    SEEDS,
    MinimalFailure,
    minimise,
    probe_rule,
)
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.options import CheckOptions
from rnnspec.rulekit.violation import Violation
from rnnspec.selftest import BUGS, find_named_rule
from rnnspec.suites.layer import LayerSuite
from tests.engine.subjects import BOTH, ONE, SIMPLEST, WRONG, WrongIfWideAndDeep
from tests.engine.toy import CHOICES, ToyCase, ToySpace
from tests.releases import skip_unless_bug_counts


def make_suite(target: Any, rule_id: str, **options: Any) -> LayerSuite:
    return prepare_suite(target, CheckOptions(profile="quick", rules=(rule_id,), **options))


def minimise_first_failure(
    target: Any, rule_id: str, **options: Any
) -> tuple[LayerSuite, MinimalFailure[Case]]:
    suite = make_suite(target, rule_id, **options)
    first = run_campaign(suite, until=(Level.MUST, Level.SHOULD)).tallies[rule_id].first
    assert first is not None
    return suite, minimise_finding(suite, first)


def minimise_finding(suite: LayerSuite, finding: Finding[Case]) -> MinimalFailure[Case]:
    """Minimise a finding of the only rule of a suite."""
    (rule,) = suite.rules
    return minimise(suite.space, finding, probe_rule(suite, rule, finding), rule.when)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("bug", SIMPLEST)
def test_a_planted_bug_is_shown_by_the_simplest_case(bug: str) -> None:
    skip_unless_bug_counts(bug)
    _, minimum = minimise_first_failure(BUGS[bug], find_named_rule(bug))
    assert minimum.finding.case.replace(seed=0) == SIMPLEST[bug]
    assert minimum.evaluations < MAX_EVALUATIONS


def test_a_failure_depends_on_choices_that_could_not_be_simplified() -> None:
    suite, minimum = minimise_first_failure(WrongIfWideAndDeep, "stacking.composition")
    assert minimum.finding.case.replace(seed=0) == ONE.replace(hidden_size=3, num_layers=2)
    assert set(minimum.passed) == {"hidden_size", "num_layers"}
    needed, _, free = str(describe_dependence(suite, minimum)).partition("; ")
    assert needed.startswith("only with ")
    needed = needed.removeprefix("only with ")
    assert set(needed.split(" and ")) == {"hidden_size >= 3", "num_layers >= 2"}
    assert free == "dtype, layout, memory_layout and prior_use do not matter"


def test_a_failure_with_every_configuration_depends_on_nothing() -> None:
    class Wrong(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    suite, minimum = minimise_first_failure(Wrong, "recurrence.h-n")
    assert minimum.finding.case.replace(seed=0) == ONE
    assert describe_dependence(suite, minimum) == ANY_CASE


def test_the_minimal_case_has_the_values_that_the_user_pinned() -> None:
    _, minimum = minimise_first_failure(
        WRONG,
        "directions.h-n-order",
        dtype="float32",
        arguments={"num_layers": 4, "bias": False},
    )
    assert minimum.finding.case.replace(seed=0) == BOTH.replace(
        num_layers=4, bias=False, dtype=DType.FLOAT32
    )


def test_the_minimal_case_uses_no_unsupported_feature() -> None:
    _, minimum = minimise_first_failure(WRONG, "directions.h-n-order", without=("float64",))
    assert minimum.finding.case.dtype is DType.FLOAT32


def test_a_finding_is_minimised_to_one_of_the_same_kind() -> None:
    """The layer raises an exception if it is wide, and is wrong if it is narrow."""

    class Mixed(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            if self.hidden_size >= 2:
                raise ValueError("wide")
            output, h_n = super().forward(*given)
            return output, h_n + 1

    suite = make_suite(Mixed, "recurrence.h-n")
    wide, narrow = (ONE.replace(hidden_size=size, steps=3) for size in (6, 1))
    error = Finding(4, wide, "the call raised ValueError: wide", kind=FindingKind.SUBJECT_ERROR)
    raised = minimise_finding(suite, error).finding
    wrong = minimise_finding(suite, Finding(5, narrow, "wrong")).finding
    assert (raised.index, raised.case.config.hidden_size) == (4, 2)
    assert raised.kind is FindingKind.SUBJECT_ERROR
    assert (wrong.index, wrong.case.config.hidden_size) == (5, 1)
    assert wrong.kind is FindingKind.VIOLATION


@pytest.mark.slow
def test_the_counterexample_of_a_report_can_be_run_again() -> None:
    report = rnnspec.check(BUGS["StatesExchanged"], profile="quick", rules=["directions.own-state"])
    example = report.result("directions.own-state").counterexample
    assert example is not None
    case = Case.from_dict(
        {"config": example.configuration, **example.sizes, **example.call, "seed": example.seed}
    )
    assert str(case) == example.text
    suite = make_suite(BUGS["StatesExchanged"], "directions.own-state")
    with pytest.raises(Violation, match="expected"):
        suite.rules[0].check(suite.observe(case))


def minimise_toy(
    case: ToyCase, is_wrong: Callable[[ToyCase], bool], **options: Any
) -> MinimalFailure[ToyCase]:
    """Minimise a case without torch."""
    finding = Finding(3, case, "wrong")

    def probe(case: ToyCase) -> Finding[ToyCase] | None:
        return replace(finding, case=case) if is_wrong(case) else None

    return minimise(ToySpace(), finding, probe, **options)


LARGEST = ToyCase(9, seed=77, **{name: values[-1] for name, values in CHOICES.items()})


def test_a_choice_whose_simplification_avoids_the_fault_matters() -> None:
    minimum = minimise_toy(LARGEST, lambda case: case.steps >= 3 and case.mode == "train")
    assert minimum.finding.case == ToyCase(steps=3, mode="train", seed=77)
    assert minimum.passed == {"steps": 2, "mode": "eval"}
    assert minimum.required == ()
    assert minimum.needed == {"steps", "mode"}
    assert not minimum.interrupted


def test_a_simplest_value_that_must_not_be_another_matters_too() -> None:
    minimum = minimise_toy(LARGEST.__class__(steps=4), lambda case: case.mode == "eval")
    assert (minimum.passed, minimum.required) == ({}, ("mode",))
    assert minimum.needed == {"mode"}
    assert minimum.characteristic == set(), "most layers are called in this mode anyway"
    other = minimise_toy(ToyCase(), lambda case: case.bidirectional == "False")
    assert other.required == ("bidirectional",)
    assert other.characteristic == {"bidirectional"}


def test_a_failure_that_needs_eval_mode_is_described_so() -> None:
    class WrongInEval(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n if self.training else h_n + 1

    suite = make_suite(WrongInEval, "recurrence.h-n")
    minimum = minimise_finding(suite, Finding(0, ONE.replace(steps=2), "wrong"))
    assert minimum.required == ("mode",)
    assert str(describe_dependence(suite, minimum)).startswith("only with mode=eval; dtype, ")


def test_a_choice_hidden_by_another_fault_does_not_matter() -> None:
    def is_hidden(case: ToyCase) -> bool:
        return case.batch_first == "True"

    def is_wrong(case: ToyCase) -> bool:
        return not is_hidden(case) and case.bidirectional == "True"

    case = ToyCase(bidirectional="True")
    assert minimise_toy(case, is_wrong).needed == {"batch_first", "bidirectional"}
    assert minimise_toy(case, is_wrong, is_hidden=is_hidden).needed == {"bidirectional"}


def test_a_fault_that_shows_with_few_seeds_is_tried_with_several() -> None:
    tried: list[int] = []

    def is_wrong(case: ToyCase) -> bool:
        tried.append(case.seed)
        return case.seed == SEEDS[-1] or case == LARGEST

    minimum = minimise_toy(LARGEST, is_wrong)
    assert minimum.finding.case == ToyCase(seed=SEEDS[-1])
    assert set(tried) == {LARGEST.seed, *SEEDS}
    assert minimum.evaluations == len(tried)


def test_no_case_is_checked_twice_or_outside_the_condition_of_the_rule() -> None:
    checked: list[ToyCase] = []

    def is_wrong(case: ToyCase) -> bool:
        checked.append(case)
        return case.steps >= 4

    minimum = minimise_toy(LARGEST, is_wrong, applies=lambda case: case.mode == "train")
    assert minimum.finding.case == ToyCase(steps=4, mode="train", seed=77)
    assert len(checked) == len(set(checked)) == minimum.evaluations
    assert {case.mode for case in checked} == {"train"}


def test_the_search_ends_after_a_number_of_cases() -> None:
    whole = minimise_toy(replace(LARGEST, steps=40), lambda case: case.steps >= 30)
    short = minimise_toy(replace(LARGEST, steps=40), lambda case: case.steps >= 30, most=1)
    assert whole.finding.case == ToyCase(steps=30, seed=77)
    assert short.evaluations < whole.evaluations
    assert RULE_EVALUATIONS < MAX_EVALUATIONS


def test_after_an_interrupt_the_simplest_case_so_far_is_returned() -> None:
    calls = [0]

    def is_wrong(case: ToyCase) -> bool:
        calls[0] += 1
        if calls[0] > 3:
            raise KeyboardInterrupt
        return True

    minimum = minimise_toy(LARGEST, is_wrong)
    assert minimum.interrupted
    assert minimum.finding.case != LARGEST
    assert minimum.finding.case.prior_use == "pickled"


RAGGED = ONE.replace(steps=7, batch=5, layout=Layout.PACKED, lengths=(7, 6, 4, 4, 3))
SHOWS: dict[str, tuple[Callable[[Case], bool], Case]] = {
    "packed": (
        lambda case: case.is_packed,
        ONE.replace(layout=Layout.PACKED, lengths=(1,)),
    ),
    "lengths that differ": (
        lambda case: len(set(case.lengths)) > 1,
        ONE.replace(steps=2, batch=2, layout=Layout.PACKED, lengths=(2, 1)),
    ),
    "three samples of four steps": (
        lambda case: case.is_packed and case.steps >= 4 and case.batch >= 3,
        ONE.replace(steps=4, batch=3, layout=Layout.PACKED, lengths=(4, 4, 4)),
    ),
    "a last sequence of one step": (
        lambda case: case.batch >= 3 and 1 in case.lengths[1:] and case.steps >= 4,
        ONE.replace(steps=4, batch=3, layout=Layout.PACKED, lengths=(4, 1, 1)),
    ),
}


@pytest.mark.parametrize("name", SHOWS)
def test_a_packed_batch_shrinks_with_its_lengths(name: str) -> None:
    shows, simplest = SHOWS[name]
    start = RAGGED.replace(lengths=(7, 6, 4, 4, 1)) if "last" in name else RAGGED

    def probe(case: Case) -> Finding[Case] | None:
        return Finding(0, case, "wrong") if shows(case) else None

    minimum = minimise(LayerCaseSpace(), Finding(0, start, "wrong"), probe)
    assert minimum.finding.case == simplest.replace(seed=start.seed)
    assert ("lengths" in minimum.needed) is (len(set(simplest.lengths)) > 1)


def test_a_fault_of_dropout_does_not_need_the_numbers_that_show_a_mask() -> None:
    start = ONE.replace(
        num_layers=2, dropout=0.9, mode=Mode.TRAIN, distribution=Distribution.READABLE
    )

    def probe(case: Case) -> Finding[Case] | None:
        return Finding(0, case, "wrong") if case.has_active_dropout else None

    minimum = minimise(LayerCaseSpace(), Finding(0, start, "wrong"), probe)
    assert minimum.needed == {"num_layers", "dropout", "mode"}
    assert minimum.finding.case.config.dropout == 0.5


def test_lengths_that_differ_are_named() -> None:
    suite = make_suite(torch.nn.RNN, "packed.h-n")
    minimum = MinimalFailure(Finding(0, RAGGED, "wrong"), {"lengths": (7,) * 5})
    assert str(describe_dependence(suite, minimum)).startswith(
        "only with lengths that differ; dtype, "
    )


def test_equal_sizes_shrink_together() -> None:
    case = Case(config=Config(3, 4), steps=6, batch=6)
    space = LayerCaseSpace()
    shrunk = space.change_equal_sizes(case, "steps", 2)
    assert shrunk is not None
    assert (shrunk.steps, shrunk.batch) == (2, 2)
    assert (shrunk.config.input_size, shrunk.config.hidden_size) == (3, 4)
    assert space.change_equal_sizes(case, "input_size", 1) is None
    assert space.change_equal_sizes(case, "mode", "train") is None

    def probe(each: Case) -> Finding[Case] | None:
        return Finding(0, each, "square") if each.steps == each.batch > 1 else None

    minimum = minimise(space, Finding(0, case, "square"), probe)
    assert (minimum.finding.case.steps, minimum.finding.case.batch) == (2, 2)
    assert {"steps", "batch"} <= minimum.needed


def test_a_simplest_value_that_the_first_case_does_not_have_is_not_required() -> None:
    minimum = minimise_toy(ToyCase(bidirectional="True"), lambda case: case.seed >= 0)
    assert minimum.required == ()

    def is_wrong(case: ToyCase) -> bool:
        return case.bidirectional == "False" or case.seed == 77

    minimum = minimise_toy(ToyCase(bidirectional="True", seed=77), is_wrong)
    assert minimum.required == ()


class OneSampleSqueezed(torch.nn.RNN):
    """Drops the batch axis of the output for a batch of one."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        axis = 0 if self.batch_first else 1
        single = output.dim() == 3 and output.size(axis) == 1
        return output.squeeze(axis) if single else output, h_n


def test_a_size_that_must_be_one_is_required() -> None:
    suite = make_suite(OneSampleSqueezed, "shapes.output")
    minimum = minimise_finding(suite, Finding(0, ONE.replace(steps=3, batch=1), "wrong"))
    assert set(minimum.required) == {"batch", "layout"}
    assert minimum.characteristic == {"batch", "layout"}, "it is about the layout too"
    assert "batch=1" in str(describe_dependence(suite, minimum))
    space = suite.space
    covered = [ONE.replace(batch=size) for size in (1, 2)]
    assert [space.is_covered(case, minimum.finding.case, {"batch"}) for case in covered] == [
        True,
        False,
    ]


def test_sizes_are_spread_where_equal_ones_may_hide_a_fault() -> None:
    space = LayerCaseSpace()
    case = ONE.replace(steps=3, batch=2, num_layers=2, hidden_size=3)
    spread = space.spread_sizes(case)
    assert spread is not None
    sizes = [spread.steps, spread.batch, spread.config.hidden_size, spread.config.num_layers]
    assert len(set(sizes)) == len(sizes)
    assert min(sizes[:3]) > 1
    assert space.spread_sizes(ONE) is None
    assert space.has_other_size(case, spread, "batch")
    assert not space.has_other_size(case, spread, "input_size")
    assert not space.has_other_size(case, spread, "layout")


@pytest.mark.parametrize(("share", "seeds"), [(1, 3), (2, 8)])
def test_more_seeds_are_tried_for_a_fault_that_needs_luck(share: int, seeds: int) -> None:
    """Before a simplest value counts as required, which it seems to be if luck fails."""
    tried = set()

    def is_wrong(case: ToyCase) -> bool:
        if case.mode == "train":
            tried.add(case.seed)
            return False
        return case.seed % share == 0

    start = replace(LARGEST, mode="eval", seed=78)
    minimum = minimise_toy(start, lambda case: is_wrong(replace(case, seed=case.seed + share - 1)))
    assert (minimum.finding.case.mode, minimum.required) == ("eval", ("mode",))
    assert len(tried) == seeds
