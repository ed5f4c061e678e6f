"""Layers on top of each other: what each one reads, and whose parameters it uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import ConstructorStyle, EarlierCalls
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.nan_propagation import mark_nan
from rnnspec.rulekit.assertions.relations import assert_both_expected
from rnnspec.rulekit.conditions import bidirectional, dropping, one_in, predictable, stacked
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_identical

Array = NDArray[np.float64]
POISONED = Snippet("""for each in (layer, reference):
    for name, parameter in each.named_parameters():
        if "_l{layer}" in name:
            torch.nn.init.constant_(parameter, float("nan"))
close(layer(*given)[1], reference(*given)[1])""", (Helper.CLOSE,))


@rule("rnn.layers.own-parameters", when=stacked & predictable & ~dropping & one_in(5))
def own_parameters(observation: Observation) -> None:
    """Every layer has weights and biases of its own.

    In a further layer all parameters of one upper layer are NaN: its own states must be NaN, those of the layers below must not,
    unless their numbers can overflow.

    Catches layers that share parameters, parameters that exist and are not used.
    """
    layer, directions = upper_layer(observation.case), observation.case.config.num_directions
    weights = {
        name: _poisoned(array, f"_l{layer}" in name)
        for name, array in observation.values.weights.items()
    }
    case = observation.case.replace(prior_use=EarlierCalls.FRESH, constructor_style=ConstructorStyle.CHANGED)
    poisoned = Observation(observation.subject, case, replace(observation.values, weights=weights))
    found = np.isnan(poisoned.h_n[: (layer + 1) * directions])
    must = np.zeros(found.shape, dtype=np.bool_)
    must[layer * directions :] = True
    if (found != must).any():
        excused = np.isinf(observation.expected.bound.h_n[: len(must)]) & ~must
        assert_identical(
            "h_n", mark_nan(found & ~excused), mark_nan(must), POISONED.format(layer=layer)
        )


def upper_layer(case: Case) -> int:
    """A layer above the first, chosen by the seed of a case."""
    return 1 + case.seed % (case.config.num_layers - 1)


def _poisoned(array: Array, yes: bool) -> Array:
    return np.full_like(array, np.nan) if yes else array


@rule("rnn.layers.read-both-directions", when=stacked & bidirectional & predictable)
def reads_both_directions(observation: Observation) -> None:
    """Both directions of an upper layer read both directions of the layer below, joined.

    Output and h_n are compared with the reference.

    Catches upper layers that read one direction only, the directions in another order, or their sum.
    """
    assert_both_expected(observation)


@rule("rnn.layers.stacking", "rnn.output.last-layer", when=stacked & predictable)
def composition(observation: Observation) -> None:
    """With several layers each one reads, step by step, what the one below has put out; the topmost gives the output.

    Output and h_n are compared with the reference.

    Catches layers that read the input, the layer below that, another step, or a clipped or transposed copy.
    """
    assert_both_expected(observation)
