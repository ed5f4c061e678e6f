"""Check whether an adapter itself is right, before checking conformance."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.adapter import DRAWS, SIZES, Adapter, list_uncovered, module
from rnnspec.adapters.expressions import PROJECTION, ROLES, Expression, parse_expression
from rnnspec.adapters.forms import parse_arguments
from rnnspec.adapters.kinds import suggest_kind
from rnnspec.adapters.layer import AdaptedLayer
from rnnspec.contract.config import Config
from rnnspec.contract.features import STOOD_IN_FOR, Feature
from rnnspec.contract.kinds import LAYER_KINDS, Kind, Nonlinearity
from rnnspec.errors import AdapterError, CannotCheck, suggest_similar
from rnnspec.inference.calling import find_interface
from rnnspec.inference.matching import assign_parameters, merge_biases
from rnnspec.inference.offers import list_offers
from rnnspec.inference.trial import (
    BATCH,
    BUILDING,
    HIDDEN_SIZE,
    INPUT_SIZE,
    STEPS,
    LayerInterface,
    Trial,
)
from rnnspec.inference.verify import Mismatch, find_difference, find_difference_in_any
from rnnspec.oracle import Array
from rnnspec.subjects.devices import keep_random_numbers, read_numpy_generator
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.kind import refuse_instance
from rnnspec.subjects.subject import observe_step
from rnnspec.subjects.target import Target
from rnnspec.text import TextEnum, join_words


class Tone(TextEnum):
    """The verdict of a remark about an adapter."""

    RIGHT = "right"
    WRONG = "wrong"
    LACKS = "lacks"


@dataclass(frozen=True)
class Remark:
    """A finding about an adapter.

    subject       the part of the adapter, or the feature
    tone          whether it is right
    text          the finding in words
    may_be_layer  whether the adapter may be right and the layer wrong
    """

    subject: str
    tone: Tone
    text: str
    may_be_layer: bool = False


def find_other_kind(adapter: Adapter, dtype: torch.dtype, found: Mismatch) -> str:
    """Return a question about the kind, if the function gets further with exactly one other kind.

    `found` is the difference for the declared kind. If the call returns results of the documented
    form, only its numbers are wrong, and the function may support several kinds, so nothing is
    asked. Of the other kinds, prefer a kind that equals the reference, then a kind for which the
    call works, then a kind for which only the form of the results is wrong.
    """
    if not found.is_stopped:
        return ""
    ranks: dict[int, list[Kind]] = {}
    for kind in LAYER_KINDS.values():
        try:
            other = None if kind == adapter.kind else adapter.declare_as(kind.name)
        except CannotCheck:
            continue
        if other is not None:
            config = Config(INPUT_SIZE, HIDDEN_SIZE, **dict(other.fixed), kind=kind.name)
            ranks.setdefault(_rank(find_difference(other, config, dtype)), []).append(kind)
    best = min(ranks, default=_rank(found))
    return suggest_kind(adapter.kind, ranks[best]).strip() if best < _rank(found) else ""


def _rank(found: Mismatch | None) -> int:
    """Return how far a call gets: 0 if it equals the reference, 3 if it raises."""
    if found is None:
        return 0
    return 1 + found.is_stopped * (1 if found.is_malformed else 2)


TRAINING_CALL = "a call in training mode"
BACKWARD = "a backward pass"
DRAWN = "a call draws random numbers without dropout"
OTHER_MODE = (
    "without dropout, a call in training mode returns other numbers than in evaluation mode"
)
NO_GRADIENT = (
    "no gradient reaches {}: either the layer is wrong, or declare "
    'lacks={{"state-gradients": "it has no gradient of h_0"}}'
)


def examine_further(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    """Yield what is wrong with further calls of an adapter whose results are right."""
    yield from _examine_generators(adapter, config, dtype)
    try:
        yield from _examine_training(adapter, config, dtype)
    except Failure as failure:
        yield Remark("training", Tone.WRONG, str(failure))
    offers_gradients = Feature.GRADIENTS not in adapter.unsupported
    if adapter.passes_states and offers_gradients:  # a module has the gradients that torch makes
        yield from _examine_gradients(adapter, config, dtype)


def _examine_generators(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    layer, x = _build_adapted(adapter, config, dtype).eval(), _make_input(config, dtype)
    with keep_random_numbers():
        # A layer may draw from any of these, so compare torch, random and NumPy.
        before = _read_generators()
        try:
            with observe_step("a call"), torch.no_grad():
                layer(x)
        except Failure as failure:
            yield Remark("state", Tone.WRONG, str(failure))
            return
        drawn = _read_generators() != before
    if drawn:
        text = f"{DRAWN}: {adapter.hints.get(DRAWS, 'draw none')}"
        yield Remark("random", Tone.WRONG, text, may_be_layer=True)


def _read_generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), *read_numpy_generator()


def _examine_training(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    layer, x = _build_adapted(adapter, config, dtype), _make_input(config, dtype)
    with keep_random_numbers(), observe_step(TRAINING_CALL), torch.no_grad():
        in_training, in_evaluation = layer.train()(x)[0], layer.eval()(x)[0]
    if not torch.allclose(in_training, in_evaluation):
        yield Remark("training", Tone.WRONG, OTHER_MODE, may_be_layer=True)


def _examine_gradients(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    layer, x = _build_adapted(adapter, config, dtype).eval(), _make_input(config, dtype)
    kind, lacking = config.kind_data, adapter.unsupported
    given: dict[str, torch.Tensor] = {}
    if Feature.STATE not in lacking:
        rows = config.num_layers * config.num_directions
        for name in kind.initial:
            given[name] = x.new_full((rows, BATCH, config.hidden_size), 0.5)
    leaves = [each.requires_grad_() for each in (x, *given.values())]
    try:
        with observe_step(BACKWARD), torch.enable_grad():
            states = tuple(given.values())
            returned = layer(x, states[0] if len(states) == 1 else states or None)
            found = torch.autograd.grad(returned[0].sum(), leaves, allow_unused=True)
    except Failure as failure:
        yield Remark("gradients", Tone.WRONG, str(failure))
        return
    named = zip(given, found[1:], strict=True)
    without = [name for name, gradient in named if gradient is None or not gradient.any()]
    if without and Feature.STATE_GRADIENTS not in lacking:
        text = NO_GRADIENT.format(" or ".join(without))
        yield Remark("gradients", Tone.WRONG, text, may_be_layer=True)


def _build_adapted(adapter: Adapter, config: Config, dtype: torch.dtype) -> AdaptedLayer:
    with keep_random_numbers(), observe_step("building it"):
        torch.manual_seed(0)
        return adapter(**config.arguments).to(dtype)


def _make_input(config: Config, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, STEPS) if config.batch_first else (STEPS, BATCH)
    return torch.rand(*shape, config.input_size, generator=generator, dtype=torch.float64).to(dtype)


DTYPES = {Feature.FLOAT64: torch.float64, Feature.FLOAT32: torch.float32}
TRAINING = "a call in training mode"
COMPARED, GATES, WEIGHTS = "compared", "gates", "weights"
UNEXPLAINED = "no other declaration fits, so this one may be right and the layer wrong"
PRECISION = "no other declaration makes it nearly right, so the layer lacks precision"
IF_MEANT = "if it is meant, declare it in lacks"
NO_EFFECT = f"it is accepted, and changes nothing in training mode; {IF_MEANT}"
OFFERED: dict[Feature, dict[str, Any]] = {
    Feature.BIAS: {"bias": False},
    Feature.NONLINEARITY: {"nonlinearity": Nonlinearity.RELU.value},
    Feature.PROJECTION: {"proj_size": 2},
    Feature.BATCH_FIRST: {"batch_first": True},
    Feature.NUM_LAYERS: {"num_layers": 2},
    Feature.BIDIRECTIONAL: {"bidirectional": True},
    # Dropout acts between layers only, so it needs two of them.
    Feature.DROPOUT: {"num_layers": 2, "dropout": 0.5},
}
"""Non-default values for trying the documented arguments; an ignored argument shows with them."""


@dataclass(frozen=True)
class Smoke:
    """The findings about an adapter."""

    label: str
    kind: Kind
    remarks: tuple[Remark, ...]
    duration_s: float
    is_adapted: bool

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong with it."""
        return all(each.tone is not Tone.WRONG for each in self.remarks)


