"""Rules about modes: training and evaluation, gradients on and off, and the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, reduce
from operator import add

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec import oracle
from rnnspec.cases.axes import (
    Distribution,
    DType,
    Feature,
    Float32Precision,
    GradMode,
    Layout,
    Mode,
)
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_known_gradients,
    has_predictable_results,
    has_small_sizes,
    has_value,
    one_in,
)
from rnnspec.cases.values import Values
from rnnspec.contract.shapes import input_shape
from rnnspec.observe.call import Call, perform_call
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import CallArguments
from rnnspec.rulekit.assertions.relations import (
    change_difference,
    has_right_results,
    make_second_call,
)
from rnnspec.rulekit.assertions.results import (
    CheckObservation,
    assert_each_close,
    assert_results,
    assert_results_and_gradients,
    fail_only_if_right_elsewhere,
    list_gradient_names,
)
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.meta_device import use_meta_device
from rnnspec.subjects.subject import observe_step

has_few_cells: Condition[Case] = Condition(
    "steps * num_layers * directions <= 12",
    lambda case: case.steps * case.config.num_layers * case.config.num_directions <= 12,
)
is_called_on_inference_tensors = has_predictable_results & one_in(6)
"""Cases that repeat the call on tensors created in inference mode."""
OTHER_MODE = {Mode.TRAIN: Mode.EVAL, Mode.EVAL: Mode.TRAIN}
MODE_IS_SET = Snippet(
    """for mode in (True, False):
    layer.train(mode)
    assert layer.training == mode, layer.training"""
)
BOTH_MODES = Snippet(
    """for mode in (True, False):
    layer.train(mode)
    reference.train(mode)
    for one, other in zip(layer(*given), reference(*given)):
        close(one, other)""",
    (Helper.CLOSE,),
)


@rule(
    "rnn.module.mode",
    "use.module.mode.attribute",
    when=has_predictable_results & one_in(12, 1),
    about=("mode",),
    presupposes=(
        Fact.RESULTS,
        "side-effects.parameters",
        *REPEATED_CALLS,
        "gradients.output-alone",
        "gradients.h-n-alone",
    ),
    establishes=(Fact.CALL, Fact.RESULTS, Fact.GRADIENTS),
)
def train(observation: Observation) -> None:
    """`train()` and `eval()` control whether dropout is active, and nothing else.

    The attribute `training` must match the mode of the layer. In cases without random results,
    results and gradients are compared with the documented values; a difference counts only if a
    layer in the other mode does not show it. The same layer is then switched to the other mode, and
    its results are compared again.

    Catches modes that have no effect, and an ignored initial state, a lower precision, or noise, in
    only the training mode or only the evaluation mode.
    """
    mode, found = observation.case.mode, observation.module.training
    if found is not (mode is Mode.TRAIN):
        raise Violation(
            f"after {mode}(), the layer has training={found}; expected {not found}", MODE_IS_SET
        )
    other = observation.case.replace(mode=OTHER_MODE[observation.case.mode])
    fail_only_if_right_elsewhere(
        observation,
        other.replace(dropout=0.0),
        partial(assert_results_and_gradients, snippet=BOTH_MODES),
    )
    if not other.has_active_dropout:
        with _switch_mode(observation, other.mode):
            fail_only_if_right_elsewhere(
                observation.second_call_as(other),
                observation.case,
                partial(assert_results, snippet=BOTH_MODES),
            )


@contextmanager
def _switch_mode(observation: Observation, mode: Mode) -> Iterator[None]:
    """Switch the layer to another mode inside the context."""
    observation.prepared.owner.train(mode is Mode.TRAIN)
    try:
        yield
    finally:
        observation.prepared.owner.train(observation.case.mode is Mode.TRAIN)


WITHOUT_GRAPH = Snippet(
    """for result in layer(*given):
    assert not any(each.requires_grad for each in list_tensors(data(result)))""",
    (Helper.DATA, Helper.LIST_TENSORS),
)


@rule(
    "rnn.module.no-grad",
    when=has_value(GradMode.NO_GRAD),
    about=("grad_mode",),
    presupposes=("side-effects.parameters",),
)
def no_grad(observation: Observation) -> None:
    """Under `torch.no_grad()`, the layer returns the same values as with gradients enabled, and
    builds no graph.

    The results are compared with the documented values, unless they are wrong with gradients
    enabled as well, or right in a new layer that was not used before. No result may require
    gradients.

    Catches fast paths without gradients that compute different results, and calls that enable
    gradients.
    """
    _assert_same_as_with_gradients(observation)


@rule(
    "rnn.module.no-grad",
    when=has_value(GradMode.INFERENCE),
    about=("grad_mode",),
    presupposes=(
        "modes.no-grad",
        "side-effects.parameters",
        "side-effects.earlier-results",
        *REPEATED_CALLS,
    ),
)
def inference(observation: Observation) -> None:
    """Under `torch.inference_mode()`, the layer returns the same values as with gradients enabled,
    and builds no graph.

    The results are compared with the documented values, unless they are wrong with gradients
    enabled as well, or right in a new layer that was not used before. No result may require
    gradients. In a sixth of the cases, the layer is called again with an input and initial states
    that were created in inference mode, as if by other layers.

    Catches calls that fail or compute different results in inference mode, or with tensors that
    were created in it.
    """
    _assert_same_as_with_gradients(observation)
    if is_called_on_inference_tensors(observation.case):
        _assert_takes_inference_tensors(observation)


def _assert_takes_inference_tensors(observation: Observation) -> None:
    """Raise Violation if only tensors created in inference mode make a call fail or give wrong
    results.
    """
    again = observation.second_call()
    with again.case.grad_mode.enter():
        given = again.build_arguments()
    try:
        again.take_call(perform_call(again.prepared, again.case, given))
    except Raised as raised:
        message = f"with arguments created in inference mode, {raised}"
        raise Violation(message, snippets.ON_COPIES) from raised
    if has_right_results(observation):
        assert_results(again, snippets.ON_COPIES)


def _assert_same_as_with_gradients(observation: Observation) -> None:
    """Raise Violation if results require gradients, or are right only with gradients enabled."""
    case = observation.case
    for name, tensor in observation.call.result_tensors.items():
        if tensor.requires_grad:
            raise Violation(
                f"under {case.grad_mode.code}, {name} requires gradients, "
                "expected requires_grad=False",
                WITHOUT_GRAPH,
            )
    if has_predictable_results(case):
        _fail_only_without_prior_uses(
            observation,
            partial(
                fail_only_if_right_elsewhere,
                elsewhere=case.replace(grad_mode=GradMode.GRAD),
                check=assert_results,
            ),
        )


def _fail_only_without_prior_uses(observation: Observation, check: CheckObservation) -> None:
    """Run a check; suppress its violation if a new layer has right results in the same grad mode.

    The fault then needs an earlier use of the layer, and the rules about earlier uses report it:
    a copy of the weights that only calls without gradients read is a stale copy first of all.
    """
    try:
        check(observation)
    except Violation:
        unused = observation.case.make_fresh()
        if observation.case.is_fresh or not has_right_results(observation.new_layer(unused)):
            raise


AUTOCAST = Snippet(
    """def run(each):
    with torch.autocast(x.device.type, {amp}):
        results = each(*given)
    tensors = [data(result).float() for result in list_tensors(results)]
    total = sum(spread(tensor) for tensor in tensors)
    parameters = [own for own in each.parameters() if own.requires_grad]
    return tensors + list(torch.autograd.grad(total, parameters))

