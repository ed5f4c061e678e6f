"""Rules about the values that `dropout` can have: 0, 1, integers, and a changed attribute."""

from __future__ import annotations

from rnnspec.cases.axes import DropoutLevel, Feature
from rnnspec.cases.conditions import (
    has_active_dropout,
    has_deaf_layers,
    has_decodable_mask,
    has_dropout,
    has_dropout_of_one,
    has_value,
    is_stacked,
    is_training,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_all_expected, assert_expected
from rnnspec.rulekit.fixtures.dropout_attribute import (
    assert_other_probability_used,
    build_with_integer,
    set_dropout,
)
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippets.dropout import ATTRIBUTE_CHANGED, INTEGER
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised

NEEDS = (Feature.NUM_LAYERS, Feature.DROPOUT)


@rule(
    "rnn.dropout.zero",
    when=has_value(DropoutLevel.NONE) & is_training & is_stacked,
    needs=(Feature.NUM_LAYERS,),
    id="dropout.p-zero",
    about=(
        "mode",
        "num_layers",
    ),
)
def p_zero(observation: Observation) -> None:
    """With `dropout=0`, training mode gives the same results as evaluation mode.

    Output and `h_n` are compared with the reference without dropout.

    Catches `dropout=0` treated as if it were not given, and a scale that is applied nevertheless.
    """
    assert_all_expected(observation)


@rule(
    "rnn.dropout.one",
    when=has_active_dropout & has_dropout_of_one,
    needs=NEEDS,
    id="dropout.p-one",
    about=("dropout",),
)
def p_one(observation: Observation) -> None:
    """With `dropout=1` in training mode, every layer above the first reads only zeros.

    Output and `h_n` are compared with the reference, whose layers above the first read zeros.

    Catches NaN from a scale of 1 / 0, boundaries without dropout, and dropout that also affects the
    output or the states.
    """
    assert_all_expected(observation)


@rule(
    "rnn.dropout.single-layer",
    when=has_dropout & is_training & ~is_stacked,
    needs=(Feature.DROPOUT,),
    id="dropout.single-layer",
    about=("dropout",),
)
def single_layer(observation: Observation) -> None:
    """With `num_layers=1`, `dropout` has no effect on any result.

    Output and `h_n` are compared with the reference without dropout.

    Catches dropout on the output, the input or the states of a single layer.
    """
    assert_all_expected(observation)


@rule(
    "rnn.dropout.changed",
    when=is_training & is_stacked & ~has_deaf_layers & one_in(12, 1),
    needs=NEEDS,
    id="dropout.attribute-changed",
    about=("dropout",),
    presupposes=(
        Fact.RESULTS,
        "dropout.place",
        "dropout.scale",
        "dropout.rate",
        "modules.second-call",
        "side-effects.parameters",
    ),
    program=ATTRIBUTE_CHANGED,
)
def attribute_changed(observation: Observation) -> None:
    """Setting the `dropout` attribute of a layer takes effect from the next call.

    The attribute is set to 0, or to 1, for which the output does not depend on random numbers. The
    output is compared with the reference. In half of the cases whose output shows the mask, the
    attribute is also set to another probability, and the rate and the scale must be those of this
    probability.

    Catches a probability, a scale, or a dropout module that is fixed when the layer is constructed.
    """
    probability = float(observation.case.seed % 2)
    with set_dropout(observation, probability):
        changed = Observation(
            observation.subject,
            observation.case.replace(dropout=probability),
            observation.values,
            observation.prepared,
        )
        part = f"with dropout set to {probability:g}, output"
        assert_expected(changed, "output", part=part, snippet=ATTRIBUTE_CHANGED)
    if has_decodable_mask(observation.case) and observation.case.seed // 2 % 2:
        assert_other_probability_used(observation)


@rule(
    "rnn.args.dropout.integer",
    when=is_training & is_stacked & one_in(16, 3),
    needs=NEEDS,
    id="dropout.integer",
    about=("dropout",),
    presupposes=(
        Fact.RESULTS,
        "dropout.p-zero",
        "dropout.p-one",
        "dropout.place",
        "dropout.scale",
        "dropout.rate",
        "construction.keywords",
    ),
)
def integer(observation: Observation) -> None:
    """The argument `dropout` can be an integer, 0 or 1.

    A new layer is built with `dropout=0` or `dropout=1`. In training mode, its results are compared
    with the reference.

    Catches constructors that accept floats only, and integers that are treated as a flag or lost.
    """
    probability = observation.case.seed % 2
    built = build_with_integer(observation, probability)
    try:
        assert_expected(
            built, "output", part=f"with dropout={probability}, output", snippet=INTEGER
        )
    except Raised as failure:
        raise Violation(
            f"with dropout={probability}, {failure}; expected a layer", INTEGER
        ) from failure