def smoke_target(target: Target, kind: Kind) -> Smoke:
    """Return the findings about the adapter of a target of some kind.

    A target without an adapter is treated as a layer with the documented names. Raises TargetError
    if the target is an instance.
    """
    refuse_instance(target)
    begun = time.perf_counter()
    own = target.factory
    adapter = own if isinstance(own, Adapter) else adapt_documented(target, kind)
    remarks = tuple(_examine(adapter))
    duration_s = time.perf_counter() - begun
    return Smoke(target.label, adapter.kind, remarks, duration_s, isinstance(own, Adapter))


def list_first_mistakes(adapter: Adapter) -> list[Remark]:
    """Return what is wrong with the first call of an adapted layer, or with any earlier step.

    Raises Failure if the layer cannot be tried in another way.
    """
    found = []
    for remark in _examine(adapter):
        if remark.tone is Tone.WRONG:
            found.append(remark)
        elif remark.subject == WEIGHTS:  # the call was right
            break
    return found


def adapt_documented(target: Target, kind: Kind) -> Adapter:
    """Return the adapter of a layer that has the documented names."""
    arguments = {name: name for name in kind.arguments if name not in ("input_size", "hidden_size")}
    roles = (*ROLES, PROJECTION) if kind.has_projection else ROLES
    states = ", ".join(kind.states)
    form = f"({states})" if kind.has_several_states else states
    return module(
        target.factory,
        kind=kind.name,
        arguments=arguments,
        weights={f"{role}_l{{layer}}{{suffix}}": role for role in roles},
        call=f"x, {form}",
        returns=f"output, {form}",
    )


