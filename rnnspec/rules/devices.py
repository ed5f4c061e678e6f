"""Rules about the default device: parameters are created there, and calls do not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import has_predictable_results, one_in
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_same_results
from rnnspec.rulekit.fixtures.constructor_calls import (
    assert_placement,
    build_layer,
    plan_constructor_call,
)
from rnnspec.rulekit.rule import DROPOUT, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised

OTHER_DEFAULT = Snippet(
    """expected = layer(*given)
with torch.device("meta"):
    got = layer(*given)
close(got[0], expected[0])
close(got[1], expected[1])""",
    (Helper.CLOSE,),
)


BUILT_THERE = "(torch.set_default_device('meta'), {call}, torch.set_default_device(None))[1]"
"""The Python expression that builds a layer while the meta device is the default."""


@rule(
    "rnn.args.device.default",
    when=one_in(33, 3),
    needs=(Feature.META,),
    id="construction.default-device",
    presupposes=("construction.device-and-dtype",),
)
def default_device(observation: Observation) -> None:
    """Without a `device` argument, the constructor creates all parameters on the default device;
    with a `device`, it creates them there.

    A layer is built while the meta device is the default, set by `torch.set_default_device` or by a
    block `with torch.device("meta")`; in half of the cases, the subject's device is passed as
    `device`.

    Catches parameters that are always created on the CPU, and a `device` argument that is
    overridden.
    """
    if "device" in observation.subject.fixed:
        return
    own = observation.subject.device
    takes_device = observation.subject.offers(Feature.DTYPE)
    is_passed = observation.case.seed // 2 % 2 == 0 and takes_device
    call = plan_constructor_call(observation, **({"device": own} if is_passed else {}))
    with _use_meta_device(as_block=observation.case.seed % 2 == 0):
        layer = build_layer(observation, call)
    device = torch.device(own if is_passed else "meta")
    assert_placement(layer, None, device, BUILT_THERE.format(call=call))


@contextmanager
def _use_meta_device(*, as_block: bool) -> Iterator[None]:
    """Return a context that makes the meta device the default."""
    if as_block:
        with torch.device("meta"):
            yield
        return
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@rule(
    "rnn.recurrence.default-device",
    when=has_predictable_results & one_in(20, 5),
    needs=(Feature.META,),
    id="modes.default-device",
    presupposes=(Fact.RESULTS, *REPEATED_CALLS, DROPOUT, "modes.meta"),
)
def call_under_default_device(observation: Observation) -> None:
    """The default device does not affect a call: the results are the same, and on the device of the
    input.

    The call is repeated on equal arguments while the meta device is the default. The results may
    differ by at most twice the rounding bound.

    Catches states, masks and indices that are created on the default device.
    """
    case = observation.case
    first = observation.call
    given = observation.build_arguments()
    try:
        with case.prior_use.during(case), torch.device("meta"):
            second = perform_call(observation.prepared, case, given)
    except Raised as raised:
        raise Violation(f"while meta is the default device, {raised}", OTHER_DEFAULT) from raised
    right = first.result_tensors
    for name, tensor in second.result_tensors.items():
        if tensor.device != right[name].device:
            raise Violation(
                f"while meta is the default device, {name} is on {tensor.device}; "
                f"expected {right[name].device}",
                OTHER_DEFAULT,
            )
    assert_same_results(observation, second, snippet=OTHER_DEFAULT)
