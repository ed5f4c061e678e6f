"""Rules about the layer as a module: whatever was done to it, it uses its current parameters."""

from __future__ import annotations

import copy
import io

import numpy as np
import torch

from rnnspec.cases.axes import (
    Distribution,
    EarlierCalls,
    Feature,
    GradMode,
    Mode,
    ModuleUses,
    ParameterUpdates,
    PriorUse,
)
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_exact_values,
    has_known_gradients,
    has_predictable_results,
    has_value,
    has_wide_dtype,
    is_training,
    one_in,
)
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.assertions.results import (
    assert_gradients,
    assert_results,
    assert_results_and_gradients,
    assert_weights,
    fail_only_if_right_elsewhere,
)
from rnnspec.rulekit.fixtures.modules import (
    assert_kept,
    assert_shared_after_conversion,
    assert_state_dict_rejected,
    choose_entries,
)
from rnnspec.rulekit.rule import REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets.gradients import LATER_CALL_OF_COPY
from rnnspec.rulekit.snippets.modules import (
    CONVERSION,
    DEEPCOPY,
    NESTED,
    SAME_PARAMETERS,
    SAVED_STATE_DICT,
    STATE_DICT,
    TIES_OF_COPY,
)
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.steps import LOADING_WEIGHTS, READING_WEIGHTS
from rnnspec.subjects.subject import observe_step

EARLIER_CALLS = [use for use in EarlierCalls if use is not EarlierCalls.FRESH]
UPDATES = [use for use in ParameterUpdates if use is not ParameterUpdates.RELOADED]


def has_prior_use(*uses: PriorUse) -> Condition[Case]:
    """Return the condition that a case has one of these prior uses, and predictable results."""
    return has_value(*uses) & has_predictable_results


has_history: Condition[Case] = Condition(
    "a history of uses", lambda case: bool(case.history), "no history"
)


def _fail_only_if_fresh_is_right(observation: Observation) -> None:
    """Compare results and gradients; fail only if a new layer, without the prior use, gets them
    right.
    """
    unused = observation.case.replace(prior_use=EarlierCalls.FRESH)
    fail_only_if_right_elsewhere(observation, unused)


@rule(
    "rnn.module.state-dict",
    "rnn.parameters.names",
    "use.module.state-dict.references",
    "use.serialisation.weights-only",
    when=has_predictable_results & ~has_value(ModuleUses.FUNCTIONAL) & one_in(22),
    presupposes=(Fact.RESULTS, "side-effects.parameters", *REPEATED_CALLS, "parameters.names"),
    # Rounded entries show only if the numbers have more digits than 16 bits hold.
    spans=tuple(mode & has_wide_dtype & ~has_exact_values for mode in (is_training, ~is_training)),
    program=SAVED_STATE_DICT,
)
def state_dict(observation: Observation) -> None:
    """The `state_dict` holds only the parameters; a layer that loads it computes the same results.

    Its entries are compared with the documented parameters. It is loaded into a new layer, in half
    of the cases after `torch.save` and `torch.load` with `weights_only=True`, and the results are
    compared with the reference. Numbers written into the entries of the new layer's `state_dict`
    must then appear in its parameters.

    Catches buffers and counters in the `state_dict`, and entries that are copies of the parameters
    or not plain tensors.
    """
    with observe_step(READING_WEIGHTS):
        state = dict(observation.module.state_dict())
    surplus = sorted(set(state) - set(observation.prepared.names.values()))
    if surplus:
        raise Violation(
            f"the state_dict has an entry {surplus[0]}; expected only the parameters", STATE_DICT
        )
    if observation.prepared.takes_second_way:
        state = _save_and_load(state)
    other = PreparedLayer(observation.subject, observation.case, observation.values)
    with observe_step(LOADING_WEIGHTS):
        other.module.load_state_dict(state)
    other.module.train(observation.case.mode is Mode.TRAIN)
    fail_only_if_right_elsewhere(
        Observation(observation.subject, observation.case, observation.values, other),
        observation.case,
        assert_results,
    )
    _assert_entries_are_references(other)


