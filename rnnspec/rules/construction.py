"""Construction: arguments by position, by keyword and by default, what is refused, and where and in which dtype parameters are made."""

from __future__ import annotations

from typing import Any

import torch

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.conditions import one_in, precise, predictable
from rnnspec.rulekit.fixtures.constructor_calls import (
    ConstructorCall,
    build_layer,
    call_constructor,
    plan_constructor_call,
)
from rnnspec.rulekit.fixtures.constructor_styles import fail_only_in_style
from rnnspec.rulekit.rejections.constructors import (
    DROPOUTS,
    NONLINEARITIES,
    PROJECTIONS,
    SIZES,
    TYPED,
    TYPES,
    assert_arguments_rejected,
    assert_error_types,
)
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.subject import observing

computed = predictable & precise


@rule("rnn.args.keywords", when=computed & one_in(6))
def keywords(observation: Observation) -> None:
    """Every argument can be given by the name it has in the signature.

    A layer built with every argument by keyword computes what the formula says with the documented parameters; where it does not, and
    one built by position does or fails in another way, the keywords are to blame.

    Catches keywords that are misspelt, ignored, or forgotten where several are given.
    """
    fail_only_in_style(observation, ConstructorStyle.KEYWORDS, ConstructorStyle.POSITIONAL)


@rule("rnn.args.order", when=computed & one_in(6, 1))
def positional(observation: Observation) -> None:
    """Given by position, the arguments are read in the order of the signature.

    A layer built with every argument by position computes what the formula says with the documented parameters; where it does not, and
    one built by keyword does or fails in another way, the order is to blame.

    Catches arguments in another order, and arguments that can be given by keyword alone.
    """
    fail_only_in_style(observation, ConstructorStyle.POSITIONAL, ConstructorStyle.KEYWORDS)


@rule(
    "rnn.args.num-layers.default",
    "rnn.args.nonlinearity.default",
    "rnn.args.bias.default",
    "rnn.args.batch-first.default",
    "rnn.args.dropout.default",
    "rnn.args.bidirectional.default",
    when=computed & one_in(6, 2),
)
def defaults(observation: Observation) -> None:
    """Arguments that are left out have the documented defaults: one layer, tanh, biases, time first, no dropout, one direction.

    A layer built without the arguments that have their default, in half of the cases with nothing but its sizes, computes what the
    formula says; where it does not, and one built with every argument does or fails in another way, a default is to blame.

    Catches other defaults, each alone and all together.
    """
    fail_only_in_style(
        observation,
        ConstructorStyle.CHANGED,
        ConstructorStyle.KEYWORDS,
        bare=observation.case.seed % 2 == 0,
    )


EXAMPLE = Snippet("""layer = build(10, 20, 2)
output, h_n = layer(torch.randn(5, 3, 10), torch.randn(2, 3, 20))
assert output.shape == (5, 3, 20) and h_n.shape == (2, 3, 20)""", (Helper.BUILD,))


@rule("rnn.example", when=one_in(16), needs=(Feature.NUM_LAYERS, Feature.STATE))
def documented_example(observation: Observation) -> None:
    """The example of the page works: two sizes and two layers by position, a batch of three sequences of five steps, and a state.

    Built and called as printed, in the dtype of the case; output has shape (5, 3, 20) and h_n (2, 3, 20).

    Catches layers whose third argument is not num_layers, and calls as the page shows them that are refused.
    """
    if observation.subject.fixed:
        return
    place: dict[str, Any] = {
        "device": observation.subject.device,
        "dtype": observation.case.dtype.torch_dtype,
    }
    layer = build_layer(observation, ConstructorCall((10, 20, 2), {})).to(**place)
    with observing("the example"):
        returned = layer(torch.ones(5, 3, 10, **place), torch.ones(2, 3, 20, **place))
        shapes = [tuple(result.shape) for result in returned]
    if shapes != [(5, 3, 20), (2, 3, 20)]:
        raise Violation(
            f"the example gives shapes {shapes}, expected [(5, 3, 20), (2, 3, 20)]", EXAMPLE
        )


@rule("rnn.args.device", "rnn.args.dtype", when=one_in(8), needs=(Feature.DTYPE,))
def device_and_dtype(observation: Observation) -> None:
    """Parameters are made on the device and in the dtype that the constructor is given.

    Every parameter of a layer built with dtype= and device= is looked at, on the subject's device and on the meta device.

    Catches arguments that are accepted and ignored, by all parameters or by some.
    """
    offered = [dtype for dtype in DType if observation.subject.offers(dtype.needs)]
    dtype = offered[observation.case.seed % len(offered)].torch_dtype
    for device in (
        observation.subject.device,
        *(["meta"] if observation.subject.offers(Feature.META) else []),
    ):
        wanted = plan_constructor_call(observation, device=device, dtype=dtype)
        _placed(build_layer(observation, wanted), dtype, torch.device(device), str(wanted))


@rule("rnn.args.dtype", when=one_in(6, 1))
def default_dtype(observation: Observation) -> None:
    """Without dtype= parameters are made in the default dtype.

    A layer is built while another default dtype is set; every parameter is looked at.

    Catches parameters that are float32 in any case, and a default dtype that is looked up too early.
    """
    before = torch.get_default_dtype()
    other = torch.float64 if before != torch.float64 else torch.float32
    wanted = plan_constructor_call(observation)
    if "dtype" in wanted.named:
        return
    torch.set_default_dtype(other)
    try:
        made = build_layer(observation, wanted)
    finally:
        torch.set_default_dtype(before)
    _placed(
        made,
        other,
        None,
        f"(torch.set_default_dtype({other}), {wanted}, torch.set_default_dtype({before}))[1]",
    )


