"""Every planted bug is seen by the rule that it names, and by no other; no rule accuses a correct model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from rnnspec.contract import clauses
from rnnspec.models import RNN1, RNN2, DeepBiRNN, infer
from rnnspec.models.registry import RULES, judge, judge_all
from rnnspec.models.trial import NotApplicable, Trial
from rnnspec.selftest.model_bugs import BUGS, seen_by
from rnnspec.selftest.model_bugs_shapes import BothFaults
from rnnspec.selftest.model_correct import CORRECT
from rnnspec.selftest.model_plain import LastStep

ALSO = {"PrefixByPrefix": {"readout.parameters"}}
"""What a bug shows besides: a backward layer that starts at its last step has no use for its recurrent weight."""

TUTORIAL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "RNN1": (partial(RNN1, 10, 4, 10, 1), "last"),
    "RNN2": (partial(RNN2, 10, 4, 10, 1), "every"),
    "DeepBiRNN, every step": (partial(DeepBiRNN, 100, 50, 20, 1, 2, output_all_timesteps=True), "every"),
    "DeepBiRNN, final states": (partial(DeepBiRNN, 100, 50, 20, 1, 2, readout="final-states"), "last"),
}


def trial_of(model: type[nn.Module]) -> Trial:
    interface = infer(model(), batch_first=bool(getattr(model, "batch_first", True)))
    return Trial(model, interface, str(getattr(model, "readout", "last")))


def failures(trial: Trial) -> dict[str, str]:
    return {outcome.rule.id: outcome.message for outcome in judge_all(trial) if outcome.verdict == "fail"}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_rule_that_a_bug_names_sees_it(bug: type[LastStep]) -> None:
    assert set(failures(trial_of(bug))) == {seen_by(bug)} | ALSO.get(bug.__name__, set())


@pytest.mark.parametrize("model", CORRECT, ids=lambda model: model.__name__)
def test_a_correct_model_is_not_accused(model: type[nn.Module]) -> None:
    assert failures(trial_of(model)) == {}


@pytest.mark.parametrize("name", TUTORIAL)
def test_the_reference_models_hold_to_the_contract(name: str) -> None:
    factory, readout = TUTORIAL[name]
    assert failures(Trial(factory, infer(factory()), readout)) == {}


def test_the_printed_deep_model_gets_the_advice_alone() -> None:
    factory = partial(DeepBiRNN, 100, 50, 20, 1, 2)
    found = failures(Trial(factory, infer(factory())))
    assert list(found) == ["readout.complete"]
    assert "torch.cat([h_n[-2], h_n[-1]], dim=-1)" in found["readout.complete"]


def test_both_faults_of_the_printed_rnn2_are_named() -> None:
    message = failures(trial_of(BothFaults))["model.output-shape"]
    assert "self.hidden_size, which is never set" in message
    assert "fc expects 12 features and is given 6: rnn's one direction gives 1 * hidden_size = 6" in message


def test_the_bank_is_wide_enough() -> None:
    assert len(set(BUGS)) == len(BUGS) >= 25
    assert len(set(CORRECT)) == len(CORRECT) >= 8
    assert {seen_by(bug) for bug in BUGS} == set(RULES), "every rule has a bug that only it must see"


def test_a_docstring_that_names_no_rule_is_refused() -> None:
    class Nameless(LastStep):
        """Nothing."""

    with pytest.raises(ValueError, match="Nameless"):
        seen_by(Nameless)


def test_every_rule_has_its_clause_and_its_level() -> None:
    text = (clauses.resources.files("rnnspec.contract") / "models.toml").read_text(encoding="utf-8")
    stated = clauses.parse(text, "models.toml")
    assert list(stated) == list(RULES)
    assert {id: str(clause.level) for id, clause in stated.items()} == {id: rule.level for id, rule in RULES.items()}


def test_nothing_else_is_said_of_a_model_that_cannot_be_called() -> None:
    outcomes = judge_all(trial_of(BothFaults))
    assert {outcome.message for outcome in outcomes if outcome.verdict == "not-applicable"} == {"follows from model.output-shape"}
    assert not [outcome for outcome in outcomes if outcome.verdict == "pass"]


def test_features_have_no_vocabulary() -> None:
    model = next(model for model in CORRECT if model.__name__ == "FromFeatures")
    assert judge(trial_of(model), RULES["model.vocabulary"]).message == "takes features, not token ids"
    with pytest.raises(NotApplicable, match="no padding id"):
        RULES["readout.padding"].check(trial_of(model))


def test_an_unknown_readout_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match="'first'"):
        Trial(LastStep, infer(LastStep()), "first")


def test_the_callers_generator_is_left_alone() -> None:
    trial = trial_of(LastStep)
    before = torch.random.get_rng_state()
    judge_all(trial)
    assert torch.equal(torch.random.get_rng_state(), before)
