"""Test the layer that makes one known mistake, and the reports that it enables."""

from __future__ import annotations

import copy
import pickle
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES, list_hypotheses
from rnnspec.mistakes.dropout import drop_otherwise
from rnnspec.mistakes.evidence import Evidence, GradientEvidence
from rnnspec.mistakes.hypothesis import Hypothesis, combine_mistakes
from rnnspec.mistakes.layer import Maker, Mistaken, UnknownEffect
from rnnspec.observe.observation import Observation
from rnnspec.options import CheckOptions
from rnnspec.plain.gated import PlainGRU
from rnnspec.plain.layer import Plain
from rnnspec.reference.loop import Refused
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import use_in_gates
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target
from tests.diagnosis.planted_mistakes import CASES, Planted, list_cases

BACKWARD_FIRST = "halves.exchanged"
BIAS_TWICE = "b_ih.twice-for-b_hh"


def find(key: str) -> Hypothesis:
    return next(each for each in HYPOTHESES if each.key == key)


def observe(mistake: Hypothesis, case: Case, *, gradients: bool = False) -> Observation:
    target = Target(Maker(mistake, case, gradients), "mistaken", "mistaken", ())
    return Observation(TorchSubject(target, kind=case.config.kind), case)


def test_an_empty_batch_is_refused_where_the_mistake_takes_it_for_an_empty_sequence() -> None:
    empty, sequence = torch.zeros(3, 0, 2), torch.zeros(3, 1, 2)
    case = Case(config=Config(2, 4), steps=3, batch=2)
    transposed = find("axes.batch-first.input-and-output")
    with pytest.raises(Refused, match="a sequence has no time step"):
        Maker(transposed, case)(2, 4)(empty)
    plain = Maker(find(BIAS_TWICE), case)(2, 4)
    assert plain(empty)[0].shape == (3, 0, 4)
    assert plain(sequence)[0].shape == (3, 1, 4)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "start", "step"),
    [
        *(("rnn", start, 16) for start in range(8)),
        *(("gru", start, 60) for start in range(3)),
        *(("lstm", start, 120) for start in range(3)),
        ("rnn-cell", 0, 3),
        ("gru-cell", 0, 6),
        ("lstm-cell", 0, 12),
    ],
)
def test_the_layer_computes_the_prediction_of_the_mistake(kind: str, start: int, step: int) -> None:
    compared = 0
    cases = list_cases(kind)
    reported = list_hypotheses(kind, gradients=False)
    known = [each for each in reported if any(map(each.concerns, cases))]
    for hypothesis in known[start::step]:
        concerned = [
            case
            for case in cases
            if hypothesis.concerns(case) and not hypothesis.unclear(case) and not case.is_random
        ]
        for case in concerned[:2]:
            predicted = Evidence(cast(Observation, Planted(case, hypothesis.changes))).observed
            made = Evidence(observe(hypothesis, case)).observed
            assert predicted is not None
            if predicted.has_raised or made is None or made.has_raised:
                continue
            for name, array in predicted.results.items():
                np.testing.assert_allclose(
                    made.results[name], array, rtol=1e-9, atol=1e-9, err_msg=hypothesis.text
                )
            compared += 1
    assert compared > 8


@pytest.mark.mostly_slow
@pytest.mark.parametrize("start", range(4))
def test_the_backward_pass_computes_the_prediction_of_the_mistake(start: int) -> None:
    compared = 0
    for hypothesis in GRADIENT_HYPOTHESES[start :: 4 * 3]:
        concerned = [
            case
            for case in CASES
            if hypothesis.concerns(case) and not hypothesis.unclear(case) and not case.is_random
        ]
        for case in concerned[:2]:
            predicted = GradientEvidence(
                cast(Observation, Planted(case, hypothesis.changes))
            ).observed
            made = GradientEvidence(observe(hypothesis, case, gradients=True)).observed
            assert predicted is not None
            if predicted.has_raised or made is None or made.has_raised:
                continue
            for name, array in made.results.items():
                np.testing.assert_allclose(
                    array, predicted.results[name], rtol=1e-9, atol=1e-9, err_msg=hypothesis.text
                )
            compared += 1
    assert compared > 5