def _examine(adapter: Adapter) -> Iterator[Remark]:
    """Yield findings in the order of the steps; a failed step may end the examination."""
    lacking = adapter.unsupported
    dtype = next((dtype for each, dtype in DTYPES.items() if each not in lacking), torch.float32)
    config = Config(INPUT_SIZE, HIDDEN_SIZE, **dict(adapter.fixed), kind=adapter.kind.name)
    try:
        with observe_step(BUILDING):
            layer = adapter(**config.arguments).to(dtype).eval()
    except Failure as failure:
        yield Remark("constructor", Tone.WRONG, str(failure))
        return
    yield Remark("constructor", Tone.RIGHT, f"({_describe_arguments(adapter)})")
    wrong = list(_list_wrong_names(layer))
    yield from wrong
    if wrong:
        return
    yield Remark("names", Tone.RIGHT, f"all {len(layer.recipes)} parameters have an expression")
    found = find_difference(adapter, config, dtype)
    if found is not None:
        yield from _explain(adapter, layer, config, dtype, found)
        return
    yield Remark(WEIGHTS, Tone.RIGHT, "equal to the reference, exactly if no sum rounds")
    yield Remark("states", Tone.RIGHT, _describe_states(adapter))
    yield from examine_further(adapter, config, dtype)
    yield from _examine_offers(adapter, config, dtype)


def _describe_arguments(adapter: Adapter) -> str:
    lacking = {*map(str, adapter.unsupported), *adapter.fixed, *SIZES}
    offered = {name: own for name, own in adapter.arguments.items() if name not in lacking}
    named = [f"{name} as {own}" for name, own in offered.items() if name != own]
    same = [name for name, own in offered.items() if name == own]
    fixed = [f"{name} always {value!r}" for name, value in adapter.fixed.items()]
    return ", ".join(["both sizes", *same, *named, *fixed])


def _describe_states(adapter: Adapter) -> str:
    returned = "returned" if adapter.returned_states else "not returned"
    if not adapter.takes_state:
        return f"none is taken, and the final one is {returned}"
    return f"used as given, and {returned}"


def _list_wrong_names(layer: AdaptedLayer) -> Iterator[Remark]:
    """Yield remarks on parameters without an expression and expressions without a parameter."""
    own = dict(layer.own.named_parameters())
    for name in list_uncovered(layer.adapter, layer.own, layer.config):
        text = f"{name} has no expression, so it keeps its own value"
        yield Remark("names", Tone.WRONG, text)
    for name in layer.recipes:
        if name not in own:
            near = suggest_similar(name, own)
            yield Remark("names", Tone.WRONG, f"the layer has no parameter {name!r}.{near}")
            continue
        try:
            layer.make_weight(name, own)
        except (Failure, AdapterError, RuntimeError) as error:
            yield Remark("shapes", Tone.WRONG, str(error))


