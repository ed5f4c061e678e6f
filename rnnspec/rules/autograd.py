"""Rules about gradients under the tools of autograd, and where a layer could bypass it."""

from __future__ import annotations

from rnnspec.cases.axes import Feature, MemoryLayout
from rnnspec.cases.conditions import has_known_gradients, has_value, one_in
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.fixtures.in_place import (
    choose_changed_tensors,
    differentiate_after_change,
    write_change,
)
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets.autograd import PRESENT
from rnnspec.rulekit.violation import Violation

NEEDS = (Feature.GRADIENTS,)


@rule(
    "use.autograd.present",
    when=has_known_gradients,
    needs=NEEDS,
    id="gradients.present",
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS),
)
def present(observation: Observation) -> None:
    """Each tensor on which a result depends receives a gradient, and not None, even if it is zero.

    The gradients of all results with respect to the arguments and parameters are looked at.

    Catches layers that leave out what they multiply by zero, such as the recurrent weight in a
    first step without `h_0`, so that an optimiser skips a parameter.
    """
    _ = observation.gradients
    for name in list_gradient_names(observation):
        if name in observation.backward.absent:
            raise Violation(
                f"the gradient of {name} is None; expected a tensor, even if it is zero", PRESENT
            )


@rule(
    "use.autograd.changed-in-place",
    when=has_known_gradients & ~has_value(MemoryLayout.EXPANDED) & one_in(8, 5),
    needs=NEEDS,
    id="gradients.changed-in-place",
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS, *REPEATED_CALLS),
)
def changed_in_place(observation: Observation) -> None:
    """If a tensor that a call took or returned is changed in place before the backward pass, this
    raises an exception or gives the gradients of the call as it was made.

    After a call of another layer, 1 is added to an argument, to a parameter or to all results.
    If the backward pass raises no RuntimeError, all gradients are compared with the reference.

    Catches backward passes that read tensors of the caller, or parameters, which were not saved for
    them, so that the gradients are those of other numbers.
    """
    called = Observation(
        observation.subject, observation.case, observation.values, observation.spare_layer
    )
    names = choose_changed_tensors(observation)
    found = differentiate_after_change(called, names)
    if found is not None:
        assert_gradients(
            called,
            found,
            called.expected,
            list_gradient_names(called),
            snippet=write_change(called, names),
        )
