"""What a module goes through: whatever happened to it, it computes with the parameters that it has now."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from rnnspec.cases.axes import (
    ConstructorStyle,
    EarlierCalls,
    Feature,
    Mode,
    ModuleUses,
    ParameterUpdates,
    PriorUse,
)
from rnnspec.cases.axes.prior_use.parameters import take_gradient_step
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer, choose_other_dtype, share_parameters
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.assertions.results import (
    assert_gradients,
    assert_results,
    assert_results_and_gradients,
    derivable,
    fail_only_if_right_elsewhere,
    list_differentiated,
)
from rnnspec.rulekit.conditions import (
    Condition,
    dropping,
    has_value,
    one_in,
    precise,
    predictable,
)
from rnnspec.rulekit.fixtures.parametrized import Doubled, Normalised, NormalisedByHook
from rnnspec.rulekit.fixtures.round_trip import (
    assert_mode_and_freezing_kept,
    assert_state_dict_rejected,
)
from rnnspec.rulekit.fixtures.tied import (
    TiedPair,
    assert_tied_results,
    build_tied_layer,
    halve_tied,
    tieable,
)
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippets.modules import (
    CONVERTED,
    DEEPCOPY,
    FLATTEN,
    LOADED,
    NESTED,
    PARAMETRIZED,
    PARAMETRIZED_GRADIENT,
    SHARED,
    STATE_DICT,
    TIED,
)
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import observing

EARLIER_CALLS = [use for use in EarlierCalls if use is not EarlierCalls.FRESH]
UPDATES = [use for use in ParameterUpdates if use is not ParameterUpdates.RELOADED]


def after(*uses: PriorUse) -> Condition[Case]:
    """The layer has one of these histories, and no random number decides its results."""
    return has_value(*uses) & predictable


def _as_fresh(observation: Observation) -> None:
    """Results and gradients are those of the formula, unless a layer without this history misses them too."""
    fail_only_if_right_elsewhere(observation, observation.case.replace(prior_use=EarlierCalls.FRESH))


@rule(
    "rnn.module.state-dict",
    "rnn.parameters.names",
    when=predictable & ~has_value(ModuleUses.FUNCTIONAL) & one_in(6),
)
def state_dict(observation: Observation) -> None:
    """A state_dict holds the parameters and nothing else, and makes another layer compute the same.

    Its entries are compared with the documented parameters; it is loaded into a new layer, whose results are compared with the
    formula; and numbers written into the new layer's entries have to arrive in its parameters.

    Catches buffers and counters in the state_dict, and entries that are copies.
    """
    with observing("state_dict()"):
        state = dict(observation.module.state_dict())
    surplus = sorted(set(state) - set(observation.prepared.names.values()))
    if surplus:
        raise Violation(f"the state_dict has {surplus[0]} besides the parameters", STATE_DICT)
    twin = PreparedLayer(observation.subject, observation.case, observation.values)
    with observing("load_state_dict()"):
        twin.module.load_state_dict(state)
    twin.module.train(observation.case.mode is Mode.TRAIN)
    fail_only_if_right_elsewhere(
        Observation(observation.subject, observation.case, observation.values, twin),
        observation.case,
        assert_results,
    )
    _entries_are_references(twin)


def _entries_are_references(prepared: PreparedLayer) -> None:
    with torch.no_grad(), observing("state_dict()"):
        for tensor in prepared.module.state_dict().values():
            tensor.fill_(0.5)
    for name, parameter in prepared.parameters().items():
        assert_identical(
            f"{name} after writing to its entry of the state_dict",
            to_array(parameter),
            np.full(parameter.shape, 0.5),
            STATE_DICT,
        )


@rule("rnn.module.deepcopy", when=after(ModuleUses.DEEPCOPIED))
def deepcopy(observation: Observation) -> None:
    """A deep copy computes what the original does, with parameters of its own.

    Results and gradients of the copy are compared with the formula; then the copy's parameters are changed, and those of the
    original have to stay. A copy of a frozen layer is frozen, and in the same mode.

    Catches copies that share parameters or lose arguments, the mode, or which parameters require gradients.
    """
    _as_fresh(observation)
    assert_mode_and_freezing_kept(observation, "copy.deepcopy(layer)")
    prepared = observation.new_layer(observation.case).prepared
    originals = {} if prepared.original is None else dict(prepared.original.named_parameters())
    kept = {name: to_array(value) for name, value in originals.items()}
    with torch.no_grad():
        for parameter in prepared.module.parameters():
            parameter.add_(1.0)
    for name, value in originals.items():
        assert_identical(
            f"{name} of the original after changing the copy", to_array(value), kept[name], DEEPCOPY
        )


@rule("rnn.module.pickle", when=after(ModuleUses.PICKLED), needs=(Feature.PICKLE,))
def pickle(observation: Observation) -> None:
    """A layer that is pickled and unpickled computes what the original does.

    Results and gradients after a round trip are compared with the formula; a further round trip keeps the train or eval mode, and which
    parameters require gradients.

    Catches parameters, arguments or modes that are lost on the way.
    """
    _as_fresh(observation)
    assert_mode_and_freezing_kept(observation, "pickle.loads(pickle.dumps(layer))")


@rule("rnn.module.replaced", when=after(*UPDATES))
def replaced_parameters(observation: Observation) -> None:
    """A parameter that is assigned, deleted and set again, or updated in place is the one the next call uses.

    After a call with other weights every parameter is replaced, by attribute, by .data or by an optimiser; results and gradients are
    compared with the formula for the new ones.

    Catches weights, sums of biases or lists of parameters that are kept from an earlier call.
    """
    _as_fresh(observation)


@rule("rnn.module.functional-call", when=after(ModuleUses.FUNCTIONAL), needs=(Feature.FUNCTIONAL,))
def functional_call(observation: Observation) -> None:
    """torch.func.functional_call computes and differentiates with the parameters given to it.

    After a call with the layer's own weights, others are passed; results and gradients are compared with the formula for those.

    Catches cached parameters, under which what is passed is ignored or has no gradient.
    """
    _as_fresh(observation)


@rule("rnn.effects.stateless", when=after(*EARLIER_CALLS))
def second_call(observation: Observation) -> None:
    """What a call returns depends on its arguments and the parameters alone, not on calls before it.

    The layer, or another of the same configuration, has been called before: on the same shapes or tensors, on another batch size or
    layout, with a state, in another mode, frozen. Results and gradients are compared with the formula.

    Catches states, sizes, masks and buffers that are kept from one call to the next.
    """
    _as_fresh(observation)


@rule("rnn.module.nested", when=after(ModuleUses.NESTED))
def nested(observation: Observation) -> None:
    """Inside another module the layer follows the parent's mode and state_dict.

    It is loaded and switched as a part of a module that holds it; results and gradients are compared with the formula.

    Catches hooks for state_dict, train or eval that work at the top level alone.
    """
    if observation.module.training != (observation.case.mode is Mode.TRAIN):
        raise Violation(
            f"the parent is in {observation.case.mode} mode, the layer has training={observation.module.training}",
            NESTED,
        )
    names = [name for name, _ in observation.prepared.owner.named_parameters()]
    missing = [name for name in observation.prepared.names.values() if f"part.{name}" not in names]
    if missing:
        raise Violation(
            f"a module that holds the layer as part has no parameter part.{missing[0]}; it has {', '.join(names)}",
            NESTED,
        )
    _as_fresh(observation)


@rule("rnn.module.converted", when=after(ModuleUses.CONVERTED))
def dtype_conversion(observation: Observation) -> None:
    """After .to(dtype) the layer computes with the converted values, in that dtype.

    It is built, loaded and called in another dtype, then converted, there and back in half of the cases; results and gradients are
    compared with the formula. A frozen layer stays frozen, and in its mode.

    Catches zeros and buffers that keep the dtype of construction, and conversions that draw parameters anew or unfreeze them.
    """
    wrong = [
        name
        for name, value in observation.module.named_parameters()
        if value.dtype != observation.case.dtype.torch_dtype
    ]
    if wrong:
        raise Violation(
            f"after .to({observation.case.dtype}) {wrong[0]} has another dtype", CONVERTED
        )
    _as_fresh(observation)
    assert_mode_and_freezing_kept(
        observation, f"layer.to(torch.{observation.case.dtype.converted_from})"
    )


@rule("rnn.module.state-dict", when=after(ParameterUpdates.RELOADED))
def load_state_dict(observation: Observation) -> None:
    """A state_dict that is loaded after a call is what the next call uses.

    The layer is called with other weights, then loaded, by copying or with assign=True; parameters are compared bit for bit, results and
    gradients with the formula.

    Catches weights or sums of biases that are kept from an earlier call, and entries that are not loaded.
    """
    for name, value in observation.prepared.weights().items():
        assert_identical(
            f"{name} after load_state_dict()",
            to_array(value),
            observation.values.weights[name],
            LOADED,
        )
    _as_fresh(observation)


@rule("rnn.module.load-refused", when=one_in(8, 5))
def refuses_state_dict(observation: Observation) -> None:
    """load_state_dict refuses a state_dict that lacks a parameter, has one too many, or one of another shape.

    The layer's own state_dict is spoilt in one entry, in one way after the other, and loaded.

    Catches loading that skips what is missing, leaves entries unread, or fills a parameter from one number.
    """
    names = list(observation.prepared.names.values())
    assert_state_dict_rejected(observation, names[observation.case.seed // 8 % len(names)])


@rule("rnn.module.shared", when=after(ModuleUses.SHARED))
def shared_parameters(observation: Observation) -> None:
    """Parameters shared between layers stay shared, through conversion and an optimiser's step.

    Two layers hold the same parameters, one was loaded, the other is judged. Then two such layers are converted together to another
    dtype and stepped once; their parameters still have to be the same objects.

    Catches conversions that cut the tie, and layers that compute with a copy.
    """
    _as_fresh(observation)
    pair = [observation.prepared.build_sibling() for _ in range(2)]
    share_parameters(pair[0].module, pair[1].module)
    holder = torch.nn.ModuleList([prepared.module for prepared in pair])
    other = choose_other_dtype(observation.subject, observation.case.dtype)
    with observing(f".to({other})"):
        holder.to(other.torch_dtype)
    for parameter in holder.parameters():
        parameter.grad = torch.ones_like(parameter)
    take_gradient_step(holder.parameters())
    first, second = (prepared.parameters() for prepared in pair)
    for name in first:
        if first[name] is not second[name]:
            raise Violation(
                f"{name}, shared by two layers, is no longer shared after a conversion", SHARED
            )


@rule("rnn.module.shared", when=~dropping & precise & tieable & one_in(6, 4))
def tied_parameters(observation: Observation) -> None:
    """Two parameters of one layer that are made one stay one through a conversion, and receive the gradients of both.

    They are made one in a layer of another dtype, which is then converted and loaded. Results, and the gradients with those of the two
    added up, are compared with the formula; then the parameter is halved in place, and the next call has to follow.

    Catches conversions and flattening that cut the tie, and lists of parameters in which one that occurs twice is missing.
    """
    fresh, tie = (
        observation.case.replace(prior_use=EarlierCalls.FRESH, constructor_style=ConstructorStyle.CHANGED),
        TiedPair.of(observation),
    )
    layer = build_tied_layer(observation, fresh, tie)
    fail_only_if_right_elsewhere(
        layer, fresh, partial(assert_tied_results, tie=tie), assert_results_and_gradients
    )
    fail_only_if_right_elsewhere(
        halve_tied(layer, tie), fresh, partial(assert_results, snippet=tie.fill(TIED))
    )


@rule("rnn.module.parametrized", when=predictable & precise & one_in(5, 1))
def parametrized(observation: Observation) -> None:
    """A parametrized weight is used in its current form at each call, and its source receives the gradient.

    One parameter is made twice a source of half its size: results, and the gradient of the source, are compared with the formula;
    then the source is halved, and the next call has to follow.

    Catches layers that read the source, or keep a list of parameters from construction or from an earlier call.
    """
    fresh = observation.case.replace(prior_use=EarlierCalls.FRESH)
    prepared = observation.new_layer(fresh).prepared
    name = list(observation.values.weights)[observation.case.seed % len(observation.values.weights)]
    made = Doubled(prepared, name)
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, observation.values, prepared),
        fresh,
        partial(_computes_from_source, name=name),
        assert_results_and_gradients,
    )
    made.halve()
    weights = {**observation.values.weights, name: 0.5 * observation.values.weights[name]}
    fail_only_if_right_elsewhere(
        Observation(
            observation.subject, fresh, replace(observation.values, weights=weights), prepared
        ),
        fresh,
        assert_results,
    )


def _computes_from_source(observation: Observation, name: str) -> None:
    """As `computes`, where the gradient found for `name` is that of a source of half its size."""
    assert_results(observation, PARAMETRIZED)
    if derivable(observation.case) and observation.subject.offers(Feature.GRADIENTS):
        found = {
            each: gradient / (2.0 if each == name else 1.0)
            for each, gradient in observation.gradients.items()
        }
        names = list_differentiated(observation.case, observation.values.weights)
        assert_gradients(
            observation, found, observation.expected, names, snippet=PARAMETRIZED_GRADIENT
        )


@rule("rnn.module.parametrized", when=predictable & precise & one_in(8, 3))
def weight_norm(observation: Observation) -> None:
    """A weight-normalised weight is used in its current form at each call.

    One weight matrix is split into length and direction by torch's own weight_norm, the older or the newer one; after a call the lengths
    are halved, and results are compared with the formula for the weight as it then is.

    Catches layers that keep the weight that was there when it was split, or at an earlier call.
    """
    fresh = observation.case.replace(prior_use=EarlierCalls.FRESH)
    prepared = observation.new_layer(fresh).prepared
    matrices = [name for name in observation.values.weights if name.startswith("weight")]
    name = matrices[observation.case.seed % len(matrices)]
    kinds = [kind for kind in (Normalised, NormalisedByHook) if kind.is_there()]
    made = kinds[observation.case.seed % len(kinds)](prepared, name)
    _ = Observation(observation.subject, fresh, observation.values, prepared).call
    made.halve()
    _ = Observation(observation.subject, fresh, observation.values, prepared).call
    halved = replace(
        observation.values, weights={**observation.values.weights, name: made.weight()}
    )
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, halved, prepared), fresh, assert_results
    )


@rule("rnn.module.flatten-parameters", when=predictable & one_in(6, 2))
def flatten_parameters(observation: Observation) -> None:
    """flatten_parameters(), where the layer has it, changes nothing but the place of the parameters in memory.

    It is called after a call; parameters are compared bit for bit, and the results of a further call with the formula. Earlier calls
    can no longer be differentiated afterwards where parameters have moved, so that this is done in a layer of its own.

    Catches flattening that leaves out a direction, transposes, or unties what the next call reads.
    """
    if getattr(observation.module, "flatten_parameters", None) is None:
        raise Unsupported("the layer has no flatten_parameters()")
    own = observation.new_layer(observation.case)
    _ = own.call
    with observing("flatten_parameters()"):
        own.module.flatten_parameters()  # type: ignore[operator]
    for name, value in own.prepared.weights().items():
        assert_identical(
            f"{name} after flatten_parameters()",
            to_array(value),
            observation.values.weights[name],
            FLATTEN,
        )
    fail_only_if_right_elsewhere(
        own.second_call(), observation.case, partial(assert_results, snippet=FLATTEN)
    )
