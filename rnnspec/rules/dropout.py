"""Rules about dropout: where it acts, its probability, scale and draws, and its limits."""

from __future__ import annotations

import numpy as np

from rnnspec.cases.axes import Distribution, Feature, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_active_dropout,
    has_deaf_layers,
    has_decodable_mask,
    has_dropout,
    has_dropout_of_one,
    has_finite_gradients,
    has_value,
    has_wide_dtype,
    is_batched,
    is_differentiable,
    is_stacked,
    one_in,
)
from rnnspec.contract.parts import Part
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_expected, change_difference
from rnnspec.rulekit.assertions.results import assert_gradients
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets.dropout import (
    BACKWARD,
    FRESH_MASKS,
    LATER_BACKWARD,
    LONG_MASKS,
    LOWER_STATES,
    MASKS,
    MOMENTS,
    REPRODUCIBLE,
    add_wide_input,
)
from rnnspec.rulekit.statistics.binomial import assert_likely
from rnnspec.rulekit.statistics.dropout_estimates import (
    assert_dropout_active,
    assert_expected_under_mask,
    assert_gradients_under_mask,
    assert_output_explained,
    decode_observed_mask,
    has_expected_scale,
)
from rnnspec.rulekit.statistics.mask_decoding import decode_mask
from rnnspec.rulekit.statistics.mask_samples import (
    count_by_boundaries_above,
    count_pairs,
    count_parts,
    count_parts_without_drops,
    count_repeats,
    draw_other_mask,
    has_repeated_mask,
    make_period_counts,
    sample_masks,
)
from rnnspec.rulekit.violation import Violation

NEEDS = (Feature.NUM_LAYERS, Feature.DROPOUT)
KNOWN_MASK = (Fact.RESULTS, Fact.GRADIENTS, "dropout.place", "dropout.scale", "dropout.rate")
"""Facts presupposed by the rules that compare gradients under the mask of the forward pass."""
has_boundaries_above: Condition[Case] = Condition(
    "further layers above the decoded mask",
    lambda case: (
        case.distribution is Distribution.READABLE and case.boundary < case.config.num_layers - 2
    ),
)
is_sampled = has_decodable_mask & (
    one_in(4) | ((has_boundaries_above | ~has_wide_dtype) & one_in(2))
)
has_known_mask = has_decodable_mask | (
    has_active_dropout & has_dropout_of_one & has_finite_gradients
)


@rule(
    "rnn.dropout.between-layers",
    when=has_decodable_mask,
    needs=NEEDS,
    about=("dropout",),
    presupposes=(Fact.RESULTS, "modules.second-call"),
)
def place(observation: Observation) -> None:
    """Dropout acts on the output of every layer except the last, and nowhere else.

    The numbers of the case are chosen so that the dropout mask can be decoded from the output.
    Under this mask, the reference must give the same output, and the same `h_n` as far as the mask
    decides it. In some cases, further calls are made, and every part must show dropped values in
    them.

    Catches dropout on the first layer's input or on the recurrent state, dropout at only some
    boundaries, directions or halves, and no dropout at all.
    """
    assert_dropout_active(observation)
    assert_output_explained(observation)
    if has_expected_scale(observation):
        assert_expected_under_mask(observation)
    if is_sampled(observation.case):
        assert_likely(
            lambda number: count_parts_without_drops(sample_masks(observation, number)),
            add_wide_input(observation.case, MASKS),
        )


@rule(
    "rnn.dropout.scale",
    when=has_decodable_mask,
    needs=NEEDS,
    about=("dropout",),
    presupposes=(Fact.RESULTS,),
)
def scale(observation: Observation) -> None:
    """Values that survive dropout are scaled by 1 / (1 - p), where p is the `dropout` argument.

    The scale is decoded from the output. The reference must give the same output if it uses the
    decoded mask and the expected scale.

    Catches scales of 1, 1 - p or 1 / p, and a scale that depends on the share of values that
    happened to survive.
    """
    if not has_expected_scale(observation):
        config = observation.case.config
        got = decode_observed_mask(observation).scale
        raise Violation(
            f"surviving values are scaled by {got:.6g}; "
            f"expected 1 / (1 - {config.dropout}) = {config.dropout_scale:.6g}",
            add_wide_input(observation.case, MOMENTS),
        )
    assert_output_explained(observation)
    assert_expected_under_mask(observation)


