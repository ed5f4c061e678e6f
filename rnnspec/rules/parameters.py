"""The parameters of a new layer: their names, shapes and order, and the values that they start with."""

from __future__ import annotations

import numpy as np

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import to_array
from rnnspec.rulekit.conditions import axis_is, one_in
from rnnspec.rulekit.fixtures.constructor_calls import ConstructorCall
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.statistics.binomial import Count, assert_likely
from rnnspec.rulekit.statistics.initial_distribution import (
    choose_counted_case,
    count_values,
    draw_parameters,
    find_repetition,
    find_same_values,
)
from rnnspec.rulekit.violation import Violation

SAME_NAMES = Snippet("assert {{name for name, _ in layer.named_parameters(){only}}} == {{name for name, _ in reference.named_parameters(){only}}}")


@rule("rnn.parameters.names", when=one_in(3))
def names(observation: Observation) -> None:
    """The parameters are weight_ih_l[k], weight_hh_l[k], bias_ih_l[k] and bias_hh_l[k] of every layer, and there are no others.

    Names of the parameters of a new layer and of what its state_dict holds beside them, compared as sets.

    Catches other names, missing and shared parameters, biases in spite of bias=False, parameters of parts, buffers that are saved.
    """
    found, expected = (
        [name for name, _ in observation.unused_layer.named_parameters()],
        list(parameter_shapes(observation.case.config)),
    )
    if set(found) != set(expected):
        raise Violation(f"the parameters {_apart(found, expected)}", SAME_NAMES.format(only=""))
    saved = [
        name
        for name, _ in observation.unused_layer.named_buffers()
        if name in observation.unused_layer.state_dict()
    ]
    if saved:
        raise Violation(
            f"there is a buffer {saved[0]}",
            Snippet("assert set(layer.state_dict()) == set(reference.state_dict())"),
        )


def _apart(found: list[str], expected: list[str]) -> str:
    """How two lists of names differ, in words."""
    missing, extra = (
        [name for name in expected if name not in found],
        [name for name in found if name not in expected],
    )
    told = [
        f"lack {_first(missing)}" if missing else "",
        f"have {_first(extra)} beyond what is documented" if extra else "",
    ]
    return " and ".join(words for words in told if words)


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


@rule("rnn.parameters.reverse-names", when=one_in(3))
def reverse_names(observation: Observation) -> None:
    """The parameters of the backward direction are called as the forward ones with _reverse at the end; one direction has none.

    Names with that end in a new layer, compared with those due.

    Catches other suffixes, directions that share parameters, parameters of a direction that is not there.
    """
    found = [
        name for name, _ in observation.unused_layer.named_parameters() if name.endswith("_reverse")
    ]
    expected = [
        name for name in parameter_shapes(observation.case.config) if name.endswith("_reverse")
    ]
    if set(found) != set(expected):
        snippet = SAME_NAMES.format(only=" if name.endswith('_reverse')")
        raise Violation(f"the parameters of the backward direction {_apart(found, expected)}", snippet)


@rule(
    "rnn.parameters.weight-ih.shape",
    "rnn.parameters.weight-hh.shape",
    "rnn.parameters.bias-ih.shape",
    "rnn.parameters.bias-hh.shape",
    "rnn.args.input-size",
    "rnn.args.hidden-size",
    "rnn.symbols",
    when=one_in(3),
)
def shapes(observation: Observation) -> None:
    """weight_ih is (H, input_size) in the first layer and (H, D * H) above, weight_hh (H, H), each bias (H), H being hidden_size.

    Shapes of a new layer's parameters by name, or by order where none has a documented name.

    Catches transposed weights, upper layers that read one direction, biases with a second axis, gates stacked in one weight.
    """
    found = {
        name: tuple(parameter.shape)
        for name, parameter in observation.unused_layer.named_parameters()
    }
    for name, shape, expected in _matched(found, parameter_shapes(observation.case.config)):
        if shape != expected:
            snippet = Snippet(f"assert dict(layer.named_parameters())[{name!r}].shape == {expected}")
            raise Violation(f"{name} has shape {shape}, expected {expected}", snippet)


def _matched(found: dict[str, Shape], expected: dict[str, Shape]) -> list[tuple[str, Shape, Shape]]:
    """Own name, own shape and documented shape of the parameters that can be told apart."""
    if len(found) == len(expected) and not found.keys() & expected.keys():
        return [
            (name, shape, due)
            for (name, shape), due in zip(found.items(), expected.values(), strict=True)
        ]
    return [(name, found[name], due) for name, due in expected.items() if name in found]


NO_BIAS = Snippet("assert not [name for name, _ in layer.named_parameters() if 'bias' in name]")
ZEROS = Snippet("assert not layer(torch.zeros(2, 2, {features}).to(x))[0].any()")


@rule("rnn.args.bias.false", when=axis_is("bias", False) & one_in(4), needs=(Feature.BIAS,))
def no_bias(observation: Observation) -> None:
    """With bias=False there is no b_ih and no b_hh, neither among the parameters nor in the sum.

    A new layer has no parameter that is called a bias; and zeros, with a state of zeros or none, give zeros.

    Catches biases that are registered all the same, and biases that are added without being registered.
    """
    found = [name for name, _ in observation.unused_layer.named_parameters() if "bias" in name]
    if found:
        raise Violation(f"with bias=False there is {found[0]}", NO_BIAS)
    zeros = observation.second_call(
        input=np.zeros_like(observation.values.input), h_0=np.zeros_like(observation.values.h_0)
    )
    if np.any(zeros.output != 0):
        raise Violation(
            "with bias=False zeros do not give zeros",
            ZEROS.format(features=observation.case.config.input_size),
        )