def _explain(
    adapter: Adapter, layer: AdaptedLayer, config: Config, dtype: torch.dtype, found: Mismatch
) -> Iterator[Remark]:
    """Yield the reasons why an adapted layer differs from the reference."""
    if found.is_small:
        yield Remark(COMPARED, Tone.WRONG, f"{found.text}; {PRECISION}", may_be_layer=True)
        return
    text = found.text if found.is_stopped else f"{found.text}; {UNEXPLAINED}"
    unexplained = Remark(COMPARED, Tone.WRONG, text, may_be_layer=not found.is_stopped)
    if kind := find_other_kind(adapter, dtype, found):
        yield Remark("kind", Tone.WRONG, f"{found.text}. {kind}")
        return
    declared = LayerInterface(
        adapter.call, adapter.returns, config.batch_first, adapter.needs_state
    )
    interface = declared
    try:
        interface = find_interface(_build(adapter, config, dtype), config, dtype, None).interface
    except (Failure, AdapterError):
        interface = declared
    if not adapter.takes_state and "h" in interface.call.names:
        # The module around a function on arrays accepts states and ignores them, so pass none.
        interface = replace(interface, call=parse_arguments("x", adapter.kind))
    calls = list(_compare_calls(declared, interface))
    trial = Trial(_build(adapter, config, dtype), config, dtype, interface)
    weights = list(_compare_weights(layer, trial.as_kind(adapter.kind, config.nonlinearity)))
    yield from calls
    yield from weights
    if not calls and not weights:
        yield unexplained


def _build(adapter: Adapter, config: Config, dtype: torch.dtype) -> nn.Module:
    with observe_step(BUILDING):
        return adapter.build_own(config).to(dtype).eval()


def _compare_calls(declared: LayerInterface, found: LayerInterface) -> Iterator[Remark]:
    """Yield the differences between the declared call and the call that works."""
    if declared.batch_first != found.batch_first:
        first = "batch" if found.batch_first else "time"
        yield Remark("layout", Tone.WRONG, f"the first axis of the input is the {first}")
    pairs = (("call", declared.call, found.call), ("returns", declared.returns, found.returns))
    for name, own, other in pairs:
        if own.text != other.text and (name == "returns" or "h" in other.names):
            text = f"declared as ({own.text}), but the layer computes with ({other.text})"
            yield Remark(name, Tone.WRONG, text)


def _compare_weights(layer: AdaptedLayer, trial: Trial) -> Iterator[Remark]:
    """Yield the parameters that act as another expression than the declared one."""
    found = assign_parameters(trial)
    merge_biases(found)
    known = {
        name: (declared, parse_expression(found.chosen[name].text, trial.kind))
        for name, (_, declared) in layer.recipes.items()
        if name not in found.by_name and name in found.chosen
    }
    wrong = {name: pair for name, pair in known.items() if not _are_equal(*pair, trial)}
    if order := _find_order(known, trial) if wrong else "":
        verb = "stacks" if len(wrong) == 1 else "stack"
        text = f"{join_words(wrong)} {verb} the gates in the order {order}"
        remedy = f'either the layer is wrong, or declare gates="{order}"'
        yield Remark(GATES, Tone.WRONG, f"{text}: {remedy}")
        return
    for name, (declared, other) in wrong.items():
        text = f"{name} is declared as {declared.text}, but it acts as {other.text}"
        yield Remark(WEIGHTS, Tone.WRONG, text)


def _find_order(known: Mapping[str, tuple[Expression, Expression]], trial: Trial) -> str:
    """Return the order of gates that makes the declaration right, or an empty text."""
    for order in permutations(trial.kind.gates):
        turned = [(replace(declared, gates=order), other) for declared, other in known.values()]
        if all(_are_equal(*pair, trial) for pair in turned):
            return ", ".join(order)
    return ""


def _are_equal(one: Expression, other: Expression, trial: Trial) -> bool:
    """Return whether two expressions are equivalent in a layer that adds both biases."""
    return any(
        _have_same_value(one, other, trial, {**trial.numbers, **swapped})
        for swapped in _list_swaps(trial, is_alone=len({*one.names, *other.names}) < 3)
    )