for got, expected in zip(run(layer), run(reference)):
    torch.testing.assert_close(got, expected, rtol=0.1, atol=0.1)""",
    (Helper.DATA, Helper.LIST_TENSORS, Helper.SPREAD, Helper.BACKWARD),
)
WITH_UPDATED_WEIGHTS = Snippet(
    """for _ in range(2):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.neg_()
    with torch.no_grad(), torch.autocast(x.device.type, {amp}):
        results, wanted = list_tensors(layer(*given)), list_tensors(reference(*given))
for got, expected in zip(results, wanted):
    torch.testing.assert_close(data(got).float(), data(expected).float(), rtol=0.1, atol=0.1)""",
    (Helper.DATA, Helper.LIST_TENSORS),
)
NARROW_INPUT = Snippet("given = (given[0].to({amp}), *given[1:])")
SHALLOW = Snippet(
    """config = {{**config{changes}}}
layer, reference = build(**config), type(reference)(**config)
for name, parameter in named(layer).items():
    parameter.data = named(reference)[name].data.clone()
given = (torch.randn{shape},)""",
    (Helper.BUILD, Helper.NAMED),
)


@rule(
    "use.amp.autocast",
    when=has_known_gradients
    & has_value(DType.FLOAT32)
    & has_value(Float32Precision.IEEE)
    & has_small_sizes
    & has_few_cells,
    needs=(Feature.GRADIENTS, Feature.AUTOCAST),
    presupposes=(Fact.RESULTS, Fact.GRADIENTS, *REPEATED_CALLS, *FIRST_GRADIENTS),
    program=AUTOCAST.format(amp=torch.bfloat16),
)
def autocast(observation: Observation) -> None:
    """Under `torch.autocast`, a layer in float32 returns the results and gradients of the formula,
    up to rounding in the dtype of autocast.

    This dtype is bfloat16, or float16 if the layer accepts it. The layer is called again and
    differentiated, in half of the cases with an input in this dtype, as other layers return it
    under autocast; in half of the cases, a new layer with `num_layers=1` is called with one or two
    steps instead: with its weights negated, with its own weights, both without gradients, and once
    more with gradients. Results and gradients are compared with the reference, within a bound for
    16-bit sums whose operands are rounded too. So a layer may compute in float32, and in 16 bits.

    Catches calls and backward passes that mix dtypes, parts that compute with fewer digits than the
    dtype of autocast has, and copies of weights in 16 bits that miss an update.
    """
    if not has_right_results(observation):
        return  # other rules report that
    is_shallow = observation.case.seed // 2 % 2 == 1
    right = _build_shallow_layer(observation) if is_shallow else observation
    if is_shallow and not has_right_results(right):
        return
    given = right.build_arguments()
    dtype = _choose_autocast_dtype(right, given)
    before = [_write_shallow(right.case)] if is_shallow else []
    narrow = dtype.torch_dtype
    if observation.case.seed % 2 == 1 and observation.subject.offers(dtype.needs):
        given = replace(given, input=given.input.to(narrow))
        before.append(NARROW_INPUT.format(amp=narrow))
    program = reduce(add, [*before, AUTOCAST.format(amp=narrow)])
    expected = right.expected.round_as(oracle.AUTOCAST[dtype.text])
    with change_difference(when=f"under autocast to {dtype}"):
        if is_shallow and has_right_results(make_second_call(right, grad_mode=GradMode.NO_GRAD)):
            updated = _call_with_updated_weights(right, given, narrow)
            lines = reduce(add, [*before, WITH_UPDATED_WEIGHTS.format(amp=narrow)])
            _assert_autocast_results(updated, expected, lines)
        again = _call_under_autocast(right, right.case, given, narrow)
        _assert_autocast_results(again, expected, program)
        found = again.differentiate(again.call, again.result_names)
        names = [name for name in list_gradient_names(again) if name in found]
        bound = expected.gradient_bound
        assert_each_close(again, names, found, expected.gradients, bound, program)


def _assert_autocast_results(
    observation: Observation, expected: Expected, snippet: Snippet
) -> None:
    names, bound = observation.result_names, expected.bound.results
    assert_each_close(observation, names, observation.results, expected.results, bound, snippet)


def _choose_autocast_dtype(observation: Observation, given: CallArguments) -> DType:
    """Return float16 in every second case in which the layer can use it, and bfloat16 otherwise.

    Some devices lack kernels in float16 under autocast: torch's own nn.LSTM raises on many CPUs,
    and so does the backward pass of a TorchScript function.
    """
    if observation.case.seed // 4 % 2 == 0 or not _fits_in_float16(observation.values):
        return DType.BFLOAT16
    try:
        tried = _call_under_autocast(observation, observation.case, given, torch.float16)
        tried.differentiate(tried.call, tried.result_names)
    except Raised:
        return DType.BFLOAT16
    return DType.FLOAT16


def _fits_in_float16(values: Values) -> bool:
    """Return whether float16 rounds all numbers of a case by at most its unit roundoff."""
    limits = torch.finfo(torch.float16)
    arrays = (*values.weights.values(), values.input, values.initial, values.d_output)
    sizes = [np.abs(array[array != 0]) for array in (*arrays, values.d_final)]
    return all(np.all((size >= limits.tiny) & (size <= limits.max)) for size in sizes)


def _call_under_autocast(
    observation: Observation, case: Case, given: CallArguments, dtype: torch.dtype
) -> Observation:
    """Call the layer of an observation again, under autocast, in the gradient mode of a case."""
    again = observation.second_call()
    with torch.autocast(torch.device(again.subject.device).type, dtype):
        again.take_call(perform_call(again.prepared, case, given))
    return again


def _call_with_updated_weights(
    observation: Observation, given: CallArguments, dtype: torch.dtype
) -> Observation:
    """Call a new layer without gradients, with negated weights and then with its own again."""
    without_gradients = observation.case.replace(grad_mode=GradMode.NO_GRAD)
    for _ in range(2):
        with torch.no_grad():
            for parameter in observation.prepared.module.parameters():
                parameter.neg_()
        again = _call_under_autocast(observation, without_gradients, given, dtype)
    return again


def _build_shallow_layer(observation: Observation) -> Observation:
    """Return a new layer with `num_layers=1`, and a call of one or two steps.

    The bound on gradients under autocast grows with each step and layer: after three steps of two
    layers, it is a hundred times as large as most gradients of an nn.GRU, and here as large as the
    gradients or smaller.
    """
    case = observation.case
    has_fixed_layers = "num_layers" in observation.subject.fixed
    return observation.new_layer(
        case.make_fresh(
            num_layers=case.config.num_layers if has_fixed_layers else 1,
            dropout=0.0,
            steps=1 + case.seed // 8 % 2,
            lengths=(),
            layout=Layout.BATCHED if case.is_packed else case.layout,
            distribution=Distribution.PLAIN,
        )
    )


def _write_shallow(case: Case) -> Snippet:
    config = case.config
    changes = "" if config.kind_data.is_cell else f', "num_layers": {config.num_layers}'
    shape = input_shape(config, case.steps, case.batch if case.is_batched else None)
    return SHALLOW.format(changes=changes, shape=shape)


META = Snippet(
    """def move(given):
    return tuple(map(move, given)) if type(given) is tuple else given.to("meta")

