"""Rules about the values of parameters after a `state_dict` was loaded."""

from __future__ import annotations

import torch

from rnnspec.cases.axes import DType
from rnnspec.cases.conditions import one_in
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.rulekit.assertions.results import assert_weights
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippets.modules import LOADED_FROM_OTHERS, SAME_PARAMETERS
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.steps import LOADING_WEIGHTS, READING_WEIGHTS
from rnnspec.subjects.subject import observe_step

# The cases in which other rules build such a layer too.
SHARED = one_in(18, 5) | one_in(26, 5)


@rule(
    "rnn.module.state-dict",
    when=SHARED,
    id="parameters.loaded",
    establishes=(Fact.RESULTS,),
)
def loaded(observation: Observation) -> None:
    """After `load_state_dict`, the parameters have the values that were loaded.

    The weights of the case are loaded into a layer that was never called, and its parameters are
    compared with them bit for bit.

    Catches gates that are reordered, biases that are cleared or values that are rounded when they
    are loaded, and entries that are not loaded.
    """
    case, values = observation.case, observation.values
    layer = PreparedLayer(observation.subject, case, values, observation.share_fresh_layer())
    layer.load()
    assert_weights(observation, "after load_state_dict()", SAME_PARAMETERS, layer=layer)


@rule(
    "rnn.module.state-dict",
    "use.module.load.by-name",
    "use.module.load.converts",
    "use.module.load.copies",
    when=one_in(20, 3),
    id="parameters.loaded-from-others",
    presupposes=("parameters.loaded", "parameters.names"),
)
def loaded_from_others(observation: Observation) -> None:
    """`load_state_dict` copies entries by name, whatever their order and dtype, and leaves them to
    the caller.

    A layer that was never called loads entries in the opposite order, in another dtype that holds
    the same numbers. Its parameters are compared with the entries bit for bit and by dtype. The
    entries must be as they were, and changing them later must not change the layer.

    Catches loading by position, parameters that take over the dtype or the memory of the entries,
    entries that are removed or renamed in the caller's dict.
    """
    case, values = observation.case, observation.values
    layer = PreparedLayer(observation.subject, case, values)
    entries = _make_entries(layer)
    before = {name: (value, value.clone()) for name, value in entries.items()}
    with observe_step(LOADING_WEIGHTS):
        layer.module.load_state_dict(entries)
    assert_weights(
        observation, "after load_state_dict() of such entries", LOADED_FROM_OTHERS, layer=layer
    )
    for name, parameter in layer.parameters().items():
        if parameter.dtype != case.dtype.torch_dtype:
            raise Violation(
                f"after load_state_dict() of entries in another dtype, {name} is "
                f"{parameter.dtype}; expected {case.dtype.torch_dtype}",
                LOADED_FROM_OTHERS,
            )
    if list(entries) != list(before):
        raise Violation(
            f"load_state_dict() leaves {', '.join(entries) or 'no entry'} in the dict of the "
            f"caller; expected {', '.join(before)}",
            LOADED_FROM_OTHERS,
        )
    for name, (value, copy) in before.items():
        if entries[name] is not value or not torch.equal(value, copy):
            raise Violation(
                f"load_state_dict() changes the entry {name} of the caller", LOADED_FROM_OTHERS
            )
        value.zero_()
    assert_weights(
        observation,
        "after the entries that were loaded were set to zero",
        LOADED_FROM_OTHERS,
        layer=layer,
    )


def _make_entries(layer: PreparedLayer) -> dict[str, torch.Tensor]:
    """Return the weights of the case as entries that another layer might have saved."""
    dtype = layer.case.dtype
    wider = dtype if dtype is DType.FLOAT64 else dtype.converted_from
    with observe_step(READING_WEIGHTS):
        saved = {**layer.module.state_dict(), **layer.tensors()}
    own = set(layer.names.values())
    return {
        name: value.to(wider.torch_dtype) if name in own else value
        for name, value in reversed(saved.items())
    }
