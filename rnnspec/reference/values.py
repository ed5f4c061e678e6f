"""The named values of a layer, and functions that change them.

The reference passes every value that it computes through the functions that are registered for the
name of the value. A mistake is a set of such functions, and two mistakes are the composition of two
sets.

If your function changes the states as a whole, use them by letter, as in {"h": ..., "c": ...}. The
state with a single letter is a separate value, such as "before.c".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.errors import suggest_similar
from rnnspec.reference.given import Given
from rnnspec.reference.steps import STEPS

STATES: Mapping[str, frozenset[str]] = {
    name: frozenset(seen.split())
    for name, seen in {
        "default": "",
        "initial": "",
        "first": "initial ended",
        "before": "first",
        "new": "before",
        "updated": "before",
        "kept": "new before",
        "carried": "new before first",
        "steps": "",
        "last": "steps first",
        "final": "",
        "returned": "",
    }.items()
}
"""The states that have names, with the other values that a function of them can use.

default   (D * num_layers, N, units), the start of a call without initial states
initial   (D * num_layers, N, units), the start of a call with initial states
first     (N, units), the start of a layer and direction; `ended` contains the final states of the
          layers and directions that were computed before it, by place
before    (N, units), the states that a step reads
new       (N, units), the states computed by the equations of a step, without a projection
updated   (N, units), the same after the projection
kept      (N, units), the same for sequences that have this step, the states before for others
carried   (N, units), the states that the next step starts from
steps     (T, N, units), the kept states of all steps in time order
last      (N, units), the final states of a layer and direction
final     (D * num_layers, N, units), the final states of all layers and directions
returned  the final states as the caller receives them
"""
OTHERS: Mapping[str, frozenset[str]] = {
    name: frozenset(seen.split())
    for name, seen in {
        "input": "",
        "fits": "",
        "drops": "",
        "rate": "",
        "mask": "data",
        "dropped": "below",
        "read": "below",
        "data": "",
        "weight_ih": "",
        "weight_hh": "",
        "weight_hr": "",
        "bias_ih": "",
        "bias_hh": "",
        "biases": "",
        "from_input": "data weight biases",
        "order": "",
        "hidden_read": "before",
        "sums": "rest before weight",
        "projected": "whole weight states gates",
        "direction": "data first",
        "joined": "halves",
        "layer": "data",
        "output": "below",
        "results": "",
        "returned_output": "output",
        "is_packed": "",
        "gradients": "",
    }.items()
}
"""The other values of every kind.

input            (T, N, input_size), in the caller's order of samples
fits             whether the initial states fit the input
drops            whether dropout acts on the output of the layer below
rate             the probability of dropping a value, where masks are drawn: not in predictions
mask             (T, N, features), the factors of the values, where masks are drawn
dropped          (T, N, features), the output of the layer below after dropout
read             (T, N, features), the input of a layer; `below` contains the input of the first
                 layer and the outputs so far
data             (T, N, features), the input of a direction
weight_ih etc.   the parameters of a layer and direction, with the rows of gates
biases           the biases that are added to the sums, in order, with a row for each sum
from_input       (T, N, sums), the part of the sums of all steps that does not depend on states
order            the time steps of a direction, in the order of computing
hidden_read      (N, units), the hidden state that is multiplied by W_hh
sums             the sums of a step by name; `rest` is the part that does not depend on states, and
                 `weight` the transposed rows of W_hh, both by name
projected        (N, proj_size), the hidden state after the projection; `whole` is the hidden state
                 before the projection, `states` all states before it, and `gates` the gates by name
direction        the output (T, N, units) of a layer and direction, and its final states; `data` is
                 its input, and `first` the states from which it starts
