"""Rules about invalid calls: they are rejected, with the right exception, and change nothing."""

from __future__ import annotations

from rnnspec.cases.axes import Feature, Layout
from rnnspec.cases.conditions import (
    has_checked_shapes,
    has_value,
    is_batched,
    is_packed,
    is_unbatched,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import pick_values
from rnnspec.rulekit.rejections.calls import (
    InvalidCall,
    assert_call_rejected,
    assert_rejection_types,
    list_empty_sequences,
    list_other_kinds,
    list_tested_kinds,
    list_wrong_batches,
    list_wrong_devices,
    list_wrong_dtypes,
    list_wrong_features,
    list_wrong_layers,
    list_wrong_ranks,
    list_wrong_state_ranks,
    list_wrong_units,
)
from rnnspec.rulekit.rejections.side_effects import describe_side_effects, show_side_effects
from rnnspec.rulekit.rule import GIVEN_STATES, VALID_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.devices import is_cpu
from rnnspec.subjects.failures import Unsupported

is_sampled = has_checked_shapes & one_in(24)


@rule(
    "rnn.errors.feature-size",
    "rnn-cell.errors.feature-size",
    when=is_sampled,
    presupposes=(Fact.RESULTS, *VALID_CALLS),
)
def feature_size(observation: Observation) -> None:
    """A call rejects an input whose last dimension is not `input_size`, in every layout.

    The layer is called with a feature too many or too few, a single feature, twice as many, none,
    and `hidden_size` features, both as its first call and after other calls.

    Catches features that are cut off or broadcast, and packed data that is not checked.
    """
    assert_call_rejected(observation, list_wrong_features)


@rule(
    "rnn.errors.h_0-layers",
    "lstm.errors.h_0-layers",
    when=has_checked_shapes & one_in(12),  # few cases have several samples and `batch_first`
    needs=(Feature.STATE,),
    presupposes=(Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES),
)
def h_0_layers(observation: Observation) -> None:
    """A call rejects an initial state whose first dimension is not `D * num_layers`.

    The layer is called with an `h_0` that has a row too many or too few, a single row, twice as
    many rows, no rows, a row per layer although there are two directions, or the batch dimension
    first.

    Catches rows that are ignored or used twice, and packed calls that are not checked.
    """
    assert_call_rejected(observation, list_wrong_layers)


@rule(
    "rnn.errors.h_0-batch",
    "rnn-cell.errors.h_0-batch",
    when=is_batched & one_in(14, with_gates=8),
    needs=(Feature.STATE,),
    presupposes=(Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES),
    of_cells="A call rejects an `h_0` for another number of samples, and never broadcasts it.",
)
def h_0_batch(observation: Observation) -> None:
    """A call with a padded batch rejects an initial state whose batch dimension differs from that
    of the input, and never broadcasts it.

    The layer is called with an `h_0` for a single sample, for a sample too many or too few, for
    twice as many, for none, and for as many samples as there are time steps.

    Catches a single state that is broadcast to all samples, and extra states that are ignored.
    """
    assert_call_rejected(observation, list_wrong_batches)


@rule(
    "rnn.errors.h_0-batch.sorted",
    when=has_value(Layout.PACKED) & one_in(14, with_gates=8),
    needs=(Feature.STATE,),
    about=("layout",),
    presupposes=(Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES, "errors.h-0-batch"),
)
def h_0_batch_sorted(observation: Observation) -> None:
    """For packed sequences sorted by length, a call rejects an initial state whose batch dimension
    is not the number of sequences.

    The layer is called with an `h_0` for a single sample, for a sample too many or too few, for
    twice as many, and for none. Unsorted sequences are not checked, because `torch.nn.RNN` itself
    accepts extra rows for them.

    Catches extra rows that are ignored, and a single row that is broadcast.
    """
    assert_call_rejected(observation, list_wrong_batches)


@rule(
    "rnn.errors.h_0-size",
    "lstm.errors.h_0-size",
    "rnn-cell.errors.h_0-size",
    when=is_sampled,
    needs=(Feature.STATE,),
    presupposes=(Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES),
)
def h_0_size(observation: Observation) -> None:
    """A call rejects an initial state whose last dimension is not `hidden_size`.

    The layer is called with an `h_0` that has a unit too many or too few, a single unit, twice as
    many, none, as many as the input has features, or as many as the output has.

    Catches units that are cut off or broadcast.
    """
    assert_call_rejected(observation, list_wrong_units)


@rule(
    "rnn.errors.empty-sequence",
    when=~is_packed & is_sampled,
    presupposes=(Fact.RESULTS, *VALID_CALLS),
)
def empty_sequence(observation: Observation) -> None:
    """A call rejects a sequence of length 0.

    The layer is called with an input that has no time steps, batched and unbatched, with and
    without an initial state.

    Catches empty outputs, and an initial state that is returned unchanged.
    """
    assert_call_rejected(observation, list_empty_sequences)


@rule(
    "rnn.errors.dtype",
    when=is_sampled,
    presupposes=(Fact.RESULTS, *VALID_CALLS),
)
def dtype(observation: Observation) -> None:
    """A call rejects an input whose dtype differs from that of the parameters.

    The layer is called with an input in every other floating-point dtype, of integers, of bools and
    of complex numbers, in every layout. The initial state has the dtype of the parameters.

    Catches inputs that are silently converted.
    """
    assert_call_rejected(observation, list_wrong_dtypes)


@rule(
    "rnn.errors.device",
    "lstm.errors.device",
    when=is_sampled,
    presupposes=(Fact.RESULTS, *VALID_CALLS),
)
def device(observation: Observation) -> None:
    """A call rejects input, initial state and parameters that are on different devices.

    A layer on another device is called with the input, or the initial state, on the CPU. A layer
    on the CPU is not checked: torch's own matrix product accepts a meta tensor together with a CPU
    tensor, and there may be no other device.

    Catches arguments that are silently moved, copied or replaced.
    """
    if is_cpu(observation.subject.device):
        raise Unsupported(
            "the layer runs on the CPU, and there may be no other device for its input"
        )
    assert_call_rejected(observation, list_wrong_devices)


@rule(
    "rnn.errors.rank",
    "rnn-cell.errors.rank",
    when=~is_packed & is_sampled,
    presupposes=(Fact.RESULTS, *VALID_CALLS),
    of_cells="A call rejects an input that does not have one or two dimensions.",
)
def rank(observation: Observation) -> None:
    """A call rejects an input with fewer than two or more than three dimensions; that of a cell has
    one or two.

    The layer is called with a vector, a scalar, and inputs of four and five dimensions; a cell with
    a scalar, and with three dimensions and more.

    Catches dimensions that are silently added or flattened.
    """
    assert_call_rejected(observation, list_wrong_ranks)


@rule(
    "rnn.errors.h_0-rank",
    when=~is_packed & is_sampled,
    needs=(Feature.STATE,),
    presupposes=(Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES),
)
def h_0_rank(observation: Observation) -> None:
    """A call rejects an initial state that does not have the same number of dimensions as the
    input.

    The layer is called with an `h_0` that lacks the batch dimension or has a dimension too many,
    that has separate dimensions for layers and directions, or that is a vector.

    Catches states that are silently squeezed, reshaped or broadcast.
    """
    assert_call_rejected(observation, list_wrong_state_ranks)


@rule(
    "rnn.errors.call-types",
    when=~is_packed & is_sampled,
    presupposes=(Fact.RESULTS, *VALID_CALLS, "packed.output", "packed.returns-packed"),
)
def types(observation: Observation) -> None:
    """A call with a padded or unbatched input raises `ValueError` if its dtype is wrong, and
    `RuntimeError` if a size of the input or of the initial state is wrong.

    Each case tries invalid calls of two kinds, among those that other rules make. Calls that are
    accepted are left to those rules.

    Catches assertions, and errors from code that an unchecked argument reaches.
    """
    assert_rejection_types(observation, list_tested_kinds(observation))


# With one kind, three quick checks of eight missed a setting that a wrong h_0 leaves switched.
REJECTED_KINDS = 3
FROZEN = Snippet("layer.requires_grad_(False)")


@rule(
    "rnn.errors.leave-no-trace",
    when=has_checked_shapes
    & (
        one_in(36, with_gates=16, of_cells=10)
        | (is_unbatched & one_in(18, with_gates=6, of_cells=10))
    ),
    presupposes=(
        Fact.RESULTS,
        *VALID_CALLS,
        "side-effects.parameters",
        "side-effects.random-generators",
        "side-effects.global-settings",
    ),
)
def leave_no_trace(observation: Observation) -> None:
    """A rejected call changes nothing: arguments, parameters and the random number generator stay
    as they were, and the next call works.

    For each of three kinds of invalid calls, a separate layer with the prior use of the case gets
    such a call and then a valid call; a fourth layer, whose parameters are frozen, gets the last of
    these calls. Everything that the invalid call could have changed is compared with its state
    before. The valid call counts only if it is right without an earlier call, and after an earlier
    call that the layer accepts.

    Catches states that are written to before they are checked, settings that stay switched, random
    numbers that are drawn before the error, layers that remember a wrong shape, and frozen layers
    that leave gradients disabled.
    """
    kinds = [*list_tested_kinds(observation), *list_other_kinds(observation)]
    listed = [lister(observation) for lister in pick_values(observation, kinds, REJECTED_KINDS)]
    calls = [each[observation.case.seed % len(each)] for each in listed]
    for call in calls:
        _assert_no_trace(observation, call)
    _assert_no_trace(observation, calls[-1].detach_arguments(), is_frozen=True)


def _assert_no_trace(
    observation: Observation, call: InvalidCall, *, is_frozen: bool = False
) -> None:
    """Raise Violation if a call that a layer rejects has side effects.

    The layer has the prior use of the case. Its parameters are frozen first if `is_frozen`.
    """
    prepared = observation.new_layer(observation.case).prepared
    program, rejected = show_side_effects(observation, call), "rejected"
    # Code for calls without gradients runs only if nothing requires one.
    if is_frozen:
        for parameter in prepared.module.parameters():
            parameter.requires_grad_(False)
        program, rejected = FROZEN + program, "rejected by a frozen layer"
    found = describe_side_effects(observation, prepared, call)
    if found:
        raise Violation(f"after {call.description} was {rejected}, {found}", program)
