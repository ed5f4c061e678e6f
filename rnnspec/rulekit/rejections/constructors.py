"""Invalid constructor arguments: the clause that forbids each, and the exception it must raise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rnnspec.cases.case import Case
from rnnspec.cases.conditions import Condition, one_in
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import (
    ConstructorCall,
    ConstructorOutcome,
    call_constructor,
    pick_values,
    plan_constructor_call,
    write_rejection_snippet,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.release import is_promised

REFUSED_IN = 18
"""Invalid values of a kind are passed in 1 of this many cases."""


@dataclass(frozen=True)
class InvalidArgument:
    """A value that a constructor argument must not have.

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


def _interleave(*groups: list[InvalidArgument]) -> tuple[InvalidArgument, ...]:
    """Return the elements of the groups in turn, so that neighbours belong to different groups."""
    longest = max(map(len, groups))
    return tuple(group[place] for place in range(longest) for group in groups if place < len(group))


@dataclass(frozen=True)
class InvalidArguments:
    """Arguments of the same kind that the constructor must reject.

    when   the cases that pass some of them
    count  the number of arguments passed in each of these cases
    """

    arguments: tuple[InvalidArgument, ...]
    when: Condition[Case]
    count: int = 1


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

SIZES = InvalidArguments(
    _interleave(
        _list_invalid("rnn.args.sizes.input-size-positive", "input_size", BELOW_ONE, ValueError),
        _list_invalid("rnn.args.sizes.hidden-size-positive", "hidden_size", BELOW_ONE, ValueError),
        _list_invalid("rnn.args.sizes.num-layers-positive", "num_layers", BELOW_ONE, ValueError),
    ),
    one_in(REFUSED_IN),
)
TYPES = InvalidArguments(
    _interleave(
        _list_invalid("rnn.args.sizes.integers", "input_size", NON_INTEGERS, TypeError),
        _list_invalid("rnn.args.bias.bool", "bias", NON_BOOLS, TypeError),
        _list_invalid("rnn.args.sizes.integers", "hidden_size", NON_INTEGERS, TypeError),
        _list_invalid("rnn.args.batch-first.bool", "batch_first", NON_BOOLS, TypeError),
    ),
    one_in(14, 1),
)
NONLINEARITIES = InvalidArguments(
    _interleave(
        _list_invalid(
            "rnn.args.nonlinearity.values", "nonlinearity", OTHER_NONLINEARITIES, ValueError
        ),
        _list_invalid(
            "rnn.args.nonlinearity.values", "nonlinearity", (None, True, 1, ["tanh"]), None
        ),
    ),
    one_in(REFUSED_IN, 2),
)
DROPOUTS = InvalidArguments(
    _interleave(
        _list_invalid("rnn.args.dropout.range", "dropout", OUTSIDE_0_TO_1, ValueError),
        _list_invalid(
            "rnn.args.dropout.number", "dropout", (True, "0.5", False, "half", [0.5], None), None
        ),
    ),
    one_in(REFUSED_IN, 3),
)
PROJECTIONS = InvalidArguments(
    tuple(_list_invalid("rnn.args.proj-size-refused", "proj_size", (1, 2, 3), None)),
    one_in(24, 4),
)
PROJECTION_SIZES = InvalidArguments(
    tuple(_list_invalid("lstm.args.proj-size.refused", "proj_size", (-1, 10**6, -3), ValueError)),
    one_in(REFUSED_IN, 5),
)
TESTED = (SIZES, TYPES, NONLINEARITIES)
"""The kinds for which PyTorch's own tests require a type of exception."""


def choose_arguments(observation: Observation, kind: InvalidArguments) -> list[InvalidArgument]:
    """Return some of the arguments of a kind, different arguments for different seeds.

    Leaves out clauses that the installed torch does not promise, and arguments that the subject
    does not support.
    """
    lacking = {feature.text for feature in observation.subject.capabilities.unsupported}
    checked = observation.case.config.kind
    offered = [
        each
        for each in kind.arguments
        if is_promised(each.clause, checked) and each.name not in lacking
    ]
    return pick_values(observation, offered, kind.count)


def _pass_argument(
    observation: Observation, argument: InvalidArgument
) -> tuple[ConstructorCall, ConstructorOutcome]:
    """Return the constructor call with an argument and its outcome, which all rules share.

    A wrong `hidden_size` is passed without a `proj_size`, because a `proj_size` that is not smaller
    is wrong as well: it is not documented which of two wrong arguments is rejected first.
    """
    changes = {argument.name: argument.value}
    if argument.name == "hidden_size" and observation.case.config.proj_size:
        changes["proj_size"] = 0
    call = plan_constructor_call(observation, **changes)
    return call, observation.remember(f"{call}", lambda: call_constructor(observation, call))


def assert_arguments_rejected(observation: Observation, kind: InvalidArguments) -> None:
    """Raise Violation if the constructor accepts one of the invalid arguments of a kind."""
    for argument in choose_arguments(observation, kind):
        call, outcome = _pass_argument(observation, argument)
        if outcome.error is None:
            raise Violation(
                f"{argument} is accepted by the constructor, expected an exception",
                write_rejection_snippet(call),
            )


def assert_error_types(observation: Observation, kinds: Iterable[InvalidArguments]) -> None:
    """Raise Violation if the constructor rejects an argument with another type of exception.

    Only arguments that are passed in this case anyway are used. Accepted arguments are left to
    other rules.
    """
    passed = (kind for kind in kinds if kind.when(observation.case))
    for argument in (each for kind in passed for each in choose_arguments(observation, kind)):
        call, outcome = _pass_argument(observation, argument)
        error, expected = outcome.error, argument.expected_error
        if error is not None and expected is not None and not isinstance(error, expected):
            raise Violation(
                f"`{argument}` should raise {expected.__name__}; it raised {type(error).__name__}",
                write_rejection_snippet(call, (expected,)),
            )
