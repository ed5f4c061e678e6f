"""Rules about gradients under autograd's tools, and about layers that could bypass autograd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from rnnspec.cases.axes import Feature, MemoryLayout
from rnnspec.cases.conditions import (
    has_known_gradients,
    has_size_at_least,
    has_value,
    has_wide_dtype,
    is_packed,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import is_right
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.fixtures.autograd import (
    choose_changed_tensors,
    differentiate_after_change,
    differentiate_by_transform,
    write_change,
)
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets.autograd import ANOMALY, PRESENT, SCALED, TRANSFORMED
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.subject import observe_step

NEEDS = (Feature.GRADIENTS,)


@contextmanager
def _blame_on(how: str, snippet: Snippet) -> Iterator[None]:
    """Turn an exception of the subject into a violation, since the subject works without `how`."""
    try:
        yield
    except Raised as raised:
        raise Violation(f"{how}, {raised}", snippet) from raised


@rule(
    "use.autograd.present",
    when=has_known_gradients,
    needs=NEEDS,
    id="gradients.present",
    # A state that is not used receives no gradient.
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS, "states.initial-state-used", "layouts.*"),
)
def present(observation: Observation) -> None:
    """Each tensor on which a result depends receives a gradient, not None, even if the gradient is
    zero.

    The gradients of all results with respect to the arguments and parameters must not be None. Only
    cases with right results count: a wrong result may leave out a tensor.

    Catches layers that leave out tensors that they multiply by zero, such as the recurrent weight
    in a first step without `h_0`, so that an optimiser skips a parameter.
    """
    _ = observation.gradients
    for name in list_gradient_names(observation):
        if name in observation.backward.absent and is_right(observation):
            raise Violation(
                f"the gradient of {name} is None; expected a tensor, even if it is zero", PRESENT
            )


@rule(
    "use.autograd.changed-in-place",
    when=has_known_gradients & ~has_value(MemoryLayout.EXPANDED) & one_in(10, 7, with_gates=15),
    needs=NEEDS,
    id="gradients.changed-in-place",
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS, *REPEATED_CALLS),
)
def changed_in_place(observation: Observation) -> None:
    """If a tensor that a call took or returned is changed in place before the backward pass, the
    backward pass raises an exception or gives the gradients of the call as it was made.

    After a call of another layer, 1 is added to an argument; after the next, to a parameter; after
    the last, to all results. If the backward pass raises no RuntimeError, all gradients are
    compared with the reference.

    Catches backward passes that read arguments or parameters without saving them, and so compute
    gradients from the changed values.
    """
    for names in choose_changed_tensors(observation):
        called = Observation(
            observation.subject, observation.case, observation.values, observation.spare_layer
        )
        found = differentiate_after_change(called, names)
        if found is not None:
            assert_gradients(
                called,
                found,
                called.expected,
                list_gradient_names(called),
                snippet=write_change(called, names),
            )


@rule(
    "use.autograd.anomaly",
    # In 16 bits, intermediate products may overflow although the gradients do not. torch formats
    # the stack of each operation, which takes half a second for 500 steps.
    when=has_known_gradients
    & has_wide_dtype
    & ~has_size_at_least("steps", 9)
    & one_in(30, 11, of_cells=12),
    needs=NEEDS,
    id="gradients.anomaly-detection",
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS, *REPEATED_CALLS),
)
def anomaly_detection(observation: Observation) -> None:
    """Under `torch.autograd.detect_anomaly`, a call and its backward pass work.

    Another call is made and differentiated under anomaly detection, which raises an exception if
    any step of the backward pass returns NaN. All gradients are compared with the reference.

    Catches backward passes that leave NaN or uninitialised memory in places that later steps cut
    off.
    """
    with observe_step("detect_anomaly()"):
        detection = torch.autograd.detect_anomaly()
    again = observation.second_call()
    with detection, _blame_on("with detect_anomaly()", ANOMALY):
        found = again.prepare_backward(again.call).compute_gradients(again.result_names)
    names = list_gradient_names(observation)
    assert_gradients(observation, found, observation.expected, names, snippet=ANOMALY)


SCALE = 2.0**16
"""The first factor of a `torch.amp.GradScaler`."""
LARGEST_SCALED = 2.0**64
"""Gradients above this may overflow when they are scaled, in float32 and with further factors."""


@rule(
    "use.amp.scaler",
    when=has_known_gradients & has_wide_dtype & one_in(14, 3, of_cells=7),
    needs=NEEDS,
    id="gradients.scaled-loss",
    presupposes=(Fact.GRADIENTS, *FIRST_GRADIENTS, *REPEATED_CALLS),
)
def scaled_loss(observation: Observation) -> None:
    """If a loss is multiplied by a factor, as `torch.amp.GradScaler` does, so are its gradients.

    The gradients of the results of another call are multiplied by 65536. The gradients that the
    backward pass returns, divided by the same factor, are compared with the reference.

    Catches backward passes that clip or normalise large gradients.
    """
    expected, values = observation.expected, observation.values
    if any(np.abs(each).max(initial=0.0) > LARGEST_SCALED for each in expected.gradients.values()):
        return
    again = observation.borrow_repeated()
    scaled = again.with_cotangents(SCALE * values.d_output, SCALE * values.d_final)
    found = {
        name: gradient / SCALE
        for name, gradient in scaled.compute_gradients(observation.result_names).items()
    }
    names = list_gradient_names(observation)
    assert_gradients(observation, found, expected, names, snippet=SCALED)


@rule(
    "use.func.transforms",
    when=has_known_gradients & has_wide_dtype & ~is_packed & one_in(13, 15, of_cells=7),
    needs=(*NEEDS, Feature.FUNCTIONAL),
    id="gradients.transforms",
    presupposes=(
        Fact.GRADIENTS,
        *FIRST_GRADIENTS,
        *REPEATED_CALLS,
        "modules.functional-call",
        "side-effects.global-settings",
    ),
)
def transforms(observation: Observation) -> None:
    """Under `torch.func.grad`, derivatives of the layer are those of the formula, or the layer
    raises an exception.

    Another call is differentiated through `functional_call`, with respect to the parameters and the
    input. The gradients are compared with the reference.

    Catches layers that unwrap, detach or cache the tensors that a transform passes through them.
    """
    found = differentiate_by_transform(observation)
    names = [name for name in list_gradient_names(observation) if name in found]
    assert_gradients(observation, found, observation.expected, names, snippet=TRANSFORMED)
