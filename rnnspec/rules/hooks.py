"""Rules about hooks: their arguments, how often they are called, and what they can replace."""

from __future__ import annotations

import torch

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import has_known_gradients, has_predictable_results, is_packed, one_in
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.results import assert_gradients, assert_results, list_gradient_names
from rnnspec.rulekit.fixtures.hooks import BackwardHooks, ForwardHooks, differentiate_with_hooks
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets.autograd import BACKWARD_HOOKS, FORWARD_HOOKS, RESULT_REPLACED
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.subject import observe_step


@rule(
    "use.module.hooks.forward",
    "use.module.hooks.forward-pre",
    when=has_predictable_results & one_in(20, 8),
    id="modules.forward-hooks",
    presupposes=(Fact.RESULTS, *REPEATED_CALLS),
)
def forward_hooks(observation: Observation) -> None:
    """Forward hooks and forward pre-hooks of the layer are called once in each call, with the layer
    and with the arguments and the result of the call, and may replace these.

    In another call, a pre-hook negates the input, and the results are compared with the reference
    for the negated input. In half of the cases, a forward hook on another call returns an object,
    which the call must return.

    Catches layers that are called past the hooks, that give them tensors in a layout of their own,
    or that return something that no hook has seen.
    """
    negated = observation.second_call(input=-observation.values.input)
    given, replaced = observation.build_arguments(), negated.build_arguments()
    hooks = ForwardHooks(arguments=replaced.positional)
    with hooks.watch(observation.module):
        call = perform_call(observation.prepared, observation.case, given)
    _assert_called_once(hooks, observation, given.input, replaced.input)
    _, _, result = hooks.returned[0]
    negated.take_call(call)
    assert_results(negated, FORWARD_HOOKS)
    if result is not call.returned and not observation.subject.arranges_results:
        raise Violation(
            "a forward hook was given another object than the call returned; expected the same",
            FORWARD_HOOKS,
        )
    if observation.case.seed % 2:
        _assert_result_replaced(observation)


def _assert_called_once(
    hooks: ForwardHooks, observation: Observation, given: object, replaced: object
) -> None:
    for name, calls, expected in (
        ("forward pre-hook", hooks.taken, given),
        ("forward hook", hooks.returned, replaced),
    ):
        if len(calls) != 1:
            raise Violation(
                f"a {name} was called {len(calls)} times in a call; expected once", FORWARD_HOOKS
            )
        module, arguments, *_ = calls[0]
        if module is not observation.module or arguments[0] is not expected:
            raise Violation(
                f"a {name} was given another module or input than the call; expected these",
                FORWARD_HOOKS,
            )


def _assert_result_replaced(observation: Observation) -> None:
    hooks = ForwardHooks(result=object())
    given = observation.build_arguments()
    grad_mode, caller = observation.case.grad_mode, observation.prepared.caller
    with (
        hooks.watch(observation.module),
        grad_mode.enter(),
        observe_step("a call with a forward hook"),
    ):
        returned = caller(*given.positional)
    if returned is not hooks.result:
        raise Violation(
            f"a call returned a {type(returned).__name__} of its own while a forward hook "
            "replaces the result; expected what the hook returned",
            RESULT_REPLACED,
        )


@rule(
    "use.module.hooks.backward",
    "use.autograd.tensor-hooks",
    when=has_known_gradients & ~is_packed & one_in(20, 9),
    needs=(Feature.GRADIENTS,),
    id="gradients.hooks",
    presupposes=(
        Fact.GRADIENTS,
        *FIRST_GRADIENTS,
        *REPEATED_CALLS,
        "gradients.summed-loss",
        "gradients.second-backward",
        "modules.forward-hooks",
    ),
)
def backward_hooks(observation: Observation) -> None:
    """In a backward pass, the full backward hook of the layer and the hook of each tensor are
    called once with the gradients, and change none by being there.

    Another call is differentiated while all of these hooks are registered. The gradients are
    compared with the reference, and the gradients that the hooks see with the values that arrive in
    `.grad`.

    Catches layers whose results bypass the hooks, and gradients that arrive in several parts.
    """
    hooks = BackwardHooks()
    found = differentiate_with_hooks(observation, hooks)
    names = list_gradient_names(observation)
    assert_gradients(observation, found, observation.expected, names, snippet=BACKWARD_HOOKS)
    if len(hooks.of_layer) != 1:
        raise Violation(
            f"a full backward hook was called {len(hooks.of_layer)} times in a backward pass; "
            "expected once",
            BACKWARD_HOOKS,
        )
    for name in names:
        seen = hooks.of_leaves.get(name, [])
        if len(seen) != 1:
            raise Violation(
                f"a hook on {name} was called {len(seen)} times in a backward pass; expected once",
                BACKWARD_HOOKS,
            )
    (taken, _), (of_input,) = hooks.of_layer[0], hooks.of_leaves["input"]
    if taken[0] is None or not torch.equal(taken[0], of_input):
        raise Violation(
            "a full backward hook was given another gradient of the input than the input receives",
            BACKWARD_HOOKS,
        )