def _list_swaps(trial: Trial, *, is_alone: bool) -> Iterator[dict[str, Array]]:
    """Yield no change of numbers and, if either bias can replace the other, equal biases."""
    yield {}
    # An ungated layer only uses the sum of its biases, so their names may be exchanged.
    if is_alone and not trial.kind.is_gated and trial.config.bias:
        yield {
            name: trial.numbers[name.replace("hh", "ih")]
            for name in trial.numbers
            if name.startswith("bias_hh")
        }


def _have_same_value(
    one: Expression, other: Expression, trial: Trial, numbers: Mapping[str, Any]
) -> bool:
    def look_up(name: str) -> torch.Tensor:
        return torch.from_numpy(numbers[trial.complete_name(name)])

    values = [each.evaluate(look_up) for each in (one, other)]
    first, second = (torch.as_tensor(value).squeeze() for value in values)
    return first.shape == second.shape and torch.equal(first, second)


def _examine_offers(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    """Yield remarks on the optional arguments and inputs of the layer, declared or not."""
    declared, tried = adapter.unsupported, list_offers(adapter, dtype)
    for feature, changes in OFFERED.items():
        if all(_is_left_open(adapter, name) for name in (feature.text, *changes)):
            yield _examine_argument(adapter, feature, replace(config, **changes), dtype)
    names = [feature.text for feature in declared]
    for name, reason in tried.lacks.items():
        if name not in names:
            text = f"{reason}; {IF_MEANT}"
            yield Remark(name, Tone.WRONG, text)
    for name, reason in tried.faults.items():
        if name not in names:
            yield Remark(name, Tone.WRONG, reason, may_be_layer=True)
    for feature, reason in declared.items():
        if feature not in (*STOOD_IN_FOR, Feature.PICKLE):
            yield Remark(feature.text, Tone.LACKS, reason)


def _is_left_open(adapter: Adapter, name: str) -> bool:
    """Return whether the adapter lets you choose a documented argument of the kind."""
    is_known = name in adapter.kind.arguments and name not in adapter.fixed
    return is_known and Feature.parse(name) not in adapter.unsupported


def _examine_argument(
    adapter: Adapter, feature: Feature, config: Config, dtype: torch.dtype
) -> Remark:
    """Return whether a layer with another value of an argument equals the reference.

    Dropout acts in training mode only, where masks are random, so only check that it has an effect.
    """
    found = find_difference_in_any(adapter, config, dtype)
    if found is not None:
        return Remark(feature.text, Tone.WRONG, found.text, may_be_layer=not found.is_stopped)
    if feature is Feature.DROPOUT and not _drops(adapter, config, dtype):
        return Remark(feature.text, Tone.WRONG, NO_EFFECT, may_be_layer=True)
    return Remark(feature.text, Tone.RIGHT, "equal to the reference")


def _drops(adapter: Adapter, config: Config, dtype: torch.dtype) -> bool:
    """Return whether training mode changes the output or raises, which is reported elsewhere."""
    try:
        with observe_step(TRAINING), torch.no_grad(), torch.random.fork_rng(devices=[]):
            layer = adapter(**config.arguments).to(dtype)
            x = torch.ones(STEPS, BATCH, INPUT_SIZE, dtype=dtype)
            trained, evaluated = layer.train()(x)[0], layer.eval()(x)[0]
    except Failure:
        return True
    return not torch.equal(trained, evaluated)


def format_smoke(smoke: Smoke) -> str:
    """Return the findings as text, with the conclusion in the last line."""
    head = f"{smoke.label}   a layer like {smoke.kind.page}   ({smoke.duration_s:.1f} s)"
    lines = [f"  {each.tone!s:<7} {each.subject:<13} {each.text}" for each in smoke.remarks]
    if smoke.is_right:
        is_lacking = any(
            each.tone is Tone.LACKS and each.subject == "gradients" for each in smoke.remarks
        )
        parts = "values" if is_lacking else "values and gradients"
        last = f"ready: rnnspec check {smoke.label} checks {parts}."
    else:
        count = sum(each.tone is Tone.WRONG for each in smoke.remarks)
        what = "thing is" if count == 1 else "things are"
        where = "adapter" if smoke.is_adapted else "documented names"
        if any(each.may_be_layer or each.subject == COMPARED for each in smoke.remarks):
            where = f"{where} or the layer"
        last = f"not ready: {count} {what} wrong with the {where}."
        if not smoke.is_adapted:
            last += f" `rnnspec adapt {smoke.label}` looks for an adapter."
    return "\n".join([head, "", *lines, "", last])
