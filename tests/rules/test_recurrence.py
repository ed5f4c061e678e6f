"""The rules about the recurrence pass for torch.nn.RNN and report planted bugs."""

from __future__ import annotations

import re

from torch import Tensor, nn

from rnnspec.cases.axes import Distribution, DType, EarlierCalls, InitialState, Layout, MemoryLayout
from rnnspec.engine.outcome import Finding, check_case
from rnnspec.observe.observation import Observation
from rnnspec.report.execution import is_failing_program
from rnnspec.report.program import write_program
from rnnspec.rulekit.assertions import documented_loop
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS, Plain
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, make_case

STACK = make_case(num_layers=2, initial_state=InitialState.GIVEN)
REAL = make_case(
    input_size=100,
    hidden_size=256,
    steps=3,
    dtype=DType.FLOAT32,
    distribution=Distribution.NEW,
)
PASSES: Passes = {
    "recurrence.two-biases": [
        make_case(),
        make_case(num_layers=2, bidirectional=True, prior_use=EarlierCalls.CALLED),
        make_case(dtype=DType.FLOAT16),
    ],
    "recurrence.first-step": [
        STACK,
        make_case(initial_state=InitialState.GIVEN, layout=Layout.PACKED, lengths=(5, 4, 2)),
    ],
    "recurrence.output": [make_case(), STACK, make_case(dtype=DType.FLOAT32)],
    "recurrence.h-n": [make_case(), STACK, make_case(dtype=DType.FLOAT32)],
    "recurrence.accuracy": [REAL, STACK.replace(steps=1), make_case(dtype=DType.BFLOAT16)],
    "recurrence.exact": [
        make_case(nonlinearity="relu", distribution=Distribution.INTEGER),
        make_case(distribution=Distribution.TERNARY, dtype=DType.BFLOAT16),
    ],
    "recurrence.dtypes": [make_case(dtype=dtype) for dtype in DType],
    "recurrence.half-precision": [
        make_case(dtype=DType.BFLOAT16),
        make_case(dtype=DType.FLOAT16, num_layers=3),
    ],
    "recurrence.float32-sums": [
        make_case(dtype=DType.BFLOAT16, nonlinearity="relu"),
        make_case(dtype=DType.FLOAT16, nonlinearity="relu", bidirectional=True, batch_first=True),
        make_case(dtype=DType.FLOAT16, nonlinearity="relu", layout=Layout.UNBATCHED),
        make_case(
            dtype=DType.BFLOAT16, nonlinearity="relu", layout=Layout.PACKED, lengths=(5, 4, 2)
        ),
    ],
    "recurrence.causal": [
        make_case(),
        make_case(num_layers=2, layout=Layout.UNBATCHED),
        make_case(batch_first=True, distribution=Distribution.TERNARY),
    ],
    "recurrence.documented-loop": [
        make_case(),
        STACK,
        make_case(nonlinearity="relu", bias=False, batch_first=True),
        make_case(layout=Layout.UNBATCHED),
    ],
}
FAILS: Fails = [
    ("recurrence.two-biases", "HiddenBiasLost", make_case(), r"output\[0, 0, 0\] is .*, expected"),
    ("recurrence.two-biases", "InputBiasTwice", make_case(), r"output\[0, 0, 0\] is .*, expected"),
    (
        "recurrence.first-step",
        "StateIgnored",
        STACK,
        r"first step of output\[0, 0, 0\] is .*, expected",
    ),
    ("recurrence.output", "StateNeverAdvances", make_case(), r"output\[1, 0, 0\] is .*, expected"),
    (
        "recurrence.output",
        "RecurrentWeightTransposed",
        make_case(),
        r"output\[1, 0, 0\] is .*, expected",
    ),
    ("recurrence.output", "OneWeightOff", make_case(), "times what rounding can explain"),
    (
        "recurrence.output",
        "LateStepsCoarse",
        REAL.replace(steps=20),
        "times what the rounding of one step can explain",
    ),
    (
        "recurrence.accuracy",
        "LateUnitOff",
        REAL,
        "times what the usual rounding of one step can explain",
    ),
    ("recurrence.h-n", "FinalStateRounded", make_case(), r"h_n\[0, 0, \d\] is .*, expected"),
    (
        "recurrence.dtypes",
        "DoubleInSingle",
        make_case(),
        "all float64 results are exact float32 numbers",
    ),
    ("recurrence.half-precision", "BiasLostInBfloat", make_case(dtype=DType.BFLOAT16), "output"),
    ("recurrence.two-biases", "HiddenBiasLost", make_case(kind="gru"), r"^output\[0, 0, 0\]"),
    ("recurrence.two-biases", "HiddenBiasLost", make_case(kind="lstm"), r"^output\[0, 0, 0\]"),
    (
        "recurrence.float32-sums",
        "StatesAddedIn16Bits",
        make_case(dtype=DType.BFLOAT16, nonlinearity="relu"),
        r"^output\[0, 0, 0\] is 5\.125, expected 5\.395 .* sums that are rounded to 16 bits",
    ),
    (
        "recurrence.causal",
        "NextStepLeaks",
        make_case(),
        r"output before step 2\[1, [0-2], 0\] is nan, expected",
    ),
    (
        "recurrence.documented-loop",
        "OutputIsLastStep",
        make_case(),
        r"output\[0, 0, 0\] is .*, expected",
    ),
]


