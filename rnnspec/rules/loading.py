"""Rules about the values of parameters after a `state_dict` is loaded."""

from __future__ import annotations

from collections import OrderedDict

import torch

from rnnspec.cases.axes import DType, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import one_in
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.assertions.results import assert_weights
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets.modules import (
    ASSIGNED,
    LOADED_FROM_OTHERS,
    LOADED_IN_HALF,
    SAME_PARAMETERS,
)
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.devices import find_address
from rnnspec.subjects.steps import LOADING_WEIGHTS, READING_WEIGHTS
from rnnspec.subjects.subject import observe_step

# Other rules build a new layer in these cases too, so that it costs nothing here.
SHARED = one_in(18, 5) | one_in(26, 5)
METADATA = "_metadata"
"""The attribute of a `state_dict` that holds the versions of its modules."""
OTHER_VERSION = 99
"""A version in the metadata that no module of torch has."""


@rule(
    "rnn.module.state-dict",
    when=SHARED,
    id="parameters.loaded",
    establishes=(Fact.RESULTS,),
)
def loaded(observation: Observation) -> None:
    """After `load_state_dict`, the parameters have the values that were loaded.

    The weights of the case are loaded into a layer that was never called, and its parameters are
    compared with these weights bit for bit.

    Catches gates that are reordered, biases that are cleared or values that are rounded while they
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
    "use.module.load.same-objects",
    "use.module.load.metadata",
    when=one_in(20, 3),
    id="parameters.loaded-from-others",
    presupposes=("parameters.loaded", "parameters.names"),
)
def loaded_from_others(observation: Observation) -> None:
    """`load_state_dict` copies entries by name, whatever their order and dtype, and does not change
    the caller's entries.

    A frozen layer that was never called loads entries in the opposite order, in another dtype that
    holds the same numbers; in half of the cases, their metadata name another version. Its
    parameters must equal the entries bit for bit, keep their dtype, be the same objects as before,
    and stay frozen. The entries must be as they were, and changing them later must not change the
    layer. Then the layer loads the entries in 16 bits, and must have their numbers in its own
    dtype.

    Catches loading by position, parameters that take over the dtype or the memory of the entries or
    are replaced, and entries that are removed or renamed in the caller's dict.
    """
    case, values = observation.case, observation.values
    layer = PreparedLayer(observation.subject, case, values)
    entries = _make_entries(layer, _choose_wide_dtype(case))
    before = {name: (value, value.clone()) for name, value in entries.items()}
    objects = dict(layer.module.requires_grad_(False).named_parameters())
    with observe_step(LOADING_WEIGHTS):
        layer.module.load_state_dict(entries)
    _assert_same_frozen_objects(layer, objects)
    when = "after load_state_dict() of entries in another order and dtype"
    assert_weights(observation, when, LOADED_FROM_OTHERS, layer=layer)
    _assert_dtypes(layer, "another dtype", LOADED_FROM_OTHERS)
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
        "after the loaded entries were set to zero",
        LOADED_FROM_OTHERS,
        layer=layer,
    )
    _assert_loads_narrow_entries(layer)


def _assert_loads_narrow_entries(layer: PreparedLayer) -> None:
    """Raise Violation unless entries in 16 bits are loaded in the dtype of the layer."""
    narrow = torch.bfloat16 if layer.case.dtype is DType.FLOAT16 else torch.float16
    snippet = LOADED_IN_HALF.format(dtype=str(narrow))
    entries = _make_entries(layer, narrow)
    with observe_step(f"load_state_dict() of entries in {narrow}"):
        layer.module.load_state_dict(entries)
    _assert_dtypes(layer, str(narrow), snippet)
    own = layer.case.dtype.torch_dtype
    for name, parameter in layer.parameters().items():
        wanted = to_array(entries[layer.names[name]].to(own))
        when = f"after load_state_dict() of entries in {narrow}"
        assert_identical(name, to_array(parameter), wanted, snippet, when=when)


def _assert_dtypes(layer: PreparedLayer, loaded: str, snippet: Snippet) -> None:
    """Raise Violation if a parameter does not have the dtype of the case."""
    own = layer.case.dtype.torch_dtype
    for name, parameter in layer.parameters().items():
        if parameter.dtype != own:
            raise Violation(
                f"after load_state_dict() of entries in {loaded}, {name} is {parameter.dtype}; "
                f"expected {own}",
                snippet,
            )


@rule(
    "use.module.load.assign",
    when=one_in(26, 7),
    id="parameters.assigned",
    needs=(Feature.ADDRESSES,),
    presupposes=("parameters.loaded", "parameters.loaded-from-others", "parameters.names"),
)
def assigned(observation: Observation) -> None:
    """With `assign=True`, `load_state_dict` makes the entries themselves the parameters.

    A frozen layer that was never called loads entries in another dtype. Its parameters must have
    the dtype and the memory of the entries, and be frozen.

    Catches layers that copy or convert the entries all the same, or unfreeze parameters.
    """
    layer = PreparedLayer(observation.subject, observation.case, observation.values)
    entries = _make_entries(layer, _choose_wide_dtype(observation.case))
    layer.module.requires_grad_(False)
    with observe_step("load_state_dict(..., assign=True)"):
        layer.module.load_state_dict(entries, assign=True)
    for name, parameter in layer.parameters().items():
        entry = entries[layer.names[name]]
        if find_address(parameter) != find_address(entry) or parameter.dtype != entry.dtype:
            raise Violation(
                f"after load_state_dict() with assign=True, {name} has other memory or another "
                "dtype than its entry; expected the same",
                ASSIGNED,
            )
        if parameter.requires_grad:
            raise Violation(
                f"load_state_dict() with assign=True unfreezes {name}; expected it to stay frozen",
                ASSIGNED,
            )


def _assert_same_frozen_objects(
    layer: PreparedLayer, before: dict[str, torch.nn.Parameter]
) -> None:
    """Raise Violation if a parameter of a frozen layer was replaced or unfrozen."""
    for name, parameter in layer.module.named_parameters():
        if parameter is not before[name] or parameter.requires_grad:
            kept = "is another object" if parameter is not before[name] else "requires gradients"
            raise Violation(
                f"after load_state_dict() into a frozen layer, {name} {kept}; expected the frozen "
                "parameter as before",
                LOADED_FROM_OTHERS,
            )


def _choose_wide_dtype(case: Case) -> torch.dtype:
    """Return another dtype that holds the same numbers, or float64 for a layer in float64."""
    wider = case.dtype if case.dtype is DType.FLOAT64 else case.dtype.converted_from
    return wider.torch_dtype


def _make_entries(layer: PreparedLayer, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights of the case in a dtype, as entries that another layer might have saved."""
    with observe_step(READING_WEIGHTS):
        saved = {**layer.module.state_dict(), **layer.tensors()}
    own = set(layer.names.values())
    entries = OrderedDict(
        (name, value.to(dtype) if name in own else value) for name, value in reversed(saved.items())
    )
    if layer.takes_second_way:
        setattr(entries, METADATA, {"": {"version": OTHER_VERSION}})
    return entries
