"""The rules about gradients pass for torch.nn.RNN and report planted bugs."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from rnnspec.cases.axes import (
    Distribution,
    DType,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    ModuleUses,
)
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.engine.outcome import Finding, FindingKind, check_case
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.training import choose_frozen_tensors
from rnnspec.rulekit.fixtures.weights import build_undamped_values, mark_last_steps
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS, CORRECT
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, make_case, make_test_ids

STACK = make_case(num_layers=2, bidirectional=True, initial_state=InitialState.GIVEN)
RELU = make_case(num_layers=2, nonlinearity="relu", initial_state=InitialState.GIVEN)
RAGGED = make_case(
    layout=Layout.PACKED_UNSORTED,
    lengths=(2, 5, 1),
    bidirectional=True,
    initial_state=InitialState.GIVEN,
)
INTEGER = make_case(nonlinearity="relu", distribution=Distribution.INTEGER, num_layers=2)
LONG = make_case(steps=40)
REAL = make_case(
    input_size=128, hidden_size=256, dtype=DType.FLOAT32, distribution=Distribution.NEW
)
PASSES: Passes = {
    "gradients.input": [
        STACK,
        RELU,
        RAGGED,
        make_case(layout=Layout.UNBATCHED),
        make_case(memory_layout=MemoryLayout.EXPANDED),
        make_case(num_layers=2, dropout=1.0, mode=Mode.TRAIN),
    ],
    "gradients.h-0": [
        STACK,
        RELU,
        RAGGED,
        make_case(
            initial_state=InitialState.GIVEN,
            layout=Layout.UNBATCHED,
            memory_layout=MemoryLayout.SLICED,
        ),
    ],
    "gradients.weights": [
        STACK,
        RELU,
        RAGGED,
        make_case(distribution=Distribution.DEAF, num_layers=3, dropout=0.5, mode=Mode.TRAIN),
        make_case(prior_use=ModuleUses.FUNCTIONAL),
    ],
    "gradients.biases": [STACK, RELU, RAGGED, make_case(prior_use=ModuleUses.DEEPCOPIED)],
    "gradients.accuracy": [
        REAL,
        REAL.replace(bidirectional=True, initial_state=InitialState.GIVEN),
        REAL.replace(layout=Layout.PACKED, lengths=(5, 3, 1)),
        REAL.replace(dtype=DType.FLOAT64),
    ],
    "gradients.half-precision": [
        make_case(dtype=DType.BFLOAT16, num_layers=2),
        make_case(dtype=DType.FLOAT16, nonlinearity="relu"),
        make_case(dtype=DType.BFLOAT16, batch=60),
    ],
    "gradients.float32-sums": [
        make_case(dtype=DType.BFLOAT16, nonlinearity="relu"),
        make_case(dtype=DType.FLOAT16, nonlinearity="relu", bidirectional=True, batch_first=True),
        make_case(
            dtype=DType.BFLOAT16, nonlinearity="relu", layout=Layout.PACKED, lengths=(5, 4, 2)
        ),
    ],
    "gradients.h-n-alone": [STACK, RELU, RAGGED, make_case(batch_first=True)],
    "gradients.output-alone": [
        STACK,
        RELU,
        RAGGED,
        make_case(batch_first=True, memory_layout=MemoryLayout.TRANSPOSED),
    ],
    "gradients.saturated": [STACK, make_case(), make_case(kind="gru"), make_case(kind="lstm")],
    "gradients.reach-first-step": [
        LONG,
        make_case(steps=25, nonlinearity="relu", num_layers=2, bidirectional=True),
        make_case(steps=20, dtype=DType.FLOAT32),
        make_case(),
        make_case(layout=Layout.UNBATCHED),
    ],
    "gradients.exact": [
        INTEGER,
        INTEGER.replace(dtype=DType.BFLOAT16, steps=2),
        INTEGER.replace(layout=Layout.PACKED, lengths=(5, 3, 1)),
    ],
    "gradients.exact-zeros": [
        make_case(),
        STACK,
        RAGGED,
        make_case(batch=1),
        make_case(layout=Layout.UNBATCHED),
        make_case(dropout=0.5, num_layers=2, mode=Mode.TRAIN),
    ],
    "gradients.second-backward": [
        STACK,
        RELU,
        RAGGED,
        make_case(memory_layout=MemoryLayout.EXPANDED),
        make_case(layout=Layout.UNBATCHED),
        make_case(prior_use=ModuleUses.FUNCTIONAL),
    ],
    "gradients.earlier-call": [STACK, RELU, RAGGED],
    "gradients.second-order": [
        STACK,
        RELU,
        RAGGED,
        make_case(layout=Layout.UNBATCHED, dtype=DType.FLOAT32),
        make_case(distribution=Distribution.LARGE),
    ],
    "gradients.frozen": [
        STACK,
        RELU,
        RAGGED,
        make_case(prior_use=ModuleUses.FUNCTIONAL),
        make_case(num_layers=3),
    ],
}
FAILS: Fails = [
    (
        "gradients.input",
        "TransposedInputGradient",
        make_case(batch_first=True),
        r"gradient of input\[0, 1, 0\] is .*, expected",
    ),
    ("gradients.input", "ReluGradientOfTanh", RELU, "gradient of input"),
    ("gradients.input", "GradientFromBeforeTanh", make_case(), "gradient of input"),
    ("gradients.input", "PackedInputCut", RAGGED, "gradient of input"),
    ("gradients.h-0", "GivenStateCut", STACK, r"gradient of h_0\[0, 0, 0\] is 0, expected "),
    ("gradients.weights", "StateCutEveryStep", make_case(), "gradient of weight_ih_l0"),
    ("gradients.weights", "WeightGradientsDoubled", make_case(), "gradient of weight_hh_l0"),
    ("gradients.weights", "WeightGradientsAveraged", make_case(), "gradient of weight_ih_l0"),
    (
        "gradients.weights",
        "UnalignedGradient",
        make_case(hidden_size=18),
        r"gradient of weight_hh_l0\[16, 0\]",
    ),
    ("gradients.biases", "UpperBiasesCut", STACK, "gradient of bias_ih_l1"),
    ("gradients.biases", "BiasGradientFromOneRow", make_case(), "gradient of bias_ih_l0"),
    ("gradients.biases", "BiasesShareGradient", make_case(), "gradient of bias_ih_l0"),
    (
        "gradients.accuracy",
        "LargeGradientOff",
        REAL,
        r"^gradient of input.* times what the usual rounding of a backward pass can explain",
    ),
    (
        "gradients.half-precision",
        "HalfGradientIn16Bits",
        make_case(dtype=DType.BFLOAT16, steps=2, batch=2),
        "gradient of weight_hh_l0",
    ),
    (
        "gradients.float32-sums",
        "GradientAddedIn16Bits",
        make_case(dtype=DType.BFLOAT16, nonlinearity="relu"),
        r"^gradient of weight_ih_l0\[0, 0\] is 2, expected 3\.119 .* sums that are rounded to 16",
    ),
    (
        "gradients.h-n-alone",
        "FinalStateCut",
        make_case(),
        "^h_n has requires_grad=False; expected True$",
    ),
    ("gradients.h-n-alone", "BackwardFinalStateCut", STACK, "gradient of input"),
    ("gradients.output-alone", "LastStepOfOutputCut", make_case(), "gradient of input"),
    (
        "gradients.output-alone",
        "EvalOutputCut",
        make_case(),
        "^output has requires_grad=False; expected True$",
    ),
    (
        "gradients.saturated",
        "SlopeOverflows",
        make_case(kind="gru"),
        "gradient of .* is nan, expected",
    ),
    (
        "gradients.reach-first-step",
        "CutAfter32Steps",
        LONG,
        r"gradient of input\[0, 0, 0\] is 0, expected ",
    ),
    (
        "gradients.reach-first-step",
        "CutAfter32Steps",
        make_case(),
        r"gradient of input\[0, 0, 0\] is 0, expected ",
    ),
    ("gradients.exact", "ReluGradientLeaks", INTEGER, r"gradient of .*\(\d+ of \d+ elements\)$"),
    (
        "gradients.exact-zeros",
        "FutureHasGradient",
        make_case(batch=1),
        r"^gradient of input\[3:\]\[0, 0, 0\] is .*, expected 0",
    ),
    (
        "gradients.exact-zeros",
        "FutureHasGradient",
        make_case(steps=1),
        r"^gradient of input for the samples other than \d\[",
    ),
    ("gradients.second-backward", "SecondBackwardHalved", make_case(), "gradient of input"),
    (
        "gradients.second-backward",
        "BiasesInColumns",
        make_case(),
        r"gradient of bias_ih_l0.*, those of bias_ih_l0 and bias_hh_l0 share memory",
    ),
    ("gradients.earlier-call", "StepsKeptOnLayer", make_case(), "gradient of input"),
    ("gradients.second-order", "NoSecondOrder", make_case(), "second derivative of input"),
    ("gradients.second-order", "SecondOrderIncomplete", make_case(), "second derivative of input"),
    (
        "gradients.frozen",
        "FrozenStopsAll",
        make_case(num_layers=2),
        "gradient of|carry no gradient",
    ),
    ("gradients.frozen", "HalvedIfPartnerFrozen", make_case(), "^gradient of bias_hh_l0"),
    (
        "gradients.frozen",
        "StateCutIfFrozen",
        make_case(initial_state=InitialState.GIVEN),
        "requires_grad=False while 5 of the tensors are frozen; expected True|^gradient of h_0",
    ),
    (
        "gradients.frozen",
        "ResultsAlwaysDifferentiable",
        make_case(),
        "^output requires gradients while every tensor is frozen; expected requires_grad=False$",
    ),
]
IS_SLOW = True
SUBJECT_ERRORS: Fails = [
    (
        "gradients.second-backward",
        "SecondBackwardFails",
        make_case(),
        "^backward raised RuntimeError: the buffers of the graph have been freed$",
    ),
]

every_error = pytest.mark.parametrize(
    ("name", "bug", "near", "text"), SUBJECT_ERRORS, ids=make_test_ids(SUBJECT_ERRORS)
)


@every_error
def test_a_backward_pass_that_raises_is_reported(
    name: str, bug: str, near: Case, text: str
) -> None:
    finding = check_layer(name, BUGS[bug], near)
    assert isinstance(finding, Finding)
    assert finding.kind is FindingKind.SUBJECT_ERROR
    assert re.search(text, finding.message)


@pytest.mark.parametrize(
    "kind", [BUGS["ReluSlopeHalfAtZero"], CORRECT["ReluByMaximum"], CORRECT["HandWrittenBackward"]]
)
def test_another_slope_of_relu_at_zero_is_left_to_another_rule(kind: type[nn.Module]) -> None:
    idle = make_case(
        nonlinearity="relu",
        bias=False,
        num_layers=2,
        dropout=1.0,
        mode=Mode.TRAIN,
        distribution=Distribution.INTEGER,
    )
    for name in ("gradients.input", "gradients.weights", "gradients.exact", "gradients.h-n-alone"):
        assert check_layer(name, kind, idle, 8) is None


def test_gradients_that_share_memory_pass_with_several_time_steps() -> None:
    assert check_layer("gradients.earlier-call", BUGS["BiasesInColumns"], make_case()) is None


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_undamped_gradients_reach_the_first_step(nonlinearity: str) -> None:
    near = make_case(nonlinearity=nonlinearity, steps=200)
    values = draw_values(near)
    fading, lasting = (
        Expected(near, replace(values, d_output=values.d_output * mark_last_steps(near))),
        Expected(near, replace(values, **build_undamped_values(near, values))),
    )
    reached = [
        float(np.abs(expected.restrict_to(("output",)).gradients["input"][0]).max())
        for expected in (fading, lasting)
    ]
    assert reached[0] < 1e-20
    assert reached[1] > 0.01


def test_the_last_steps_are_those_of_each_sequence() -> None:
    marked = mark_last_steps(RAGGED)
    assert [int(marked[:, sample, 0].argmax()) for sample in range(3)] == [1, 4, 0]
    assert marked[0, :, 4:].all()
    assert marked.sum() == 3 * 4 * 2


def test_every_way_of_freezing_is_drawn() -> None:
    values = draw_values(STACK)
    drawn = [choose_frozen_tensors(STACK.replace(seed=seed), values) for seed in range(60)]
    assert {len(usual) for usual, *_ in drawn} == {1, 2, 4, 8, 16, 18}
    everything = {"input", "h_0", *values.weights}
    left_out = [[frozenset(everything - set(names)) for names in calls[3:]] for calls in drawn]
    *roles, biases = [
        frozenset(name for name in everything if name.startswith(role))
        for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "bias")
    ]
    always = [frozenset({"input"}), frozenset({"h_0"}), biases]
    assert all(set(always) <= set(calls) for calls in left_out)
    assert {names for calls in left_out for names in calls} == {*always, *roles}
    pairs = itertools.permutations(["input", "h_0", *values.weights], 2)
    # By chance, half of the cases freeze one tensor of a pair without the other: 30 of 60, with a
    # standard deviation of 3.9.
    assert all(
        sum(any(one in each and other not in each for each in calls[1:3]) for calls in drawn) > 10
        for one, other in pairs
    )
    for one, other in itertools.permutations(["bias_ih_l1", "bias_hh_l1"]):
        assert all(any(one in each and other not in each for each in calls[1:3]) for calls in drawn)


def test_a_frozen_tensor_may_have_no_known_gradient() -> None:
    masked = make_case(
        distribution=Distribution.DEAF, num_layers=3, dropout=0.5, mode=Mode.TRAIN, seed=0
    )
    values = draw_values(masked)
    case = next(
        case
        for case in (masked.replace(seed=seed) for seed in range(300))
        if not exclude_masked_gradients(case, choose_frozen_tensors(case, values)[0])
    )
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), case)
    assert check_case(find_layer_rule("gradients.frozen"), observation) is None


def test_gradients_that_would_overflow_if_doubled_are_not_accumulated() -> None:
    overflowing = make_case(
        input_size=154,
        hidden_size=3,
        nonlinearity="relu",
        bidirectional=True,
        steps=32,
        batch=1,
        dtype=DType.FLOAT16,
        memory_layout=MemoryLayout.EXPANDED,
        distribution=Distribution.INTEGER,
        seed=1,
    )
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), overflowing)
    largest = max(np.abs(gradient).max() for gradient in observation.gradients.values())
    assert 2**15 < largest < 2**16, "this case must be near overflow"
    assert check_case(find_layer_rule("gradients.second-backward"), observation) is None


def test_a_call_that_is_differentiated_again_leaves_its_first_backward_pass_to_other_rules() -> (
    None
):
    case = make_case(dtype=DType.FLOAT16, initial_state=InitialState.GIVEN)
    observation = Observation(TorchSubject(resolve_target(BUGS["SecondBackwardHalved"])), case)
    assert check_case(find_layer_rule("gradients.earlier-call"), observation) is not None
    for rule in ("gradients.half-precision", "gradients.float32-sums"):
        assert check_case(find_layer_rule(rule), observation) is None
