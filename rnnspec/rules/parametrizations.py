"""Rules about parameters that are tied, computed from others, or moved in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from rnnspec.cases.axes import ConstructorStyle, Feature, GradMode
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    has_active_dropout,
    has_known_gradients,
    has_predictable_results,
    has_small_sizes,
    has_value,
    has_wide_dtype,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.assertions.relations import change_difference
from rnnspec.rulekit.assertions.results import (
    assert_gradients,
    assert_results,
    assert_results_and_gradients,
    assert_weights,
    fail_only_if_right_elsewhere,
    list_gradient_names,
)
from rnnspec.rulekit.fixtures.parametrized import (
    DoubledWeight,
    MaskedWeight,
    NormalisedWeight,
    NormalisedWeightByHook,
)
from rnnspec.rulekit.fixtures.tied import (
    TiedPair,
    assert_tied_results,
    build_tied_layer,
    halve_tied_parameter,
    has_tieable_pair,
)
from rnnspec.rulekit.rule import REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets.modules import (
    ADDED_BY_USER,
    FLATTEN_PARAMETERS,
    NORMALISED,
    PARAMETRIZED,
    PARAMETRIZED_GRADIENT,
    PRUNED,
    PRUNED_GRADIENT,
    SET_FROM_VECTOR,
    TIED_PARAMETERS,
    UNPARAMETRIZED,
)
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import observe_step

is_inference = has_value(GradMode.INFERENCE)


def make_differentiable(case: Case) -> Case:
    """Return the case of a fresh layer, with gradients in place of inference mode.

    Without them, a rule would not see that a layer uses a detached copy of a parameter.
    """
    fresh = case.make_fresh()
    return fresh.replace(grad_mode=GradMode.GRAD) if is_inference(case) else fresh


@rule(
    "rnn.module.shared",
    # With one in 13, quick checks missed an nn.RNN that detaches a weight tied to the weight of
    # another layer in five seeds of eight; with one in 5, in none.
    when=~has_active_dropout
    & has_wide_dtype
    & has_tieable_pair
    & has_small_sizes
    & one_in(5, 4, with_gates=4, of_cells=4),
    id="modules.tied-parameters",
    presupposes=(
        Fact.RESULTS,
        *REPEATED_CALLS,
        "parameters.trainable",
        "parameters.loaded-from-others",
        "modules.replaced-parameters",
        "modules.dtype-methods",
    ),
)
def tied_parameters(observation: Observation) -> None:
    """Two parameters tied to one tensor stay tied after a conversion, and their gradients are
    summed.

    The parameters are tied in a layer of another dtype, which is then converted and loaded. Results
    and gradients are compared with the reference, and the gradient of the tensor with the sum of
    both gradients. Then the tensor is halved in place, and another call must use the new values.

    Catches conversions and flattening that untie parameters, and parameter lists that omit a
    parameter because it occurs twice.
    """
    fresh = make_differentiable(observation.case).replace(
        constructor_style=ConstructorStyle.CHANGED
    )
    pair = TiedPair.choose(observation)
    tied = build_tied_layer(observation, fresh, pair)
    fail_only_if_right_elsewhere(
        tied, fresh, partial(assert_tied_results, pair=pair), assert_results_and_gradients
    )
    fail_only_if_right_elsewhere(
        halve_tied_parameter(tied, pair),
        fresh,
        partial(assert_results, snippet=pair.fill_snippet(TIED_PARAMETERS)),
    )


@rule(
    "rnn.module.parametrized",
    when=has_predictable_results & has_wide_dtype & one_in(13, 1, with_gates=9, of_cells=8),
    id="modules.parametrized",
    presupposes=(
        Fact.RESULTS,
        *REPEATED_CALLS,
        "parameters.trainable",
        "modules.replaced-parameters",
        "modules.functional-call",
    ),
    program=PARAMETRIZED,
)
def parametrized(observation: Observation) -> None:
    """Calls use the current value of a parametrized weight, and its source receives the gradient.

    A parameter becomes a parametrization: twice a source that holds half its values. Results and
    the gradient of the source are compared with the reference. Then the source is halved, and
    another call must use the new values. At last the parametrization is removed, and the layer
    loads the weights of the case and must use them.

    Catches layers that use the source instead of the weight, keep a list of parameters from
    construction or from an earlier call, or keep the parametrization after it was removed.
    """
    fresh = make_differentiable(observation.case)
    prepared = observation.new_layer(fresh).prepared
    names = list(observation.values.weights)
    name = names[observation.case.seed % len(names)]
    weight = DoubledWeight(prepared, name)
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, observation.values, prepared),
        fresh,
        partial(_assert_results_from_source, name=name),
        assert_results_and_gradients,
    )
    weight.halve_source()
    weights = {**observation.values.weights, name: 0.5 * observation.values.weights[name]}
    fail_only_if_right_elsewhere(
        Observation(
            observation.subject, fresh, replace(observation.values, weights=weights), prepared
        ),
        fresh,
        partial(assert_results, snippet=PARAMETRIZED),
    )
    weight.remove()
    prepared.load()
    with change_difference(when="after the parametrization was removed"):
        fail_only_if_right_elsewhere(
            Observation(observation.subject, fresh, observation.values, prepared),
            fresh,
            partial(assert_results, snippet=UNPARAMETRIZED),
        )


def _assert_results_from_source(observation: Observation, name: str) -> None:
    """Compare results and gradients if the parameter `name` is twice a source."""
    assert_results(observation, PARAMETRIZED)
    if has_known_gradients(observation.case) and observation.subject.offers(Feature.GRADIENTS):
        found = {
            parameter: gradient / (2.0 if parameter == name else 1.0)
            for parameter, gradient in observation.gradients.items()
        }
        names = list_gradient_names(observation)
        assert_gradients(
            observation, found, observation.expected, names, snippet=PARAMETRIZED_GRADIENT
        )


@rule(
    "rnn.module.parametrized",
    when=has_predictable_results & has_wide_dtype & one_in(20, 3, of_cells=12),
    id="modules.weight-norm",
    presupposes=(
        Fact.RESULTS,
        "modules.parametrized",
        "modules.forward-hooks",
        "side-effects.parameters",
        *REPEATED_CALLS,
        "modules.replaced-parameters",
        "modules.functional-call",
    ),
)
def weight_norm(observation: Observation) -> None:
    """Calls use the current value of a weight-normalised weight.

    A weight matrix is split into norms and directions by the older or the newer `weight_norm` of
    torch. After a call the norms are halved, and the results are compared with the reference for
    the weight that follows from them.

    Catches layers that keep the weight from the time of the split, or from an earlier call.
    """
    fresh = observation.case.make_fresh()
    prepared = observation.new_layer(fresh).prepared
    matrices = [name for name in observation.values.weights if name.startswith("weight")]
    kinds = [kind for kind in (NormalisedWeight, NormalisedWeightByHook) if kind.is_available()]
    number, which = divmod(observation.case.seed, len(kinds))
    name = matrices[number % len(matrices)]
    weight = kinds[which](prepared, name)
    _ = Observation(observation.subject, fresh, observation.values, prepared).call
    weight.halve_source()
    if not weight.follows_at_once:
        _ = Observation(observation.subject, fresh, observation.values, prepared).call
    halved = replace(
        observation.values, weights={**observation.values.weights, name: weight.read_weight()}
    )
    snippet = NORMALISED.format(function=weight.function, name=name, source=weight.source)
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, halved, prepared),
        fresh,
        partial(assert_results, snippet=snippet),
    )


@rule(
    "use.utils.pruned",
    when=has_predictable_results & has_wide_dtype & one_in(26, 8, of_cells=16),
    id="modules.pruned",
    presupposes=(
        Fact.RESULTS,
        "modules.parametrized",
        "modules.weight-norm",
        "modules.forward-hooks",
        "side-effects.parameters",
        *REPEATED_CALLS,
        "modules.replaced-parameters",
        "modules.functional-call",
    ),
)
def pruned(observation: Observation) -> None:
    """A call uses a weight that `torch.nn.utils.prune` masks with its mask, and the source of the
    weight receives the gradient.

    Every second element of a parameter is masked, and its source is halved after a call. Results
    and gradients of the next call are compared with the reference for the masked halves.

    Catches layers that keep the weight from the time of the masking, or use the source without a
    mask.
    """
    fresh = make_differentiable(observation.case)
    prepared = observation.new_layer(fresh).prepared
    names = list(observation.values.weights)
    name = names[observation.case.seed % len(names)]
    weight = MaskedWeight(prepared, name)
    _ = Observation(observation.subject, fresh, observation.values, prepared).call
    weight.halve_source()
    mask = to_array(weight.mask)
    halved = 0.5 * mask * observation.values.weights[name]
    values = replace(observation.values, weights={**observation.values.weights, name: halved})
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, values, prepared),
        fresh,
        partial(_assert_results_of_masked, name=name, mask=mask),
        assert_results_and_gradients,
    )


def _assert_results_of_masked(
    observation: Observation, name: str, mask: NDArray[np.float64]
) -> None:
    """Compare results and gradients if the parameter `name` is a source times a mask."""
    assert_results(observation, PRUNED.format(name=name))
    if not (
        has_known_gradients(observation.case) and observation.subject.offers(Feature.GRADIENTS)
    ):
        return
    found, snippet = dict(observation.gradients), PRUNED_GRADIENT.format(name=name)
    if name in found:
        assert_identical(
            f"gradient of masked elements of {name}",
            found[name] * (1 - mask),
            np.zeros_like(mask),
            snippet,
        )
        found[name] = np.where(mask > 0, found[name], observation.expected.gradients[name])
    names = list_gradient_names(observation)
    assert_gradients(observation, found, observation.expected, names, snippet=snippet)


@rule(
    "use.utils.vector",
    when=has_predictable_results & one_in(30, 14, of_cells=18),
    id="modules.set-from-vector",
    presupposes=(
        Fact.RESULTS,
        "side-effects.parameters",
        *REPEATED_CALLS,
        "modules.replaced-parameters",
    ),
)
def set_from_vector(observation: Observation) -> None:
    """After `vector_to_parameters`, the layer uses the numbers of the vector.

    A new layer is called with other weights. Then all parameters become parts of a single vector
    with the weights of the case, and results and gradients are compared with the reference.

    Catches layers that keep their weights from an earlier call, or that read a parameter from the
    start of its memory although it begins further on.
    """
    fresh = make_differentiable(observation.case)
    prepared = observation.new_layer(fresh).prepared
    prepared.load_others()
    prepared.call()
    own = prepared.tensors()
    with observe_step("vector_to_parameters()"):
        named = dict(prepared.module.named_parameters())
        parts = [own.get(name, parameter.detach()) for name, parameter in named.items()]
        vector = parameters_to_vector(parts)
        vector_to_parameters(vector, named.values())
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, observation.values, prepared),
        fresh,
        partial(assert_results_and_gradients, snippet=SET_FROM_VECTOR),
        assert_results_and_gradients,
    )


@rule(
    "use.module.registered",
    when=has_predictable_results & one_in(30, 17, of_cells=18),
    id="modules.user-parameter",
    presupposes=(
        Fact.RESULTS,
        "modules.state-dict",
        "modules.state-dict-options",
        "side-effects.parameters",
        "parameters.names",
    ),
)
def user_parameter(observation: Observation) -> None:
    """A parameter or buffer that the user adds appears in the `state_dict` and changes no result.

    A parameter and a buffer are registered with a new layer after it was loaded. The `state_dict`
    must have them, and results and gradients are compared with the reference.

    Catches layers that use their parameters by position, or that list the entries themselves.
    """
    fresh = make_differentiable(observation.case)
    prepared = observation.new_layer(fresh).prepared
    with observe_step("register_parameter() and register_buffer()"):
        one = torch.ones(3, dtype=fresh.dtype.torch_dtype, device=observation.subject.device)
        prepared.module.register_parameter("added_by_user", torch.nn.Parameter(one))
        prepared.module.register_buffer("counted_by_user", one.clone())
        state = prepared.module.state_dict()
    missing = [name for name in ("added_by_user", "counted_by_user") if name not in state]
    if missing:
        raise Violation(
            f"the state_dict lacks {missing[0]}, which was registered with the layer; expected it",
            ADDED_BY_USER,
        )
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, observation.values, prepared),
        fresh,
        partial(assert_results_and_gradients, snippet=ADDED_BY_USER),
        assert_results_and_gradients,
    )


@rule(
    "rnn.module.flatten-parameters",
    when=has_predictable_results & one_in(24, 2),
    id="modules.flatten-parameters",
    presupposes=(Fact.RESULTS, "side-effects.parameters", *REPEATED_CALLS),
)
def flatten_parameters(observation: Observation) -> None:
    """`flatten_parameters()`, if the layer has it, only moves the parameters in memory.

    `flatten_parameters()` is called after a call of the layer. Parameters are compared bit for bit,
    and the results of another call with the reference. If parameters move, earlier calls can no
    longer be differentiated, so all this happens in a separate layer.

    Catches flattening that leaves out a direction, transposes, or detaches the parameters from the
    tensors that calls read.
    """
    if getattr(observation.module, "flatten_parameters", None) is None:
        raise Unsupported("the layer has no flatten_parameters()")
    other = observation.new_layer(observation.case)
    _ = other.call
    before = {name: np.array(to_array(each)) for name, each in other.prepared.weights().items()}
    with observe_step("flatten_parameters()"):
        other.module.flatten_parameters()  # type: ignore[operator]
    assert_weights(other, "after flatten_parameters()", FLATTEN_PARAMETERS, before)
    fail_only_if_right_elsewhere(
        other.second_call(), observation.case, partial(assert_results, snippet=FLATTEN_PARAMETERS)
    )
