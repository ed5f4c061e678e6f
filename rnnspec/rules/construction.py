"""Rules about building a layer: arguments, defaults, invalid values, device and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rnnspec.cases.axes import ConstructorStyle, DType, Feature, InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import has_predictable_results, has_value, has_wide_dtype, one_in
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import flatten_results, join_argument
from rnnspec.rulekit.fixtures.constructor_calls import (
    ConstructorCall,
    assert_placement,
    build_layer,
    call_constructor,
    fail_only_in_style,
    plan_constructor_call,
)
from rnnspec.rulekit.rule import CONSTRUCTOR_CALLS, NAMED_ARGUMENTS, OF_THE_CELL, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.rulekit.snippets.results import write_results
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.subject import observe_step

has_precise_results = has_predictable_results & has_wide_dtype


@rule(
    "rnn.args.keywords",
    when=has_precise_results & has_value(ConstructorStyle.KEYWORDS),
    about=("constructor_style",),
    establishes=(
        Fact.CALL,
        Fact.RESULTS,
    ),
)
def keywords(observation: Observation) -> None:
    """Every argument can be passed by keyword, with the name that the signature shows.

    A layer that was built with every argument by keyword must give the documented results, unless a
    layer built by position is wrong in the same way.

    Catches keywords that are misspelt or ignored, and arguments that are lost if several keywords
    are passed together.
    """
    fail_only_in_style(observation, ConstructorStyle.KEYWORDS, ConstructorStyle.POSITIONAL)


@rule(
    "rnn.args.order",
    "gru.args.order",
    "lstm.args.order",
    "lstm.args.order.device",
    "rnn-cell.args.order",
    "gru-cell.args.order",
    when=has_precise_results & has_value(ConstructorStyle.POSITIONAL),
    about=("constructor_style",),
    establishes=(
        Fact.CALL,
        Fact.RESULTS,
    ),
)
def positional(observation: Observation) -> None:
    """Positional arguments are read in the order of the signature.

    A layer that was built with every argument by position must give the documented results, unless
    a layer built by keyword is wrong in the same way.

    Catches arguments in another order, and arguments that can be passed by keyword only.
    """
    fail_only_in_style(observation, ConstructorStyle.POSITIONAL, ConstructorStyle.KEYWORDS)


@rule(
    "rnn.args.num-layers.default",
    "rnn.args.nonlinearity.default",
    "rnn.args.bias.default",
    "rnn.args.batch-first.default",
    "rnn.args.dropout.default",
    "rnn.args.bidirectional.default",
    when=has_precise_results & has_value(ConstructorStyle.CHANGED) & one_in(3),
    about=("constructor_style",),
    establishes=(
        Fact.CALL,
        Fact.RESULTS,
    ),
    of_cells="Arguments that are left out have the documented defaults.",
)
def defaults(observation: Observation) -> None:
    """Arguments that are left out have the documented defaults: `num_layers=1`, tanh, biases,
    `batch_first=False`, no dropout and one direction.

    A layer that was built without the arguments that have their default value must give the
    documented results, unless a layer built with every argument is wrong in the same way; in a
    quarter of the cases, so must a new layer that is built from both sizes only.

    Catches wrong defaults, of a single argument or of several together.
    """
    fail_only_in_style(
        observation,
        ConstructorStyle.CHANGED,
        ConstructorStyle.KEYWORDS,
        bare=observation.case.seed % 4 == 0,
    )


EXAMPLE = Snippet(
    """layer = build(10, 20, 2)
{results} = layer(torch.randn(5, 3, 10), {states})
shapes = [result.shape for result in ({listed})]
assert shapes == {shapes}, shapes""",
    (Helper.BUILD,),
)


EXAMPLE_CASE = Case(
    config=Config(10, 20, num_layers=2), steps=5, batch=3, initial_state=InitialState.GIVEN
)
"""The call in the example, whose faults are therefore faults of the example."""


@rule(
    "rnn.example",
    "gru.example",
    "lstm.example",
    when=one_in(36),
    needs=(Feature.NUM_LAYERS, Feature.STATE),
    presupposes=(*CONSTRUCTOR_CALLS, "shapes.*", *OF_THE_CELL, "layouts.*"),
    establishes=(
        Fact.CALL,
        Fact.RESULTS,
    ),
)
def documented_example(observation: Observation) -> None:
    """The example in the documentation works: a layer built from two sizes and a number of layers
    takes a batch of three sequences with five time steps, and initial states.

    The layer is built and called as printed, in the dtype of the case. `output` must have shape
    (5, 3, 20), and each final state shape (2, 3, 20).

    Catches layers whose third positional argument is not `num_layers`, and layers that reject the
    call in the example.
    """
    if observation.subject.fixed:
        return
    place: dict[str, Any] = {
        "device": observation.subject.device,
        "dtype": observation.case.dtype.torch_dtype,
    }
    kind = observation.case.config.kind_data
    _ = observation.new_layer(EXAMPLE_CASE.replace(dtype=observation.case.dtype, kind=kind.name))
    layer = build_layer(observation, ConstructorCall((10, 20, 2), {})).to(**place)
    states = join_argument({name: torch.ones(2, 3, 20, **place) for name in kind.initial})
    with observe_step("the example"):
        returned = layer(torch.ones(5, 3, 10, **place), states)
        shapes = [tuple(result.shape) for result in flatten_results(returned)]
    expected = [(5, 3, 20), *[(2, 3, 20)] * len(kind.states)]
    if shapes != expected:
        raise Violation(
            f"the example returns shapes {shapes}, expected {expected}",
            _write_example(kind, expected),
        )


def _write_example(kind: Kind, shapes: Sequence[tuple[int, ...]]) -> Snippet:
    return EXAMPLE.format(
        results=write_results(kind),
        states=write_states(["torch.randn(2, 3, 20)"] * len(kind.states)),
        listed=", ".join(kind.results),
        shapes=shapes,
    )


@rule(
    "rnn.args.device",
    "rnn.args.dtype",
    when=one_in(30),
    needs=(Feature.DTYPE,),
    about=("constructor_style",),
    establishes=(
        Fact.CALL,
        Fact.RESULTS,
    ),
)
def device_and_dtype(observation: Observation) -> None:
    """The constructor creates all parameters on the device passed as `device` and in the dtype
    passed as `dtype`.

    A layer is built with `dtype` and `device`, in half of the cases on the subject's device and
    otherwise on the meta device; in half of each, `device` is a `torch.device`, otherwise its name.
    Every parameter must have this dtype and be on this device.

    Catches arguments that are accepted and ignored, for all parameters or for some.
    """
    offered = [dtype for dtype in DType if observation.subject.offers(dtype.needs)]
    dtype = offered[observation.case.seed % len(offered)].torch_dtype
    is_meta = observation.case.seed // 2 % 2 == 0 and observation.subject.offers(Feature.META)
    device = "meta" if is_meta else observation.subject.device
    is_named = observation.case.seed % 2 == 0
    passed = device if is_named else torch.device(device)
    call = plan_constructor_call(observation, device=passed, dtype=dtype)
    layer = build_layer(observation, call)
    assert_placement(layer, dtype, torch.device(device), str(call))


@rule(
    "rnn.args.dtype",
    when=one_in(48, 1),
    establishes=(
        Fact.CALL,
        Fact.RESULTS,
    ),
)
def default_dtype(observation: Observation) -> None:
    """Without a `dtype` argument, the constructor creates all parameters in the default dtype.

    A layer is built while another default dtype is set. Every parameter must have that dtype.

    Catches parameters that are always float32, and a default dtype that is read before the
    layer is built.
    """
    before = torch.get_default_dtype()
    other = torch.float64 if before != torch.float64 else torch.float32
    call = plan_constructor_call(observation)
    if "dtype" in call.named:
        return
    torch.set_default_dtype(other)
    try:
        layer = build_layer(observation, call)
    finally:
        torch.set_default_dtype(before)
    code = f"(torch.set_default_dtype({other}), {call}, torch.set_default_dtype({before}))[1]"
    assert_placement(layer, other, None, code)


WARNS = Snippet(
    """with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {call}