joined           (T, N, D * units), the outputs of the directions together
layer            the output of a layer; `data` is its input
output           the output of the last layer; `below` as for read
results          the output (T, N, D * units) and the final states (D * num_layers, N, units)
returned_output  the output as the caller receives it
is_packed        whether the output is a PackedSequence
gradients        the gradients by the name of their tensor
"""


@dataclass
class Place:
    """The place at which a value is computed.

    layer, direction  the layer and the direction
    step, time        the number of a step in the order of computing, and its time
    steps             the number of steps of the call
    memo              values that a change keeps for other changes in the same call
    """

    layer: int = 0
    direction: int = 0
    step: int = 0
    time: int = 0
    steps: int = 0
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def place(self) -> tuple[int, int]:
        """The layer and the direction."""
        return self.layer, self.direction


@dataclass(kw_only=True)
class Spot(Place):
    """The place at which a value of the reference is computed, on the numbers of a case."""

    given: Given


BoundArguments = Callable[[Any, Any, Mapping[str, Any]], Any]
States = dict[str, Tensor]
"""States by letter."""
EndedStates = Mapping[tuple[int, int], States]
"""The final states of layers and directions, by place."""
TensorChange = Callable[[Tensor], Tensor]
"""A function that changes a tensor, whatever its name."""
Functions = Mapping[str, Callable[..., Any]]
"""Functions that change values, by the names of the values."""
Holds = Callable[[Any], bool]
"""A condition on the place at which a value is computed."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Functions that change named values, in the order of application to each value.

    Changes equal only themselves, so that they can be keys of stored predictions. `asked` contains
    the names of the other values that the functions use.
    """

    functions: Mapping[str, tuple[BoundArguments, ...]] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    @classmethod
    def declare(cls, functions: Functions) -> Changes:
        """Return changes from functions of a value and of other values that they name.

        The first parameter of your function takes the value. Give other parameters without a
        default the names of values that are known at that point, or `spot`. Raises ValueError if
        there is no value with a name, or a function uses a value that is not known at that point.
        """
        asked = (name for each in functions.values() for name in _list_parameters(each)[1:])
        return cls(
            {name: (_bind(name, each),) for name, each in functions.items()}, frozenset(asked)
        )

    def limit(self, holds: Holds) -> Changes:
        """Return the same changes, made only where a condition on the spot holds.

        Values of a whole call, such as its input, have no spot and are always changed.
        """
        return Changes(
            {
                name: functions
                if name.partition(".")[0] in OF_A_CALL
                else tuple(_limit(each, holds) for each in functions)
                for name, functions in self.functions.items()
            },
            self.asked,
        )

    def make_where(self, concerns: Callable[[Case], bool]) -> Changes:
        """Return the same changes, made only in cases that they concern."""
        return self.require(lambda spot: concerns(spot.given.case))

    def require(self, holds: Holds) -> Changes:
        """Return the same changes, made only if a condition holds, also for a whole call."""
        return Changes(
            {
                name: tuple(_limit(each, holds) for each in functions)
                for name, functions in self.functions.items()
            },
            self.asked,
        )

    def compose(self, other: Changes) -> Changes:
        """Return these changes, followed by others, whose functions get the changed values."""
        names = dict.fromkeys((*self.functions, *other.functions))
        mine, others = self.functions, other.functions
        composed = {name: (*mine.get(name, ()), *others.get(name, ())) for name in names}
        return Changes(composed, self.asked | other.asked)

    def __contains__(self, name: str) -> bool:
        return name in self.functions

    def __bool__(self) -> bool:
        return bool(self.functions)

    def are_only(self, name: str) -> bool:
        """Return whether all changes affect the same value."""
        return [*self.functions] == [name]

    @cached_property
    def leave_other_places(self) -> bool:
        """Whether the first layer and direction still depends on no other.

        No other has ended when it starts, so changes of its start do not add a dependence.
        """
        return all(_is_of_the_start(name) or _is_of_one_step(name) for name in self.functions)

    @cached_property
    def leave_later_steps(self) -> bool:
        """Whether the output of a step still depends on no later step."""
        is_early = "ended" not in self.asked
        return all(
            name.partition(".")[0] in OF_THE_END
            or _is_of_one_step(name)
            or (is_early and _is_of_the_start(name))
            for name in self.functions
        )

    def concerns_states(self, name: str) -> bool:
        """Return whether states, or a single one of them, change."""
        return name in self._wholes

    @cached_property
    def concern_sums(self) -> bool:
        """Whether the sums of a step change."""
        return not self._wholes.isdisjoint(("sums", "sum"))

    @cached_property
    def _wholes(self) -> frozenset[str]:
        return frozenset(name.partition(".")[0] for name in self.functions)

    def apply(self, name: str, value: Any, spot: Place, seen: Mapping[str, Any]) -> Any:
        """Return a value after the changes to it."""
        for change in self.functions.get(name, ()):
            value = change(value, spot, seen)
        return value


OF_A_CALL = frozenset(
    (
        *("input", "default", "initial", "fits", "output", "final", "results"),
        *("returned", "returned_output", "is_packed", "gradients"),
    )
)
"""Values that a call has only once, for all layers and directions."""
OF_ONE_STEP = frozenset(
    (
        *("default", "initial", "fits", "weight_ih", "weight_hh", "weight_hr"),
        *("bias_ih", "bias_hh", "biases", "from_input", "hidden_read", "sum", "sums"),
        *("before", "new", "projected", "updated", "carried"),
        *(name for step in STEPS.values() for name in step.values),
    )
)
"""Values of a single step of a layer and direction, or values that all steps use alike."""
OF_THE_END = frozenset(("last", "final", "returned"))
"""Values that no output depends on."""
NOTHING = Changes()
SPOT = "spot"
"""The parameter of your function that gets the place at which a value is computed."""


def _is_of_the_start(name: str) -> bool:
    """Return whether a value is the start of a layer and direction."""
    return name.partition(".")[0] == "first"


def _is_of_one_step(name: str) -> bool:
    return name in OF_ONE_STEP or name.partition(".")[0] in OF_ONE_STEP


def _collect_values() -> dict[str, frozenset[str]]:
    """Return the names of all values, each with the values that a change of it can use."""
    letters = dict.fromkeys(letter for kind in KINDS.values() for letter in kind.states)
    parts = {
        f"{name}.{letter}": seen | {"states"} for name, seen in STATES.items() for letter in letters
    }
    found: dict[str, frozenset[str]] = {**STATES, **parts, **OTHERS}
    for step in STEPS.values():
        for name, seen in step.seen.items():
            found[name] = found.get(name, frozenset()) | seen
    return found


VALUES = _collect_values()
"""The names of all values, each with the values that a change of it can use, besides the spot."""


def has_value(kind: Kind, name: str) -> bool:
    """Return whether a value is computed for a kind of layer or cell."""
    whole, _, part = name.partition(".")
    if whole in STATES:
        return not part or part in kind.states
    return name in OTHERS or name in STEPS[kind.layer].seen


def _bind(name: str, function: Callable[..., Any]) -> BoundArguments:
    """Return a function that finds the further arguments of a function by their names."""
    if name not in VALUES:
        raise ValueError(f"no value has the name {name!r}.{suggest_similar(name, VALUES)}")
    _, *further = _list_parameters(function)
    allowed = sorted({*VALUES[name], SPOT})
    for parameter in further:
        if parameter not in allowed:
            similar = suggest_similar(parameter, allowed)
            raise ValueError(f"a change of {name!r} cannot ask for {parameter!r}.{similar}")
    if not further:
        return lambda value, spot, seen: function(value)

    def call(value: Any, spot: Place, seen: Mapping[str, Any]) -> Any:
        found = {each: spot if each == SPOT else seen[each] for each in further}
        return function(value, **found)

    return call


def _list_parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters without a default; the first takes the value."""
    if isinstance(function, FunctionType) and not vars(function):
        # inspect, which knows wrapped functions too, takes half a second for all known mistakes.
        code, defaults = function.__code__, function.__defaults__ or ()
        by_keyword = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
        required = [*code.co_varnames[: code.co_argcount - len(defaults)]]
        required += [each for each in by_keyword if each not in (function.__kwdefaults__ or {})]
        return required or ["value"]
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some functions of torch have no signature
        return ["value"]
    required = [each.name for each in parameters if each.default is each.empty]
    return required or ["value"]


def change_values(functions: Functions, holds: Holds | None = None) -> Changes:
    """Return changes from functions of named values.

    If you pass `holds`, they change values only where it is true. Raises ValueError in the same
    cases as `declare`.
    """
    changes = Changes.declare(functions)
    return changes if holds is None else changes.limit(holds)


def _limit(change: BoundArguments, holds: Holds) -> BoundArguments:
    def limited(value: Any, spot: Place, seen: Mapping[str, Any]) -> Any:
        return change(value, spot, seen) if holds(spot) else value

    return limited
