"""Rules about methods that every module has: conversions by name, and loading through a parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from rnnspec.cases.axes import ConstructorStyle, DType, Feature, Float32Precision
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import has_predictable_results, one_in
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer, choose_other_dtype
from rnnspec.rulekit.assertions.results import assert_results, fail_only_if_right_elsewhere
from rnnspec.rulekit.fixtures.modules import (
    assert_extra_entries_reported,
    assert_options_followed,
    assert_state_dict_hooks_called,
    describe_wrong_method,
)
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import COPY_WEIGHTS, OUTPUT
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.release import is_promised
from rnnspec.subjects.subject import observe_step

METHODS = {
    DType.FLOAT64: "double",
    DType.FLOAT32: "float",
    DType.BFLOAT16: "bfloat16",
    DType.FLOAT16: "half",
}
"""The method that converts a module to each dtype."""
CONVERTED = (
    Snippet(
        """other = build(config["input_size"], config["hidden_size"]).to(torch.{other})
parameters = list(other.parameters())
{before}assert other{conversion} is other
{after}assert all(own is before for own, before in zip(other.parameters(), parameters))
assert all(parameter.dtype == torch.{dtype} for parameter in other.parameters())
layer.to(torch.{other}){conversion}""",
        (Helper.BUILD,),
    )
    + COPY_WEIGHTS
    + OUTPUT
)
SWAP = "torch.__future__.set_swap_module_params_on_conversion({})\n"
MOVED = Snippet("""assert layer.cpu().{method}() is layer
assert all(parameter.device.type == {device!r} for parameter in layer.parameters())""")


@rule(
    "rnn.module.dtype-methods",
    "use.module.conversion.in-place",
    "use.module.conversion.like",
    "use.module.conversion.swapped",
    "use.module.returns-itself",
    when=has_predictable_results & one_in(18, 4),
    id="modules.dtype-methods",
    presupposes=(Fact.RESULTS, "modules.dtype-conversion", "side-effects.parameters"),
)
def dtype_methods(observation: Observation) -> None:
    """`.double()`, `.float()`, `.half()`, `.bfloat16()`, `.type()` and `.to()` convert the layer in
    place, keep its parameters as objects, and return it.

    A new layer in another dtype is converted by the method for the dtype of the case, by `.type` or
    by `.to` with a tensor; in some cases, torch is set to swap the tensors of parameters. Its
    parameters must have that dtype and be the same objects. With the weights of the case loaded,
    its results are compared with the reference.

    Catches methods that convert only some parameters, replace parameters by new objects, or return
    a copy or nothing.
    """
    case = observation.case
    other, conversion = choose_other_dtype(observation.subject, case.dtype), _choose(case)
    snippet = CONVERTED.format(
        other=other,
        conversion=conversion.code,
        dtype=case.dtype,
        before=SWAP.format(True) if conversion.swaps else "",
        after=SWAP.format(False) if conversion.swaps else "",
    )
    layer = PreparedLayer(
        observation.subject,
        case.replace(
            dtype=other,
            float32_precision=Float32Precision.IEEE,
            constructor_style=ConstructorStyle.CHANGED,
        ),
        observation.values,
    )
    before = layer.parameters()
    with observe_step(conversion.code, case.dtype), conversion.enter():
        returned = conversion.convert(layer.module, case.dtype)
    if returned is not layer.module:
        raise Violation(
            f"{conversion.code} returned {_describe(returned)}, expected the layer", snippet
        )
    found = _describe_wrong_parameter(before, layer.parameters(), case.dtype)
    if found:
        raise Violation(f"after {conversion.code}, {found}", snippet)
    converted = observation.prepared.with_module(layer.module)
    converted.names = layer.names
    converted.load()
    converted.set_mode()
    fresh = case.make_fresh()
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, observation.values, converted),
        fresh,
        lambda checked: assert_results(checked, snippet),
    )


def _describe_wrong_parameter(
    before: Mapping[str, torch.nn.Parameter], after: Mapping[str, torch.nn.Parameter], dtype: DType
) -> str:
    """Return a description of the first parameter that is wrong after a conversion, or ""."""
    for name, parameter in after.items():
        if parameter.dtype != dtype.torch_dtype:
            return f"{name} is {parameter.dtype}; expected torch.{dtype}"
        if parameter is not before[name]:
            return f"{name} is another object; expected the parameter that an optimiser may hold"
    return ""


@dataclass(frozen=True)
class Conversion:
    """A way to convert a module: its code after the name of a layer, and a function.

    `swaps` is whether torch is set to swap the tensors of the parameters.
    """

    code: str
    convert: Callable[[torch.nn.Module, DType], object]
    swaps: bool = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Return the context for the conversion."""
        if not self.swaps:
            yield
            return
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)


