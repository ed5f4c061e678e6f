"""The rule about the values of parameters after a `state_dict` was loaded."""

from __future__ import annotations

from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.conditions import one_in
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippets.modules import LOAD_STATE_DICT
from rnnspec.rulekit.violation import assert_identical


@rule(
    "rnn.module.state-dict",
    when=one_in(6),
    id="parameters.loaded",
    establishes=(Fact.RESULTS,),
)
def loaded(observation: Observation) -> None:
    """After `load_state_dict`, the parameters have the values that were loaded.

    The weights of the case are loaded into a new layer, and its parameters are compared with them
    bit for bit.

    Catches gates that are reordered, biases that are cleared or values that are rounded when they
    are loaded, and entries that are not loaded.
    """
    for name, weight in observation.load_new_layer().weights().items():
        assert_identical(
            f"{name} after load_state_dict()",
            to_array(weight),
            observation.values.weights[name],
            LOAD_STATE_DICT,
        )
