"""Modes: train or eval, with or without gradients, and the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Feature, GradMode, Mode
from rnnspec.cases.case import Case
from rnnspec.observe.call import Call
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import call_module
from rnnspec.observe.tensors import Arguments, build_arguments
from rnnspec.rulekit.assertions.results import (
    assert_results,
    assert_results_and_gradients,
    fail_only_if_right_elsewhere,
)
from rnnspec.rulekit.conditions import Condition, has_value, one_in, predictable
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.subject import observing

few_cells: Condition[Case] = Condition(
    "at most 12 cells",
    lambda case: case.steps * case.config.num_layers * case.config.num_directions <= 12,
)
OTHER_MODE = {Mode.TRAIN: Mode.EVAL, Mode.EVAL: Mode.TRAIN}
BOTH_MODES = Snippet("""for mode in (True, False):
    layer.train(mode)
    reference.train(mode)
    for one, other in zip(layer(*given), reference(*given)):
        close(one, other)""", (Helper.CLOSE,))


@rule("rnn.module.mode", when=predictable & one_in(5, 1))
def train(observation: Observation) -> None:
    """train() and eval() decide whether dropout is at work, and nothing else.

    Where no random number decides, results and gradients have to be those of the formula in the case's mode if they are in the other
    one; the same layer's results in the other mode likewise.

    Catches a state, a precision or noise that one of the two modes alone has.
    """
    other = observation.case.replace(mode=OTHER_MODE[observation.case.mode])
    fail_only_if_right_elsewhere(
        observation,
        other.replace(dropout=0.0),
        partial(assert_results_and_gradients, snippet=BOTH_MODES),
    )
    if not other.has_active_dropout:
        with _switched(observation, other.mode):
            fail_only_if_right_elsewhere(
                observation.second_call_as(other),
                observation.case,
                partial(assert_results, snippet=BOTH_MODES),
            )


@contextmanager
def _switched(observation: Observation, mode: Mode) -> Iterator[None]:
    """The layer in another mode for a while."""
    observation.prepared.owner.train(mode is Mode.TRAIN)
    try:
        yield
    finally:
        observation.prepared.owner.train(observation.case.mode is Mode.TRAIN)


WITHOUT_GRAPH = Snippet("""output, h_n = layer(*given)
assert not data(output).requires_grad and not h_n.requires_grad""", (Helper.DATA,))


@rule("rnn.module.no-grad", when=has_value(GradMode.NO_GRAD))
def no_grad(observation: Observation) -> None:
    """Under no_grad results have the same values as else, and no graph.

    Results are compared with the formula, unless a layer with gradients misses it too; none of them may require a gradient.

    Catches fast paths without gradients that compute something else, and calls that switch gradients on.
    """
    _as_with_gradients(observation)


@rule("rnn.module.no-grad", when=has_value(GradMode.INFERENCE))
def inference(observation: Observation) -> None:
    """Under inference_mode results have the same values as else, and no graph.

    Results are compared with the formula, unless a layer with gradients misses it too; none of them may require a gradient.

    Catches calls that fail or compute something else in inference mode.
    """
    _as_with_gradients(observation)


def _as_with_gradients(observation: Observation) -> None:
    for name, tensor in (
        ("output", observation.call.output_tensor),
        ("h_n", observation.call.h_n_tensor),
    ):
        if tensor.requires_grad:
            raise Violation(
                f"{name} of a call under {observation.case.grad_mode} requires a gradient", WITHOUT_GRAPH
            )
    if predictable(observation.case):
        fail_only_if_right_elsewhere(
            observation, observation.case.replace(grad_mode=GradMode.GRAD), assert_results
        )


META = Snippet("""meta = layer.to("meta")
moved = [each.to("meta") for each in given]
for one, other in zip(meta(*moved), reference(*given)):
    assert (data(one).shape, data(one).dtype) == (data(other).shape, data(other).dtype), data(one).shape
    assert data(one).device.type == "meta", data(one).device""", (Helper.DATA,))


@rule("rnn.module.meta", when=few_cells & one_in(12), needs=(Feature.META,))
def meta(observation: Observation) -> None:
    """On the meta device the layer gives results of the right shape and dtype.

    The layer and its arguments, packed ones too, are moved to the meta device, and the results' shapes, dtypes and devices compared.

    Catches zeros made on the default device, and calls that look at values.
    """
    case = observation.case
    module = observation.subject.build(case.config, case.constructor_style, case.dtype).train(
        case.mode is Mode.TRAIN
    )
    given = on_meta(
        build_arguments(
            case, observation.values.input, observation.values.h_0, observation.subject.device
        )
    )
    with observing("a call on the meta device"), case.grad_mode.enter():
        returned = call_module(module.to("meta"), given.input, given.h_0)
    _is_right(
        case,
        Call(
            case,
            given,
            observation.call.copies,
            returned,
            observation.call.before,
            observation.call.after,
        ),
    )


def on_meta(given: Arguments) -> Arguments:
    """The same arguments on the meta device; sizes of packed batches stay on the CPU."""
    moved = (
        given.input.to("meta")
        if isinstance(given.input, torch.Tensor)
        else _packed_on_meta(given.input)
    )
    leaf = moved if isinstance(moved, torch.Tensor) else moved.data
    return Arguments(
        moved, leaf, None if given.h_0 is None else given.h_0.to("meta"), given.steps, given.samples
    )


def _packed_on_meta(packed: PackedSequence) -> PackedSequence:
    indices = [
        None if each is None else each.to("meta")
        for each in (packed.sorted_indices, packed.unsorted_indices)
    ]
    return PackedSequence(packed.data.to("meta"), packed.batch_sizes, *indices)


def _is_right(case: Case, call: Call) -> None:
    for name, tensor in (("output", call.output_tensor), ("h_n", call.h_n_tensor)):
        if tensor.device.type != "meta":
            raise Violation(f"on the meta device {name} is on {tensor.device}", META)
        if tensor.dtype != case.dtype.torch_dtype:
            raise Violation(
                f"on the meta device {name} has dtype {tensor.dtype}, expected torch.{case.dtype}",
                META,
            )
