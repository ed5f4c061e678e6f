"""Test that each planted mistake is recognised, and no other is reported in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnspec.cases.axes import Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis.likely_cause import choose_one
from rnnspec.mistakes import steps
from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES, require_own_keys
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.of_cells import use_words
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import NOTHING
from rnnspec.rules.catalogue import find_layer_rule
from tests.diagnosis.planted_mistakes import CASES, diagnose, expect, find_causes

EVERY = (*HYPOTHESES, *GRADIENT_HYPOTHESES)
BY_KEY = {each.key: each for each in EVERY}
SAMPLE = 24


def find_family(key: str) -> str:
    return BY_KEY[key].family or key


def test_keys_and_texts_differ_and_rules_exist() -> None:
    assert len({each.text for each in EVERY}) == len(BY_KEY) == len(EVERY) > 60
    for rule in {rule for each in EVERY for rule in each.rules}:
        assert find_layer_rule(rule).id == rule


@pytest.mark.mostly_slow(usual="gru")
@pytest.mark.parametrize(
    ("kind", "gradients", "number"),
    [
        ("rnn", False, SAMPLE),
        ("gru", False, 422),
        ("lstm", False, 1402),
        pytest.param("rnn", True, SAMPLE, marks=pytest.mark.slow),
        pytest.param("gru", True, 3, marks=pytest.mark.slow),
        pytest.param("lstm", True, 5, marks=pytest.mark.slow),
        pytest.param("gru", False, 2, marks=pytest.mark.slow),
        pytest.param("lstm", False, 7, marks=pytest.mark.slow),
    ],
)
def test_no_mistake_is_taken_for_another(kind: str, gradients: bool, number: int) -> None:
    reported = find_causes(gradients, number, kind)
    confused = {
        key: cause
        for key, cause in reported.items()
        if cause and find_family(cause) != find_family(key)
    }
    assert confused == {}
    assert sum(key == cause for key, cause in reported.items()) > 0.4 * len(reported)


def test_a_correct_layer_has_no_cause() -> None:
    assert diagnose(None) is None
    assert diagnose(None, gradients=True) is None


@pytest.mark.parametrize("case", CASES[:24], ids=str)
def test_the_reference_agrees_with_the_oracle(case: Case) -> None:
    expected = expect(case)
    given = Given.from_values(expected.case, expected.values, gradients=True)
    with torch.enable_grad():
        output, final = Reference(given).run()
        values = expected.values
        d_output, d_final = (
            torch.from_numpy(np.array(each)) for each in (values.d_output, values.d_final)
        )
        gradients = Reference(given).differentiate(d_output, {"h": d_final})
    alive = 1.0 if given.alive is None else given.alive.numpy()
    np.testing.assert_allclose(output.detach().numpy() * alive, expected.output, atol=1e-12)
    np.testing.assert_allclose(final["h"].detach().numpy(), expected.final, atol=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient.numpy(), expected.gradients[name], atol=1e-10)


def make_hypothesis(key: str, family: str = "", rank: int = 0, text: str = "") -> Hypothesis:
    return Hypothesis(key, text, "", (), NOTHING, family=family, rank=rank)


def test_two_mistakes_with_one_key_are_refused() -> None:
    one, other = (replace(make_hypothesis("a"), text=text) for text in ("first", "second"))
    with pytest.raises(ValueError, match="two mistakes have the key a: 'first' and 'second'"):
        require_own_keys([one, other])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lstm", "h_0 is ignored, c_0 likewise: what comes after the hidden state before the step"),
        ("lstm-cell", "h_0 is ignored, c_0 likewise: what comes after h_0"),
        ("gru-cell", "h_0 is ignored: what comes after h_0"),
    ],
)
def test_words_and_states_are_those_of_the_kind(kind: str, text: str) -> None:
    first, second = (
        replace(make_hypothesis("a"), text="h_0 is ignored", likewise=("h_0",)),
        replace(make_hypothesis("b"), text=": what comes after $h_before"),
    )
    assert "".join(use_words(each, KINDS[kind]).text for each in (first, second)) == text


def test_a_word_that_is_not_known_is_an_error() -> None:
    with pytest.raises(KeyError, match="unheard"):
        use_words(make_hypothesis("a", text="$unheard"), KINDS["rnn"])


def test_the_mistake_of_lowest_rank_in_a_family_is_reported() -> None:
    narrow, wide = make_hypothesis("h_n", "f", 0), make_hypothesis("both", "f", 1)
    assert choose_one([wide, narrow]) is narrow
    assert choose_one([wide]) is wide


def test_ambiguous_causes_are_not_reported() -> None:
    first, second = make_hypothesis("a", "f"), make_hypothesis("b", "f")
    assert choose_one([first, second]) is None
    assert choose_one([first, make_hypothesis("c")]) is None
    assert choose_one([]) is None


def test_two_mistakes_that_no_case_distinguishes_are_both_named() -> None:
    single_steps = [case.replace(steps=1) for case in CASES if not case.lengths]
    unused = next(each for each in HYPOTHESES if each.key == "b_hh.unused")
    both = diagnose(unused, cases=single_steps)
    assert both is not None
    assert both.key == unused.key
    assert both.text == "b_hh is not added, or the first step does not add b_hh"
    one = diagnose(unused)
    assert one is not None
    assert one.text == "b_hh is not added"


def test_the_order_in_which_samples_are_mixed_is_unclear_if_the_layer_sorts_them() -> None:
    mistake = BY_KEY["layers.read-exchanged-axes"]
    layers, equal = Config(2, 2, num_layers=2), (3, 3, 3)
    sorted_, unsorted = (
        Case(config=layers, steps=3, batch=3, lengths=equal, layout=layout)
        for layout in (Layout.PACKED, Layout.PACKED_UNSORTED)
    )
    assert not mistake.unclear(sorted_)
    assert mistake.unclear(unsorted)


def test_mistakes_are_listed_with_any_default_device() -> None:
    """The catalogue is imported when it is first needed, perhaps where a rule has set a device."""
    with torch.device("meta"):
        listed = [each.key for each in steps._list_moves()]
    assert set(listed) <= {each.key for each in steps.HYPOTHESES}
