"""No side effects: a call changes nothing but what it returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Distribution, Feature, GradMode
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import Arguments, has_same_bits, to_array
from rnnspec.observe.tensors import build_arguments as arguments_of
from rnnspec.rulekit.assertions.results import BOTH
from rnnspec.rulekit.conditions import differentiable, dropping, has_value, one_in
from rnnspec.rulekit.fixtures.constructor_calls import call_constructor, plan_constructor_call
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical
from rnnspec.subjects.settings import Values, read_settings
from rnnspec.subjects.subject import observing

ARGUMENTS = Snippet("""kept = [data(each).detach().clone() for each in given]
layer(*given)
for each, before in zip(given, kept):
    assert data(each).shape == before.shape and torch.equal(data(each), before), each""", (Helper.DATA,))


@rule("rnn.effects.arguments", when=one_in(2))
def arguments(observation: Observation) -> None:
    """A call leaves its input and the given initial state as they were.

    Compared bit for bit, with shapes and strides, with arguments that were never handed over: the tensors, what lies around them in
    memory, and the sizes and indices of packed input. Half of the time the input holds a NaN and an infinity.

    Catches arguments transposed, scaled, masked or overwritten in place, during the call or at its end.
    """
    probe = (
        observation
        if observation.case.seed % 2
        else observation.second_call(input=_with_nonfinite(observation))
    )
    given = dict(_tensors(probe.call.given))
    fresh = dict(
        _tensors(
            arguments_of(
                observation.case, probe.values.input, probe.values.h_0, observation.subject.device
            )
        )
    )
    for name, tensor in given.items():
        _unchanged(name, tensor, fresh[name])


def _with_nonfinite(observation: Observation) -> Any:
    spoiled = np.array(observation.values.input)
    spoiled[0, 0, 0], spoiled[0, -1, -1] = np.nan, np.inf
    return spoiled


def _tensors(given: Arguments) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor among the arguments, and the memory that a view was cut from."""
    named = {"input": given.leaf, "h_0": given.h_0}
    if isinstance(given.input, PackedSequence):
        named |= {
            name: getattr(given.input, name)
            for name in ("batch_sizes", "sorted_indices", "unsorted_indices")
        }
    for name, tensor in named.items():
        if tensor is not None:
            yield name, tensor
        if tensor is not None and tensor._base is not None:
            yield f"the memory around {name}", tensor._base


def _unchanged(name: str, tensor: torch.Tensor, fresh: torch.Tensor) -> None:
    for what, got, expected in (
        ("shape", tuple(tensor.shape), tuple(fresh.shape)),
        ("strides", tensor.stride(), fresh.stride()),
        ("requires_grad", tensor.requires_grad, fresh.requires_grad),
    ):
        if got != expected:
            raise Violation(
                f"the {what} of {name} was {expected} before the call and is {got} after it",
                ARGUMENTS,
            )
    if not has_same_bits(tensor, fresh):
        assert_identical(f"{name} after the call", to_array(tensor), to_array(fresh), ARGUMENTS)
    if tensor.grad is not None:
        raise Violation(f"after the call {name} has a .grad", ARGUMENTS)


PARAMETERS = Snippet("""kept = {name: value.detach().clone() for name, value in layer.named_parameters()}
layer(*given)
for name, value in layer.named_parameters():
    assert value.grad is None and value.shape == kept[name].shape and torch.equal(value, kept[name]), name""")


@rule("rnn.effects.parameters", when=one_in(2, 1))
def parameters(observation: Observation) -> None:
    """A forward call only reads the parameters: values, shapes, names and gradients stay.

    After the call every parameter is compared bit for bit with what was loaded; in a third of the cases the parameter
    objects, their gradients, the buffers and the mode of every module are compared around a further call.

    Catches weights that are dropped, clipped, normalised, reshaped or replaced by the call.
    """
    _ = observation.call
    weights = observation.prepared.weights()
    for name, expected in observation.values.weights.items():
        if name not in weights:
            raise Violation(f"after a call there is no parameter {name}", PARAMETERS)
        if tuple(weights[name].shape) != expected.shape:
            raise Violation(
                f"{name} has shape {tuple(weights[name].shape)} after a call, expected {expected.shape}",
                PARAMETERS,
            )
        assert_identical(f"{name} after a call", to_array(weights[name]), expected, PARAMETERS)
    if observation.case.seed % 3 == 0:
        _nothing_else(observation)