@rule(
    "rnn.dropout.rate",
    when=is_sampled,
    needs=NEEDS,
    about=("dropout",),
    presupposes=(
        Fact.RESULTS,
        "modules.second-call",
        "dropout.fresh-masks",
        "side-effects.parameters",
    ),
)
def rate(observation: Observation) -> None:
    """Each value is dropped with probability p, where p is the `dropout` argument.

    Dropped values are counted in masks decoded from further calls: all of them, and those in the
    first, the last and the later half of the steps, samples, directions and units. A count with a
    p-value of at most 1e-4 under the binomial distribution is repeated on fresh draws, and reported
    if its p-value is then at most 5e-12.

    Catches values that are kept with probability p, a probability other than `dropout`, and parts
    that are dropped more or less often than others.
    """
    assert_likely(
        lambda number: count_parts(sample_masks(observation, number)),
        add_wide_input(observation.case, MASKS),
    )


@rule(
    "rnn.dropout.fresh",
    when=is_sampled,
    needs=NEEDS,
    about=("dropout",),
    presupposes=(
        Fact.RESULTS,
        "modules.second-call",
        "side-effects.parameters",
        "side-effects.random-generators",
    ),
)
def fresh_masks(observation: Observation) -> None:
    """In training mode, every call draws a new dropout mask.

    Masks are decoded from a call, from the next call, and from a call after another seed. They must
    agree only as often as independent draws do, by a binomial test that is repeated on fresh draws.

    Catches a mask that is kept for later calls, and a random generator that is reset in every call.
    """
    program = FRESH_MASKS if has_repeated_mask(sample_masks(observation, 0)) else MASKS
    assert_likely(
        lambda number: count_repeats(sample_masks(observation, number)),
        add_wide_input(observation.case, program),
    )


@rule(
    "rnn.dropout.independent",
    when=is_sampled,
    needs=NEEDS,
    about=("dropout",),
    presupposes=(
        Fact.RESULTS,
        "modules.second-call",
        "dropout.fresh-masks",
        "side-effects.parameters",
    ),
)
def independent(observation: Observation) -> None:
    """Dropout draws independently for every time step, sample, unit, direction and layer.

    In masks decoded from further calls, disjoint pairs along every axis and between the directions
    must agree only as often as independent draws do, and the values dropped at a boundary must not
    depend on the boundaries above it. Both are binomial tests that are repeated on fresh draws.

    Catches a mask shared by all steps, samples, units, directions or layers, and masks that are
    shifted copies of each other.
    """
    assert_likely(
        lambda number: (
            count_pairs(sample_masks(observation, number))
            | count_by_boundaries_above(sample_masks(observation, number))
        ),
        add_wide_input(observation.case, MASKS),
    )


@rule(
    "rnn.dropout.independent",
    when=has_decodable_mask & is_batched & one_in(12, 5),
    needs=NEEDS,
    about=("dropout",),
    presupposes=(
        Fact.RESULTS,
        "modules.second-call",
        "dropout.rate",
        "dropout.fresh-masks",
        "dropout.independent",
        "side-effects.parameters",
    ),
)
def long_masks(observation: Observation) -> None:
    """The dropout mask of a large call does not repeat: a value is dropped independently of values
    drawn long before.

    In a call with about 65,000 values, the rule searches for the period at which values agree most
    often, step after step and sample after sample. Disjoint pairs of values at this distance must
    agree only as often as independent draws do, in that call and in another.

    Catches random numbers that repeat after some thousand draws, and masks that are made of copies
    of a block.
    """
    assert_likely(make_period_counts(observation), LONG_MASKS)


@rule(
    "rnn.dropout.eval",
    when=has_value(Mode.EVAL) & has_dropout & is_stacked,
    needs=NEEDS,
    id="dropout.eval",
    about=("dropout",),
    presupposes=("modes.train",),
)
def eval_drops_nothing(observation: Observation) -> None:
    """In evaluation mode, nothing is dropped and nothing is scaled, whatever `dropout` is.

    The output is compared with that of the reference without dropout.

    Catches dropout in evaluation mode, and outputs scaled by 1 - p there.
    """
    assert_expected(observation, "output")


@rule(
    "rnn.dropout.not-on-output",
    when=has_deaf_layers,
    needs=NEEDS,
    about=("dropout",),
    presupposes=(Fact.RESULTS,),
)
def not_on_output(observation: Observation) -> None:
    """Dropout is not applied to the output of the last layer.

    The input weights of all layers above the first are zero, so dropout between layers cannot
    change the results. The output is compared with that of the reference.

    Catches dropout on the output of the last layer.
    """
    assert_expected(observation, "output")


