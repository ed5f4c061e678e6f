"""Test that planted bugs that break rules in several ways are reported as one fault."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from benchmarks.causes import read_labels, select_labels
from rnnspec.selftest import BUGS
from rnnspec.selftest.bank import list_good_names
from rnnspec.selftest.banks import find_bank
from tests.releases import skip_unless_bug_counts

pytestmark = pytest.mark.slow

RULES = {
    "WeightGradientsDoubled": ("gradients.weights", "dropout.backward", "gradients.float32-sums"),
    "GradientNotDropped": ("dropout.backward", "gradients.input"),
    "DropsTwice": ("dropout.scale", "dropout.place", "dropout.backward"),
    "WeightsDropped": ("*",),
    "MaskOfIntegers": ("dropout.place", "dropout.integer"),
    "ReluEndsAtSix": ("nonlinearity.relu", "gradients.reach-first-step"),
    "BiasBeyondGrid": ("samples.many-rows", "gradients.many-rows"),
    "NeighbourLeaks": ("*",),
    "PackedInHalf": ("packed.*", "errors.other-types"),
    "PackedBatchSizeBaked": ("modules.second-call", "packed.h-n"),
    "ParentModeIgnored": ("modes.train", "dropout.eval", "modules.*"),
    "PrefixIgnored": ("modules.nested", "modules.extra-entries"),
    "TiesCutByConversion": ("modules.shared-parameters", "modules.tied-parameters"),
    "FeaturesAsserted": ("errors.types", "errors.other-types"),
    "VectorAccepted": ("errors.rank", "errors.other-types"),
    "SecondBackwardFails": ("gradients.second-backward", "gradients.second-order"),
    "FunctionalCallIgnored": (
        "modules.functional-call",
        "modules.parametrized",
        "modules.weight-norm",
    ),
    "DropsOutput": ("dropout.*", "recurrence.*"),
    "HiddenMajorOutput": ("directions.*", "dropout.backward", "gradients.weights"),
    "LoadedWithoutReverse": (
        "parameters.loaded",
        "modules.extra-entries",
        "stacking.reads-both-directions",
        "side-effects.parameters",
    ),
    "EntriesTaken": ("parameters.loaded-from-others", "modules.extra-entries"),
    "LoadsWhatIsThere": ("modules.refuses-state-dict", "parameters.assigned"),
    "EvalIgnoresState": ("modes.train", "states.initial-state-used", "gradients.*"),
    "ReturnsPadded": ("packed.returns-packed", "packed.indices"),
    "InferenceFails": (
        "modes.inference",
        "modules.second-call",
        "shapes.empty-batch",
        "dropout.place",
    ),
    "ThirdCallDiffers": ("modules.second-call", "side-effects.*"),
    "WeightsTakenOnce": ("modules.*", "stacking.composition"),
    "StateClipped": ("states.initial-state-used", "gradients.across-calls"),
    "DefaultStateFromFirstAxis": ("layouts.*", "states.absent-is-zero"),
    "SquareInputWeightTransposed": ("recurrence.output", "dropout.place"),
    "UpperLayersBatchMajor": ("stacking.composition", "samples.permuted"),
    "NoBiasRaises": ("parameters.no-bias", "parameters.names"),
    "PackedDataRounded": ("side-effects.arguments", "gradients.*"),
    "LayersByPositionOnly": ("parameters.names", "construction.*", "stacking.own-parameters"),
    "FourParametersAlways": ("parameters.no-bias", "parameters.names"),
}
"""Bugs, and rules that fail because of them: any of them could be reported as a separate fault."""


@pytest.mark.parametrize("bug", RULES)
def test_a_planted_bug_is_one_fault_with_a_program(bug: str) -> None:
    skip_unless_bug_counts(bug)
    report = rnnspec.check(BUGS[bug], profile="quick", rules=RULES[bug])
    (fault,) = report.faults
    assert fault.rule in list_good_names(bug)
    result = report.result(fault.rule)
    assert result.repro is not None, result.no_repro


def test_a_state_of_another_dtype_is_one_fault_though_a_loop_passes_it_on() -> None:
    bug = find_bank("rnn-cell").bugs["BfloatStateWidened"]
    rules = ("shapes.dtype", "modules.history")
    (fault,) = rnnspec.check(bug, kind="rnn-cell", profile="quick", rules=rules).faults
    assert fault.rule == "shapes.dtype"


def test_a_kept_tensor_that_stops_other_calls_is_one_fault_with_the_wrong_results() -> None:
    bug = find_bank("gru-cell").bugs["RemembersState"]
    rules = ("modules.second-call", "modules.history")
    (fault,) = rnnspec.check(bug, kind="gru-cell", profile="quick", rules=rules).faults
    assert fault.rule == "modules.second-call"
    assert fault.likely_cause_key == "states.kept"


class RoundsByChance(nn.RNNCell):
    """A cell whose result is rounded up or down from call to call."""

    chance = Random(1)

    def forward(self, input: Any, hx: Any = None) -> Any:
        result = super().forward(input, hx)
        towards = self.chance.choice((-1.0, 1.0))
        return torch.nextafter(result, torch.full_like(result, towards))


def test_a_must_whose_failures_do_not_come_back_is_no_part_of_a_should() -> None:
    rules = ("side-effects.same-bits", "side-effects.deterministic")
    (fault,) = rnnspec.check(RoundsByChance, profile="quick", rules=rules).faults
    assert fault.rule == "side-effects.deterministic"


def test_a_fault_is_avoided_by_the_feature_that_its_rule_is_about() -> None:
    report = rnnspec.check(BUGS["MaskOfIntegers"], profile="quick", rules=["dropout.place"])
    (fault,) = report.faults
    assert "num_layers" in fault.situation, "a feature too, but dropout says more"
    assert fault.avoided_by == "dropout"


def test_a_reading_of_dropout_is_no_better_name_than_that_of_the_likely_cause() -> None:
    rules = ["dropout.place", "dropout.not-in-states", "dropout.p-one", "recurrence.h-n"]
    (fault,) = rnnspec.check(BUGS["DropsFinalState"], profile="quick", rules=rules).faults
    assert fault.rule == "dropout.not-in-states"
    assert fault.likely_cause == "dropout also acts on h_n"


def test_a_state_that_is_kept_has_its_cause_and_a_name_that_fits_all_ways_of_calling() -> None:
    (fault,) = rnnspec.check(BUGS["RemembersState"], profile="quick").faults
    assert fault.rule in list_good_names("RemembersState")
    assert fault.likely_cause == (
        "without h_0, a call starts from the final state of the call before"
    )


def test_nan_from_elsewhere_is_not_taken_for_a_state_that_starts_from_nan() -> None:
    rules = ["modules.*", "states.absent-is-zero", "recurrence.output"]
    report = rnnspec.check(BUGS["ParameterOffsetIgnored"], profile="quick", rules=rules)
    assert [(fault.rule, fault.likely_cause) for fault in report.faults] == [
        ("modules.replaced-parameters", "")
    ]


def test_two_mistakes_of_one_way_of_building_have_no_cause_that_explains_only_one() -> None:
    rules = ["construction.*", "nonlinearity.relu", "parameters.names", "recurrence.output"]
    layer = BUGS["NonlinearityByNameOnly"]
    (fault,) = rnnspec.check(layer, profile="quick", rules=rules).faults
    assert (fault.rule, fault.likely_cause) == ("construction.positional", "")


def test_many_samples_of_equal_length_are_no_fault_besides_few_unsorted_ones() -> None:
    layer = find_bank("lstm").bugs["FinalStatesStaySorted"]
    (fault,) = rnnspec.check(layer, profile="quick", rules=["packed.*"]).faults
    assert fault.rule == "packed.unsorted"
    cause = "with unsorted packed input, h_n is returned in sorted order, c_n likewise"
    assert fault.likely_cause == cause
    assert "batch >= 2" in fault.situation


def test_a_single_case_names_its_cause_if_its_minimal_case_does_not() -> None:
    (fault,) = rnnspec.check(BUGS["PackedBatchSizeBaked"], profile="quick").faults
    assert fault.likely_cause == "h_n is multiplied by 0"


class StateInArgument(nn.LSTM):
    """Returns the final hidden state in the memory of the initial one."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        if hx is None or h_n.requires_grad or h_n.dtype != hx[0].dtype:
            return output, (h_n, c_n)
        return output, (hx[0].copy_(h_n), c_n)


