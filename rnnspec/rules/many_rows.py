"""Rules about batches with more rows than the grid of a GPU kernel may have in one dimension."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from rnnspec.cases.axes import (
    ConstructorStyle,
    Distribution,
    Feature,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
)
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import has_value, has_wide_dtype, is_differentiable, one_in
from rnnspec.cases.values import draw_values
from rnnspec.contract.shapes import state_shape
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_all_expected
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.rule import FIRST_GRADIENTS, OF_THE_CELL, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.subjects.failures import Failure, Unsupported

SIZES = ((1, 65_600), (2, 32_800), (3, 21_900))
"""Numbers of steps and samples whose product is just above 65,536."""
LAST = 20
"""Number of last samples that are differentiated. A sum over all rows may have a large error."""
FEW = (2, 4)
"""Batch sizes of the two calls whose operations are counted."""
# A step of an RNN has four operations: two products, a sum and a function. Only splitting the batch
# and joining it again takes one or two for each sample.
LEAST_OPERATIONS = 3
"""Number of operations for each sample from which a layer counts as a loop over samples."""
LOOPS = (
    "the layer computes one sample after the other, so that no kernel has a grid for all rows, and "
    "65,600 of them take minutes"
)
ROWS = Snippet("rows = torch.randn{shape}.to(x.dtype)")
STATES = Snippet("states = {states}")
REQUIRE_GRADIENTS = Snippet(
    """leaves = [rows{more}]
for leaf in leaves:
    leaf.requires_grad_()""",
    (Helper.LIST_TENSORS,),
)
PACKED = """torch.nn.utils.rnn.pack_padded_sequence(
    rows, [{steps}] * {batch}, batch_first={batch_first}
)"""
LIST_RESULTS = """def list_results(each):
    output, final = each(*many)
    return [data(output), *list_tensors(final)]

"""
RESULTS = Snippet(
    LIST_RESULTS
    + """for own, expected in zip(list_results(layer), list_results(reference)):
    torch.testing.assert_close(own, expected, rtol={tolerance}, atol={tolerance})""",
    (Helper.DATA, Helper.LIST_TENSORS),
)
GRADIENTS = Snippet(
    LIST_RESULTS
    + """def gradient(each):
    total = sum(result.flatten(0, -2)[-{last}:].sum() for result in list_results(each))
    tensors = [*leaves, *named(each).values()]
    found = torch.autograd.grad(total, tensors, retain_graph=True)
    return torch.cat([each.flatten() for each in found])