def test_a_wrong_backward_pass_leaves_the_results_right_and_uses_their_masks() -> None:
    doubled = next(each for each in GRADIENT_HYPOTHESES if each.key == "gradient.W_hh.doubled")
    layers = [
        make_layer(doubled, num_layers=2, dropout=0.5, gradients=gradients).train()
        for gradients in (True, False)
    ]
    plain = Plain(2, 3, num_layers=2, dropout=0.5).double().train()
    plain.load_state_dict(layers[0].state_dict())
    x = torch.randn(6, 4, 2, dtype=torch.float64)
    found = []
    for layer in (layers[0], plain):
        torch.manual_seed(1)
        output, _ = layer(x)
        (output**2).sum().backward()
        found.append((output, dict(layer.named_parameters())))
    (output, wrong), (expected, right) = found
    assert torch.allclose(output, expected)
    for name, parameter in wrong.items():
        one, other = parameter.grad, right[name].grad
        assert one is not None
        assert other is not None
        assert torch.allclose(one, (2 if "weight_hh" in name else 1) * other), name


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn-cell", "gru-cell", "lstm-cell"])
def test_a_layer_of_each_kind_makes_a_mistake_backward_only(kind: str) -> None:
    doubled = next(each for each in GRADIENT_HYPOTHESES if each.key == "gradient.W_hh.doubled")
    case = next(
        case
        for case in list_cases(kind)
        if not case.is_random and (case.steps > 1 or KINDS[kind].is_cell)
    )
    seen = observe(doubled, case, gradients=True)
    for name, array in seen.results.items():
        np.testing.assert_allclose(array, seen.expected.results[name], atol=1e-9)
    for name, array in seen.gradients.items():
        right = seen.expected.gradients[name] * (2 if "weight_hh" in name else 1)
        np.testing.assert_allclose(array, right, atol=1e-9, err_msg=name)


def test_a_layer_with_a_mistake_has_the_arguments_of_its_kind() -> None:
    case = Case(config=Config(2, 3, kind="lstm"))
    layer = Maker(find("c_n-alone.zero"), case)(2, 3, num_layers=2, proj_size=2).double()
    output, (h_n, c_n) = layer(torch.randn(5, 4, 2, dtype=torch.float64))
    assert output.shape == (5, 4, 2)
    assert (h_n.shape, c_n.shape) == ((2, 4, 2), (2, 4, 3))
    assert h_n.any()
    assert not c_n.any()
    copied = pickle.loads(pickle.dumps(layer))
    assert not copied(torch.randn(1, 1, 2, dtype=torch.float64))[1][1].any()


def make_layer(mistake: Hypothesis, *, gradients: bool = False, **options: Any) -> Mistaken:
    torch.manual_seed(0)
    return Maker(mistake, Case(config=Config(2, 3)), gradients)(2, 3, **options).double()


def test_a_case_that_the_mistake_does_not_concern_is_right() -> None:
    one = make_layer(find(BACKWARD_FIRST))
    right = Plain(2, 3).double()
    right.load_state_dict(one.state_dict())
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    assert all(map(torch.equal, one(x), right(x)))


def test_two_mistakes_are_made_at_once() -> None:
    both = combine_mistakes([find(BACKWARD_FIRST), find(BIAS_TWICE)])
    layers = [make_layer(each, bidirectional=True) for each in (both, find(BIAS_TWICE))]
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    (output, h_n), (once, states) = (layer(x) for layer in layers)
    assert torch.allclose(output, once.roll(3, dims=-1))
    assert torch.allclose(h_n, states)


def test_gradients_belong_to_the_computed_function() -> None:
    layer = make_layer(find(BIAS_TWICE))
    x = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    layer(x)[0].sum().backward()
    unused = layer.get_parameter("bias_hh_l0").grad
    assert unused is None or not unused.any()
    assert x.grad is not None


def test_wrong_arguments_are_refused_as_documented() -> None:
    layer = make_layer(find(BIAS_TWICE))
    with pytest.raises(ValueError, match="dtype"):
        layer(torch.randn(3, 1, 2))
    with pytest.raises(RuntimeError, match="got 4"):
        layer(torch.randn(3, 1, 4, dtype=torch.float64))


def test_packed_results_have_the_order_of_the_input() -> None:
    layer, right = make_layer(find(BACKWARD_FIRST), bidirectional=True), Plain(2, 3)
    right = Plain(2, 3, bidirectional=True).double()
    right.load_state_dict(layer.state_dict())
    rows = [torch.randn(length, 2, dtype=torch.float64) for length in (2, 4, 1)]
    packed = nn.utils.rnn.pack_sequence(rows, enforce_sorted=False)
    output, h_n = layer(packed)
    expected, states = right(packed)
    assert isinstance(output, PackedSequence)
    assert isinstance(expected, PackedSequence)
    assert torch.allclose(output.data, expected.data.roll(3, dims=-1))
    assert torch.allclose(h_n, states)


