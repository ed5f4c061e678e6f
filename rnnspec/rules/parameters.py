"""Rules about the parameters of a new layer: names, shapes, order and initial values."""

from __future__ import annotations

import numpy as np

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.cases.conditions import has_axis_value, one_in
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import ConstructorCall
from rnnspec.rulekit.rule import CONSTRUCTOR_CALLS, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.statistics.binomial import Count, assert_likely
from rnnspec.rulekit.statistics.initial_distribution import (
    choose_case_to_count,
    count_values,
    describe_repetition,
    describe_reused_values,
    draw_parameters,
)
from rnnspec.rulekit.violation import Violation

SAME_NAMES = Snippet("""def names(each):
    return {{name for name, _ in each.named_parameters(){only}}}

assert names(layer) == names(reference)""")


@rule(
    "rnn.parameters.names",
    "lstm.parameters.names",
    "rnn-cell.parameters.names",
    when=one_in(3),
    presupposes=(*CONSTRUCTOR_CALLS, "parameters.no-bias"),
    establishes=(Fact.CALL,),
    of_cells="The parameters are `weight_ih`, `weight_hh`, `bias_ih` and `bias_hh`; there are no "
    "others, and no buffers in the `state_dict`.",
)
def names(observation: Observation) -> None:
    """The parameters of layer k are `weight_ih_l[k]`, `weight_hh_l[k]`, `bias_ih_l[k]` and
    `bias_hh_l[k]`; a cell has the same names without `_l[k]`. There are no other parameters, and no
    buffers in the `state_dict`.

    The names of a new layer's parameters are compared with the documented names as sets, and its
    buffers are looked up in its `state_dict`.

    Catches other names, missing or shared parameters, biases in spite of `bias=False`, parameters
    of submodules, and buffers that are saved.
    """
    found = observation.new.names
    expected = list(parameter_shapes(observation.case.config))
    if set(found) != set(expected):
        difference = _describe_difference(found, expected)
        raise Violation(
            f"the parameters do not have the documented names: {difference}",
            SAME_NAMES.format(only=""),
        )
    saved = observation.new.saved_buffers
    if saved:
        raise Violation(
            f"the state_dict holds the buffer {saved[0]}, expected parameters only",
            Snippet("assert set(layer.state_dict()) == set(reference.state_dict())"),
        )


