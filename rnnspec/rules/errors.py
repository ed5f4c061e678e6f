"""Wrong calls: what has to be refused, how, and without a trace."""

from __future__ import annotations

from rnnspec.cases.axes import Feature, Layout
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.conditions import batched, has_value, one_in, packed
from rnnspec.rulekit.fixtures.constructor_calls import pick_values, write_rejection_snippet
from rnnspec.rulekit.rejections.calls import (
    Source,
    assert_call_rejected,
    choose_layer_to_spoil,
    no_steps,
    provoke_rejection,
    wrong_batches,
    wrong_devices,
    wrong_dtypes,
    wrong_features,
    wrong_layers,
    wrong_ranks,
    wrong_state_ranks,
    wrong_units,
)
from rnnspec.rulekit.rejections.side_effects import SNIPPET, describe_side_effects
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Unsupported

often = one_in(8)


@rule("rnn.errors.feature-size", when=often)
def feature_size(observation: Observation) -> None:
    """An input whose last axis is not input_size is refused, in every layout.

    Called with a neighbouring width, a single feature, twice as many and none, at the first call and after others.

    Catches features that are cut off or broadcast, and packed data that nobody checks.
    """
    assert_call_rejected(observation, wrong_features(observation))


@rule("rnn.errors.h_0-layers", when=often, needs=(Feature.STATE,))
def h_0_layers(observation: Observation) -> None:
    """An initial state whose first axis is not D * num_layers is refused.

    Called with one row more, one less, a single one, twice as many, none, and with one row a layer where there are two directions.

    Catches rows that are ignored or used twice, and packed calls that nobody checks.
    """
    assert_call_rejected(observation, wrong_layers(observation))


@rule("rnn.errors.h_0-batch", when=batched & one_in(3), needs=(Feature.STATE,))
def h_0_batch(observation: Observation) -> None:
    """For a padded batch an initial state whose batch axis differs from the input's is refused; it is never broadcast.

    Called with a state for one sample, for one more, one less, twice as many, for none, and for as many as there are steps.

    Catches one state broadcast to all samples, and surplus ones that are ignored.
    """
    assert_call_rejected(observation, wrong_batches(observation))


@rule("rnn.errors.h_0-batch.sorted", when=has_value(Layout.PACKED) & one_in(4), needs=(Feature.STATE,))
def h_0_batch_sorted(observation: Observation) -> None:
    """For packed sequences in order of their lengths an initial state whose batch axis is not their number is refused.

    Called with a state for one sample, for one more, one less, twice as many, and for none. Sequences in another order are not judged:
    there torch.nn.RNN itself takes surplus rows.

    Catches surplus rows that are ignored, and one that is broadcast.
    """
    assert_call_rejected(observation, wrong_batches(observation))


@rule("rnn.errors.h_0-size", when=often, needs=(Feature.STATE,))
def h_0_size(observation: Observation) -> None:
    """An initial state whose last axis is not hidden_size is refused.

    Called with a neighbouring width, a single unit, twice as many, none, the width of the input and that of the output.

    Catches units that are cut off or broadcast.
    """
    assert_call_rejected(observation, wrong_units(observation))


@rule("rnn.errors.empty-sequence", when=~packed & often)
def empty_sequence(observation: Observation) -> None:
    """A sequence of no steps is refused.

    Called with an input of no steps, batched and unbatched, with and without an initial state.

    Catches empty outputs, and a state that is handed through.
    """
    assert_call_rejected(observation, no_steps(observation))


@rule("rnn.errors.dtype", when=often)
def dtype(observation: Observation) -> None:
    """An input in another dtype than the parameters is refused.

    Called with input in each other floating dtype, in every layout; the initial state has the dtype of the parameters.

    Catches input that is converted without a word.
    """
    assert_call_rejected(observation, wrong_dtypes(observation))


@rule("rnn.errors.device", when=often)
def device(observation: Observation) -> None:
    """Input, initial state and parameters on different devices are refused.

    Called with the input, or the state, on the CPU, for a layer elsewhere. A layer on the CPU is not judged: torch's own matrix product
    takes a tensor of the meta device beside one of the CPU, and no other device is sure to be there.

    Catches arguments that are moved, copied or replaced without a word.
    """
    if observation.subject.device == "cpu":
        raise Unsupported(
            "the layer runs on the CPU, and no second device that holds numbers is sure to be there"
        )
    assert_call_rejected(observation, wrong_devices(observation))


@rule("rnn.errors.rank", when=~packed & often)
def rank(observation: Observation) -> None:
    """An input with fewer than two or more than three axes is refused.

    Called with a vector, a scalar, and inputs of four and five axes.

    Catches axes that are added or flattened without a word.
    """
    assert_call_rejected(observation, wrong_ranks(observation))


@rule("rnn.errors.h_0-rank", when=~packed & often, needs=(Feature.STATE,))
def h_0_rank(observation: Observation) -> None:
    """An initial state with another number of axes than the input is refused.

    Called with a state that lacks the batch axis or has one too many, with axes of their own for layers and directions, with a vector.

    Catches states that are squeezed, reshaped or broadcast without a word.
    """
    assert_call_rejected(observation, wrong_state_ranks(observation))


PADDED: tuple[Source, ...] = (wrong_features, wrong_ranks, wrong_dtypes, no_steps)
PACKED: tuple[Source, ...] = (wrong_features, wrong_dtypes)
STATES: tuple[Source, ...] = (wrong_layers, wrong_units)
BY_LAYOUT: dict[Layout, tuple[Source, ...]] = {
    Layout.BATCHED: (wrong_state_ranks, wrong_batches),
    Layout.UNBATCHED: (wrong_state_ranks,),
}


def _sources(observation: Observation) -> list[Source]:
    """The kinds of wrong calls that there are for a case."""
    found = PACKED if observation.case.is_packed else PADDED
    states = (
        ()
        if not observation.subject.offers(Feature.STATE)
        else STATES + BY_LAYOUT.get(observation.case.layout, ())
    )
    return [*found, *states]


@rule("rnn.errors.call-types", when=often)
def types(observation: Observation) -> None:
    """A wrong call raises ValueError for the input's rank and dtype, RuntimeError for everything else.

    Two kinds of wrong calls a case, of those that the other rules make; what is accepted is their concern.

    Catches assertions, and errors of the code below that wrong arguments run into unchecked.
    """
    prepared = choose_layer_to_spoil(observation)
    for source in pick_values(observation, _sources(observation), 2):
        wrong = source(observation)[0]
        with observation.case.grad_mode.enter():
            error = provoke_rejection(prepared, wrong)
        if error is not None and not isinstance(error, wrong.due):
            message = f"{wrong.words} raised {type(error).__name__}, {wrong.due.__name__} is due"
            raise Violation(message, write_rejection_snippet(f"layer({wrong})", (wrong.due,)))


@rule("rnn.errors.leave-no-trace", when=one_in(12))
def leave_no_trace(observation: Observation) -> None:
    """A refused call has changed nothing: arguments, parameters and random number generator are as before, and the next call works.

    A layer of its own with the case's history is called wrongly in one way and then rightly; what it could have changed is compared.

    Catches states written to before they are checked, settings that stay switched, draws in vain, layers that remember a wrong shape.
    """
    wrong = pick_values(observation, _sources(observation), 1)[0](observation)[0]
    found = describe_side_effects(
        observation, observation.new_layer(observation.case).prepared, wrong
    )
    if found:
        raise Violation(f"after {wrong.words} was refused, {found}", SNIPPET.format(arguments=wrong))