def _placed(
    layer: torch.nn.Module, dtype: torch.dtype, device: torch.device | None, call: str
) -> None:
    for name, parameter in layer.named_parameters():
        if parameter.dtype != dtype:
            snippet = Snippet(f"assert all(parameter.dtype == {dtype} for parameter in {call}.parameters())", (Helper.BUILD,))
            raise Violation(f"{name} is {parameter.dtype}, expected {dtype}", snippet)
        if device is not None and parameter.device.type != device.type:
            snippet = Snippet(f"assert all(parameter.device.type == {device.type!r} for parameter in {call}.parameters())", (Helper.BUILD,))
            raise Violation(f"{name} is on {parameter.device}, expected {device}", snippet)


WARNS = Snippet("""with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {call}
assert caught""", (Helper.BUILD,), ("warnings",))


@rule("rnn.args.dropout.single-layer-warns", when=one_in(4), needs=(Feature.DROPOUT,))
def single_layer_dropout_warns(observation: Observation) -> None:
    """Building a layer with dropout and one layer only warns, since there is nowhere to drop.

    Built with some probability above 0 and one layer, with all warnings shown.

    Catches layers that take the dropout and say nothing.
    """
    if observation.subject.fixed.get("num_layers", 1) != 1:
        return
    changes = {
        "dropout": (0.5, 0.1, 1.0, 1e-3)[observation.case.seed % 4],
        **({} if not observation.subject.offers(Feature.NUM_LAYERS) else {"num_layers": 1}),
    }
    wanted = plan_constructor_call(observation, **changes)
    made = call_constructor(observation, wanted)
    if made.error is None and not made.warned:
        raise Violation(f"{wanted} gave no warning", WARNS.format(call=wanted))


@rule(
    "rnn.args.sizes.input-size-positive",
    "rnn.args.sizes.hidden-size-positive",
    "rnn.args.sizes.num-layers-positive",
    when=one_in(4),
)
def refuses_sizes(observation: Observation) -> None:
    """input_size, hidden_size and num_layers below 1 are refused.

    Built with 0 and with negative numbers, each argument in turn; a refusal is any exception, by the constructor or by a first call.

    Catches sizes that are not checked, and layers of nothing that work.
    """
    assert_arguments_rejected(observation, SIZES, at_once=False)


@rule(
    "rnn.args.sizes.integers", "rnn.args.bias.bool", "rnn.args.batch-first.bool", when=one_in(4, 1)
)
def refuses_types(observation: Observation) -> None:
    """An input_size or hidden_size that is no int and a bias or batch_first that is no bool are refused.

    Built with floats, words, lists and None, each argument in turn; a refusal is any exception, by the constructor or by a first call.

    Catches values that are converted or judged by their truth.
    """
    assert_arguments_rejected(observation, TYPES, at_once=False, count=4)


@rule("rnn.args.nonlinearity.values", when=one_in(4, 2), needs=(Feature.NONLINEARITY,))
def refuses_nonlinearity(observation: Observation) -> None:
    """A nonlinearity other than 'tanh' and 'relu' is refused when the layer is built.

    Built with the names of other activations, with the right names in another case or with a blank, and with values that are no names.

    Catches names that are not checked, checked at the first call, or compared without regard to case.
    """
    assert_arguments_rejected(observation, NONLINEARITIES, at_once=True)


@rule("rnn.args.dropout.range", "rnn.args.dropout.number", when=one_in(4, 3), needs=(Feature.DROPOUT,))
def refuses_dropout(observation: Observation) -> None:
    """A dropout that is below 0, above 1, a bool or no number is refused when the layer is built.

    Built with values just outside and far outside, with flags, words, lists and None.

    Catches ranges that are not checked, or open at one end.
    """
    assert_arguments_rejected(observation, DROPOUTS, at_once=True)


@rule("rnn.args.proj-size-refused", when=one_in(8))
def refuses_proj_size(observation: Observation) -> None:
    """proj_size belongs to the LSTM alone and is refused.

    Built with proj_size= by keyword.

    Catches keywords that are accepted and ignored, and constructors shared with other kinds of layers.
    """
    assert_arguments_rejected(observation, PROJECTIONS, at_once=False, count=1)


@rule("rnn.errors.construction-types", when=one_in(4, 1))
def exception_types(observation: Observation) -> None:
    """The constructor raises TypeError for an argument of the wrong type and ValueError for a value out of range.

    Built with wrong values of every argument; what is accepted is another rule's concern.

    Catches assertions, and errors of the code below that an argument runs into unchecked.
    """
    assert_error_types(observation, TYPED)


@rule("rnn.args.nonlinearity.readable", needs=(Feature.NONLINEARITY,))
def nonlinearity_attribute(observation: Observation) -> None:
    """The attribute nonlinearity of a layer is the name that was chosen.

    Read from the layer after its history.

    Catches names that are not kept, or kept in another form, or lost by copies.
    """
    chosen, found = (
        observation.case.config.nonlinearity,
        getattr(observation.module, "nonlinearity", None),
    )
    if found != chosen:
        raise Violation(
            f"nonlinearity reads {found!r}, expected {chosen!r}",
            Snippet(f"assert layer.nonlinearity == {chosen!r}"),
        )