def _describe_difference(found: list[str], expected: list[str]) -> str:
    """Return a text that names the missing and the undocumented parameters."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    parts = [
        f"missing {_count_names(missing)}" if missing else "",
        f"not documented {_count_names(extra)}" if extra else "",
    ]
    return "; ".join(part for part in parts if part)


def _count_names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


@rule(
    "rnn.parameters.reverse-names",
    "lstm.parameters.reverse.weight-ih",
    "lstm.parameters.reverse.weight-hh",
    "lstm.parameters.reverse.bias-ih",
    "lstm.parameters.reverse.bias-hh",
    when=one_in(3),
    about=("bidirectional",),
    presupposes=(*CONSTRUCTOR_CALLS, "parameters.names"),
    establishes=(Fact.CALL,),
)
def reverse_names(observation: Observation) -> None:
    """The parameters of the backward direction have the names of the forward direction with the
    suffix `_reverse`, and exist only with `bidirectional=True`.

    The names of a new layer that end in `_reverse` are compared with the documented names.

    Catches other suffixes, directions that share parameters, and parameters of a direction that
    does not exist.
    """
    found = [name for name in observation.new.names if name.endswith("_reverse")]
    expected = [
        name for name in parameter_shapes(observation.case.config) if name.endswith("_reverse")
    ]
    if set(found) != set(expected):
        difference = _describe_difference(found, expected)
        raise Violation(
            "the parameters of the backward direction do not have the documented names: "
            f"{difference}",
            SAME_NAMES.format(only=" if name.endswith('_reverse')"),
        )


SAME_SHAPE = Snippet("""for name, parameter in layer.named_parameters():
    assert name != {name!r} or parameter.shape == {shape}, parameter.shape""")


@rule(
    "rnn.parameters.weight-ih.shape",
    "rnn.parameters.weight-hh.shape",
    "rnn.parameters.bias-ih.shape",
    "rnn.parameters.bias-hh.shape",
    "rnn.args.input-size",
    "rnn.args.hidden-size",
    "rnn.symbols",
    "gru.parameters.weight-ih.shape",
    "gru.parameters.weight-hh.shape",
    "gru.parameters.bias-ih.shape",
    "gru.parameters.bias-hh.shape",
    "lstm.parameters.weight-ih.shape",
    "lstm.parameters.weight-hh.shape",
    "lstm.parameters.bias-ih.shape",
    "lstm.parameters.bias-hh.shape",
    "rnn-cell.parameters.weight-ih.shape",
    "gru-cell.parameters.weight-ih.shape",
    "lstm-cell.parameters.weight-ih.shape",
    when=one_in(3),
    presupposes=(*CONSTRUCTOR_CALLS,),
    establishes=(Fact.CALL,),
    of_cells="`weight_ih` has shape `(G * H, input_size)`, `weight_hh` `(G * H, H)` and each bias "
    "`(G * H,)`, where H is `hidden_size`, and G the number of gates, or 1 in an `nn.RNNCell`.",
)
def shapes(observation: Observation) -> None:
    """`weight_ih` has shape `(G * H, input_size)` in the first layer and `(G * H, D * H)` in the
    others, `weight_hh` has shape `(G * H, H)` and each bias `(G * H,)`, where H is `hidden_size`, D
    the number of directions, and G the number of gates: 1 in an `nn.RNN`, 3 in an `nn.GRU` and 4 in
    an `nn.LSTM`.

    The shapes of a new layer's parameters are compared by name, or by order if no parameter has a
    documented name.

    Catches transposed weights, upper layers that read a single direction, biases with a second
    dimension, and gates that are stacked where there are none, or not stacked where there are.
    """
    found = {parameter.name: parameter.shape for parameter in observation.new.parameters}
    for name, shape, expected in _pair_shapes(found, parameter_shapes(observation.case.config)):
        if shape != expected:
            raise Violation(
                f"{name} has shape {shape}, expected {expected}",
                SAME_SHAPE.format(name=name, shape=expected),
            )


def _pair_shapes(
    found: dict[str, Shape], documented: dict[str, Shape]
) -> list[tuple[str, Shape, Shape]]:
    """Return the name, the shape and the documented shape of each parameter that has both."""
    if len(found) == len(documented) and not found.keys() & documented.keys():
        pairs = zip(found.items(), documented.values(), strict=True)
        return [(name, shape, expected) for (name, shape), expected in pairs]
    return [(name, found[name], shape) for name, shape in documented.items() if name in found]


NO_BIAS = Snippet("assert not [name for name, _ in layer.named_parameters() if 'bias' in name]")
ZEROS = Snippet("assert not layer(torch.zeros(2, 2, {features}).to(x))[0].any()")


@rule(
    "rnn.args.bias.false",
    when=has_axis_value("bias", False) & one_in(8),
    needs=(Feature.BIAS,),
    about=("bias",),
    presupposes=(*CONSTRUCTOR_CALLS, *REPEATED_CALLS),
    establishes=(Fact.CALL, Fact.RESULTS),
)
def no_bias(observation: Observation) -> None:
    """With `bias=False`, the layer has no parameters `b_ih` and `b_hh` and adds no bias.

    A new layer must have no parameter with "bias" in its name. An input of zeros, with an initial
    state of zeros or none, must give results of zeros.

    Catches biases that are registered in spite of the argument, and biases that are added without
    being registered.
    """
    found = [name for name in observation.new.names if "bias" in name]
    if found:
        raise Violation(
            f"with bias=False, the layer has the parameter {found[0]}, expected no bias", NO_BIAS
        )
    values = observation.values
    zeros = observation.second_call(
        input=np.zeros_like(values.input), initial=np.zeros_like(values.initial)
    )
    name = observation.case.config.kind_data.leading
    if np.any(zeros.get_result(name) != 0):
        raise Violation(
            f"with bias=False, an input of zeros gives other values than zeros in {name}",
            ZEROS.format(features=observation.case.config.input_size),
        )


@rule(
    "rnn.parameters.learnable",
    "rnn.layers.own-parameters",
    when=one_in(3),
    establishes=(Fact.GRADIENTS,),
)
def trainable(observation: Observation) -> None:
    """All weights and biases are separate parameters, and require gradients when the layer is
    built.

    Every parameter of a new layer must require gradients, and no two names may stand for the same
    parameter.

    Catches frozen parameters, and a parameter under several names.
    """
    frozen = [
        parameter.name for parameter in observation.new.parameters if not parameter.requires_grad
    ]
    if frozen:
        raise Violation(
            f"{frozen[0]} does not require gradients in a new layer, expected requires_grad=True",
            Snippet("assert all(parameter.requires_grad for parameter in layer.parameters())"),
        )
    if len(observation.new.parameters) < len(observation.new.named):
        snippet = Snippet(
            "names = [name for name, _ in layer.named_parameters(remove_duplicate=False)]\n"
            "assert len(list(layer.parameters())) == len(names)"
        )
        raise Violation(
            "two names stand for the same parameter, expected one name for each", snippet
        )


ORDER = Snippet("""own, expected = (
    [name for name, _ in each.named_parameters()] for each in (layer, reference)
)
documented = [name for name in own if name in expected]
assert documented == [name for name in expected if name in own], documented""")


@rule(
    "rnn.parameters.order",
    "lstm.parameters.order",
    "rnn-cell.parameters.order",
    "use.optim.order",
    when=one_in(3),
    of_cells="Parameters have the order `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.",
)
def order(observation: Observation) -> None:
    """Parameters are registered layer by layer, then direction by direction, each time in the order
    `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.

    The order of the documented names among the parameters of a new layer is checked.

    Catches an order that mixes up weights when they are exchanged as a list.
    """
    found = observation.new.names
    expected = [name for name in parameter_shapes(observation.case.config) if name in found]
    documented = [name for name in found if name in expected]
    for name, expected_name in zip(documented, expected, strict=True):
        if name != expected_name:
            raise Violation(
                f"the parameters are out of order: found {name}, expected {expected_name}", ORDER
            )


RANGE = Snippet(
    "assert all(parameter.abs().max() <= {limit} for parameter in {call}.parameters())",
    (Helper.BUILD,),
)


@rule("rnn.parameters.initial.range", when=one_in(3))
def initial_range(observation: Observation) -> None:
    """No initial weight or bias exceeds `1 / sqrt(hidden_size)` in magnitude.

    The largest magnitude in every parameter of a new layer is compared with this limit. An excess
    of one unit in the last place is allowed, of the dtype or of float32 if that is coarser.

    Catches ranges of another width, and distributions without a limit.
    """
    limit = observation.case.config.hidden_size**-0.5
    roundoff = max(observation.case.dtype.roundoff, DType.FLOAT32.roundoff)
    for parameter in observation.new.parameters:
        name, largest = parameter.name, parameter.largest
        if not largest <= limit * (1 + 2 * roundoff):
            style = ConstructorStyle.CHANGED
            config = observation.case.config
            call = ConstructorCall(*observation.subject.arrange_arguments(config, style))
            raise Violation(
                f"{name} has an initial value of magnitude {largest:.6g}, "
                f"expected at most {limit:.6g}",
                RANGE.format(limit=limit * (1 + 2.0**-20), call=call),
            )


SPREAD = Snippet(
    """torch.manual_seed(0)
new = [pair for _ in range(4) for pair in {call}.named_parameters()]
for kind in {kinds}:
    of_kind = [parameter.detach().flatten() for name, parameter in new if kind in name]
    values = torch.cat(of_kind) * {scale}
    shares = torch.histc(values.float(), 4, -1, 1) / values.numel()
    assert (shares - 0.25).abs().max() < 3 / values.numel() ** 0.5""",
    (Helper.BUILD,),
)
OWN_DRAWS = Snippet(
    """torch.manual_seed(0)
first, second = list({call}.parameters()), list({call}.parameters())
for one in first:
    assert all(torch.unique(one, dim=dim).shape == one.shape for dim in range(one.dim()))
    others = [other for other in (*first, *second) if other is not one]
    assert not any(one.shape == other.shape and torch.equal(one, other) for other in others)""",
    (Helper.BUILD,),
)


@rule("rnn.parameters.initial.uniform", when=one_in(36), presupposes=("parameters.initial-range",))
def initial_distribution(observation: Observation) -> None:
    """Initial weights and biases are drawn uniformly, and independently of each other, between `-1
    / sqrt(hidden_size)` and `1 / sqrt(hidden_size)`.

    The rule counts how many weights and how many biases of new layers lie in parts of the range,
    and how often two parameters have the same sign. It tests the counts by exact binomial tails,
    with the false alarm rate that a run declares. Equal rows, columns, parameters or layers always
    count as a violation.

    Catches zeros, constants, bell shapes, narrower ranges, ranges of a single sign, rows or layers
    that are drawn once and copied, and fixed seeds.
    """
    case = choose_case_to_count(observation.case)
    style = case.constructor_style
    call = ConstructorCall(*observation.subject.arrange_arguments(case.config, style))
    first, second = draw_parameters(observation, case, 0)
    kinds = ("weight", "bias") if any("bias" in name for name in first) else ("weight",)
    snippet = SPREAD.format(call=call, kinds=kinds, scale=case.config.hidden_size**0.5)

    def count_draw(draw: int) -> dict[str, Count]:
        return count_values(first if draw == 0 else draw_parameters(observation, case, draw)[0])

    assert_likely(count_draw, snippet)
    found = describe_repetition(first) or describe_reused_values(first, second)
    if found:
        raise Violation(found, OWN_DRAWS.format(call=call))
