"""Tensors of a call: layouts, rows of packed data, memory layouts and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.cases.axes import GradMode, InitialState, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.observe.tensors import (
    build_arguments,
    from_layout,
    has_same_bits,
    locate_packed_rows,
    scatter_rows,
    to_array,
    to_layout,
)

BASE = Case(
    config=Config(4, 5, num_layers=2, bidirectional=True),
    steps=6,
    batch=3,
    initial_state=InitialState.GIVEN,
)
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


def make_arguments(case: Case, **changes: Any) -> Any:
    values = draw_values(case)
    return build_arguments(case.replace(**changes), values.input, values.initial, "cpu")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_has_the_documented_shape_and_can_be_undone(name: str) -> None:
    case = LAYOUTS[name]
    values = draw_values(case).input
    arranged = to_layout(case, values)
    assert arranged.shape == case.shape
    assert np.array_equal(from_layout(case, arranged), values)
    assert np.array_equal(to_array(make_arguments(case).input), arranged)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_first_dimension_of_the_state_is_the_layer(name: str) -> None:
    case = LAYOUTS[name]
    h_0 = draw_values(case).initial
    assert np.array_equal(
        to_array(make_arguments(case).initial["h_0"]), h_0 if case.is_batched else h_0[:, 0]
    )


@pytest.mark.parametrize("name", PACKED)
def test_rows_of_packed_data_have_their_step_and_sample(name: str) -> None:
    case = PACKED[name]
    values = draw_values(case).input
    given = make_arguments(case)
    assert isinstance(given.input, PackedSequence)
    assert len(given.steps) == sum(case.lengths)
    padded = scatter_rows(
        to_array(given.leaf), given.steps, given.samples, (case.steps, case.batch)
    )
    for sample, length in enumerate(case.lengths):
        assert np.array_equal(padded[:length, sample], values[:length, sample])
        assert not padded[length:, sample].any()
    by_torch, lengths = pad_packed_sequence(given.input, total_length=case.steps)
    assert np.array_equal(to_array(by_torch), padded)
    assert tuple(lengths.tolist()) == case.lengths


def test_rows_are_in_the_order_of_packed_data() -> None:
    steps, samples = locate_packed_rows(make_arguments(PACKED["unsorted"]).input)
    assert steps.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5]
    assert samples.tolist() == [1, 2, 0, 1, 2, 1, 2, 1, 2, 1, 1]


@pytest.mark.parametrize("memory_layout", MemoryLayout, ids=str)
@pytest.mark.parametrize("name", [*LAYOUTS, *PACKED])
def test_values_do_not_depend_on_the_memory_layout(memory_layout: MemoryLayout, name: str) -> None:
    case = {**LAYOUTS, **PACKED}[name].replace(memory_layout=memory_layout)
    given = make_arguments(case)
    contiguous = make_arguments(case, memory_layout=MemoryLayout.CONTIGUOUS)
    assert has_same_bits(given.leaf, contiguous.leaf)
    assert has_same_bits(given.hx, contiguous.hx)


@pytest.mark.parametrize(
    ("memory_layout", "is_contiguous"),
    [
        (MemoryLayout.CONTIGUOUS, True),
        (MemoryLayout.TRANSPOSED, False),
        (MemoryLayout.SLICED, False),
        (MemoryLayout.CUT, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_memory_layouts_of_the_input(
    memory_layout: MemoryLayout, is_contiguous: bool, name: str
) -> None:
    given = make_arguments(LAYOUTS[name], memory_layout=memory_layout)
    assert given.leaf.is_contiguous() == is_contiguous


def test_strides_of_memory_layouts() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    assert MemoryLayout.TRANSPOSED.lay_out(tensor, None).stride() == (1, 2, 6)
    assert MemoryLayout.EXCHANGED.lay_out(tensor, None).stride() == (4, 8, 1)
    sliced = MemoryLayout.SLICED.lay_out(tensor, None)
    assert (sliced.stride(), sliced.storage_offset()) == ((126, 18, 2), 63 + 9 + 1)
    assert torch.isnan(torch.as_strided(sliced, (1,), (1,), 0)).all()
    cut = MemoryLayout.CUT.lay_out(tensor, None)
    assert (cut.stride(), cut.storage_offset()) == ((30, 6, 1), 30 + 6 + 1)
    assert torch.isnan(torch.as_strided(cut, (1,), (1,), 0)).all()
    offset = MemoryLayout.OFFSET.lay_out(tensor, None)
    assert (offset.stride(), offset.storage_offset()) == ((12, 4, 1), 24)
    expanded = MemoryLayout.EXPANDED.lay_out(tensor[:, :1].expand(2, 3, 4), 1)
    assert expanded.stride()[1] == 0
    contiguous = MemoryLayout.CONTIGUOUS.lay_out(tensor, None)
    assert contiguous.is_contiguous()
    assert contiguous.data_ptr() != tensor.data_ptr()


def test_slices_that_differ_are_not_expanded() -> None:
    tensor = torch.arange(6.0).reshape(2, 3, 1)
    assert torch.equal(MemoryLayout.EXPANDED.lay_out(tensor, 1), tensor)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_expanded_input_has_a_stride_of_zero(name: str) -> None:
    assert (
        0
        in make_arguments(LAYOUTS[name].replace(memory_layout=MemoryLayout.EXPANDED)).leaf.stride()
    )


@pytest.mark.parametrize(
    ("grad_mode", "requires_grad"),
    [(GradMode.GRAD, True), (GradMode.NO_GRAD, False), (GradMode.INFERENCE, False)],
    ids=str,
)
def test_tensors_require_gradients_in_grad_mode_only(
    grad_mode: GradMode, requires_grad: bool
) -> None:
    given = make_arguments(BASE.replace(grad_mode=grad_mode))
    assert given.leaf.requires_grad == requires_grad
    assert given.initial["h_0"].requires_grad == requires_grad


def test_an_absent_initial_state_is_not_passed() -> None:
    assert make_arguments(BASE.replace(initial_state=InitialState.ABSENT)).hx is None


def test_the_same_bits_are_the_same_shape_dtype_and_values() -> None:
    ones = torch.tensor([1.0, float("nan")])
    assert has_same_bits(ones, ones.clone())
    assert not has_same_bits(ones, torch.tensor([1.0, 2.0]))
    assert not has_same_bits(ones, ones.double())
    assert not has_same_bits(ones, ones[None])
    assert has_same_bits(None, None)
    assert not has_same_bits(ones, None)
