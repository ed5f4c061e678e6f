"""Test that a rule follows only from a fault that predicts its failure, or whose absence ends it.

Two faults with nothing in common are planted in one layer. Each shows in cases of the other, and
must not be taken for a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import rnnspec
from rnnspec.cases.conditions import Condition
from rnnspec.diagnosis.faults import find_faults
from rnnspec.engine.campaign import run_campaign
from rnnspec.engine.explanations import LikelyCause
from rnnspec.pipeline import choose_fault
from rnnspec.plain.call import Here
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.rulekit.rule import CONSTRUCTOR_CALLS, GIVEN_STATES, VALID_CALLS, Fact, Rule, Theme
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest import BUGS
from rnnspec.selftest.bugs.errors import OneStateBroadcast
from tests.engine.toy import (
    ToyCase,
    ToyLayer,
    ToyObservation,
    check_gradients,
    check_only_call,
    make_rule,
    make_suite,
)

Question = Callable[[ToyCase], bool]
ToyRule = Rule[ToyCase, ToyObservation]


def always(case: ToyCase) -> bool:
    return True


def is_bidirectional(case: ToyCase) -> bool:
    return case.bidirectional == "True"


def is_trained(case: ToyCase) -> bool:
    return case.mode == "train"


def is_both(case: ToyCase) -> bool:
    return is_bidirectional(case) and is_trained(case)


def has_several_steps(case: ToyCase) -> bool:
    return case.steps > 1


def is_odd(case: ToyCase) -> bool:
    return case.seed % 2 == 1


RESULTS = make_rule("recurrence.output")
STACKED = make_rule("stacking.reads-both-directions", about=["bidirectional"])
GRADIENTS = make_rule("gradients.input", check_gradients)
PLACE, RATE = (
    make_rule(name, check_only_call, when=is_odd, presupposes=[Fact.RESULTS], establishes=[])
    for name in ("dropout.place", "dropout.rate")
)
POSITIONAL = make_rule("construction.positional", check_only_call)
NAMES = make_rule("parameters.names", check_only_call, presupposes=[POSITIONAL.id])
SIZES = make_rule("construction.refuses-sizes", check_only_call)
FEATURES, BATCH = (
    make_rule(name, check_only_call, presupposes=[Fact.RESULTS, *VALID_CALLS, *more])
    for name, more in (("errors.feature-size", ()), ("errors.h-0-batch", GIVEN_STATES))
)
ARGUMENTS = make_rule("side-effects.arguments", check_only_call, presupposes=[Fact.RESULTS])
RULES = (POSITIONAL, SIZES, NAMES, FEATURES, BATCH, PLACE, RATE, STACKED, RESULTS, GRADIENTS)

WRONG: dict[str, tuple[Question, str]] = {
    "always": (always, RESULTS.id),
    "bidirectional": (is_bidirectional, STACKED.id),
    "trained": (is_trained, RESULTS.id),
    "several steps": (has_several_steps, RESULTS.id),
}
"""Where results are wrong, with the name of that fault."""
BOTH = tuple(ToyCase(each, bidirectional="True", mode="train", seed=1) for each in (1, 2, 3))
AVOIDABLE = ("bidirectional", "trained")
"""Those of the places that a reading of dropout does not choose itself, as it does the steps."""
REFUSALS = (SIZES.id, FEATURES.id, BATCH.id)


def name_roots(
    layer: ToyLayer, cases: tuple[ToyCase, ...] = (), rules: tuple[ToyRule, ...] = RULES
) -> set[str]:
    suite = make_suite(layer, *rules, cases=cases)
    return {fault.root.id for fault in find_faults(suite, run_campaign(suite))}


@pytest.mark.parametrize(("where", "own"), list(product(WRONG, REFUSALS)))
def test_a_missing_refusal_does_not_follow_from_wrong_results(where: str, own: str) -> None:
    wrong, name = WRONG[where]
    assert name_roots(ToyLayer(wrong=wrong, own={own: always})) == {name, own}


@pytest.mark.parametrize("own", REFUSALS)
def test_a_missing_refusal_does_not_follow_from_wrong_gradients(own: str) -> None:
    layer = ToyLayer(wrong_gradients=always, own={own: always})
    assert name_roots(layer) == {GRADIENTS.id, own}


@pytest.mark.parametrize("own", REFUSALS)
def test_a_way_to_avoid_wrong_results_may_hide_the_missing_refusal(own: str) -> None:
    """Without a second direction, there is neither; in evaluation mode, arguments are accepted."""

    layer = ToyLayer(wrong=is_both, own={own: is_bidirectional})
    assert name_roots(layer, (ToyCase(bidirectional="True", mode="train"),)) == {STACKED.id, own}


@pytest.mark.parametrize(("where", "own"), list(product(AVOIDABLE, (PLACE.id, RATE.id))))
def test_dropout_does_not_follow_from_an_avoidable_fault(where: str, own: str) -> None:
    wrong, name = WRONG[where]
    assert name_roots(ToyLayer(wrong=wrong, own={own: is_odd})) == {name, own}


@pytest.mark.parametrize("own", [ARGUMENTS, PLACE], ids=lambda each: each.id)
@pytest.mark.parametrize("where", [is_bidirectional, is_trained, is_odd])
@pytest.mark.parametrize("count", [1, 3])
def test_avoiding_one_fault_may_avoid_the_other(own: ToyRule, where: Question, count: int) -> None:
    """Wrong results need two choices, and without either, the other fault may be gone as well."""
    layer = ToyLayer(wrong=is_both, own={own.id: where})
    assert name_roots(layer, BOTH[:count], (own, STACKED, RESULTS)) == {STACKED.id, own.id}


@pytest.mark.parametrize("own", [ARGUMENTS, PLACE, FEATURES], ids=lambda each: each.id)
def test_failures_in_cases_without_a_fault_are_no_part_of_it(
    own: ToyRule,
) -> None:
    """The rule fails in both modes, so its minimal case is in the mode with wrong results."""

    def is_evaluated(case: ToyCase) -> bool:
        return is_bidirectional(case) and not is_trained(case)

    cases = tuple(replace(each, mode=mode) for each in BOTH for mode in ("eval", "train"))
    layer = ToyLayer(wrong=is_evaluated, own={own.id: is_bidirectional})
    suite = make_suite(layer, own, STACKED, RESULTS, cases=cases)
    faults = {fault.root.id: fault for fault in find_faults(suite, run_campaign(suite))}
    assert faults.keys() == {STACKED.id, own.id}
    assert all(is_evaluated(each.case) for each in faults[STACKED.id].cases.values())


def test_a_rule_is_reported_to_follow_from_the_fault_of_its_theme() -> None:
    """More of its failures are in cases of another fault, by chance."""
    suite = make_suite(ToyLayer(wrong=is_bidirectional, own={PLACE.id: is_odd}), *RULES)
    faults = {fault.root.id: fault for fault in find_faults(suite, run_campaign(suite))}
    for name, count in ((STACKED.id, 3), (PLACE.id, 1)):
        own = [each for each in faults[name].events if each.rule == name]
        faults[name].events += [replace(each, rule=RATE.id) for each in own[:count]]
    assert choose_fault(RATE, list(faults.values())) is faults[PLACE.id]


def test_a_presupposed_rule_explains_only_cases_where_it_fails_too() -> None:
    """Both fail in trained layers, and the names of parameters fail in others too."""
    layer = ToyLayer(own={POSITIONAL.id: is_trained, NAMES.id: is_trained})
    assert name_roots(layer) == {POSITIONAL.id}
    layer = ToyLayer(own={POSITIONAL.id: is_trained, NAMES.id: always})
    assert name_roots(layer) == {POSITIONAL.id, NAMES.id}


@pytest.mark.parametrize("second", ["False", "True"])
def test_a_presupposed_rule_may_fail_in_other_situations_than_the_first(second: str) -> None:
    """Any of two choices suffices. The rules are about different modes, and one that passes invalid
    arguments chooses them by the seed.
    """

    def is_either(case: ToyCase) -> bool:
        return is_bidirectional(case) or case.batch_first == "True"

    evaluated = replace(BATCH, when=Condition("evaluation mode", lambda case: not is_trained(case)))
    trained = make_rule("errors.h-0-size", check_only_call, when=is_trained, presupposes=[BATCH.id])
    own = {BATCH.id: lambda case: is_either(case) and is_odd(case), trained.id: is_either}
    cases = (
        ToyCase(bidirectional="True", seed=1),
        ToyCase(batch_first="True", bidirectional=second, mode="train"),
    )
    assert name_roots(ToyLayer(own=own), cases, (evaluated, trained)) == {BATCH.id}


def test_a_variant_of_a_case_lacks_all_that_a_presupposed_fault_needs() -> None:
    """Without one of the choices alone, the rule that presupposes the fault holds."""
    first = make_rule("layouts.batch-first", about=["batch_first"])
    case = ToyCase(batch_first="True", bidirectional="True", mode="train")
    layer = ToyLayer(
        wrong=lambda case: case.batch_first == "True" and is_both(case),
        own={FEATURES.id: lambda case: not (case.batch_first == "False" and is_both(case))},
    )
    assert name_roots(layer, (case,), (FEATURES, first)) == {first.id, FEATURES.id}


def test_failures_in_the_same_cases_are_no_proof() -> None:
    """Every failure of the rule is in a case of the fault, and the rule fails without it."""
    layer = ToyLayer(own={RESULTS.id: always, STACKED.id: is_trained})
    trained = tuple(ToyCase(steps=each, mode="train", seed=each) for each in range(1, 9))
    assert name_roots(layer, trained) == {RESULTS.id, STACKED.id}


@pytest.mark.parametrize("frozen", [is_bidirectional, lambda case: not is_bidirectional(case)])
def test_a_cause_follows_from_nothing_that_holds_in_its_cases(frozen: Question) -> None:
    """Nor does that follow from the cause, which changes what a call computes."""
    weights = make_rule(
        "gradients.weights", check_gradients, presupposes=[Fact.RESULTS, "parameters.trainable"]
    )
    trainable = make_rule("parameters.trainable", check_only_call, establishes=[Fact.GRADIENTS])
    suite = make_suite(
        ToyLayer(wrong_gradients=always, own={trainable.id: frozen}),
        trainable,
        weights,
        cause=LikelyCause("cut", "no gradient flows", "let it flow", (weights.id,), 1, 1),
        mistaken=ToyLayer(wrong_gradients=always),
    )
    faults = {fault.root.id: fault for fault in find_faults(suite, run_campaign(suite))}
    assert faults.keys() == {trainable.id, weights.id}
    assert not faults[weights.id].consequences


@pytest.mark.parametrize("own", ["modes.train", "layouts.unbatched"])
@pytest.mark.parametrize(
    ("mistaken", "name"),
    [
        (ToyLayer(wrong=always), RESULTS.id),
        (ToyLayer(wrong_gradients=always), GRADIENTS.id),
    ],
)
def test_a_failure_without_a_wrong_number_follows_only_from_a_cause_that_predicts_it(
    mistaken: ToyLayer, name: str, own: str
) -> None:
    """The rule also compares numbers, so that it can be a consequence."""
    rule = make_rule(own, check_only_call, establishes=[*Fact])
    cause = LikelyCause("cut", "no value is right", "mend it", (), 1, 1)
    layer, rules = replace(mistaken, own={own: is_trained}), (rule, RESULTS, GRADIENTS)
    suite = make_suite(layer, *rules, cause=cause, mistaken=mistaken)
    roots = {fault.root.id for fault in find_faults(suite, run_campaign(suite))}
    assert roots == {own, name}


def test_a_cause_names_a_fault_by_its_rule_if_that_does_not_apply_to_the_minimal_case() -> None:
    """The fault shows in a single step, and the rule is about two."""
    preferred = make_rule("directions.reverse-time", when=has_several_steps, about=["steps"])
    cause = LikelyCause("reversed", "it is reversed", "do not", (preferred.id,), 1, 1)
    layer = ToyLayer(wrong=is_bidirectional)
    suite = make_suite(layer, STACKED, preferred, cause=cause, mistaken=layer)
    (fault,) = find_faults(suite, run_campaign(suite))
    assert fault.root is preferred
    assert fault.minimum.finding.case.steps > 1


def test_rules_about_refused_arguments_presuppose_no_other_way_of_building() -> None:
    """They pass the sizes by position and everything else by keyword."""
    rules = [rule for rule in list_layer_rules() if rule.theme is Theme.CONSTRUCTION]
    refusing = [rule for rule in rules if "refuses" in rule.id]
    assert refusing
    for rule, name in product(refusing, CONSTRUCTOR_CALLS):
        assert rule.presupposes_rule(name) is (name == "construction.keywords")


class OneStateBroadcastIfDeep(OneStateBroadcast):
    """Only layers with several states accept an `h_0` of one sample for a batch."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        if self.num_layers * self.directions > 1:
            super().check_states(hx, batch)
        else:
            Plain.check_states(self, hx, batch)


