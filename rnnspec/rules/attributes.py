"""Rules about the attributes of a layer."""

from __future__ import annotations

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import one_in
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import CONSTRUCTOR_CALLS, rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation


@rule(
    "rnn.args.sizes.readable",
    when=one_in(2),
    id="construction.size-attributes",
    presupposes=(*CONSTRUCTOR_CALLS,),
)
def size_attributes(observation: Observation) -> None:
    """The attributes `num_layers` and `hidden_size` of a layer hold the values that were passed to
    the constructor.

    The attributes are read after the prior use of the case.

    Catches sizes that are stored under other names, or that count directions or gates.
    """
    config, module = observation.case.config, observation.module
    expected = {"hidden_size": config.hidden_size}
    if observation.subject.offers(Feature.NUM_LAYERS):
        expected["num_layers"] = config.num_layers
    for name, value in expected.items():
        found = getattr(module, name, None)
        if found != value:
            raise Violation(
                f"the attribute {name} is {found!r}, expected {value!r}",
                Snippet(f"assert layer.{name} == {value!r}"),
            )