def _nothing_else(observation: Observation) -> None:
    before = _inventory(observation)
    _ = observation.second_call().call
    for (what, old), (_, new) in zip(before, _inventory(observation), strict=True):
        if old != new:
            raise Violation(f"a call changed {what}: from {old} to {new}", PARAMETERS)


def _inventory(observation: Observation) -> list[tuple[str, Any]]:
    module = observation.module
    own = dict(module.named_parameters())
    return [
        ("which objects the parameters are", {name: id(value) for name, value in own.items()}),
        (
            "which parameters require gradients",
            {name: value.requires_grad for name, value in own.items()},
        ),
        (
            "the gradients of parameters",
            {
                name: value.grad is not None and to_array(value.grad).tobytes()
                for name, value in own.items()
            },
        ),
        ("the buffers", [name for name, _ in module.named_buffers()]),
        ("the mode", [part.training for part in module.modules()]),
    ]


RNG = Snippet("""def states():
    return torch.get_rng_state().tolist(), {own}random.getstate(), numpy.random.get_state()[1].tolist()

before = states()
layer(*given)
assert states() == before""", imports=("random", "numpy"))


def _write_rng_snippet(device: str) -> Snippet:
    kind = torch.device(device).type
    return RNG.format(own="" if kind == "cpu" else f"torch.{kind}.get_rng_state().tolist(), ")


@rule("rnn.effects.rng", when=~dropping)
def random_generators(observation: Observation) -> None:
    """A call in which dropout is not at work draws no random number.

    The states of torch's, Python's and NumPy's generators are compared around the call, that of the layer's device among them.

    Catches masks that are drawn in vain, noise, and generators that a call seeds.
    """
    drawn = observation.call.before.drawn(observation.call.after)
    if drawn:
        message = (
            f"a call without dropout changed the state of {drawn[0]}'s random number generator"
        )
        raise Violation(message, _write_rng_snippet(observation.subject.device))


@rule("rnn.effects.rng", "rnn.effects.stateless", when=~dropping & one_in(3))
def repeatable(observation: Observation) -> None:
    """A call in which dropout is not at work gives the same when it is repeated.

    The results of a second call on the same numbers, compared with the first's within what rounding can explain of both.

    Catches noise from any source, and layers that count or remember their calls.
    """
    second = observation.second_call()
    assert_close(
        observation,
        "output of a second call",
        second.output,
        observation.output,
        lambda: 2 * observation.expected.bound.output,
        REPEATED,
    )
    assert_close(
        observation,
        "h_n of a second call",
        second.h_n,
        observation.h_n,
        lambda: 2 * observation.expected.bound.h_n,
        REPEATED,
    )


REPEATED = Snippet("""for one, other in zip(layer(*given), layer(*given)):
    close(one, other)""", (Helper.CLOSE,))


@rule("rnn.effects.globals")
def global_settings(observation: Observation) -> None:
    """A call leaves global settings as they were, and so does building a layer.

    Default dtype, grad and inference mode, determinism, anomaly detection, threads, NumPy's error state, the recursion limit and
    cuDNN's switches are compared around the call; in a quarter of the cases around the constructor too.

    Catches layers that set the default dtype to make their zeros, or switch gradients off and not on again.
    """
    _settings_stay(
        "a call",
        observation.call.before.settings,
        observation.call.after.settings,
        GLOBALS.format(step="layer(*given)"),
    )
    if observation.case.seed % 4 == 0:
        typed = (
            {"dtype": observation.case.dtype.torch_dtype}
            if observation.case.seed % 8 == 0 and observation.subject.offers(Feature.DTYPE)
            else {}
        )
        wanted = plan_constructor_call(observation, **typed)
        before = read_settings()
        call_constructor(observation, wanted)
        _settings_stay(f"{wanted}", before, read_settings(), GLOBALS.format(step=wanted))


def _settings_stay(step: str, before: Values, after: Values, snippet: Snippet) -> None:
    for (name, old), (_, new) in zip(before, after, strict=True):
        if old != new:
            raise Violation(f"{step} changed the {name} from {old} to {new}", snippet)


GLOBALS = Snippet("""def settings():
    return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.is_anomaly_enabled()

before = settings()
{step}
assert settings() == before, settings()""")