assert caught""",
    (Helper.BUILD,),
    ("warnings",),
)


@rule(
    "rnn.args.dropout.single-layer-warns",
    when=one_in(52, 2),
    needs=(Feature.DROPOUT,),
    presupposes=(*NAMED_ARGUMENTS,),
)
def single_layer_dropout_warns(observation: Observation) -> None:
    """The constructor warns if `dropout` is above 0 and `num_layers` is 1, because dropout then has
    no effect.

    A layer is built with a `dropout` above 0 and `num_layers=1`, while all warnings are recorded.

    Catches constructors that accept the argument silently.
    """
    if observation.subject.fixed.get("num_layers", 1) != 1:
        return
    changes = {
        "dropout": (0.5, 0.1, 1.0, 1e-3)[observation.case.seed % 4],
        **({} if not observation.subject.offers(Feature.NUM_LAYERS) else {"num_layers": 1}),
    }
    call = plan_constructor_call(observation, **changes)
    outcome = call_constructor(observation, call)
    if outcome.error is None and not outcome.warned:
        raise Violation(f"{call} gave no warning, expected one", WARNS.format(call=call))


@rule(
    "rnn.args.nonlinearity.readable",
    needs=(Feature.NONLINEARITY,),
    presupposes=(*CONSTRUCTOR_CALLS,),
    establishes=(Fact.RESULTS,),
)
def nonlinearity_attribute(observation: Observation) -> None:
    """The attribute `nonlinearity` of a layer holds the value that was passed to the constructor.

    The attribute is read after the prior use of the case.

    Catches names that are not stored, are stored in another form, or are lost by copies.
    """
    expected = observation.case.config.nonlinearity
    found = getattr(observation.module, "nonlinearity", None)
    if found != expected:
        raise Violation(
            f"the attribute nonlinearity is {found!r}, expected {expected!r}",
            Snippet(f"assert layer.nonlinearity == {expected!r}"),
        )