torch.testing.assert_close(
    gradient(layer), gradient(reference), rtol={tolerance}, atol={tolerance}
)""",
    (Helper.DATA, Helper.LIST_TENSORS, Helper.NAMED, Helper.BACKWARD),
)


@rule(
    "rnn.recurrence.every-step",
    "rnn.recurrence.samples-independent",
    when=~has_value(MemoryLayout.EXPANDED) & one_in(42, 33, of_cells=24),
    presupposes=(
        Fact.RESULTS,
        *OF_THE_CELL,
        "samples.independent",
        "samples.permuted",
        "stacking.*",
        "directions.*",
    ),
    id="samples.many-rows",
    of_cells="More than 65,536 samples are computed like few.",
)
def many_rows(observation: Observation) -> None:
    """More than 65,536 rows of steps and samples are computed like few rows.

    A new layer of one or two units is called with 1, 2 or 3 steps of 65,600, 32,800 or 21,900
    samples, or a cell with 65,600. The results are compared with the reference. The rule skips a
    layer that loops over the samples, so that its graph grows with each sample.

    Catches kernels whose grid is too small for all rows, so that the last rows, or all, are not
    computed.
    """
    case = choose_case_with_many_rows(observation.case, observation.subject.fixed)
    refuse_loops(observation, case)
    snippet = write_snippet(observation.case, case, RESULTS)
    assert_all_expected(observation.new_layer(case), snippet)


@rule(
    "rnn.gradients.input",
    "rnn.gradients.h_0",
    "rnn.gradients.parameters",
    when=is_differentiable & has_wide_dtype & one_in(15, 8, with_gates=10, of_cells=6),
    needs=(Feature.GRADIENTS,),
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS),
    id="gradients.many-rows",
    of_cells="The gradients of more than 65,536 samples are those of the formula.",
)
def gradients_of_many_rows(observation: Observation) -> None:
    """The gradients of more than 65,536 rows of steps and samples are those of the formula.

    A new layer of one or two units is called with 1, 2 or 3 steps of 65,600, 32,800 or 21,900
    samples, and only the last samples at the last step are differentiated. All gradients are
    compared with the reference. The rule skips a layer that loops over the samples.

    Catches sums over rows that end at the largest grid of a kernel, or at a buffer of fixed size.
    """
    case = choose_case_with_many_rows(observation.case, observation.subject.fixed)
    refuse_loops(observation, case)
    values = draw_values(case)
    is_last = (np.arange(case.batch) >= case.batch - LAST)[:, None]
    at_last_step = (np.arange(case.steps) == case.steps - 1)[:, None, None]
    many = observation.new_layer(
        case, d_output=values.d_output * (is_last & at_last_step), d_final=values.d_final * is_last
    )
    names = list_gradient_names(many)
    leaves = [name for name in case.config.kind_data.initial if name in names]
    snippet = write_snippet(observation.case, case, GRADIENTS, of_states=bool(leaves))
    assert_gradients(many, many.gradients, many.expected, names, snippet=snippet)


def choose_case_with_many_rows(case: Case, fixed: Collection[str] = ()) -> Case:
    """Return a case of a small layer with more than 65,536 rows, otherwise like the given case.

    The small layer has `num_layers=1`, unless `num_layers` is among the arguments that are `fixed`.
    """
    steps, batch = SIZES[0 if case.config.kind_data.is_cell else case.seed % len(SIZES)]
    # Lengths that are all equal are sorted already: sorting them would only exchange ties.
    layouts = {Layout.PACKED_UNSORTED: Layout.PACKED, Layout.UNBATCHED: Layout.BATCHED}
    return case.make_fresh(
        input_size=min(2, case.config.input_size),
        hidden_size=min(2, case.config.hidden_size),
        num_layers=case.config.num_layers if "num_layers" in fixed else 1,
        dropout=0.0,
        steps=steps,
        batch=batch,
        lengths=(),
        layout=layouts.get(case.layout, case.layout),
        memory_layout=MemoryLayout.CONTIGUOUS,
        constructor_style=ConstructorStyle.CHANGED,
        distribution=Distribution.PLAIN,
    )


def refuse_loops(observation: Observation, case: Case) -> None:
    """Raise Unsupported if a layer computes the samples of a case in a loop."""
    graded = case.replace(grad_mode=GradMode.GRAD)
    try:
        fewer, more = (
            _count_operations(observation.new_layer(graded.replace(batch=few))) for few in FEW
        )
    except Failure:  # a failing call is no evidence of a loop
        return
    if more - fewer >= LEAST_OPERATIONS * (FEW[1] - FEW[0]):
        raise Unsupported(LOOPS)


def _count_operations(observation: Observation) -> int:
    """Return the number of operations in the graph of a call."""
    waiting: list[Any] = [each.grad_fn for each in observation.call.result_tensors.values()]
    seen = set()
    while waiting:
        operation = waiting.pop()
        if operation is not None and operation not in seen:
            seen.add(operation)
            waiting += [each for each, _ in operation.next_functions]
    return len(seen)


def write_snippet(
    case: Case, many: Case, comparison: Snippet, *, of_states: bool = False
) -> Snippet:
    """Return a snippet that compares results or gradients of many rows with torch.nn.RNN's.

    `case` is the case of the program, which builds the layer. `of_states` is whether initial states
    are differentiated as well.
    """
    config, shape = case.config, (*many.shape[:-1], case.config.input_size)
    has_states = case.initial_state is InitialState.GIVEN
    lines = [ROWS.format(shape=shape)]
    if has_states:
        parts = (state_shape(config, shape, letter) for letter in config.kind_data.states)
        written = [f"torch.rand{part}.to(x.dtype) + 0.25" for part in parts]
        lines += [STATES.format(states=write_states(written))]
    if comparison is GRADIENTS:
        more = ", *list_tensors(states)" if has_states and of_states else ""
        lines += [REQUIRE_GRADIENTS.format(more=more)]
    rows = "rows"
    if case.is_packed:
        rows = PACKED.format(steps=many.steps, batch=many.batch, batch_first=config.batch_first)
    lines += [Snippet(f"many = ({rows}, states)" if has_states else f"many = ({rows},)")]
    tolerance = case.dtype.program_tolerance
    return sum(lines[1:], lines[0]) + comparison.format(tolerance=tolerance, last=LAST)
