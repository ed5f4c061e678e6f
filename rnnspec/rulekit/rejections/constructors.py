"""Invalid constructor arguments: the clause that forbids each, and the exception it must raise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import (
    call_constructor,
    pick_values,
    plan_constructor_call,
    write_rejection_snippet,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.release import is_promised


@dataclass(frozen=True)
class InvalidArgument:
    """One value that a constructor argument must not have.

    clause          the clause that forbids it
    expected_error  the type of exception that the constructor must raise, or None for any
    """

    clause: str
    name: str
    value: Any
    expected_error: type[Exception] | None

    def __str__(self) -> str:
        return f"{self.name}={self.value!r}"


def _list_invalid(
    clause: str, name: str, values: Iterable[Any], expected_error: type[Exception] | None
) -> list[InvalidArgument]:
    return [InvalidArgument(clause, name, value, expected_error) for value in values]


def _interleave(*groups: list[InvalidArgument]) -> list[InvalidArgument]:
    """Return the elements of the groups in turn, so that neighbours are about other arguments."""
    longest = max(map(len, groups))
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


BELOW_ONE = (0, -1, -3)
NON_INTEGERS = (4.0, "4", 2.5, None, [4])
NON_BOOLS = (1, 0, "True", None, 1.0, "")
OTHER_NONLINEARITIES = (
    "sigmoid",
    "Tanh",
    "RELU",
    "relu ",
    "tan",
    "gelu",
    "leaky_relu",
    "hardtanh",
    "identity",
    "",
)
OUTSIDE_0_TO_1 = (1.5, -0.1, 2, -1, 1.0001, -1e-9, float("inf"))

SIZES = _interleave(
    _list_invalid("rnn.args.sizes.input-size-positive", "input_size", BELOW_ONE, ValueError),
    _list_invalid("rnn.args.sizes.hidden-size-positive", "hidden_size", BELOW_ONE, ValueError),
    _list_invalid("rnn.args.sizes.num-layers-positive", "num_layers", BELOW_ONE, ValueError),
)
TYPES = _interleave(
    _list_invalid("rnn.args.sizes.integers", "input_size", NON_INTEGERS, TypeError),
    _list_invalid("rnn.args.bias.bool", "bias", NON_BOOLS, TypeError),
    _list_invalid("rnn.args.sizes.integers", "hidden_size", NON_INTEGERS, TypeError),
    _list_invalid("rnn.args.batch-first.bool", "batch_first", NON_BOOLS, TypeError),
)
NONLINEARITIES = _interleave(
    _list_invalid("rnn.args.nonlinearity.values", "nonlinearity", OTHER_NONLINEARITIES, ValueError),
    _list_invalid("rnn.args.nonlinearity.values", "nonlinearity", (None, True, 1, ["tanh"]), None),
)
DROPOUTS = _interleave(
    _list_invalid("rnn.args.dropout.range", "dropout", OUTSIDE_0_TO_1, ValueError),
    _list_invalid(
        "rnn.args.dropout.number", "dropout", (True, "0.5", False, "half", [0.5], None), None
    ),
)
PROJECTIONS = _list_invalid("rnn.args.proj-size-refused", "proj_size", (1, 2, 3), None)
TESTED_ERRORS = [
    argument
    for table in (SIZES, TYPES, NONLINEARITIES)
    for argument in table
    if argument.expected_error is not None
]
"""Arguments for which PyTorch's own tests require a type of exception."""
DROPOUT_ERRORS = [argument for argument in DROPOUTS if argument.expected_error is not None]


def choose_arguments(
    observation: Observation, table: list[InvalidArgument], count: int
) -> list[InvalidArgument]:
    """Return some entries of a table, different ones for different seeds.

    Leaves out clauses that the installed torch does not promise, and arguments that the subject
    does not support.
    """
    lacking = {feature.text for feature in observation.subject.capabilities.unsupported}
    offered = [each for each in table if is_promised(each.clause) and each.name not in lacking]
    return pick_values(observation, offered, count)


def assert_arguments_rejected(
    observation: Observation, table: list[InvalidArgument], count: int = 3
) -> None:
    """Raise Violation if the constructor accepts one of the invalid arguments."""
    for argument in choose_arguments(observation, table, count):
        call = plan_constructor_call(observation, **{argument.name: argument.value})
        if call_constructor(observation, call).error is None:
            raise Violation(
                f"{argument} is accepted by the constructor, expected an exception",
                write_rejection_snippet(f"{call}"),
            )


def assert_error_types(
    observation: Observation, table: list[InvalidArgument], count: int = 3
) -> None:
    """Raise Violation if the constructor rejects an argument with another type of exception.

    Arguments that it accepts are left to other rules.
    """
    for argument in choose_arguments(observation, table, count):
        call = plan_constructor_call(observation, **{argument.name: argument.value})
        error, expected = call_constructor(observation, call).error, argument.expected_error
        if error is not None and expected is not None and not isinstance(error, expected):
            raise Violation(
                f"`{argument}` should raise {expected.__name__}; it raised {type(error).__name__}",
                write_rejection_snippet(f"{call}", (expected,)),
            )