@rule("rnn.effects.results", when=one_in(4, 1))
def earlier_results(observation: Observation) -> None:
    """A later call does not overwrite what an earlier one returned.

    The results of a call are compared bit for bit before and after a call of the same shapes on other numbers.

    Catches output and state buffers that are kept on the layer and used again.
    """
    first = observation.second_call()
    output, h_n = first.output, first.h_n
    _ = observation.second_call(input=-observation.values.input).call
    assert_identical("output after a later call", first.call.output, output, EARLIER)
    assert_identical("h_n after a later call", first.call.h_n, h_n, EARLIER)


EARLIER = Snippet("""output, h_n = layer(*given)
kept = data(output).clone(), h_n.clone()
layer(given[0]._replace(data=-given[0].data) if data(given[0]) is not given[0] else -given[0], *given[1:])
assert torch.equal(data(output), kept[0]) and torch.equal(h_n, kept[1])""", (Helper.DATA,))


@rule("rnn.effects.results", "rnn.effects.arguments", when=one_in(4))
def results_not_aliased(observation: Observation) -> None:
    """Output and h_n share no memory with each other, the arguments or the parameters.

    Output is filled with a number in place, then h_n with another; everything else must stay.

    Catches states that are views of the output, and results that are views of an argument.
    """
    fresh = observation.second_call()
    given, weights = dict(_tensors(fresh.call.given)), observation.prepared.weights()
    others = {**given, **weights}
    kept = {name: tensor.detach().clone() for name, tensor in others.items()}
    state = fresh.call.h_n
    _fill("output", observation.case.grad_mode, fresh.call.output_tensor, 7.0)
    assert_identical("h_n after writing to output", fresh.call.h_n, state, STORAGE)
    _fill("h_n", observation.case.grad_mode, fresh.call.h_n_tensor, 5.0)
    assert_identical(
        "output after writing to h_n",
        fresh.call.output_tensor.detach().double().numpy(force=True),
        np.full(fresh.call.output_shape, 7.0),
    )
    changed = [
        name for name, tensor in others.items() if not has_same_bits(tensor.detach(), kept[name])
    ]
    if changed:
        raise Violation(f"writing to the results of a call changed {changed[0]}", STORAGE)


STORAGE = Snippet("""output, h_n = layer(*given)
kept = [h_n.detach().clone(), *(data(each).detach().clone() for each in given)]
data(output).detach().fill_(7.0)
for each, before in zip([h_n, *given], kept):
    assert torch.equal(data(each), before), each""", (Helper.DATA,))


def _fill(name: str, mode: GradMode, tensor: torch.Tensor, value: float) -> None:
    """Overwrite a result in place, outside of its graph; an inference tensor can be written to in inference mode alone."""
    with (
        (mode if mode is GradMode.INFERENCE else GradMode.NO_GRAD).enter(),
        observing(f"writing to {name}"),
    ):
        tensor.detach().fill_(value)


@rule(
    "rnn.effects.arguments",
    "rnn.effects.results",
    when=differentiable & ~has_value(Distribution.TERNARY) & one_in(5, 1),
    needs=(Feature.GRADIENTS,),
)
def backward(observation: Observation) -> None:
    """Backward leaves arguments, results, parameters and the gradients that it is given as they were.

    All of them are compared bit for bit around a backward pass through both or one of the results of a further call.

    Catches backward passes that work in place on the gradient handed to them, or on what forward saved.
    """
    pending = observation.backward(observation.second_call().call)
    outputs, cotangents = pending.weighted((BOTH, ("output",), ("h_n",))[observation.case.seed % 3])
    named = {
        **{f"result {place}": tensor for place, tensor in enumerate(outputs)},
        **{f"the gradient of result {place}": tensor for place, tensor in enumerate(cotangents)},
        **pending.leaves,
    }
    kept = {name: tensor.detach().clone() for name, tensor in named.items()}
    with observing("backward"):
        torch.autograd.grad(outputs, list(pending.leaves.values()), cotangents, allow_unused=True)
    for name, tensor in named.items():
        if not has_same_bits(tensor.detach(), kept[name]):
            raise Violation(f"a backward pass changed {name}", BACKWARD)


BACKWARD = Snippet("""for place in range(2):
    result = data(layer(*given)[place])
    handed = torch.ones_like(result)
    result.backward(handed)
    assert (handed == 1).all(), handed""", (Helper.DATA, Helper.BACKWARD))
