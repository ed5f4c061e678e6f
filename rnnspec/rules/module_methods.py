"""Rules about methods that every module has: conversions by name, and loading through a parent."""

from __future__ import annotations

from rnnspec.cases.axes import ConstructorStyle, DType, Float32Precision
from rnnspec.cases.conditions import has_predictable_results, one_in
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer, choose_other_dtype
from rnnspec.rulekit.assertions.results import assert_results, fail_only_if_right_elsewhere
from rnnspec.rulekit.fixtures.entries import (
    assert_extra_entries_reported,
    assert_options_followed,
    assert_state_dict_hooks_called,
)
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import COPY_WEIGHTS, OUTPUT
from rnnspec.rulekit.violation import Violation
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
assert other.{method}() is other
assert all(parameter.dtype == torch.{dtype} for parameter in other.parameters())
layer.to(torch.{other}).{method}()""",
        (Helper.BUILD,),
    )
    + COPY_WEIGHTS
    + OUTPUT
)
MOVED = Snippet("""assert layer.cpu().{method}() is layer
assert all(parameter.device.type == {device!r} for parameter in layer.parameters())""")


@rule(
    "rnn.module.dtype-methods",
    when=has_predictable_results & one_in(36, 4),
    id="modules.dtype-methods",
    presupposes=(Fact.RESULTS, "modules.dtype-conversion", "side-effects.parameters"),
)
def dtype_methods(observation: Observation) -> None:
    """`.double()`, `.float()`, `.half()` and `.bfloat16()` convert the layer in place, and return
    it.

    A new layer in another dtype is converted by the method for the dtype of the case. Its
    parameters must have that dtype. With the weights of the case loaded, its results are compared
    with the reference.

    Catches methods that convert some parameters only, or return a copy or nothing.
    """
    case = observation.case
    other, method = choose_other_dtype(observation.subject, case.dtype), METHODS[case.dtype]
    snippet = CONVERTED.format(other=other, method=method, dtype=case.dtype)
    layer = PreparedLayer(
        observation.subject,
        case.replace(
            dtype=other,
            float32_precision=Float32Precision.IEEE,
            constructor_style=ConstructorStyle.CHANGED,
        ),
        observation.values,
    )
    with observe_step(f".{method}()", case.dtype):
        returned = getattr(layer.module, method)()
    if returned is not layer.module:
        raise Violation(f".{method}() returned {_describe(returned)}, expected the layer", snippet)
    for name, parameter in layer.parameters().items():
        if parameter.dtype != case.dtype.torch_dtype:
            raise Violation(
                f"after .{method}(), {name} is {parameter.dtype}; expected torch.{case.dtype}",
                snippet,
            )
    converted = observation.prepared.with_module(layer.module)
    converted.names = layer.names
    converted.load()
    converted.set_mode()
    fresh = case.make_fresh()
    fail_only_if_right_elsewhere(
        Observation(observation.subject, fresh, observation.values, converted),
        fresh,
        lambda judged: assert_results(judged, snippet),
    )


def _describe(value: object) -> str:
    return "None" if value is None else f"another {type(value).__name__}"


@rule(
    "rnn.module.device-methods",
    when=one_in(26, 5),
    id="modules.device-methods",
    presupposes=("side-effects.parameters",),
)
def device_methods(observation: Observation) -> None:
    """`.cpu()` and `.cuda()` move the layer in place, and return it.

    A new layer is moved to the CPU; if the layer is judged on a CUDA device, it is then moved back.
    Each time, all parameters must be on the new device.

    Catches methods that move some parameters only, or return a copy or nothing.
    """
    module = observation.share_fresh_layer()
    is_cuda = observation.subject.device.startswith("cuda")
    for device in ("cpu", *(["cuda"] if is_cuda else [])):
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

    All of them are used on a new layer. Entries must have the prefix, lie in the destination, and
    require no gradients unless they are the parameters themselves.

    Catches methods that are written anew without these arguments, or that run no hooks.
    """
    assert_options_followed(observation)
    assert_state_dict_hooks_called(observation)


@rule(
    "rnn.module.load-refused",
    "rnn.module.load-reports",
    "use.module.load.partial",
    when=one_in(26, 5),
    id="modules.extra-entries",
    presupposes=("modules.refuses-state-dict", "modules.nested"),
)
def extra_entries(observation: Observation) -> None:
    """A module that holds the layer rejects a `state_dict` with an unexpected or a missing entry
    below the layer's name; with `strict=False`, it reports the entry.

    The `state_dict` of the layer, and of a module that holds it, is loaded with one entry renamed.
    This must raise an exception. With `strict=False`, `missing_keys` and `unexpected_keys` must
    hold the old and the new name, and all other entries must be loaded.

    Catches layers that take unexpected entries below their name for their own, methods that return
    nothing, and loading that stops at the first entry that is missing.
    """
    names = list(observation.prepared.names.values())
    assert_extra_entries_reported(observation, names[observation.case.seed // 8 % len(names)])
