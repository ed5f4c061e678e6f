"""Rules about initial values of layers of unusual sizes, and of layers built from the same seed."""

from __future__ import annotations

import torch

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import one_in
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.fixtures.constructor_calls import ConstructorCall
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.statistics.binomial import Count, assert_likely
from rnnspec.rulekit.statistics.initial_distribution import (
    build_repeatedly,
    choose_small_or_deep_case,
    count_builds,
    count_by_layer,
)
from rnnspec.rulekit.violation import Violation, assert_identical
from rnnspec.subjects.devices import seed_torch
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import observe_step

BUILDS_IN_PROGRAM = 4
"""Factor by which a program builds more layers than the rule, because it compares shares roughly.
"""
SPREAD_BY_LAYER = Snippet(
    """torch.manual_seed(0)
named = [pair for _ in range({builds}) for pair in {call}.named_parameters()]
for layer in range({layers}):
    for kind in {kinds}:
        ends = (f"_l{{layer}}", f"_l{{layer}}_reverse", "_ih", "_hh")
        values = torch.cat([
            parameter.detach().flatten() * {scale}
            for name, parameter in named
            if name.endswith(ends) and kind in name
        ])
        shares = torch.histc(values.float(), 4, -1, 1) / values.numel()
        assert (shares - 0.25).abs().max() < 3 / values.numel() ** 0.5, (layer, kind, shares)""",
    (Helper.BUILD,),
)


@rule(
    "rnn.parameters.initial.uniform",
    when=one_in(48),
    id="parameters.initial-small-and-deep",
    presupposes=("parameters.names", "parameters.initial-distribution", "parameters.initial-range"),
    of_cells="Cells of 1 to 3 units draw their initial values from the whole range between `-1 / "
    "sqrt(hidden_size)` and `1 / sqrt(hidden_size)`, too.",
)
def initial_small_and_deep(observation: Observation) -> None:
    """Layers of 1 to 3 units, and every layer of a stack of 4 to 8, also draw their initial values
    from the whole range between `-1 / sqrt(hidden_size)` and `1 / sqrt(hidden_size)`.

    Several such layers are built. For each layer of the stack, the rule counts how many weights and
    how many biases lie in parts of the range, and tests the counts by exact binomial tails.

    Catches a limit that is wrong only for small layers, and upper layers that are not initialised
    or in another way.
    """
    arguments = observation.case.config.arguments
    deep = "num_layers" in arguments and observation.subject.offers(Feature.NUM_LAYERS)
    case = choose_small_or_deep_case(observation.case, allows_deep=deep)
    builds = count_builds(case)

    def count_draw(draw: int) -> dict[str, Count]:
        return count_by_layer(build_repeatedly(observation, case, draw, builds))

    style = case.constructor_style
    snippet = SPREAD_BY_LAYER.format(
        call=ConstructorCall(*observation.subject.arrange_arguments(case.config, style)),
        builds=BUILDS_IN_PROGRAM * builds,
        layers=case.config.num_layers,
        kinds=("weight", "bias") if case.config.bias else ("weight",),
        scale=case.config.hidden_size**0.5,
    )
    assert_likely(count_draw, snippet)


SAME_SEED = Snippet(
    """torch.manual_seed(0)
first = list({call}.parameters())
torch.manual_seed(0)
for one, other in zip(first, {call}.parameters()):
    assert torch.equal(one, other), other""",
    (Helper.BUILD,),
)


@rule(
    "use.random.initial",
    when=one_in(40, 11),
    id="parameters.reproducible",
    needs=(Feature.SEEDS,),
    presupposes=("parameters.initial-distribution",),
)
def reproducible(observation: Observation) -> None:
    """Layers that are built from the same seed have the same initial parameters.

    Two layers are built, each after the same `torch.manual_seed`, and compared bit for bit.

    Catches layers that use Python's or NumPy's generators, or a generator of their own.
    """
    case, subject = observation.case, observation.subject
    built = []
    for _ in range(2):
        seed_torch(case.seed, subject.device)
        module = subject.build(case.config, case.constructor_style, case.dtype)
        built.append(dict(module.named_parameters()))
    style = case.constructor_style
    call = ConstructorCall(*subject.arrange_arguments(case.config, style))
    for name, parameter in built[0].items():
        assert_identical(
            name,
            to_array(built[1][name]),
            to_array(parameter),
            SAME_SEED.format(call=call),
            when="of another layer from the same seed",
        )


BEYOND = 7.0
"""Beyond the range of initial values, whatever the number of units is."""
RESET = Snippet(
    """with torch.no_grad():
    for parameter in layer.parameters():
        parameter.fill_(7.0)
parameters = dict(layer.named_parameters())
layer.reset_parameters()
for name, parameter in parameters.items():
    assert parameter.abs().max() <= {limit}, name"""
)


@rule(
    "use.module.reset-parameters",
    when=one_in(24, 13),
    id="parameters.reset",
    presupposes=("parameters.names", "parameters.initial-range"),
)
def reset(observation: Observation) -> None:
    """`reset_parameters()` draws every parameter anew, from the range of initial values.

    All parameters of a new layer are set to 7. After the call, no value of these parameters may
    exceed the limit. If a layer does not have the method, the rule does not apply.

    Catches parameters that keep their values, in some layers or in only some directions, and new
    parameters in their place, of which an optimiser does not know.
    """
    layer = PreparedLayer(observation.subject, observation.case, observation.values)
    method = getattr(layer.module, "reset_parameters", None)
    if method is None:
        raise Unsupported("the layer has no method reset_parameters")
    weights = layer.weights()
    with torch.no_grad():
        for parameter in weights.values():
            parameter.fill_(BEYOND)
    with observe_step("reset_parameters()"):
        method()
    limit = observation.case.config.hidden_size**-0.5 * (1.0 + 2.0**-6)
    for name, parameter in weights.items():
        largest = float(parameter.detach().abs().max())
        if not largest <= limit:
            is_replaced = float(layer.weights()[name].detach().abs().max()) <= limit
            message = (
                f"reset_parameters() puts a new parameter in the place of {name}, and leaves the "
                "old one, which an optimiser may hold, as it was"
                if is_replaced
                else f"{name} has a value of magnitude {largest:.6g} after reset_parameters(), "
                f"expected at most {limit:.6g}"
            )
            raise Violation(message, RESET.format(limit=limit))