def test_program_about_the_memory_of_results_knows_pairs_of_states() -> None:
    rule = "side-effects.results-not-aliased"
    report = rnnspec.check(StateInArgument, profile="quick", rules=[rule])
    result = report.result("side-effects.results-not-aliased")
    assert result.repro is not None, result.no_repro


@pytest.mark.parametrize(
    ("kind", "bug", "rules", "key"),
    [
        ("gru-cell", "NanSpreads", ("nonlinearity.*",), "samples.not-finite-spreads"),
        ("rnn", "ExpandedStateCut", ("layouts.*", "gradients.learned-state"), None),
        (
            "rnn-cell",
            "StateIgnoredForSamples",
            ("layouts.*", "cells.*", "states.*", "errors.h-0-size"),
            None,
        ),
        ("lstm-cell", "StatesDetached", ("gradients.*",), ""),
        ("lstm-cell", "InputWeightTransposed", ("parameters.*", "cells.step"), None),
        ("gru-cell", "HalfInFiveBits", ("recurrence.*", "gradients.*"), None),
        ("rnn-cell", "ReluGradientOfTanh", ("gradients.*",), None),
        ("lstm", "HiddenSizeForInputSize", ("recurrence.*", "projection.*"), None),
        ("gru", "InitialStateBatchFirst", ("layouts.*", "directions.*", "states.*"), None),
        ("gru", "DropsFirstBoundaryOnly", ("dropout.*", "recurrence.*"), None),
    ],
)
def test_a_bug_is_one_fault_with_its_own_cause(
    kind: str, bug: str, rules: tuple[str, ...], key: str | None
) -> None:
    layer = find_bank(kind).bugs[bug]
    (fault,) = rnnspec.check(layer, profile="quick", kind=kind, rules=rules).faults
    assert fault.rule in list_good_names(layer)
    described = [key] if key is not None else select_labels(read_labels(), kind)[bug]
    assert fault.likely_cause_key in described
