"""Every planted bug breaks the rule that it names and no other; correct models break none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from rnnspec.api.model import prepare_model_suite
from rnnspec.engine.outcome import Finding, RuleOutcome, UnsupportedCase, check_case
from rnnspec.models import RNN1, RNN2, DeepBiRNN, infer_interface
from rnnspec.models.case import ModelCase, draw_model_cases
from rnnspec.models.catalogue import list_model_rules
from rnnspec.models.forms import Readout
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.program import write_model_program
from rnnspec.models.rules import readouts
from rnnspec.options import ModelOptions
from rnnspec.selftest.bank import find_named_rule
from rnnspec.selftest.matrix import Matrix
from rnnspec.selftest.model_bugs import BUGS
from rnnspec.selftest.model_bugs_shapes import BothFaults
from rnnspec.selftest.model_matrix import CORRECT, row_of
from rnnspec.selftest.model_plain import HIDDEN, LastStep, RecurrentClass
from rnnspec.selftest.picture import format_matrix

ALSO = {"PrefixByPrefix": {"readout.parameters"}}
"""The other rules that a bug breaks.

A backward layer that starts at its last step does not use its recurrent weight.
"""

UNCOMMON = {
    bug
    for bug in BUGS
    if find_named_rule(bug)
    in ("readout.complete", "readout.parameters", "model.readouts-agree", "model.gradients-reach")
}
"""Bugs whose program names something that only the bug has."""

TUTORIAL: dict[str, tuple[Callable[[], nn.Module], Readout]] = {
    "RNN1": (partial(RNN1, 10, 4, 10, 1), Readout.LAST),
    "RNN2": (partial(RNN2, 10, 4, 10, 1), Readout.EVERY),
    "DeepBiRNN, every step": (
        partial(DeepBiRNN, 100, 50, 20, 1, 2, output_all_timesteps=True),
        Readout.EVERY,
    ),
    "DeepBiRNN, final states": (
        partial(DeepBiRNN, 100, 50, 20, 1, 2, readout="final-states"),
        Readout.LAST,
    ),
}


def observe_model(model: type[nn.Module]) -> ModelObservation:
    options = ModelOptions(**getattr(model, "given", {}), profile="quick")
    suite, _ = prepare_model_suite(model, options)
    return suite.observe(suite.all_cases[0])


def check_all(observation: ModelObservation, profile: str = "quick") -> dict[str, RuleOutcome[Any]]:
    """Return the outcome of each rule: the first finding, or that of the last case."""
    rules = list_model_rules()
    found: dict[str, RuleOutcome[Any]] = {}
    batch, steps = observation.interface.batch, observation.interface.steps
    predictions = observation.interface.list_predictions(observation.readout)
    number = len(predictions)
    for case in draw_model_cases(profile, seed=0, batch=batch, steps=steps, predictions=number):
        interface, readout = predictions[case.prediction]
        observed = replace(observation, interface=interface, readout=readout, case=case)
        for rule in rules:
            outcome = check_case(rule, observed)
            if not isinstance(found.get(rule.id), Finding):
                found[rule.id] = outcome
    return found


def list_failures(observation: ModelObservation, profile: str = "quick") -> dict[str, str]:
    """Return the message of each broken rule."""
    return {
        id: outcome.message
        for id, outcome in check_all(observation, profile).items()
        if isinstance(outcome, Finding)
    }


def check_program(
    bug: type[nn.Module], observation: ModelObservation, finding: Finding[ModelCase]
) -> None:
    """Check that the program of a finding fails for the bug, without rnnspec."""
    predictions = observation.interface.list_predictions(observation.readout)
    source = write_model_program(
        finding.case,
        finding.snippet,
        predictions[finding.case.prediction][0],
        (f"from {bug.__module__} import {bug.__name__}",),
        bug.__name__,
    )
    assert "rnnspec.models" not in source
    assert source.count("\nx = draw(") <= 1
    with pytest.raises(
        (
            AssertionError,
            RuntimeError,
            AttributeError,
            TypeError,
            ValueError,
            IndexError,
            UserWarning,
        )
    ):
        exec(compile(source, "program", "exec"), {})
    if (
        observation.readout is Readout.LAST
        and issubclass(bug, LastStep)
        and observation.interface.padding is None
        and bug not in UNCOMMON
    ):
        exec(
            compile(source.replace(f"{bug.__name__}()", "LastStep()"), "program", "exec"),
            {"LastStep": LastStep},
        )


@pytest.mark.mostly_slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_rule_that_a_bug_names_sees_it_and_its_program_fails(bug: type[nn.Module]) -> None:
    observation, named = observe_model(bug), find_named_rule(bug)
    found = check_all(observation)
    broken = {id for id, outcome in found.items() if isinstance(outcome, Finding)}
    assert broken == {named} | ALSO.get(bug.__name__, set())
    finding = found[named]
    assert isinstance(finding, Finding)
    check_program(bug, observation, finding)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("model", CORRECT[::2], ids=lambda model: model.__name__)
def test_a_correct_model_is_not_accused(model: type[nn.Module]) -> None:
    assert list_failures(observe_model(model)) == {}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", TUTORIAL)
def test_the_reference_models_conform(name: str) -> None:
    factory, readout = TUTORIAL[name]
    assert list_failures(ModelObservation(factory, infer_interface(factory()), readout)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("model", CORRECT, ids=lambda model: model.__name__)
def test_a_correct_model_is_not_accused_in_many_cases(model: type[nn.Module]) -> None:
    assert list_failures(observe_model(model), "default") == {}


def test_the_printed_deep_model_gets_only_the_advice() -> None:
    factory = partial(DeepBiRNN, 100, 50, 20, 1, 2)
    found = list_failures(ModelObservation(factory, infer_interface(factory())))
    assert list(found) == ["readout.complete"]
    assert "torch.cat([h_n[-2], h_n[-1]], dim=-1)" in found["readout.complete"]


def test_both_faults_of_the_printed_rnn2_are_named() -> None:
    message = list_failures(observe_model(BothFaults))["model.output-shape"]
    assert "self.hidden_size, which is never set" in message
    assert (
        "fc expects 12 features but its input has 6: rnn has 1 direction, "
        "so its output has 1 * hidden_size = 6" in message
    )


class ProjectionForgotten(LastStep):
    """The linear layer expects the hidden size of an LSTM with projections."""

    layer: ClassVar[RecurrentClass] = nn.LSTM
    options: ClassVar[dict[str, Any]] = {"bidirectional": True, "proj_size": 3}
    width: ClassVar[int] = 2 * HIDDEN


def test_a_head_that_forgets_the_projection_is_explained() -> None:
    message = list_failures(observe_model(ProjectionForgotten))["model.output-shape"]
    assert "its input has 6: rnn has 2 directions, so its output has 2 * proj_size = 6" in message


def test_the_bank_is_wide_enough() -> None:
    assert len({model.__name__ for model in (*BUGS, *CORRECT)}) == len(BUGS) + len(CORRECT)
    assert len(BUGS) >= 120
    assert len(CORRECT) >= 60
    assert {find_named_rule(bug) for bug in BUGS} == {rule.id for rule in list_model_rules()}, (
        "a rule without a planted bug"
    )


def test_a_docstring_that_names_no_rule_is_refused() -> None:
    class Nameless(LastStep):
        """Nothing."""

    with pytest.raises(ValueError, match="Nameless"):
        find_named_rule(Nameless)


def test_every_rule_has_its_clause_and_every_clause_its_rule() -> None:
    rules = list_model_rules()
    assert len(set(rules)) == len(rules) >= 20
    assert [clause.id for rule in rules for clause in rule.clauses] == [rule.id for rule in rules]


def test_every_rule_describes_its_requirement_its_check_and_its_catches() -> None:
    for rule in list_model_rules():
        assert rule.requirement.endswith(".")
        assert rule.how.endswith(".")
        assert rule.catches.endswith(".")
        assert rule.source_of("model")


def test_no_other_rule_checks_a_model_that_cannot_be_called() -> None:
    found = check_all(observe_model(BothFaults))
    del found["model.output-shape"]
    assert set(found.values()) == {UnsupportedCase("not checked because model.output-shape fails")}


def test_features_have_no_vocabulary() -> None:
    model = next(model for model in CORRECT if model.__name__ == "FromFeatures")
    assert check_all(observe_model(model))["model.vocabulary"] == UnsupportedCase(
        "the model takes features, not token ids"
    )
    with pytest.raises(NotApplicable, match="no padding id"):
        readouts.padding.check(observe_model(model))


def test_an_unknown_readout_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match="'first'"):
        Readout("first")


def test_the_callers_generator_is_left_alone() -> None:
    observation = observe_model(LastStep)
    before = torch.random.get_rng_state()
    check_all(observation)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_first_case_is_the_ordinary_one_and_the_others_are_a_function_of_the_seed() -> None:
    assert draw_model_cases("default", 0)[0] == ModelCase()
    assert (
        draw_model_cases("default", 3)
        == draw_model_cases("default", 3)
        != draw_model_cases("default", 4)
    )
    assert all(case.batch != case.steps for case in draw_model_cases("thorough", 1))


@pytest.mark.parametrize("seed", [-1, -(2**70), 2**70])
def test_every_generator_takes_the_seed_of_every_case(seed: int) -> None:
    for case in draw_model_cases("default", seed):
        with fork_random_numbers(case.seed + 100):
            torch.Generator().manual_seed(case.seed)


def test_an_unknown_profile_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match="'fast'"):
        draw_model_cases("fast", 0)


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
def test_a_model_that_refuses_to_be_copied_is_built_anew(error: type[BaseException]) -> None:
    class Uncopied(LastStep):
        def __deepcopy__(self, memo: object) -> LastStep:
            raise error("too large to copy")

    assert list_failures(observe_model(Uncopied)) == {}


def test_a_model_that_is_another_each_time_and_cannot_be_copied_is_not_measured() -> None:
    class Uncopied(LastStep):
        built = 0

        def __init__(self) -> None:
            super().__init__()
            Uncopied.built += 1
            nn.init.constant_(self.fc.bias, Uncopied.built)

        def __deepcopy__(self, memo: object) -> LastStep:
            raise MemoryError("too large to copy")

    found = check_all(observe_model(Uncopied))
    assert not any(isinstance(outcome, Finding) for outcome in found.values())
    reason = "the model cannot be copied: MemoryError: too large to copy"
    assert found["readout.complete"] == UnsupportedCase(reason)


@pytest.mark.slow
def test_the_matrix_has_no_survivors_and_no_accused() -> None:
    some: tuple[type[nn.Module], ...] = (BothFaults, BUGS[-1], *CORRECT[:2])
    rows = [row_of(model, "quick", 0) for model in some]
    found = Matrix(tuple(rows), 0, "quick")
    assert found.survivors == ()
    assert rows[0].story.startswith("Both faults of the printed RNN2")
    assert "accused: 0" in format_matrix(found)
