"""Layouts there and back, packed rows, and strides that are really what they are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.cases.axes import InitialState, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.observe.tensors import (
    STRIDES,
    build_arguments,
    from_layout,
    has_same_bits,
    lay_out,
    locate_packed_rows,
    scatter_rows,
    to_array,
    to_layout,
)

BASE = Case(config=Config(4, 5, num_layers=2, bidirectional=True), steps=6, batch=3, initial_state=InitialState.GIVEN)
LAYOUTS = {
    "time-major": BASE,
    "batch-major": BASE.replace(batch_first=True),
    "unbatched": BASE.replace(layout=Layout.UNBATCHED),
    "unbatched, batch_first": BASE.replace(layout=Layout.UNBATCHED, batch_first=True),
}
PACKED = {
    "sorted": BASE.replace(layout=Layout.PACKED, lengths=(6, 4, 1)),
    "unsorted": BASE.replace(layout=Layout.PACKED_UNSORTED, lengths=(1, 6, 4)),
    "ties": BASE.replace(layout=Layout.PACKED_UNSORTED, lengths=(2, 6, 2)),
    "batch_first": BASE.replace(layout=Layout.PACKED_UNSORTED, lengths=(1, 6, 4), batch_first=True),
    "one": BASE.replace(layout=Layout.PACKED, batch=1, lengths=(6,)),
}


def given(case: Case, **changes: Any) -> Any:
    values = draw_values(case)
    return build_arguments(case.replace(**changes), values.input, values.h_0, "cpu")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_has_the_documented_shape_and_comes_back(name: str) -> None:
    case = LAYOUTS[name]
    values = draw_values(case).input
    there = to_layout(case, values)
    assert there.shape == case.shape
    assert np.array_equal(from_layout(case, there), values)
    assert np.array_equal(to_array(given(case).input), there)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_state_stays_layer_first(name: str) -> None:
    case = LAYOUTS[name]
    h_0 = draw_values(case).h_0
    assert np.array_equal(to_array(given(case).h_0), h_0 if case.is_batched else h_0[:, 0])


@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_say_which_step_of_which_sample_each_is(name: str) -> None:
    case = PACKED[name]
    values = draw_values(case).input
    found = given(case)
    assert isinstance(found.input, PackedSequence)
    assert len(found.steps) == sum(case.lengths)
    padded = scatter_rows(
        to_array(found.leaf), found.steps, found.samples, (case.steps, case.batch)
    )
    for sample, length in enumerate(case.lengths):
        assert np.array_equal(padded[:length, sample], values[:length, sample])
        assert not padded[length:, sample].any()
    theirs, lengths = pad_packed_sequence(found.input, total_length=case.steps)
    assert np.array_equal(to_array(theirs), padded)
    assert tuple(lengths.tolist()) == case.lengths


def test_rows_follow_the_order_of_the_packing() -> None:
    steps, samples = locate_packed_rows(given(PACKED["unsorted"]).input)
    assert steps.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5]
    assert samples.tolist() == [1, 2, 0, 1, 2, 1, 2, 1, 2, 1, 1]


@pytest.mark.parametrize("memory", STRIDES)
@pytest.mark.parametrize("name", [*LAYOUTS, *PACKED])
def test_the_values_do_not_depend_on_the_strides(memory: str, name: str) -> None:
    case = {**LAYOUTS, **PACKED}[name].replace(memory=memory)
    found = given(case)
    plain = given(case, memory_layout=MemoryLayout.CONTIGUOUS)
    assert has_same_bits(found.leaf, plain.leaf)
    assert has_same_bits(found.h_0, plain.h_0)


@pytest.mark.parametrize(
    ("memory", "contiguous"), [("contiguous", True), ("transposed", False), ("sliced", False)]
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_strides_are_what_they_are_called(memory: str, contiguous: bool, name: str) -> None:
    assert given(LAYOUTS[name], memory=memory).leaf.is_contiguous() == contiguous


def test_how_each_kind_of_memory_lies() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    assert lay_out(tensor, "transposed", None).stride() == (1, 2, 6)
    sliced = lay_out(tensor, "sliced", None)
    assert (sliced.stride(), sliced.storage_offset()) == ((126, 18, 2), 63 + 9 + 1)
    assert torch.isnan(torch.as_strided(sliced, (1,), (1,), 0)).all()
    repeated = lay_out(tensor[:, :1].expand(2, 3, 4), "expanded", 1)
    assert repeated.stride()[1] == 0
    assert lay_out(tensor, "contiguous", None).data_ptr() != tensor.data_ptr()


def test_slices_that_differ_are_not_expanded() -> None:
    tensor = torch.arange(6.0).reshape(2, 3, 1)
    assert torch.equal(lay_out(tensor, "expanded", 1), tensor)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_expanded_input_repeats_one_slice_of_memory(name: str) -> None:
    assert 0 in given(LAYOUTS[name].replace(memory_layout=MemoryLayout.EXPANDED)).leaf.stride()


@pytest.mark.parametrize(
    ("grad", "wanted"), [("grad", True), ("no_grad", False), ("inference", False)]
)
def test_gradients_are_asked_for_in_grad_mode_only(grad: str, wanted: bool) -> None:
    found = given(BASE.replace(grad=grad))
    assert (found.leaf.requires_grad, found.h_0.requires_grad) == (wanted, wanted)


def test_without_a_state_there_is_none() -> None:
    assert given(BASE.replace(initial_state=InitialState.ABSENT)).h_0 is None


def test_the_same_bits_are_the_same_values_shape_and_dtype() -> None:
    ones = torch.tensor([1.0, float("nan")])
    assert has_same_bits(ones, ones.clone())
    assert not has_same_bits(ones, torch.tensor([1.0, 2.0]))
    assert not has_same_bits(ones, ones.double())
    assert not has_same_bits(ones, ones[None])
    assert has_same_bits(None, None)
    assert not has_same_bits(ones, None)