@rule("rnn.parameters.learnable", "rnn.layers.own-parameters", when=one_in(3))
def trainable(observation: Observation) -> None:
    """Weights and biases are parameters of their own, and require gradients when the layer is built.

    Every parameter of a new layer is looked at, and that no two names stand for the same one.

    Catches frozen parameters, and one parameter under several names.
    """
    frozen = [
        name
        for name, parameter in observation.unused_layer.named_parameters()
        if not parameter.requires_grad
    ]
    if frozen:
        raise Violation(
            f"{frozen[0]} requires no gradient",
            Snippet("assert all(parameter.requires_grad for parameter in layer.parameters())"),
        )
    named = list(observation.unused_layer.named_parameters(remove_duplicate=False))
    if len({id(parameter) for _, parameter in named}) < len(named):
        snippet = Snippet("assert len(list(layer.parameters())) == len(list(layer.named_parameters(remove_duplicate=False)))")
        raise Violation("two names stand for the same parameter", snippet)


@rule("rnn.parameters.order", when=one_in(3))
def order(observation: Observation) -> None:
    """Parameters are registered by layer, then direction, and there as weight_ih, weight_hh, bias_ih, bias_hh.

    The documented names among those of a new layer, in their order.

    Catches orders that mix weights up where they are exchanged as a list.
    """
    found = [name for name, _ in observation.unused_layer.named_parameters()]
    expected = [name for name in parameter_shapes(observation.case.config) if name in found]
    for name, due in zip([name for name in found if name in expected], expected, strict=True):
        if name != due:
            snippet = Snippet("assert [name for name, _ in layer.named_parameters()] == [name for name, _ in reference.named_parameters()]")
            raise Violation(f"{name} is registered where {due} is due", snippet)


RANGE = Snippet("assert all(parameter.abs().max() <= {limit} for parameter in {call}.parameters())", (Helper.BUILD,))


@rule("rnn.parameters.initial.range", when=one_in(3))
def initial_range(observation: Observation) -> None:
    """No initial weight or bias is larger in magnitude than 1 / sqrt(hidden_size).

    The largest value of every parameter of a new layer; one unit in the last place is allowed, of the dtype or of float32 if coarser.

    Catches ranges of another size, and distributions without a range.
    """
    limit, roundoff = (
        observation.case.config.hidden_size**-0.5,
        max(observation.case.dtype.roundoff, DType.FLOAT32.roundoff),
    )
    for name, parameter in observation.unused_layer.named_parameters():
        largest = float(np.max(np.abs(to_array(parameter)), initial=0.0))
        if not largest <= limit * (1 + 2 * roundoff):
            call = ConstructorCall(
                *observation.subject.arguments(observation.case.config, ConstructorStyle.CHANGED)
            )
            snippet = RANGE.format(limit=limit * (1 + 2.0**-20), call=call)
            raise Violation(
                f"{name} starts with a value of magnitude {largest:.6g}, larger than {limit:.6g}",
                snippet,
            )


SPREAD = Snippet("""torch.manual_seed(0)
new = {call}
for kind in {kinds}:
    values = torch.cat([parameter.detach().flatten() for name, parameter in new.named_parameters() if kind in name]) * {scale}
    shares = torch.histc(values.float(), 4, -1, 1) / values.numel()
    assert (shares - 0.25).abs().max() < 3 / values.numel() ** 0.5""", (Helper.BUILD,))
OWN_DRAWS = Snippet("""torch.manual_seed(0)
first, second = list({call}.parameters()), list({call}.parameters())
assert all(torch.unique(parameter, dim=dim).shape == parameter.shape for parameter in first for dim in range(parameter.dim()))
assert not any(one.shape == two.shape and torch.equal(one, two) for one in first for two in second)
assert not any(one.shape == two.shape and torch.equal(one, two) for one in first for two in first if one is not two)""", (Helper.BUILD,))


@rule("rnn.parameters.initial.uniform", when=one_in(16))
def initial_distribution(observation: Observation) -> None:
    """Initial weights and biases are spread evenly over their range, independently of each other.

    The weights and the biases of new layers are counted in parts of the range, and the signs that agree between parameters, and judged by
    exact binomial tails at the rate of false alarms that a run declares; rows, columns, parameters or layers that are equal are no chance.

    Catches zeros, constants, bell shapes, narrower ranges, ranges of one sign, rows or layers drawn once and copied, fixed seeds.
    """
    case = choose_counted_case(observation.case)
    call = ConstructorCall(*observation.subject.arguments(case.config, case.constructor_style))
    first, second = draw_parameters(observation, case, 0)
    kinds = ("weight", "bias") if any("bias" in name for name in first) else ("weight",)
    snippet = SPREAD.format(call=call, kinds=kinds, scale=case.config.hidden_size**0.5)

    def counted(draw: int) -> dict[str, Count]:
        return count_values(first if draw == 0 else draw_parameters(observation, case, draw)[0])

    assert_likely(counted, snippet)
    found = find_repetition(first) or find_same_values(first, second)
    if found:
        raise Violation(found, OWN_DRAWS.format(call=call))
