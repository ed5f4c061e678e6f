"""Dropout: where it acts, how often, by what factor, with which draws, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from rnnspec.cases.axes import Distribution, DropoutLevel, Feature, Mode
from rnnspec.cases.case import Case
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.conditions import (
    Condition,
    differentiable,
    dropping,
    has_value,
    one_in,
    smooth,
    stacked,
    training,
)
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.snippets.dropout import (
    BACKWARD,
    CHANGED,
    FRESH,
    MOMENTS,
    REPRODUCIBLE,
    with_wide_input,
)
from rnnspec.rulekit.statistics.binomial import Count, assert_likely
from rnnspec.rulekit.statistics.dropout_estimates import (
    assert_agreement,
    assert_dropout_active,
    assert_explained,
    decode_observation,
    expect_observation,
    is_scaled,
)
from rnnspec.rulekit.statistics.mask_decoding import (
    Array,
    decode_mask,
    expect_under_mask,
    list_decided_gradients,
)
from rnnspec.rulekit.statistics.mask_samples import (
    layers,
    pairs,
    repeats,
    sample_masks,
    split_parts,
)
from rnnspec.rulekit.violation import Violation, assert_close
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import observing

NEEDS = (Feature.NUM_LAYERS, Feature.DROPOUT)
some = has_value(DropoutLevel.SOME, DropoutLevel.ALL)
all_dropped = has_value(DropoutLevel.ALL)
deaf = has_value(Distribution.DEAF)
read_off = has_value(Distribution.READABLE, Distribution.SOLVABLE)
below_others: Condition[Case] = Condition(
    "a boundary with others above",
    lambda case: case.distribution is Distribution.READABLE and case.boundary < case.config.num_layers - 2,
)
sampled = read_off & (one_in(3) | (below_others & one_in(2)))
masked_gradients = differentiable & (read_off | (dropping & all_dropped & smooth)) & one_in(2)


@rule("rnn.dropout.between-layers", when=read_off, needs=NEEDS)
def place(observation: Observation) -> None:
    """Dropout acts on what each layer hands to the layer above, at every boundary, and nowhere else.

    The values of the case let the mask be read off the output; with that mask the reference must give the same output and, as far as
    the mask decides them, the same states. In a part of the cases further calls are made, in which every part must see some drops.

    Catches dropping the first layer's input, the recurrent state, one boundary, one direction or one half only, nothing at all.
    """
    assert_dropout_active(observation)
    assert_explained(observation)
    if is_scaled(observation):
        assert_agreement(observation)
    if sampled(observation.case):
        assert_likely(
            lambda number: _idle(observation, number), with_wide_input(observation.case, MOMENTS)
        )


@rule("rnn.dropout.scale", when=read_off, needs=NEEDS)
def scale(observation: Observation) -> None:
    """What is not dropped is multiplied by 1 / (1 - p), p being the argument dropout.

    The factor is solved for, or its bits are read off the output; then the reference must agree with that factor exactly.

    Catches factors of 1, 1 - p or 1 / p, and a factor that follows the share of values that happened to be kept.
    """
    if not is_scaled(observation):
        expected = 1.0 / (1.0 - observation.case.config.dropout)
        told = f"what is kept is multiplied by {decode_observation(observation).scale:.6g}, expected 1 / (1 - {observation.case.config.dropout}) = {expected:.6g}"
        raise Violation(told, with_wide_input(observation.case, MOMENTS))
    assert_explained(observation)
    assert_agreement(observation)


@rule("rnn.dropout.rate", when=sampled, needs=NEEDS)
def rate(observation: Observation) -> None:
    """A value is dropped with probability p, the argument dropout.

    Masks read off further calls are counted: all of them, and the first, the last and the later half of the steps, samples, directions
    and units. A count that has a chance below 1e-4 by the binomial distribution is counted anew with fresh draws, and must then have
    one below 5e-12.

    Catches keeping with probability p, another probability than the one given, parts that are dropped more or less often.
    """
    assert_likely(
        lambda number: split_parts(sample_masks(observation, number)),
        with_wide_input(observation.case, MOMENTS),
    )


@rule("rnn.dropout.fresh", when=sampled, needs=NEEDS)
def fresh_masks(observation: Observation) -> None:
    """Every call in training draws anew.

    A call, the call after it and a call after another seed: masks at the same place agree as often as independent draws would, by the
    binomial distribution with a second count on fresh draws.

    Catches a mask that is kept for later calls, and a random number generator that starts over in every call.
    """
    assert_likely(
        lambda number: repeats(sample_masks(observation, number)),
        with_wide_input(observation.case, FRESH),
    )


@rule("rnn.dropout.independent", when=sampled, needs=NEEDS)
def independent(observation: Observation) -> None:
    """Each value is dropped by a draw of its own: steps, samples, units, directions and layers share none.

    In masks read off further calls, disjoint pairs of places along every axis and in both directions agree as often as independent
    draws would, and what one boundary drops tells nothing of the others; with a second count on fresh draws.

    Catches one mask for all steps, samples, units, both directions or all layers, and masks that are a shifted copy of another.
    """
    assert_likely(
        lambda number: (
            pairs(sample_masks(observation, number)) | layers(sample_masks(observation, number))
        ),
        with_wide_input(observation.case, MOMENTS),
    )


@rule("rnn.dropout.eval", when=has_value(Mode.EVAL) & some & stacked, needs=NEEDS)
def eval(observation: Observation) -> None:  # the name of the rule
    """In evaluation nothing is dropped and nothing scaled, whatever the argument dropout.

    Compared with the reference without dropout.

    Catches dropout at work in evaluation, and outputs scaled by 1 - p there.
    """
    _outputs_agree(observation)


@rule("rnn.dropout.not-on-output", when=deaf, needs=NEEDS)
def not_on_output(observation: Observation) -> None:
    """The last layer's output is never dropped.

    The upper layers have no weights for what they read, so that no mask between layers can matter: the output is the reference's.

    Catches dropout on the output of the last layer.
    """
    _outputs_agree(observation)


@rule("rnn.dropout.not-in-states", when=deaf | read_off, needs=NEEDS)
def not_in_states(observation: Observation) -> None:
    """The states in h_n are not dropped, those of lower layers neither, nor is the state that a layer passes on to its next step.

    States that no mask between layers can reach are those of the reference: of all layers where the upper ones have no weights for
    what they read, elsewhere of the layers below the boundary in question.

    Catches dropout on h_n, on lower layers' states only, on the initial state, and on the recurrent path.
    """
    count = {
        Distribution.DEAF: observation.case.config.num_layers,
        Distribution.READABLE: observation.case.boundary + 1,
        Distribution.SOLVABLE: 1,
    }[observation.case.distribution]
    rows = slice(0, count * observation.case.config.num_directions)
    snippet = Snippet(f"close(layer(*given)[1][: {rows.stop}], reference(*given)[1][: {rows.stop}])", (Helper.CLOSE,))
    assert_close(
        observation,
        "h_n",
        observation.h_n[rows],
        observation.expected.h_n[rows],
        lambda: observation.expected.bound.h_n[rows],
        snippet,
    )


@rule("rnn.dropout.zero", when=has_value(DropoutLevel.NONE) & training & stacked, needs=(Feature.NUM_LAYERS,))
def p_zero(observation: Observation) -> None:
    """dropout=0 gives in training what evaluation gives.

    Compared with the reference without dropout.

    Catches a probability of 0 taken for one that was not given, and a scale that is applied all the same.
    """
    _outputs_agree(observation)
    _states_agree(observation)


@rule("rnn.dropout.one", when=dropping & all_dropped, needs=NEEDS)
def p_one(observation: Observation) -> None:
    """dropout=1 hands nothing but zeros to the layer above, in training.

    Compared with the reference, in which every upper layer reads zeros.

    Catches NaN from a scale of 1 / 0, boundaries that are left out, dropout that also reaches the output or the states.
    """
    _outputs_agree(observation)
    _states_agree(observation)


@rule("rnn.dropout.single-layer", when=some & training & ~stacked, needs=(Feature.DROPOUT,))
def single_layer(observation: Observation) -> None:
    """With one layer the argument dropout has no effect on any result.

    Compared with the reference without dropout.

    Catches dropout on the output, the input or the states of a layer that stands alone.
    """
    _outputs_agree(observation)
    _states_agree(observation)


@rule("rnn.dropout.changed", when=training & stacked & ~deaf & one_in(5, 1), needs=NEEDS)
def attribute_changed(observation: Observation) -> None:
    """Setting the attribute dropout of a built layer takes effect from the next call.

    The attribute is set to 0 and to 1, where no random number decides, and each result compared with the reference.

    Catches a probability, or a module that drops, that is fixed when the layer is built.
    """
    for probability in (0.0, 1.0):
        with _dropout_set_to(observation, probability):
            now = Observation(
                observation.subject,
                observation.case.replace(dropout=probability),
                observation.values,
                observation.prepared,
            )
            _outputs_agree(now, f"with dropout set to {probability:g}, output", CHANGED)


@rule("rnn.dropout.reproducible", when=read_off & one_in(2), needs=NEEDS)
def reproducible(observation: Observation) -> None:
    """Two calls after the same torch.manual_seed drop the same values.

    The masks read off the two outputs are compared.

    Catches random numbers from a generator that torch.manual_seed does not set.
    """
    first, second = (
        decode_observation(observation),
        decode_mask(observation.case, observation.values, observation.second_call().output),
    )
    differ = np.argwhere(first.known & second.known & (first.dropped != second.dropped))
    if len(differ):
        step, sample, unit = differ[0]
        message = f"after the same seed, unit {unit} of sample {sample} at step {step} is dropped in one call and kept in the other"
        raise Violation(
            f"{message} ({len(differ)} of {first.known.sum()} values differ)", REPRODUCIBLE
        )


@rule("rnn.dropout.backward", when=masked_gradients, needs=(*NEEDS, Feature.GRADIENTS))
def backward(observation: Observation) -> None:
    """Backward goes through exactly the values that forward kept, with the same scale.

    The mask is read off the output, and the gradients compared with those of the reference under this mask; of stacks of more than
    two layers, those that the mask decides. Where the probability is 1 the mask is known.

    Catches a backward pass without the mask, with a mask of its own, with one step's mask for all steps, without the scale.
    """
    if observation.case.config.dropout == 1.0:
        _gradients_agree(
            observation, observation.gradients, observation.expected, list(observation.gradients)
        )
        return
    assert_explained(observation)
    snippet = with_wide_input(observation.case, BACKWARD)
    if observation.case.distribution is Distribution.SOLVABLE:
        _gradients_agree(
            observation,
            observation.gradients,
            expect_observation(observation),
            list(observation.gradients),
            snippet,
        )
        return
    alone = replace(observation.values, d_h_n=np.zeros_like(observation.values.d_h_n))
    gradients = observation.differentiated(observation.call, ("output",))
    _gradients_agree(
        observation,
        gradients,
        expect_under_mask(observation.case, alone, decode_observation(observation)),
        list_decided_gradients(observation.case, gradients),
        snippet,
    )


def _outputs_agree(
    observation: Observation, quantity: str = "output", snippet: Snippet = snippets.OUTPUT
) -> None:
    assert_close(
        observation,
        quantity,
        observation.output,
        observation.expected.output,
        lambda: observation.expected.bound.output,
        snippet,
    )


def _states_agree(observation: Observation) -> None:
    assert_close(
        observation,
        "h_n",
        observation.h_n,
        observation.expected.h_n,
        lambda: observation.expected.bound.h_n,
        snippets.H_N,
    )


def _gradients_agree(
    observation: Observation,
    gradients: dict[str, Array],
    expected: Expected,
    names: list[str],
    snippet: Snippet | None = None,
) -> None:
    for name in names:
        bound = partial(_gradient_bound, expected, name)
        assert_close(
            observation,
            f"gradient of {name}",
            gradients[name],
            expected.gradients[name],
            bound,
            snippet or snippets.compare_gradients(name),
        )


def _gradient_bound(expected: Expected, name: str) -> Array:
    return expected.gradient_bound[name]


def _idle(observation: Observation, number: int) -> dict[str, Count]:
    """The parts in which nothing at all was dropped."""
    return {
        name: count
        for name, count in split_parts(sample_masks(observation, number)).items()
        if not count.hits
    }


@contextmanager
def _dropout_set_to(observation: Observation, probability: float) -> Iterator[None]:
    """The layer's attribute at another value; raises Refused where there is no such number."""
    before = getattr(observation.module, "dropout", None)
    if not isinstance(before, (int, float)):
        raise Unsupported(f"{type(observation.module).__name__} has no number as attribute dropout")
    with observing("setting the attribute dropout"):
        observation.module.dropout = probability  # type: ignore[assignment]
    try:
        yield
    finally:
        observation.module.dropout = before  # type: ignore[assignment]
