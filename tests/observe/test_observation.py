"""What a subject did with a case: each part once, failures kept, results as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspec.cases.axes import InitialState, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.observe.observation import Observation
from rnnspec.observe.part import part
from rnnspec.subjects.failures import Failure, Malformed, Raised, Unsupported
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

BASE = Case(
    config=Config(3, 4, num_layers=2, bidirectional=True), steps=5, batch=2, initial_state=InitialState.GIVEN, seed=3
)


class Counted(nn.RNN):
    """Counts its calls."""

    calls = 0

    def forward(self, *given: Any) -> Any:
        type(self).calls += 1
        return super().forward(*given)


def changed(change: Any) -> type[nn.RNN]:
    """A layer that returns something else."""

    class Changed(nn.RNN):
        def forward(self, *given: Any) -> Any:
            return change(super().forward(*given))

    return Changed


def observed(factory: Any, case: Case = BASE) -> Observation:
    return Observation(TorchSubject(resolve_target(factory)), case)


def test_each_part_is_computed_once() -> None:
    Counted.calls = 0
    seen = observed(Counted)
    assert seen.output is not None
    assert seen.h_n is not None
    assert seen.gradients is seen.gradients
    assert Counted.calls == 1


def test_a_failure_is_kept_and_raised_again() -> None:
    class Failing(nn.RNN):
        calls = 0

        def forward(self, *given: Any) -> Any:
            type(self).calls += 1
            raise ValueError("never")

    seen = observed(Failing)
    for _ in range(3):
        with pytest.raises(Raised, match=r"^the call raised ValueError: never$"):
            _ = seen.call
    assert Failing.calls == 1


def test_a_part_is_told_apart_from_others_and_from_other_holders() -> None:
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


@pytest.mark.parametrize("layout", ["batched", "unbatched", "packed", "packed-unsorted"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_results_are_time_major_and_padded_whatever_the_layout(
    layout: str, batch_first: bool
) -> None:
    case = BASE.replace(
        layout=layout,
        batch_first=batch_first,
        lengths=(3, 5) if layout == "packed-unsorted" else (5, 3),
    )
    seen = observed(nn.RNN, case)
    batch = 1 if layout == "unbatched" else 2
    assert (seen.output.shape, seen.h_n.shape) == ((5, batch, 8), (4, batch, 4))
    assert {seen.output.dtype, seen.h_n.dtype} == {np.dtype(np.float64)}
    np.testing.assert_allclose(seen.output, seen.expected.output, rtol=0, atol=1e-13)
    np.testing.assert_allclose(seen.h_n, seen.expected.h_n, rtol=0, atol=1e-13)
    assert {name: array.shape for name, array in seen.gradients.items()} == {
        "input": (5, batch, 3),
        "h_0": (4, batch, 4),
        **{name: array.shape for name, array in draw_values(case).weights.items()},
    }
    for name, array in seen.expected.gradients.items():
        np.testing.assert_allclose(seen.gradients[name], array, rtol=0, atol=1e-11, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair: pair[0], "a call returned Tensor, expected a pair of output and h_n"),
        (
            lambda pair: (*pair, None),
            "a call returned tuple of 3, expected a pair of output and h_n",
        ),
        (lambda pair: None, "a call returned NoneType, expected a pair of output and h_n"),
        (lambda pair: (pair[0], (pair[1], pair[1])), "h_n is tuple, expected a tensor"),
        (lambda pair: (pair[0].tolist(), pair[1]), "output is list, expected a tensor"),
        (lambda pair: (pair[0][1:], pair[1]), "output has shape (4, 2, 8), expected (5, 2, 8)"),
        (lambda pair: (pair[0], pair[1][0]), "h_n has shape (2, 4), expected (4, 2, 4)"),
    ],
)
def test_a_result_of_another_form_is_told(change: Any, message: str) -> None:
    seen = observed(changed(change))
    with pytest.raises(Malformed) as raised:
        _ = (seen.output, seen.h_n)
    assert str(raised.value) == message


def test_padded_output_for_packed_input_is_told() -> None:
    seen = observed(
        changed(lambda pair: (pair[0].data, pair[1])), BASE.replace(layout=Layout.PACKED, lengths=(5, 3))
    )
    with pytest.raises(Malformed, match=r"^output is Tensor for packed input$"):
        _ = seen.output


def test_results_without_a_gradient_are_told() -> None:
    seen = observed(changed(lambda pair: (pair[0].detach(), pair[1].detach())))
    with pytest.raises(Malformed, match=r"^output and h_n carry no gradient$"):
        _ = seen.gradients


def test_a_refused_gradient_is_a_refusal() -> None:
    def refuse(pair: Any) -> Any:
        def never(gradient: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError("no gradients here")

        pair[0].register_hook(never)
        return pair

    with pytest.raises(Unsupported, match="backward raised NotImplementedError: no gradients here"):
        _ = observed(changed(refuse)).gradients


def test_a_further_call_is_made_by_the_same_layer_with_other_numbers() -> None:
    seen = observed(nn.RNN)
    again = seen.second_call(h_0=np.zeros_like(seen.values.h_0))
    assert again.module is seen.module
    assert not np.array_equal(again.output, seen.output)
    assert np.array_equal(seen.second_call().output, seen.output)
    assert seen.new_layer(BASE).module is not seen.module


def test_the_same_case_is_seen_the_same_way_each_time() -> None:
    case = BASE.replace(dropout=0.5, mode=Mode.TRAIN)
    assert np.array_equal(observed(nn.RNN, case).output, observed(nn.RNN, case).output)
    assert not np.array_equal(
        observed(nn.RNN, case).output, observed(nn.RNN, case.replace(mode=Mode.EVAL)).output
    )
