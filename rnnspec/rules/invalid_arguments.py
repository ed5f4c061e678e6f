"""Rules about arguments that the constructor must reject, and the exceptions that it raises."""

from __future__ import annotations

from rnnspec.cases.axes import Feature
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rejections.constructors import (
    DROPOUTS,
    NONLINEARITIES,
    PROJECTIONS,
    SIZES,
    TESTED,
    TYPES,
    assert_arguments_rejected,
    assert_error_types,
)
from rnnspec.rulekit.rule import NAMED_ARGUMENTS, rule


@rule(
    "rnn.args.sizes.input-size-positive",
    "rnn.args.sizes.hidden-size-positive",
    "rnn.args.sizes.num-layers-positive",
    when=SIZES.when,
    id="construction.refuses-sizes",
    presupposes=(
        *NAMED_ARGUMENTS,
        "parameters.names",
    ),
)
def refuses_sizes(observation: Observation) -> None:
    """The constructor rejects an `input_size`, `hidden_size` or `num_layers` below 1.

    A layer is built with 0 and with negative numbers, for one argument at a time. Any exception
    counts as a rejection.

    Catches sizes that are not checked, or checked only in the first call.
    """
    assert_arguments_rejected(observation, SIZES)


@rule(
    "rnn.args.sizes.integers",
    "rnn.args.bias.bool",
    "rnn.args.batch-first.bool",
    when=TYPES.when,
    id="construction.refuses-types",
    presupposes=(*NAMED_ARGUMENTS,),
)
def refuses_types(observation: Observation) -> None:
    """The constructor rejects an `input_size` or `hidden_size` that is not an int, and a `bias` or
    `batch_first` that is not a bool.

    A layer is built with floats, strings, lists and None, for one argument at a time. Any
    exception counts as a rejection.

    Catches values that are converted, used for their truth value, or rejected only in the first
    call.
    """
    assert_arguments_rejected(observation, TYPES)


@rule(
    "rnn.args.nonlinearity.values",
    when=NONLINEARITIES.when,
    id="construction.refuses-nonlinearity",
    needs=(Feature.NONLINEARITY,),
    presupposes=(*NAMED_ARGUMENTS,),
)
def refuses_nonlinearity(observation: Observation) -> None:
    """The constructor rejects a `nonlinearity` other than `'tanh'` and `'relu'`.

    A layer is built with the names of other activations, with the right names in another case or
    with a space, and with values that are not strings.

    Catches names that are not checked, checked only in the first call, or compared without regard
    to case.
    """
    assert_arguments_rejected(observation, NONLINEARITIES)


@rule(
    "rnn.args.dropout.range",
    "rnn.args.dropout.number",
    when=DROPOUTS.when,
    id="construction.refuses-dropout",
    needs=(Feature.DROPOUT,),
    presupposes=(*NAMED_ARGUMENTS,),
)
def refuses_dropout(observation: Observation) -> None:
    """The constructor rejects a `dropout` that is below 0, above 1, a bool, or not a number.

    A layer is built with values just outside and far outside the range, and with bools, strings,
    lists and None.

    Catches ranges that are not checked, or checked only at 0 or only at 1.
    """
    assert_arguments_rejected(observation, DROPOUTS)


@rule(
    "rnn.args.proj-size-refused",
    when=PROJECTIONS.when,
    id="construction.refuses-proj-size",
    presupposes=(*NAMED_ARGUMENTS,),
)
def refuses_proj_size(observation: Observation) -> None:
    """The constructor rejects `proj_size`, which only `nn.LSTM` supports.

    A layer is built with `proj_size` as a keyword. Any exception counts as a rejection.

    Catches keywords that are accepted and ignored, and constructors shared with other kinds of
    layers.
    """
    assert_arguments_rejected(observation, PROJECTIONS)


@rule(
    "rnn.errors.construction-types",
    "gru.errors.construction-types",
    when=SIZES.when | TYPES.when | NONLINEARITIES.when,
    id="construction.exception-types",
    presupposes=(*NAMED_ARGUMENTS,),
)
def exception_types(observation: Observation) -> None:
    """The constructor raises `TypeError` for a size that is not an int and for a flag that is not a
    bool, and `ValueError` for a size below 1 and for an unknown `nonlinearity`.

    A layer is built with invalid values of these arguments. Values that are accepted are left to
    other rules.

    Catches assertions, and errors from code that an unchecked argument reaches.
    """
    assert_error_types(observation, TESTED)


@rule(
    "rnn.errors.construction-types.dropout",
    when=DROPOUTS.when,
    id="construction.dropout-exception-type",
    needs=(Feature.DROPOUT,),
    presupposes=(*NAMED_ARGUMENTS,),
)
def dropout_exception_type(observation: Observation) -> None:
    """The constructor raises `ValueError` for a `dropout` below 0 or above 1.

    A layer is built with values just outside and far outside the range. Values that are accepted
    are left to another rule.

    Catches assertions, and errors from code that an unchecked probability reaches.
    """
    assert_error_types(observation, [DROPOUTS])
