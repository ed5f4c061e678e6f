"""Test that a wrong function or declaration is reported as such, and not blamed on the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnnspec import adapt
from rnnspec.contract.kinds import RNN
from rnnspec.errors import CannotCheck
from rnnspec.inference.smoke import Smoke, Tone, format_smoke, smoke_target
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from rnnspec.suites.declaration import describe_declaration
from rnnspec.suites.layer import LayerSuite
from tests.adapters import written_functions as written
from tests.report.reports import FAIL, PASS, make_report

MUST = "it must return (output, (h_n, c_n))"
ALONE = '; if it has no final state, declare lacks={"final-state": "it returns the output only"}'
LSTM: dict[str, Any] = {"kind": "lstm", "weights": written.WEIGHTS, "lacks": written.LACKS}


def smoke(function: Callable[..., Any], **options: Any) -> Smoke:
    return smoke_target(resolve_target(adapt.layer(function, **options)), RNN)


def list_wrong(found: Smoke) -> list[str]:
    return [f"{each.subject}: {each.text}" for each in found.remarks if each.tone is Tone.WRONG]


def test_right_functions_are_right() -> None:
    assert not list_wrong(smoke(written.run_lstm, **LSTM))
    assert not list_wrong(smoke(written.run_gru, kind="gru", lacks=written.LACKS))


RETURNED = [
    (written.return_three, f"return_three returned 3 values; {MUST}"),
    (written.return_output, f"return_output returned one array of shape (9, 7, 5); {MUST}{ALONE}"),
    (
        written.return_no_state,
        f"return_no_state returned None in the place of (h_n, c_n); {MUST}{ALONE}",
    ),
    (
        written.return_one_state,
        "return_one_state returned one array of shape (7, 5) in the place of (h_n, c_n); "
        f"{MUST}{ALONE}",
    ),
    (written.return_objects, "the function returned an array of object, expected numbers"),
]


@pytest.mark.parametrize(
    ("function", "reported"), RETURNED, ids=lambda each: getattr(each, "__name__", "")
)
def test_results_of_another_form_are_reported(function: Callable[..., Any], reported: str) -> None:
    found = smoke(function, **LSTM)
    assert list_wrong(found) == [f"compared: {reported}"]
    assert format_smoke(found).endswith("1 thing is wrong with the adapter or the layer.")


def return_pair(*given: Any) -> Any:
    output, h = written.run_elman(*given)
    return output, (h, h)


def return_further(*given: Any) -> Any:
    return *written.run_elman(*given), 0


@pytest.mark.parametrize("function", [return_pair, return_further])
def test_a_malformed_result_of_a_function_is_explained_with_the_expected_form(
    function: Callable[..., Any],
) -> None:
    layer = adapt.layer(function, weights=written.WEIGHTS)(3, 5)
    with pytest.raises(Malformed, match=r"for an LSTM .*Use kind=\"lstm\"$"):
        layer(torch.zeros(4, 2, 3))


QUESTION = 'kind is "rnn"; is this {}? Use kind="{}".'
WITHOUT_KIND = [
    (written.run_lstm, written.WEIGHTS, QUESTION.format("an LSTM", "lstm")),
    (written.exchange_gates, written.WEIGHTS, QUESTION.format("an LSTM", "lstm")),
    (written.return_three, written.WEIGHTS, QUESTION.format("an LSTM", "lstm")),
    (written.run_gru, None, QUESTION.format("a GRU", "gru")),
]


@pytest.mark.parametrize(("function", "weights", "question"), WITHOUT_KIND)
def test_a_forgotten_kind_is_reported(
    function: Callable[..., Any], weights: dict[str, str] | None, question: str
) -> None:
    (reported,) = list_wrong(smoke(function, weights=weights))
    assert reported.startswith("kind: ")
    assert reported.endswith(question)


def test_no_other_kind_is_named_if_the_declared_one_fits() -> None:
    def forget(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
        return written.run_lstm(config, x, h_0, {**weights, "u": 0.9 * weights["u"]})

    (reported,) = list_wrong(smoke(forget, **LSTM))
    assert reported.startswith("compared: ")
    assert reported.endswith(
        "no other declaration fits, so this one may be right and the layer wrong"
    )


def test_another_order_of_gates_is_reported_with_the_declaration_to_add() -> None:
    order = "input, forget, output, cell"
    assert list_wrong(smoke(written.exchange_gates, **LSTM)) == [
        f"gates: w, u and b stack the gates in the order {order}: "
        f'either the layer is wrong, or declare gates="{order}"'
    ]
    assert not list_wrong(smoke(written.exchange_gates, **LSTM, gates=order))
    (reported,) = list_wrong(smoke(written.run_lstm, **LSTM, gates=order))
    assert reported.endswith('or declare gates="input, forget, cell, output"')


def test_another_order_in_one_weight_only_is_not_reported_as_the_order_of_all() -> None:
    def exchange_one(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
        i, f, g, o = np.split(weights["w"], 4)
        return written.run_lstm(config, x, h_0, {**weights, "w": np.concatenate([i, f, o, g])})

    (reported,) = list_wrong(smoke(exchange_one, **LSTM))
    assert reported == (
        "weights: w is declared as weight_ih, but it acts as weight_ih[input, forget, output, cell]"
    )


def test_a_bias_that_is_always_needed_is_reported() -> None:
    (reported,) = list_wrong(smoke(written.run_lstm, kind="lstm", weights=written.WEIGHTS))
    assert reported == (
        "bias: the call with which the adapter is compared raised LookupError: weights['b'] is "
        "missing, since with bias=False there is no bias to make it from; if the layer always has "
        'biases, declare lacks={"bias": "it always has biases"}'
    )
    layer = adapt.layer(written.run_lstm, kind="lstm", weights=written.WEIGHTS)
    with pytest.raises(LookupError, match="declare lacks"):
        layer(3, 5, bias=False)(torch.zeros(4, 2, 3))


def test_a_weight_that_is_never_there_raises_as_it_is() -> None:
    layer = adapt.layer(written.run_gru, kind="gru", weights=written.WEIGHTS)
    with pytest.raises(KeyError, match="weight_hh_l0"):
        layer(3, 5, bias=False)(torch.zeros(4, 2, 3))


EXAMPLE = "give a dictionary, such as"
DECLARED: list[tuple[dict[str, Any], str]] = [
    (
        {"dtypes": "float32"},
        "dtypes='float32' is no list of texts; write it as dtypes=[\"float32\"]",
    ),
    ({"lacks": ["bias"]}, f"lacks=['bias'] is no dictionary; {EXAMPLE} lacks={{\"bias\": "),
    ({"lacks": {"bias": True}}, f"lacks: 'bias': True is no pair of texts; {EXAMPLE} lacks="),
    ({"weights": ["w"]}, f"weights=['w'] is no dictionary; {EXAMPLE} weights="),
    ({"fixed": {"batch_first": "yes"}}, "fixed: batch_first is 'yes'; it must be True or False"),
    ({"fixed": {"num_layers": 0}}, "fixed: num_layers must be at least 1, got 0"),
    ({"needs_state": "yes"}, "needs_state='yes': it must be True or False"),
    ({"gates": "i, f, o, g"}, "cell, output. Write the 4 names, separated by commas."),
    ({"gates": ["input", "forget"]}, "give one text, such as gates='input, forget'"),
    ({"gates": "update, reset, new"}, 'kind is "lstm"; is this a GRU? Use kind="gru".'),
    ({"kind": "rnn", "gates": "input, forget, output, cell"}, 'an LSTM? Use kind="lstm".'),
    ({"kind": "rnn", "weights": {"w": "weight_ih[input]"}}, 'an LSTM? Use kind="lstm".'),
    ({"gradients": written.run_lstm}, "rnnspec calls it as run_lstm(config, x, h_0, weights, grad"),
    ({"arrays": torch}, "choose torch, numpy"),
]


@pytest.mark.parametrize(
    ("options", "reported"), DECLARED, ids=["-".join(options) for options, _ in DECLARED]
)
def test_wrong_parts_of_a_declaration_are_refused(options: dict[str, Any], reported: str) -> None:
    with pytest.raises(CannotCheck) as refused:
        adapt.layer(written.run_lstm, **{**LSTM, **options})
    assert reported in str(refused.value)


def test_a_function_with_other_arguments_is_refused() -> None:
    with pytest.raises(CannotCheck, match=r"as take_three\(config, x, h_0, weights\)"):
        adapt.layer(written.take_three, **LSTM)


def test_an_argument_that_does_not_exist_is_refused_by_the_name_of_the_function() -> None:
    with pytest.raises(TypeError, match=r"adapt.layer\(\) has no .*'need_state'. Did you mean"):
        adapt.layer(written.run_lstm, need_state=True)


def test_a_function_without_a_signature_is_taken_as_it_is() -> None:
    assert adapt.layer(max).label == "max"


def test_forms_with_a_state_of_another_kind_are_refused() -> None:
    with pytest.raises(CannotCheck, match=r'is this an LSTM. Use kind="lstm"'):
        adapt.module(torch.nn.LSTM, weights={}, call="x, (h, c)", returns="output, (h, c)")


def test_a_report_notes_that_the_declaration_may_be_wrong() -> None:
    layer = adapt.layer(written.run_batch_first, **LSTM)
    subject = TorchSubject(resolve_target(layer), kind="lstm")
    suite = LayerSuite(subject, rules=(), is_declared=True)
    report = make_report(FAIL)
    assert report.verdict is RunVerdict.VIOLATES
    assert suite.complete_report(report).notes == (
        *report.notes,
        "this may be the declaration: `rnnspec smoke` says layout: the first axis of the input is "
        "the batch",
    )
    assert replace(suite, is_declared=False).complete_report(report) == report
    right = make_report(PASS)
    assert suite.complete_report(right) == right


SAID = [
    (adapt.layer(written.exchange_gates, **LSTM), "gates: w, u and b stack the gates in the order"),
    (adapt.layer(written.return_three, **LSTM), "return_three returned 3 values; it must return"),
    (adapt.layer(written.run_lstm, weights=written.WEIGHTS), 'Use kind="lstm".'),
]


@pytest.mark.parametrize(("layer", "said"), SAID)
def test_the_description_of_a_declaration_names_its_possible_errors(layer: Any, said: str) -> None:
    assert said in describe_declaration(resolve_target(layer))


@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_nothing_is_reported_about_a_declaration_that_may_be_right(factor: float) -> None:
    def scale(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
        return written.run_lstm(config, x, h_0, {**weights, "u": factor * weights["u"]})

    assert not describe_declaration(resolve_target(adapt.layer(scale, **LSTM)))