def test_dropout_is_random_and_draws_no_more_than_the_plain_layer() -> None:
    layer = make_layer(find(BIAS_TWICE), num_layers=2, dropout=0.5).train()
    x = torch.randn(6, 4, 2, dtype=torch.float64)
    right = Plain(2, 3, num_layers=2, dropout=0.5).double().train()
    torch.manual_seed(1)
    first = layer(x)[0]
    after = torch.get_rng_state()
    torch.manual_seed(1)
    right(x)
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(first, layer(x)[0])


def test_a_mistake_of_dropout_predicts_nothing_with_random_masks() -> None:
    mistake = Hypothesis(
        "none", "nothing is dropped", "", (), change_values(drop_otherwise(lambda data, p: data))
    )
    layer = make_layer(mistake, num_layers=2, dropout=0.5).train()
    with pytest.raises(UnknownEffect):
        layer(torch.randn(3, 1, 2, dtype=torch.float64))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_makes_the_same_mistake(copied: Any) -> None:
    layer = make_layer(find(BIAS_TWICE))
    x = torch.randn(3, 1, 2, dtype=torch.float64)
    assert torch.equal(copied(layer)(x)[0], layer(x)[0])


class Twice(Plain):
    """`bias_ih` is added twice, and `bias_hh` never."""

    changes = change_values({"biases": lambda biases: biases[:1] * 2})


class TwiceAndDraws(Twice):
    """A number is drawn in vain besides."""

    def compute(self, *given: Any) -> tuple[Tensor, Tensor]:
        torch.rand(1)
        return super().compute(*given)


def list_reported(layer: type[nn.Module]) -> set[str]:
    return {fault.rule for fault in rnnspec.check(layer, profile="quick").faults}


@pytest.mark.slow
def test_rules_broken_by_the_known_mistake_are_no_separate_fault() -> None:
    assert list_reported(Twice) == {"recurrence.output"}


@pytest.mark.slow
def test_a_fault_is_reported_although_another_shows_in_nearly_every_case() -> None:
    assert list_reported(TwiceAndDraws) == {"recurrence.output", "side-effects.random-generators"}


class SumsClipped(PlainGRU):
    """The sums of the gates are clipped, which shows where weights and inputs are large."""

    changes = change_values(
        use_in_gates(lambda total: torch.sigmoid(total.clamp(-5, 5)), "reset", "update")
    )


@pytest.mark.slow
def test_a_choice_that_makes_a_mistake_show_does_not_limit_it() -> None:
    rules = ["recurrence.output", "dropout.scale", "dropout.not-in-states"]
    (fault,) = rnnspec.check(SumsClipped, kind="gru", profile="quick", rules=rules).faults
    assert fault.rule == "recurrence.output"
    assert "clipped to [-5, 5]" in fault.likely_cause
    if "bidirectional=True" not in fault.situation:
        pytest.skip("the cases that this release of Hypothesis draws show it in one direction too")


class HalfBackward(Plain):
    """The gradient of `weight_hh` is halved."""

    changes = change_values({"weight_hh": lambda weight: 0.5 * weight + 0.5 * weight.detach()})


@pytest.mark.slow
def test_rules_that_rest_on_wrong_gradients_are_no_separate_fault() -> None:
    assert list_reported(HalfBackward) == {"gradients.weights"}


def test_a_layer_makes_only_the_mistakes_of_its_causes() -> None:
    suite = prepare_suite(nn.RNN, CheckOptions(profile="quick"))
    case = Case(config=Config(1, 1))
    mistaken = suite.make_mistaken([LikelyCause("", "", "", (), 1, 1, find(BIAS_TWICE))], case)
    assert mistaken is not None
    assert mistaken.subject.target.factory == Maker(find(BIAS_TWICE), case)


def test_a_cause_without_a_mistake_makes_no_layer() -> None:
    suite = prepare_suite(nn.RNN, CheckOptions(profile="quick"))
    case = Case(config=Config(1, 1))
    assert suite.make_mistaken([LikelyCause("", "", "", (), 1, 1)], case) is None
    assert suite.make_mistaken([], case) is None