def _save_and_load(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the entries after saving them, and loading them with `weights_only=True`."""
    saved = io.BytesIO()
    with observe_step("torch.load(..., weights_only=True) of its saved state_dict"):
        torch.save(state, saved)
        saved.seek(0)
        loaded: dict[str, torch.Tensor] = torch.load(saved, weights_only=True)
    return loaded


def _assert_entries_are_references(prepared: PreparedLayer) -> None:
    """Raise Violation if numbers written into the `state_dict` do not reach the parameters."""
    with torch.no_grad(), observe_step(READING_WEIGHTS):
        for tensor in prepared.module.state_dict().values():
            tensor.fill_(0.5)
    for name, parameter in prepared.parameters().items():
        assert_identical(
            name,
            to_array(parameter),
            np.full(parameter.shape, 0.5),
            STATE_DICT,
            when="after writing to its entry of the state_dict",
        )


@rule(
    "rnn.module.deepcopy",
    "use.module.copy.frozen",
    "use.module.copy.attributes",
    "use.module.copy.tied",
    "use.autograd.interleaved",
    when=has_prior_use(ModuleUses.DEEPCOPIED),
    about=("prior_use",),
    presupposes=("side-effects.parameters", *REPEATED_CALLS, "modules.pickle"),
)
def deepcopy(observation: Observation) -> None:
    """A deep copy computes the same results as the original, and has its own parameters.

    Results and gradients of the copy are compared with the reference, the gradients also after a
    later call of the original. Then the parameters of the copy are changed, and the original's
    parameters must stay as they were. A copy of a frozen layer must be frozen, be in the same mode,
    and keep an attribute that was set on the original. In a copy of a model, a parameter that the
    layer shares with another module must stay shared.

    Catches copies that share parameters or memory, lose constructor arguments, attributes or the
    mode, unfreeze parameters or untie them, and layers that keep a result with its graph, which
    cannot be copied.
    """
    _fail_only_if_fresh_is_right(observation)
    # Half of the cases build no graph, and large numbers saturate units.
    plain = observation.case.replace(grad_mode=GradMode.GRAD, distribution=Distribution.PLAIN)
    if has_known_gradients(plain) and observation.subject.offers(Feature.GRADIENTS):
        fail_only_if_right_elsewhere(
            observation.new_layer(plain),
            plain,
            _assert_calls_independent,
            assert_results_and_gradients,
        )
    assert_kept(observation, "copy.deepcopy(layer)")
    prepared = observation.new_layer(observation.case).prepared
    originals = {} if prepared.original is None else dict(prepared.original.named_parameters())
    kept = {name: to_array(value) for name, value in originals.items()}
    with torch.no_grad():
        for parameter in prepared.module.parameters():
            parameter.add_(1.0)
    for name, value in originals.items():
        assert_identical(
            name,
            to_array(value),
            kept[name],
            DEEPCOPY,
            when="of the original after changing the copy",
        )
    _assert_ties_copied(prepared)


def _assert_ties_copied(layer: PreparedLayer) -> None:
    """Raise Violation if a copy of a model unties a parameter of the layer from another module."""
    named = list(layer.module.named_parameters())
    name, parameter = named[layer.case.seed % len(named)]
    parent = torch.nn.ModuleDict({"layer": layer.module, "other": torch.nn.Module()})
    parent["other"].register_parameter("shared", parameter)
    with observe_step("copy.deepcopy() of a model with the layer"):
        copied = copy.deepcopy(parent)
    if dict(copied["layer"].named_parameters())[name] is not copied["other"].shared:
        raise Violation(
            f"after copy.deepcopy() of a model, {name} is not shared with another module; expected "
            "one parameter as in the original",
            TIES_OF_COPY.format(name=name),
        )


def _assert_calls_independent(observation: Observation) -> None:
    """Raise Violation if a call of the copy gets other gradients after a call of the original."""
    original = observation.prepared.original
    call = observation.call
    if original is None:
        return
    subject, case, values = observation.subject, observation.case, observation.values
    other = Observation(subject, case, values, PreparedLayer(subject, case, values, original))
    # The same number of calls of both: layers may number the memory of their calls.
    _ = other.second_call(input=-values.input).call
    found = observation.differentiate(call, observation.result_names)
    try:
        assert_gradients(
            observation,
            found,
            observation.expected,
            exclude_masked_gradients(case, found),
            snippet=LATER_CALL_OF_COPY,
        )
    except Violation as broken:
        raise Violation(
            f"after a later call of the original, {broken.message}",
            broken.snippet,
            difference=broken.difference,
        ) from None


@rule(
    "rnn.module.pickle",
    "use.module.copy.frozen",
    "use.module.copy.attributes",
    when=has_prior_use(ModuleUses.PICKLED),
    needs=(Feature.PICKLE,),
    about=("prior_use",),
    presupposes=("side-effects.parameters", *REPEATED_CALLS, "modes.train"),
)
def pickle(observation: Observation) -> None:
    """A layer that was pickled and unpickled computes the same results as before.

    Results and gradients after a round trip are compared with the reference. After a round trip, a
    frozen layer must be frozen, be in the same mode, and keep an attribute that was set before.

    Catches parameters, constructor arguments, attributes or modes that are lost on the way, and
    parameters that are unfrozen.
    """
    _fail_only_if_fresh_is_right(observation)
    assert_kept(observation, "pickle.loads(pickle.dumps(layer))")


@rule(
    "rnn.module.replaced",
    "use.optim.in-place",
    "use.optim.flattened",
    when=has_prior_use(*UPDATES),
    about=("prior_use",),
    presupposes=(
        "side-effects.parameters",
        "side-effects.arguments",
        "side-effects.backward",
        "parameters.no-bias",
    ),
)
def replaced_parameters(observation: Observation) -> None:
    """After a parameter is assigned, deleted and set again, or updated in place, calls use the new
    values.

    After a call with other weights, every parameter is replaced: by attribute, by `.data`, or in
    place as an optimiser does it. Some new parameters are not contiguous, or are a part of a larger
    tensor. Results and gradients are compared with the reference for the new weights.

    Catches weights, sums of biases or lists of parameters that are kept from an earlier call, and
    parameters that are read as if they were contiguous.
    """
    _fail_only_if_fresh_is_right(observation)


@rule(
    "rnn.module.functional-call",
    when=has_prior_use(ModuleUses.FUNCTIONAL),
    needs=(Feature.FUNCTIONAL,),
    about=("prior_use",),
    presupposes=("side-effects.parameters", "modules.replaced-parameters"),
)
def functional_call(observation: Observation) -> None:
    """Under `torch.func.functional_call`, the layer computes and differentiates with the passed
    parameters.

    After a call with the layer's own weights, other weights are passed. Results and gradients are
    compared with the reference for the passed weights.

    Catches cached parameters that make the layer ignore the passed parameters, or give them no
    gradient.
    """
    _fail_only_if_fresh_is_right(observation)


@rule(
    "rnn.effects.stateless",
    "use.module.requires-grad",
    when=has_prior_use(*EARLIER_CALLS),
    about=("prior_use",),
    presupposes=("side-effects.parameters", "side-effects.backward"),
)
def second_call(observation: Observation) -> None:
    """The results of a call depend only on its arguments and the parameters, not on earlier calls.

    The layer, or another layer of the same configuration, was called before: on the same shapes or
    tensors, on another batch size or layout, with a state, in another mode, or frozen. Results and
    gradients are compared with the reference.

    Catches states, sizes, masks and buffers that are kept from call to call.
    """
    _fail_only_if_fresh_is_right(observation)


@rule(
    "rnn.effects.stateless",
    "use.module.hooks.removed",
    "use.module.copy.used",
    "use.serialisation.weights-only",
    when=has_history & has_predictable_results,
    about=("history",),
    # A prior use may pass on the states of the call before it, which a layer rejects if their
    # shape is wrong.
    presupposes=(
        "side-effects.parameters",
        "side-effects.backward",
        "modules.[!h]*",
        "shapes.*",
        "cells.shape",
    ),
)
def history(observation: Observation) -> None:
    """Whatever was done with the layer, it computes the same as a new layer with its parameters.

    The layer goes through several of these in turn: calls, copies, conversions, updates, errors.
    Results and gradients are compared with the reference. The rule fails only if they are right
    after each prior use alone.

    Catches values that a prior use keeps, loses or switches, and that matter only after another
    prior use.
    """
    case = observation.case
    fail_only_if_right_elsewhere(observation, case.replace(history=()))


@rule(
    "rnn.module.nested",
    "use.module.mode.attribute",
    when=has_prior_use(ModuleUses.NESTED),
    about=("prior_use",),
    presupposes=("side-effects.parameters", "modes.train"),
)
def nested(observation: Observation) -> None:
    """Inside another module, the layer follows the parent's mode and `state_dict`.

    The layer is loaded and switched to its mode through a module that holds it. Results and
    gradients are compared with the reference.

    Catches hooks for `state_dict`, `train` or `eval` that work only at the top level.
    """
    train = observation.case.mode is Mode.TRAIN
    if observation.module.training != train:
        raise Violation(
            f"after train({train}) of a module that holds the layer, the layer has "
            f"training={observation.module.training}; expected {train}",
            NESTED,
        )
    names = [name for name, _ in observation.prepared.owner.named_parameters()]
    missing = [name for name in observation.prepared.names.values() if f"part.{name}" not in names]
    if missing:
        raise Violation(
            f"a module that holds the layer as `part` has the parameters {', '.join(names)}; "
            f"expected part.{missing[0]} among them",
            NESTED,
        )
    _fail_only_if_fresh_is_right(observation)


@rule(
    "rnn.module.converted",
    "use.module.copy.frozen",
    when=has_prior_use(ModuleUses.CONVERTED),
    about=("prior_use",),
    presupposes=("side-effects.parameters",),
)
def dtype_conversion(observation: Observation) -> None:
    """After `.to(dtype)`, the layer computes with the converted values, in that dtype.

    The layer is built, loaded and called in another dtype, then converted; in half of the cases, it
    is also converted there and back. Results and gradients are compared with the reference. A
    frozen layer must stay frozen and in its mode.

    Catches zeros and buffers that keep the dtype of construction, and conversions that redraw or
    unfreeze parameters.
    """
    expected = observation.case.dtype.torch_dtype
    for name, parameter in observation.module.named_parameters():
        if parameter.dtype != expected:
            raise Violation(
                f"after .to({expected}), {name} is {parameter.dtype}; expected {expected}",
                CONVERSION,
            )
    _fail_only_if_fresh_is_right(observation)
    assert_kept(observation, f"layer.to(torch.{observation.case.dtype.converted_from})")


@rule(
    "rnn.module.state-dict",
    when=has_prior_use(ParameterUpdates.RELOADED),
    about=("prior_use",),
    presupposes=("side-effects.parameters",),
)
def load_state_dict(observation: Observation) -> None:
    """If a `state_dict` is loaded after a call, the next call uses the loaded values.

    The layer is called with other weights and then loaded, by copying or with `assign=True`.
    Parameters are compared bit for bit, results and gradients with the reference.

    Catches weights or sums of biases that are kept from an earlier call, and entries that are not
    loaded.
    """
    assert_weights(observation, "after load_state_dict()", SAME_PARAMETERS)
    _fail_only_if_fresh_is_right(observation)


@rule("rnn.module.load-refused", "rnn.module.load-refused.shape", when=one_in(18, 5))
def refuses_state_dict(observation: Observation) -> None:
    """`load_state_dict` rejects a missing parameter, an unexpected parameter, and a parameter of
    another shape.

    The layer loads its own `state_dict` with an entry removed, cut to a single element, doubled in
    length, transposed, flattened, or added under another name, for a weight and a bias of each
    kind. Each time it must raise an exception.

    Catches loading that skips missing entries, ignores unexpected entries, fills a parameter from a
    single element, or transposes what does not fit.
    """
    for name in choose_entries(observation):
        assert_state_dict_rejected(observation, name)


@rule(
    "rnn.module.shared",
    when=has_prior_use(ModuleUses.SHARED),
    about=("prior_use",),
    presupposes=("side-effects.parameters", "parameters.trainable", "modules.tied-parameters"),
)
def shared_parameters(observation: Observation) -> None:
    """Parameters shared between layers stay shared after a conversion and after an optimiser step.

    Two layers hold the same parameters; the first was loaded, and the results and gradients of the
    second are compared with the reference. Then, in half of the cases, two such layers are
    converted together to another dtype and updated once, and must still hold the same parameters.

    Catches conversions that separate shared parameters, and layers that use a copy.
    """
    _fail_only_if_fresh_is_right(observation)
    if observation.case.seed % 2 == 0:
        assert_shared_after_conversion(observation)