@rule(
    "rnn.dropout.not-in-states",
    "lstm.dropout.not-in-cell-states",
    when=has_deaf_layers | has_decodable_mask,
    needs=(*NEEDS, Feature.FINAL_STATE),
    about=("dropout",),
    presupposes=(Fact.RESULTS,),
)
def not_in_states(observation: Observation) -> None:
    """Dropout is applied neither to `h_n` nor to the state that a layer passes to its next step.

    States that dropout between layers cannot change are compared with the reference. If the input
    weights above the first layer are zero, these are the states of all layers; otherwise, the
    states of the layers below the decoded boundary.

    Catches dropout on `h_n`, on the final states of lower layers only, on `h_0`, and on the
    recurrent connection.
    """
    layers = {
        Distribution.DEAF: observation.case.config.num_layers,
        Distribution.READABLE: observation.case.boundary + 1,
        Distribution.SOLVABLE: 1,
    }[observation.case.distribution]
    count = layers * observation.case.config.num_directions
    snippet = LOWER_STATES.format(count=count)
    for name in observation.states:
        assert_expected(observation, name, (slice(count),), snippet=snippet)


@rule(
    "rnn.dropout.reproducible",
    when=has_decodable_mask & one_in(3),
    needs=(*NEEDS, Feature.SEEDS),
    about=("dropout",),
    presupposes=(Fact.RESULTS, "modules.second-call"),
)
def reproducible(observation: Observation) -> None:
    """Two calls after the same `torch.manual_seed` drop the same values.

    The masks decoded from the two outputs are compared.

    Catches random numbers from a generator that `torch.manual_seed` does not set.
    """
    first, second = (
        decode_observed_mask(observation),
        decode_mask(observation.case, observation.values, observation.repeat().output),
    )
    differ = np.argwhere(first.known & second.known & (first.dropped != second.dropped))
    if len(differ):
        step, sample, unit = differ[0]
        raise Violation(
            f"after the same seed, unit {unit} of sample {sample} at step {step} is dropped in one "
            f"call and kept in the other; expected the same mask "
            f"({len(differ)} of {first.known.sum()} values differ)",
            REPRODUCIBLE,
        )


@rule(
    "rnn.dropout.backward",
    when=is_differentiable & has_known_mask & one_in(2),
    needs=(*NEEDS, Feature.GRADIENTS),
    about=("dropout",),
    presupposes=(*KNOWN_MASK, *FIRST_GRADIENTS, "gradients.saturated"),
    part=Part.GRADIENTS,
)
def backward(observation: Observation) -> None:
    """The backward pass uses the same dropout mask and scale as the forward pass.

    The mask is decoded from the output, or known because `dropout` is 1. The gradients are compared
    with the reference under this mask; with more than two layers, only the gradients that the mask
    decides.

    Catches a backward pass without a mask, with a mask of its own, with the mask of one step for
    all steps, or without the scale.
    """
    if observation.case.config.dropout == 1.0:
        gradients = observation.gradients
        assert_gradients(observation, gradients, observation.expected, list(gradients))
        return
    assert_output_explained(observation)
    assert_gradients_under_mask(observation, BACKWARD)


@rule(
    "rnn.dropout.backward",
    when=is_differentiable & has_decodable_mask & one_in(3),
    needs=(*NEEDS, Feature.GRADIENTS),
    about=("dropout",),
    presupposes=(
        *KNOWN_MASK,
        "dropout.backward",
        *REPEATED_CALLS,
        *FIRST_GRADIENTS,
        "gradients.second-backward",
        "gradients.earlier-call",
    ),
    part=Part.GRADIENTS,
)
def backward_again(observation: Observation) -> None:
    """Each backward pass uses the dropout mask of its own forward pass, even if the layer was
    called again or switched to evaluation mode in between, and also the second time.

    The layer is called again after another seed, or switched to evaluation mode, and then the first
    call is differentiated twice. The gradients of both passes are compared with the reference under
    the mask that is decoded from the output.

    Catches masks that are kept on the layer instead of in the graph, and a backward pass that draws
    its mask again or asks for the mode.
    """
    assert_output_explained(observation)
    _ = observation.call
    layer, is_switched = observation.prepared.owner, observation.case.seed // 4 % 2 == 1
    if not is_switched:
        draw_other_mask(observation)
    program = LATER_BACKWARD.format(between="layer.eval()" if is_switched else "layer(wide)")
    layer.train(not is_switched)
    try:
        between = "after eval()" if is_switched else "after another call"
        for when in (between, "in the second backward pass"):
            with change_difference(when=when):
                assert_gradients_under_mask(observation, program, again=True)
    finally:
        layer.train()
