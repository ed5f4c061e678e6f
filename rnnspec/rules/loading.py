"""The rule about the values of parameters after a `state_dict` was loaded."""

from __future__ import annotations

from rnnspec.cases.conditions import one_in
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.rulekit.assertions.results import assert_weights
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippets.modules import SAME_PARAMETERS

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