def read_forward_twice(data: Tensor, spot: Here) -> Tensor:
    layer = spot.call.layer
    if not spot.layer or layer.directions == 1:
        return data
    half = data[..., : layer.hidden_size]
    return torch.cat([half, half], dim=-1)


class ForwardReadTwice(Plain):
    """Layers above the first read the forward half of the layer below twice."""

    changes = change_values({"read": read_forward_twice})


def list_roots(
    bugs: tuple[type[nn.Module], ...], rules: tuple[str, ...] = ("*",), profile: str = "quick"
) -> set[str]:
    layer = type("Both", bugs, {"__module__": __name__})
    report = rnnspec.check(layer, profile=profile, rules=rules)
    return {fault.rule for fault in report.faults}


in_both_profiles = pytest.mark.parametrize("profile", ["quick", "default"])


@pytest.mark.slow
@in_both_profiles
def test_accepted_sizes_do_not_follow_from_arguments_by_position(profile: str) -> None:
    bugs = BUGS["LayersByNameOnly"], BUGS["ZeroInputSizeAccepted"]
    names = {"construction.positional", "construction.refuses-sizes"}
    assert list_roots(bugs, ("construction.*",), profile) == names


@pytest.mark.slow
@in_both_profiles
@pytest.mark.parametrize("broadcast", [OneStateBroadcast, OneStateBroadcastIfDeep])
def test_an_accepted_state_does_not_follow_from_dropout(
    broadcast: type[nn.Module], profile: str
) -> None:
    bugs = BUGS["DropsFinalState"], broadcast
    names = {"dropout.not-in-states", "errors.h-0-batch"}
    assert list_roots(bugs, profile=profile) == names