meta = layer.to("meta")
for one, other in zip(meta(*move(given)), reference(*given)):
    for got, expected in zip(list_tensors(data(one)), list_tensors(data(other))):
        assert got.shape == expected.shape, got.shape
        assert got.dtype == expected.dtype, got.dtype
        assert got.device.type == "meta", got.device""",
    (Helper.DATA, Helper.LIST_TENSORS),
)


@rule(
    "rnn.module.meta",
    when=has_few_cells & one_in(18),
    needs=(Feature.META,),
    presupposes=(Fact.RESULTS, "shapes.dtype", "side-effects.parameters"),
    program=META,
)
def meta(observation: Observation) -> None:
    """On the meta device, the layer returns results of the right shape and dtype.

    The layer and its arguments, packed or not, are moved to the meta device. The shapes, dtypes and
    devices of the results are compared with the documented shapes, dtypes and devices.

    Catches zeros created on the default device, and calls that read values.
    """
    case = observation.case
    module = observation.subject.build(case.config, case.constructor_style, case.dtype).train(
        case.mode is Mode.TRAIN
    )
    given = move_to_meta(observation.build_arguments())
    with observe_step("a call on the meta device"):
        # Outside the context: torch 2.3 cannot move nn.RNN in inference mode.
        moved = module.to("meta")
        with case.grad_mode.enter(), use_meta_device():
            returned = moved(*given.positional)
    own = observation.call
    _assert_meta_results(Call(case, given, own.copies, returned, own.before, own.after, own.names))


def move_to_meta(given: CallArguments) -> CallArguments:
    """Return the same arguments on the meta device; sizes of packed batches stay on the CPU."""
    moved = (
        given.input.to("meta")
        if isinstance(given.input, torch.Tensor)
        else _move_packed_to_meta(given.input)
    )
    leaf = moved if isinstance(moved, torch.Tensor) else moved.data
    states = {name: state.to("meta") for name, state in given.initial.items()}
    return CallArguments(moved, leaf, states, given.steps, given.samples)


def _move_packed_to_meta(packed: PackedSequence) -> PackedSequence:
    indices = [
        None if each is None else each.to("meta")
        for each in (packed.sorted_indices, packed.unsorted_indices)
    ]
    return PackedSequence(packed.data.to("meta"), packed.batch_sizes, *indices)


def _assert_meta_results(call: Call) -> None:
    """Raise Violation unless both results are on the meta device, with the dtype of the case.

    Raises Malformed if a result does not have the documented shape.
    """
    expected = call.case.dtype.torch_dtype
    for name, tensor in call.result_tensors.items():
        if tensor.device.type != "meta":
            raise Violation(
                f"a call on the meta device returned {name} on {tensor.device}, expected meta",
                META,
            )
        if tensor.dtype != expected:
            raise Violation(
                f"a call on the meta device returned {name} in {tensor.dtype}, expected {expected}",
                META,
            )
