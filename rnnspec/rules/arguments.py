"""Rules about how a call is written: arguments by name, and None as the initial state."""

from __future__ import annotations

from dataclasses import replace

from rnnspec.cases.axes import InitialState, ModuleUses
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_same_results
from rnnspec.rulekit.conditions import has_predictable_results, has_value, one_in
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
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
    when=has_value(InitialState.ABSENT) & takes_module & one_in(6, 1),
    id="states.none",
    presupposes=(Fact.RESULTS,),
)
def none(observation: Observation) -> None:
    """`None` as the initial state is the same as no initial state.

    The call is repeated with `None`, by position or as `hx`. The results may differ by at most
    twice the rounding bound.

    Catches a second argument that may be left out but not be None.
    """
    call, by_name = observation.call, observation.case.seed % 2 == 0
    with observation.case.grad_mode.enter(), observe_step("the call with hx=None"):
        returned = (
            observation.module(call.given.input, hx=None)
            if by_name
            else observation.module(call.given.input, None)
        )
    assert_same_results(observation, replace(call, returned=returned), snippet=NONE)


@rule(
    "rnn.input.keyword",
    when=takes_module & one_in(6, 3),
    id="layouts.input-by-name",
    presupposes=(Fact.RESULTS,),
)
def input_by_name(observation: Observation) -> None:
    """The input can also be passed by keyword, as `input`.

    The call is repeated with `input=`, and with `hx=` if there is an initial state. The results may
    differ by at most twice the rounding bound.

    Catches a first argument with another name.
    """
    call = observation.call
    named = {"input": call.given.input, "hx": call.given.h_0}
    arguments = {name: value for name, value in named.items() if value is not None}
    with observation.case.grad_mode.enter(), observe_step("the call with input="):
        returned = observation.module(**arguments)
    assert_same_results(observation, replace(call, returned=returned), snippet=INPUT_BY_NAME)