@pytest.mark.slow
def test_dropout_does_not_follow_from_a_direction_that_is_not_read() -> None:
    layer = type("Both", (BUGS["NeverDrops"], ForwardReadTwice), {"__module__": __name__})
    report = rnnspec.check(layer, profile="quick")
    names = {"dropout.place", "stacking.reads-both-directions"}
    assert {fault.rule for fault in report.faults} == names
    readings = ("dropout.scale", "dropout.rate", "dropout.fresh-masks", "dropout.independent")
    assert {report.result(each).caused_by for each in readings} == {"dropout.place"}


@pytest.mark.slow
def test_dropout_does_not_follow_from_parameters_that_are_not_loaded() -> None:
    names = {"parameters.loaded", "dropout.place"}
    assert list_roots((BUGS["NeverDrops"], BUGS["LoadedWithoutReverse"])) == names


@pytest.mark.slow
def test_settings_that_a_refusal_leaves_do_not_follow_from_remembered_results() -> None:
    bugs = BUGS["RefusalSwitchesGradientsOff"], BUGS["RemembersByAddress"]
    assert list_roots(bugs) == {"errors.leave-no-trace", "modules.second-call"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (
            "InputConverted",
            "InitialStateBatchFirst",
            {"errors.dtype", "layouts.states-stay-layer-first"},
        ),
        (
            "OneStateForUnsorted",
            "StateClipped",
            {"errors.h-0-batch-unsorted", "states.initial-state-used"},
        ),
    ],
)
def test_an_accepted_argument_does_not_follow_from_a_fault_of_valid_calls(
    first: str, second: str, names: set[str]
) -> None:
    """In the second pair, the state that is accepted is the clipped one."""
    assert list_roots((BUGS[first], BUGS[second])) == names
