"""Rules about how a call is written: arguments by name, and None as the initial state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rnnspec.cases.axes import Feature, InitialState, ModuleUses
from rnnspec.cases.conditions import has_predictable_results, has_value, one_in
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_same_results
from rnnspec.rulekit.rule import GIVEN_STATES, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.subject import observe_step

NONE = Snippet(
    """for got in (layer(given[0], None), layer(given[0], hx=None)):
    close(got[0], layer(*given)[0])
    close(got[1], layer(*given)[1])""",
    (Helper.CLOSE,),
)
INPUT_BY_NAME = Snippet(
    """named = dict(zip(("input", "hx"), given))
close(layer(**named)[0], layer(*given)[0])
close(layer(**named)[1], layer(*given)[1])""",
    (Helper.CLOSE,),
)
takes_module = has_predictable_results & ~has_value(ModuleUses.FUNCTIONAL)


@rule(
    "rnn.h_0.none",
    when=has_value(InitialState.ABSENT) & takes_module & one_in(11, 1),
    needs=(Feature.STATE,),
    id="states.none",
    presupposes=(Fact.RESULTS, *REPEATED_CALLS, *GIVEN_STATES, "side-effects.arguments"),
)
def none(observation: Observation) -> None:
    """`None` as the initial state is the same as no initial state.

    The call is repeated with `None`, by position or as `hx`. The results may differ by at most
    twice the rounding bound.

    Catches a second argument that can be omitted but cannot be None.
    """
    is_named = observation.case.seed % 2 == 0
    given = observation.call.given.input
    _assert_same_call(
        observation,
        "layer(input, hx=None)" if is_named else "layer(input, None)",
        lambda: observation.module(given, hx=None) if is_named else observation.module(given, None),
        NONE,
    )


@rule(
    "rnn.input.keyword",
    when=takes_module & one_in(16, 3),
    id="layouts.input-by-name",
    presupposes=(Fact.RESULTS, "states.by-name", "side-effects.arguments", *REPEATED_CALLS),
)
def input_by_name(observation: Observation) -> None:
    """The input can also be passed by keyword, as `input`.

    The call is repeated with `input=`, and with `hx=` if there is an initial state. The results may
    differ by at most twice the rounding bound.

    Catches a first argument with another name.
    """
    given = observation.call.given
    named = {"input": given.input, **({} if given.hx is None else {"hx": given.hx})}
    call = f"layer({', '.join(f'{name}={name}' for name in named)})"
    _assert_same_call(observation, call, lambda: observation.module(**named), INPUT_BY_NAME)


def _assert_same_call(
    observation: Observation, step: str, call: Callable[[], Any], snippet: Snippet
) -> None:
    """Raise Violation if another call raises, or returns other results than the checked call."""
    try:
        with observation.case.grad_mode.enter(), observe_step(step):
            returned = call()
    except Raised as raised:
        raise Violation(str(raised), snippet) from raised
    assert_same_results(observation, replace(observation.call, returned=returned), snippet=snippet)
