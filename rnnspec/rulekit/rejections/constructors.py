"""Wrong constructor arguments: what must be refused, by which clause, and with which type of exception."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import (
    call_constructor,
    can_be_called,
    pick_values,
    plan_constructor_call,
    write_rejection_snippet,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.release import is_promised


@dataclass(frozen=True)
class WrongArgument:
    """One wrong value: the clause that forbids it, and the type of exception that is due, or None where none is."""

    clause: str
    name: str
    value: Any
    due: type[Exception] | None

    def __str__(self) -> str:
        return f"{self.name}={self.value!r}"


def _wrong(
    clause: str, name: str, values: Iterable[Any], due: type[Exception] | None
) -> list[WrongArgument]:
    return [WrongArgument(clause, name, value, due) for value in values]


def _mixed(*groups: list[WrongArgument]) -> list[WrongArgument]:
    """The groups in turn, so that neighbours are about different arguments."""
    longest = max(map(len, groups))
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


NO_COUNTS = (0, -1, -3)
NO_INTEGERS = (4.0, "4", 2.5, None, [4])
NO_FLAGS = (1, 0, "True", None, 1.0, "")
SIZES = _mixed(
    _wrong("rnn.args.sizes.input-size-positive", "input_size", NO_COUNTS, ValueError),
    _wrong("rnn.args.sizes.hidden-size-positive", "hidden_size", NO_COUNTS, ValueError),
    _wrong("rnn.args.sizes.num-layers-positive", "num_layers", NO_COUNTS, ValueError),
)
TYPES = _mixed(
    _wrong("rnn.args.sizes.integers", "input_size", NO_INTEGERS, TypeError),
    _wrong("rnn.args.bias.bool", "bias", NO_FLAGS, TypeError),
    _wrong("rnn.args.sizes.integers", "hidden_size", NO_INTEGERS, TypeError),
    _wrong("rnn.args.batch-first.bool", "batch_first", NO_FLAGS, TypeError),
)
NONLINEARITIES = _mixed(
    _wrong(
        "rnn.args.nonlinearity.values",
        "nonlinearity",
        (
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
        ),
        ValueError,
    ),
    _wrong("rnn.args.nonlinearity.values", "nonlinearity", (None, True, 1, ["tanh"]), None),
)
DROPOUTS = _mixed(
    _wrong(
        "rnn.args.dropout.range",
        "dropout",
        (1.5, -0.1, 2, -1, 1.0001, -1e-9, float("inf")),
        ValueError,
    ),
    _wrong("rnn.args.dropout.number", "dropout", (True, "0.5", False, "half", [0.5]), None),
    _wrong("rnn.args.dropout.number", "dropout", (None,), TypeError),
)
PROJECTIONS = _wrong("rnn.args.proj-size-refused", "proj_size", (1, 2, 3), None)
TYPED = [
    wrong
    for table in (SIZES, TYPES, NONLINEARITIES, DROPOUTS)
    for wrong in table
    if wrong.due is not None
]


def try_argument(
    observation: Observation, table: list[WrongArgument], count: int
) -> list[WrongArgument]:
    """Some entries of a table, of the clauses that the installed torch promises and the arguments that the subject does not refuse."""
    lacking = {feature.text for feature in observation.subject.capabilities.unsupported}
    offered = [each for each in table if is_promised(each.clause) and each.name not in lacking]
    return pick_values(observation, offered, count)


def assert_arguments_rejected(
    observation: Observation, table: list[WrongArgument], *, at_once: bool, count: int = 3
) -> None:
    """Raise Violation where one of the wrong values is accepted: by the constructor where `at_once`, else by a first call too."""
    for wrong in try_argument(observation, table, count):
        wanted = plan_constructor_call(observation, **{wrong.name: wrong.value})
        made = call_constructor(observation, wanted)
        if made.error is None and (
            at_once or can_be_called(made.module, _features(observation, wrong))
        ):
            call = (
                f"{wanted}"
                if at_once
                else f"{wanted}(torch.zeros(2, 2, {_features(observation, wrong)}))"
            )
            raise Violation(
                f"{wrong} is accepted{' by the constructor' if at_once else ''}",
                write_rejection_snippet(call),
            )


def assert_error_types(
    observation: Observation, table: list[WrongArgument], count: int = 3
) -> None:
    """Raise Violation where the constructor refuses a wrong value by another type than is due; what it accepts is not judged."""
    for wrong in try_argument(observation, table, count):
        wanted = plan_constructor_call(observation, **{wrong.name: wrong.value})
        error = call_constructor(observation, wanted).error
        if error is not None and wrong.due is not None and not isinstance(error, wrong.due):
            due = f"{wrong.due.__name__} is due"
            raise Violation(
                f"{wrong} raised {type(error).__name__}, {due}",
                write_rejection_snippet(f"{wanted}", (wrong.due,)),
            )


def _features(observation: Observation, wrong: WrongArgument) -> int:
    """The width of the input that a layer with this argument might read."""
    if wrong.name != "input_size":
        return observation.case.config.input_size
    return (
        max(0, int(wrong.value))
        if isinstance(wrong.value, (int, float, str))
        else observation.case.config.input_size
    )
