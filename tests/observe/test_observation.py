"""Observations: parts are computed once, failures are kept, and results are arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspec.cases.axes import DType, Feature, InitialState, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.observe.observation import Observation, collect_observations, is_plain
from rnnspec.observe.part import part
from rnnspec.subjects.failures import Failure, Malformed, Raised, Unsupported
from rnnspec.subjects.subject import Capabilities, TorchSubject
from rnnspec.subjects.target import resolve_target

BASE = Case(
    config=Config(3, 4, num_layers=2, bidirectional=True),
    steps=5,
    batch=2,
    initial_state=InitialState.GIVEN,
    seed=3,
)


class Counted(nn.RNN):
    """Counts its calls."""

    calls = 0

    def forward(self, *given: Any) -> Any:
        type(self).calls += 1
        return super().forward(*given)


def change_results(change: Any) -> type[nn.RNN]:
    """Return a layer whose results are changed by a function."""

    class Changed(nn.RNN):
        def forward(self, *given: Any) -> Any:
            return change(super().forward(*given))

    return Changed


def observe(factory: Any, case: Case = BASE) -> Observation:
    return Observation(TorchSubject(resolve_target(factory)), case)


def test_each_part_is_computed_once() -> None:
    Counted.calls = 0
    observation = observe(Counted)
    assert observation.output is not None
    assert observation.final is not None
    assert observation.gradients is observation.gradients
    assert Counted.calls == 1


def test_a_failure_is_kept_and_raised_again() -> None:
    class Failing(nn.RNN):
        calls = 0

        def forward(self, *given: Any) -> Any:
            type(self).calls += 1
            raise ValueError("never")

    observation = observe(Failing)
    for _ in range(3):
        with pytest.raises(Raised, match=r"^the call raised ValueError: never$"):
            _ = observation.call
    assert Failing.calls == 1


def test_parts_are_kept_by_name_and_by_object() -> None:
    class Holder:
        @part
        def one(self) -> list[int]:
            return [1]

        @part
        def two(self) -> list[int]:
            raise Failure("no two")

    first, second = Holder(), Holder()
    assert first.one is first.one is not second.one
    with pytest.raises(Failure, match="no two"):
        _ = first.two
    assert isinstance(Holder.one, part)


@pytest.mark.parametrize("layout", Layout, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_results_are_time_major_and_padded_in_every_layout(
    layout: Layout, batch_first: bool
) -> None:
    case = BASE.replace(
        layout=layout,
        batch_first=batch_first,
        lengths=(3, 5) if layout is Layout.PACKED_UNSORTED else (5, 3),
    )
    observation = observe(nn.RNN, case)
    batch = 1 if layout is Layout.UNBATCHED else 2
    assert (observation.output.shape, observation.final.shape) == ((5, batch, 8), (4, batch, 4))
    assert {observation.output.dtype, observation.final.dtype} == {np.dtype(np.float64)}
    np.testing.assert_allclose(observation.output, observation.expected.output, rtol=0, atol=1e-13)
    np.testing.assert_allclose(observation.final, observation.expected.final, rtol=0, atol=1e-13)
    assert {name: array.shape for name, array in observation.gradients.items()} == {
        "input": (5, batch, 3),
        "h_0": (4, batch, 4),
        **{name: array.shape for name, array in draw_values(case).weights.items()},
    }
    for name, array in observation.expected.gradients.items():
        np.testing.assert_allclose(
            observation.gradients[name], array, rtol=0, atol=1e-11, err_msg=name
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair: pair[0], "a call returned a Tensor, expected a pair of output and h_n"),
        (
            lambda pair: (*pair, None),
            "a call returned a tuple of 3, expected a pair of output and h_n",
        ),
        (lambda pair: None, "a call returned None, expected a pair of output and h_n"),
        (lambda pair: (pair[0], (pair[1], pair[1])), "h_n is a tuple of 2, expected a Tensor"),
        (lambda pair: (pair[0].tolist(), pair[1]), "output is a list of 5, expected a Tensor"),
        (lambda pair: (pair[0][1:], pair[1]), "output has shape (4, 2, 8), expected (5, 2, 8)"),
        (lambda pair: (pair[0], pair[1][0]), "h_n has shape (2, 4), expected (4, 2, 4)"),
        (
            lambda pair: (pair[0], pair[1].to_sparse()),
            "h_n has the layout torch.sparse_coo, expected torch.strided",
        ),
        (
            lambda pair: (pair[0], torch.nested.nested_tensor([pair[1]])),
            "h_n is a nested tensor, expected one tensor",
        ),
        (
            lambda pair: (torch.quantize_per_tensor(pair[0].float(), 0.1, 0, torch.qint8), pair[1]),
            "output is quantized to torch.qint8, expected floating-point numbers",
        ),
        (
            lambda pair: (pair[0], pair[1].to("meta")),
            "h_n is on the device meta, which holds no values",
        ),
    ],
)
def test_results_of_another_form_are_malformed(change: Any, message: str) -> None:
    observation = observe(change_results(change))
    with pytest.raises(Malformed) as raised:
        _ = (observation.output, observation.final)
    assert str(raised.value) == message


def test_padded_output_for_packed_input_is_malformed() -> None:
    observation = observe(
        change_results(lambda pair: (pair[0].data, pair[1])),
        BASE.replace(layout=Layout.PACKED, lengths=(5, 3)),
    )
    with pytest.raises(
        Malformed, match=r"^for packed input, output is a Tensor; expected a PackedSequence$"
    ):
        _ = observation.output


def test_results_without_a_gradient_are_malformed() -> None:
    observation = observe(change_results(lambda pair: (pair[0].detach(), pair[1].detach())))
    with pytest.raises(Malformed, match=r"^output and h_n carry no gradient$"):
        _ = observation.gradients


def test_a_gradient_that_is_not_implemented_is_unsupported() -> None:
    def refuse(pair: Any) -> Any:
        def never(gradient: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError("no gradients here")

        pair[0].register_hook(never)
        return pair

    with pytest.raises(Unsupported, match="backward raised NotImplementedError: no gradients here"):
        _ = observe(change_results(refuse)).gradients


def test_a_second_call_uses_the_same_layer_with_other_numbers() -> None:
    observation = observe(nn.RNN)
    second = observation.second_call(initial=np.zeros_like(observation.values.initial))
    assert second.module is observation.module
    assert not np.array_equal(second.output, observation.output)
    assert np.array_equal(observation.second_call().output, observation.output)
    assert observation.new_layer(BASE).module is not observation.module


def test_an_observation_that_has_a_call_takes_no_other() -> None:
    observation = observe(nn.RNN)
    other = observation.second_call()
    other.take_call(observation.call)
    assert np.array_equal(other.output, observation.output)
    with pytest.raises(ValueError, match=r"this observation has a call; pass yours to second_call"):
        observation.take_call(other.call)


def test_equal_cases_give_equal_results() -> None:
    case = BASE.replace(dropout=0.5, mode=Mode.TRAIN)
    assert np.array_equal(observe(nn.RNN, case).output, observe(nn.RNN, case).output)
    assert not np.array_equal(
        observe(nn.RNN, case).output, observe(nn.RNN, case.replace(mode=Mode.EVAL)).output
    )


def test_facts_are_computed_once_for_each_name_and_observation() -> None:
    observation = observe(nn.RNN)
    numbers = iter(range(10))
    assert observation.remember("first", lambda: next(numbers)) == 0
    assert observation.remember("second", lambda: next(numbers)) == 1
    assert observation.remember("first", lambda: next(numbers)) == 0
    assert observe(nn.RNN).remember("first", lambda: next(numbers)) == 2


def test_a_plain_case_uses_no_optional_feature_and_the_first_dtype_that_is_offered() -> None:
    plain = Case(config=Config(2, 3))
    without_float64 = Capabilities({Feature.FLOAT64: "no"})
    assert is_plain(plain, Capabilities())
    assert not is_plain(plain.replace(bidirectional=True), Capabilities())
    assert not is_plain(plain.replace(dtype=DType.FLOAT32), Capabilities())
    assert is_plain(plain.replace(dtype=DType.FLOAT32), without_float64)


def test_a_layer_that_was_used_without_the_call_of_its_case_is_made_anew() -> None:
    with collect_observations() as made:
        called, converted = observe(nn.RNN), observe(nn.RNN, BASE.replace(dtype=DType.FLOAT32))
        assert called.output is not None
        converted.module.double()
    assert made[0] is called
    assert made[1].case == converted.case
    assert made[1].output.shape == called.output.shape
    with pytest.raises(Failure):
        _ = converted.output


def test_the_record_of_a_new_layer_does_not_change() -> None:
    observation = observe(nn.RNN)
    expected = [parameter.shape for parameter in nn.RNN(3, 4, 2, bidirectional=True).parameters()]
    assert [each.shape for each in observation.new.parameters] == expected
    assert observation.new.module is observation.module
    limit = 4**-0.5
    assert all(0 < each.largest <= limit for each in observation.new.parameters)
    with torch.no_grad():
        for parameter in observation.module.parameters():
            parameter.fill_(9.0).requires_grad_(False)
    assert all(each.requires_grad for each in observation.new.parameters)
    assert max(each.largest for each in observation.new.parameters) <= limit


def test_a_parameter_under_two_names_is_noted_once_and_under_both() -> None:
    class Tied(nn.RNN):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.weight_hh_l1 = self.weight_hh_l0
            self.register_buffer("counter", torch.zeros(1))

    new = observe(Tied).new
    assert len(new.named) == len(new.parameters) + 1
    assert new.saved_buffers == ("counter",)


def test_settings_are_noted_before_and_after_the_constructor() -> None:
    class Doubles(nn.RNN):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            torch.set_default_dtype(torch.float64)

    before, after = (dict(each)["default dtype"] for each in observe(Doubles).new.settings)
    assert (before, after) == (torch.float32, torch.float64)
    assert torch.get_default_dtype() is torch.float32


def test_rules_share_a_second_call_and_one_may_damage_it() -> None:
    Counted.calls = 0
    observation = observe(Counted)
    _ = observation.call
    shared = observation.repeat()
    assert observation.repeat() is shared
    assert observation.borrow_repeated() is shared
    output = shared.output.copy()
    with torch.no_grad():
        shared.call.output_tensor.fill_(7.0)
    assert np.array_equal(observation.repeat().output, output)
    assert observation.borrow_repeated() is not shared
    assert Counted.calls == 2
    _ = observation.borrow_repeated().call
    assert Counted.calls == 3


def test_a_shared_call_counts_as_one_of_every_rule_that_uses_it() -> None:
    observation = observe(nn.RNN)
    made = []
    for _ in range(2):
        with collect_observations() as collected:
            _ = observation.repeat().call
        made.append(list(collected))
    assert made == [[observation.repeat()], [observation.repeat()]]


def test_the_call_on_the_negated_input_comes_after_the_checked_call() -> None:
    Counted.calls = 0
    observation = observe(Counted)
    negated = observation.call_negated()
    assert observation.was_called
    assert not negated.was_called
    assert np.array_equal(negated.values.input, -observation.values.input)
    assert observation.call_negated() is negated
    _ = negated.call
    assert Counted.calls == 2