def _choose(case: Case) -> Conversion:
    """Return a conversion to the dtype of a case, chosen by its seed."""
    method, dtype = METHODS[case.dtype], case.dtype.torch_dtype
    plain = Conversion(f".{method}()", lambda module, own: getattr(module, method)())
    swaps = is_promised("use.module.conversion.swapped", case.config.kind)
    ways = [
        plain,
        Conversion(f".type({dtype})", lambda module, own: module.type(own.torch_dtype)),
        Conversion(
            f".to(torch.empty(0, dtype={dtype}, device=x.device))",
            lambda module, own: module.to(next(module.parameters()).detach().to(own.torch_dtype)),
        ),
        replace(plain, swaps=swaps),
    ]
    return ways[case.seed // 2 % len(ways)]


def _describe(value: object) -> str:
    return "None" if value is None else f"another {type(value).__name__}"


ALL_METHODS = Snippet(
    """seen = []
assert layer.apply(seen.append) is layer and seen[-1] is layer
assert layer.requires_grad_(False) is layer and layer.requires_grad_() is layer
assert all(parameter.requires_grad for parameter in layer.parameters())
assert isinstance(repr(layer), str)
for to_none in (False, True):
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    layer.zero_grad(set_to_none=to_none)
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert not any(each is not None if to_none else each.any() for each in gradients), gradients
assert layer.train() is layer and layer.eval() is layer"""
)


@rule(
    "use.module.apply",
    "use.module.zero-grad",
    "use.module.requires-grad",
    "use.module.returns-itself",
    "use.module.repr",
    when=one_in(26, 5),
    id="modules.methods",
    program=ALL_METHODS,
    presupposes=("modules.dtype-methods", "modes.train", "parameters.names"),
)
def methods(observation: Observation) -> None:
    """`apply`, `requires_grad_`, `train`, `eval` and `zero_grad` act on the whole layer, as the
    page of `nn.Module` describes; all but `zero_grad` return the layer, and `repr` returns a text.

    Each method is called on a new layer, and the parameters and the returned value are checked.

    Catches reimplemented methods that reach only some of the parameters, or return nothing.
    """
    found = describe_wrong_method(observation.share_fresh_layer())
    if found:
        raise Violation(found, ALL_METHODS)


EMPTIED = (
    Snippet("layer.to('meta').to_empty(device=x.device)\nlayer.train(reference.training)")
    + COPY_WEIGHTS
    + OUTPUT
)
ASSIGNED = (
    Snippet(
        """layer.to("meta")
own = dict(zip(named(layer), layer.state_dict()))
weights = {own[name]: each.detach().clone() for name, each in reference.named_parameters()}
layer.load_state_dict(weights, assign=True)""",
        (Helper.NAMED,),
    )
    + OUTPUT
)


@rule(
    "use.module.to-empty",
    when=has_predictable_results & one_in(30, 9),
    needs=(Feature.META,),
    id="modules.to-empty",
    presupposes=(
        Fact.RESULTS,
        "modes.meta",
        "modules.device-methods",
        "parameters.loaded",
        "parameters.assigned",
        "modules.replaced-parameters",
        "side-effects.parameters",
    ),
)
def to_empty(observation: Observation) -> None:
    """A layer on the meta device can be moved off it by `to_empty`, or loaded with `assign=True`,
    and then uses the loaded values.

    A new layer is moved to the meta device, moved back by either method, and loaded. Its results
    are compared with the reference.

    Catches values that are kept from before the parameters had any.
    """
    case = observation.case.make_fresh()
    layer = PreparedLayer(observation.subject, case, observation.values)
    entries = layer.tensors()
    assigns = observation.prepared.takes_second_way
    snippet = ASSIGNED if assigns else EMPTIED
    with observe_step("to_empty() of a layer on the meta device"):
        layer.module.to("meta")
        if assigns:
            layer.module.load_state_dict({**layer.module.state_dict(), **entries}, assign=True)
        elif layer.module.to_empty(device=observation.subject.device) is not layer.module:
            raise Violation("to_empty() returned another object, expected the layer", snippet)
    if not assigns:
        layer.load()
    layer.set_mode()
    fail_only_if_right_elsewhere(
        Observation(observation.subject, case, observation.values, layer),
        case,
        lambda checked: assert_results(checked, snippet),
    )


@rule(
    "rnn.module.device-methods",
    when=one_in(26, 5),
    id="modules.device-methods",
    presupposes=("side-effects.parameters",),
)
def device_methods(observation: Observation) -> None:
    """`.cpu()` and `.cuda()` move the layer in place, and return it.

    A new layer is moved to the CPU; if modules have a method for the device of the check, such as
    `.cuda()`, it then moves the layer back. Each time, all parameters must be on the new device.

    Catches methods that move only some parameters, or return a copy or nothing.
    """
    module = observation.share_fresh_layer()
    own = torch.device(observation.subject.device).type
    has_method = own != "cpu" and hasattr(torch.nn.Module, own)
    for device in ("cpu", *([own] if has_method else [])):
        snippet = MOVED.format(method=device, device=device)
        with observe_step(f".{device}()"):
            returned = getattr(module, device)()
        if returned is not module:
            raise Violation(
                f".{device}() returned {_describe(returned)}, expected the layer", snippet
            )
        for name, parameter in module.named_parameters():
            if parameter.device.type != device:
                raise Violation(
                    f"after .{device}(), {name} is on {parameter.device}; expected {device}",
                    snippet,
                )
    with observe_step(f".to({own})"):  # other rules use this layer too
        module.to(observation.subject.device)


@rule(
    "use.module.state-dict.arguments",
    "use.module.state-dict.hooks",
    when=one_in(26, 5),
    id="modules.state-dict-options",
    presupposes=("modules.state-dict", "modules.nested", "parameters.names"),
)
def state_dict_options(observation: Observation) -> None:
    """`state_dict` follows `prefix`, `destination` and `keep_vars`, and hooks before and after
    `state_dict` and `load_state_dict` are called once.

    All of these are used on a new layer. Entries must have the prefix, be in the destination, and
    require no gradients unless they are the parameters themselves.

    Catches reimplemented methods without these arguments, or without calls of the hooks.
    """
    assert_options_followed(observation)
    assert_state_dict_hooks_called(observation)


@rule(
    "rnn.module.load-refused",
    "rnn.module.load-reports",
    "use.module.load.partial",
    when=one_in(26, 5),
    id="modules.extra-entries",
    presupposes=(
        "parameters.loaded",
        "parameters.loaded-from-others",
        "modules.refuses-state-dict",
        "modules.nested",
    ),
)
def extra_entries(observation: Observation) -> None:
    """A module that holds the layer rejects a `state_dict` with an unexpected or a missing entry
    below the layer's name; with `strict=False`, it reports the entry.

    The `state_dict` of the layer, and of a module that holds it, is loaded with a renamed entry.
    This must raise an exception. With `strict=False`, `missing_keys` and `unexpected_keys` must
    hold the old and the new name, and all other entries must be loaded.

    Catches layers that accept unexpected entries below their name, methods that return nothing, and
    loading that stops at the first missing entry.
    """
    names = list(observation.prepared.names.values())
    assert_extra_entries_reported(observation, names[observation.case.seed // 8 % len(names)])
