"""Rules about parameters that are tied, computed from others, or moved in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from rnnspec.cases.axes import (
    ConstructorStyle,
    Feature,
)
from rnnspec.cases.conditions import (
    has_active_dropout,
    has_known_gradients,
    has_predictable_results,
    has_wide_dtype,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import to_array
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
    FLATTEN_PARAMETERS,
    NORMALISED,
    PARAMETRIZED,
    PARAMETRIZED_GRADIENT,
    TIED_PARAMETERS,
)
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import observe_step


@rule(
    "rnn.module.shared",
    when=~has_active_dropout
    & has_wide_dtype
    & has_tieable_pair
    & one_in(13, 4, with_gates=8, of_cells=4),
    id="modules.tied-parameters",
    presupposes=(
        Fact.RESULTS,
        "side-effects.parameters",
        *REPEATED_CALLS,
        "parameters.trainable",
        "parameters.loaded-from-others",
        "modules.replaced-parameters",
    ),
)
def tied_parameters(observation: Observation) -> None:
    """Two parameters tied to one tensor stay tied after a conversion, and their gradients are
    summed.

    The parameters are tied in a layer of another dtype, which is then converted and loaded. Results
    and gradients are compared with the reference, and the gradient of the tensor with the sum of
    both gradients. Then the tensor is halved in place, and another call must use the new values.

    Catches conversions and flattening that untie parameters, parameter lists that omit a parameter
    because it occurs twice.
    """
    fresh = observation.case.make_fresh(constructor_style=ConstructorStyle.CHANGED)
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
        "side-effects.parameters",
        *REPEATED_CALLS,
        "parameters.trainable",
        "modules.replaced-parameters",
        "modules.functional-call",
    ),
    program=PARAMETRIZED,
)
def parametrized(observation: Observation) -> None:
    """Calls use the current value of a parametrized weight, and its source receives the gradient.

    One parameter becomes a parametrization: twice a source that holds half its values. Results and
    the gradient of the source are compared with the reference. Then the source is halved, and
    another call must use the new values.

    Catches layers that read the source instead of the weight, or keep a list of parameters from
    construction or from an earlier call.
    """
    fresh = observation.case.make_fresh()
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

    One weight matrix is split into norms and directions by torch's own `weight_norm`, the older or
    the newer one. After a call the norms are halved, and the results are compared with the
    reference for the weight that follows from them.

    Catches layers that keep the weight from when it was split, or from an earlier call.
    """
    fresh = observation.case.make_fresh()
    prepared = observation.new_layer(fresh).prepared
    matrices = [name for name in observation.values.weights if name.startswith("weight")]
    name = matrices[observation.case.seed % len(matrices)]
    kinds = [kind for kind in (NormalisedWeight, NormalisedWeightByHook) if kind.is_available()]
    weight = kinds[observation.case.seed % len(kinds)](prepared, name)
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
    "rnn.module.flatten-parameters",
    when=has_predictable_results & one_in(24, 2),
    id="modules.flatten-parameters",
    presupposes=(Fact.RESULTS, "side-effects.parameters", *REPEATED_CALLS),
)
def flatten_parameters(observation: Observation) -> None:
    """`flatten_parameters()`, if the layer has it, only changes where the parameters are in memory.

    It is called after a call. Parameters are compared bit for bit, and the results of another call
    with the reference. If parameters move, earlier calls can no longer be differentiated, so all
    this happens in a layer of its own.

    Catches flattening that leaves out a direction, transposes, or detaches the parameters from what
    calls read.
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