class HalfResults(Plain):
    """h_n is float32 for every dtype."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().forward_tensor(input, hx)
        return output, h_n.float()


def test_results_in_another_dtype_are_reported() -> None:
    finding = check_layer("recurrence.dtypes", HalfResults, make_case())
    assert isinstance(finding, Finding)
    assert finding.message == (
        "results have dtype torch.float32 and torch.float64; expected torch.float64"
    )


def test_few_bits_of_an_update_gate_next_to_1_are_no_float32() -> None:
    """The state (1 - z) n is a float32 number if z is so near to 1 that few bits are left."""
    near = make_case(
        kind="gru", input_size=1, hidden_size=1, steps=3, distribution=Distribution.LARGE
    )
    subject = TorchSubject(resolve_target(nn.GRU))
    observations = [Observation(subject, near.replace(batch=1, seed=seed)) for seed in (26, 35)]
    for observation in observations:
        output = observation.results["output"]
        assert (output.astype("float32") == output).all()
        assert check_case(find_layer_rule("recurrence.dtypes"), observation) is None


def test_causality_is_not_checked_on_expanded_input() -> None:
    assert not find_layer_rule("recurrence.causal").when(
        make_case(batch=1, memory_layout=MemoryLayout.EXPANDED)
    )


def test_the_documented_loop_agrees_with_the_oracle() -> None:
    near = make_case(
        num_layers=3,
        initial_state=InitialState.GIVEN,
        nonlinearity="relu",
        distribution=Distribution.INTEGER,
    )
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), near)
    output, h_n = documented_loop.run_documented_loop(
        near.config,
        observation.values.weights,
        observation.values.input,
        observation.values.initial,
    )
    assert (output == observation.expected.output).all()
    assert (h_n == observation.expected.final).all()


def test_an_error_in_the_last_place_is_reported_with_a_program_that_lists_its_numbers() -> None:
    finding = check_layer(
        "recurrence.exact", BUGS["ScaledByAnUlp"], make_case(distribution=Distribution.TERNARY)
    )
    assert isinstance(finding, Finding)
    assert re.search(r"output\[0, 0, [0-3]\] is (\S+), expected (?!\1)", finding.message)
    for kind, expected in ((BUGS["ScaledByAnUlp"], True), (nn.RNN, False)):
        assert (
            is_failing_program(
                write_program(resolve_target(kind), finding, seed=None), resolve_target(kind)
            )
            is expected
        )


def test_another_fault_of_a_gru_is_none_of_its_biases() -> None:
    """Its new gate adds its two biases in different places, so that they must not be exchanged."""
    wrong = find_bank("gru").bugs["StateResetInMix"]
    assert check_layer("recurrence.two-biases", wrong, make_case(kind="gru"), 3) is None


def test_results_made_wrong_by_an_earlier_use_are_not_blamed_on_the_biases() -> None:
    case = make_case(prior_use=EarlierCalls.CALLED_TWICE)
    assert isinstance(check_layer("recurrence.output", BUGS["ThirdCallDiffers"], case), Finding)
    assert check_layer("recurrence.two-biases", BUGS["ThirdCallDiffers"], case) is None
