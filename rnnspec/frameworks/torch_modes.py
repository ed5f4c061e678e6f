"""The layers of torch in its other modes, each with a proof that the mode was active.

Each class is a layer of torch.nn whose calls use the mode, so you can check it like any layer. If
the mode was not active, as with a compiler that falls back to eager mode, the call raises
`NotInForce`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from rnnspec.subjects.failures import Unsupported

LayerClass = type[nn.RNNBase]
RunInMode = Callable[[nn.RNNBase, LayerClass, Any, Any], Any]
"""A function that calls a layer in a mode, given the layer of torch, an input and a state."""
RUNS = [0]
"""The number of runs of compiled graphs."""
EXPORTED: dict[Any, nn.Module] = {}
"""Exported layers: exporting a layer takes a second, and it accepts any batch."""


class NotInForce(RuntimeError):
    """Raised if a mode was not active in a call: you would check the eager layer instead."""


def run_graph(graph: Any, inputs: Any) -> Any:
    """Compile a graph as `aot_eager` does, and count its runs."""
    from torch._dynamo import lookup_backend

    compiled = lookup_backend("aot_eager")(graph, inputs)

    def run(*given: Any) -> Any:
        RUNS[0] += 1
        return compiled(*given)

    return run


def run_compiled(layer: nn.RNNBase, base: LayerClass, input: Any, hx: Any) -> Any:
    """Run a layer by torch.compile, and check that its only graph ran."""
    import torch._dynamo.config as config

    before, chosen = RUNS[0], {"allow_rnn": True, _find_limit(config): 1 << 20}
    with config.patch(chosen):
        found = torch.compile(_as_plain(layer, base).forward, backend=run_graph, fullgraph=True)(
            input, hx
        )
    if RUNS[0] != before + 1:
        raise NotInForce("torch.compile did not run the graph of the layer")
    return found


def _find_limit(config: Any) -> str:
    """Return the name of the compiler's limit on recompiling a function."""
    return "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"


def run_exported(layer: nn.RNNBase, base: LayerClass, input: Any, hx: Any) -> Any:
    """Run a layer by torch.export with a dynamic batch; it is exported with another batch size."""
    if isinstance(input, PackedSequence) or input.dim() < 3:
        raise Unsupported("it is exported for batches")
    axis = 0 if layer.batch_first else 1
    steps = input.shape[1 - axis]
    settings = (base, layer.mode, repr(layer), layer.training, torch.is_grad_enabled())
    key = (*settings, steps, input.dtype, hx is None)
    if key not in EXPORTED:
        EXPORTED[key] = _export(_as_plain(layer, base), input, hx, axis)
    return functional_call(EXPORTED[key], dict(layer.named_parameters()), (input, hx))


def _export(layer: nn.RNNBase, input: Any, hx: Any, axis: int) -> nn.Module:
    """Return a layer that was exported with another batch size than the input's."""
    batch = torch.export.Dim("batch")
    example = _repeat(input, axis)
    states = None if hx is None else _map(lambda state: _repeat(state, 1), hx)
    axes = ({axis: batch}, None if hx is None else _map(lambda _: {1: batch}, hx))
    with warnings.catch_warnings():
        # Ignore the warning that the layer keeps its weights in a list too.
        warnings.simplefilter("ignore")
        export = partial(torch.export.export, layer, (example, states), dynamic_shapes=axes)
        try:
            exported = export()
        # torch 2.8 needs its compiler for layers that also keep their weights in a list.
        except ValueError:
            exported = export(strict=True)
    return exported.module()


def run_scripted(layer: nn.RNNBase, base: LayerClass, input: Any, hx: Any) -> Any:
    """Run a layer by torch.jit.script, in a wrapper of its own."""
    if isinstance(input, PackedSequence):
        raise Unsupported("the wrapper takes tensors")
    wrapper = PairWrapper if isinstance(layer, nn.LSTM) else Wrapper
    scripted = torch.jit.script(wrapper(_as_plain(layer, base)))
    if not isinstance(scripted, torch.jit.ScriptModule):
        raise NotInForce("torch.jit.script returned no script")
    return scripted(input, hx)


def run_functional(layer: nn.RNNBase, base: LayerClass, input: Any, hx: Any) -> Any:
    """Run a layer by torch.func.functional_call; its own parameters are NaN."""
    weights = _read_weights(layer, base)
    hollow = _build_again(layer, base)
    for parameter in hollow.parameters():
        nn.init.constant_(parameter, float("nan"))
    return functional_call(hollow, weights, (input,) if hx is None else (input, hx))


def run_autocast(layer: nn.RNNBase, base: LayerClass, input: Any, hx: Any) -> Any:
    """Run a layer in float32 under autocast to the dtype of its parameters."""
    dtype = next(layer.parameters()).dtype
    wide = {name: each.float() for name, each in _read_weights(layer, base).items()}
    raised = _map_packed(lambda each: each.float(), input)
    states = None if hx is None else _map(lambda each: each.float(), hx)
    with torch.autocast("cpu", dtype):
        output, finals = functional_call(_build_again(layer, base), wide, (raised, states))
    found = output.data if isinstance(output, PackedSequence) else output
    if found.dtype is not dtype:
        raise NotInForce(f"under autocast to {dtype} the layer returned {found.dtype}")
    return output, finals


def run_quantised(layer: nn.RNNBase, base: LayerClass, input: Any, hx: Any) -> Any:
    """Run a layer whose weights were quantised to float16 by quantize_dynamic."""
    from torch.ao.quantization import quantize_dynamic

    given = _map_packed(lambda each: each.float(), input)
    states = None if hx is None else _map(lambda each: each.float(), hx)
    plain = nn.Sequential(_build_again(layer, base))
    plain[0].load_state_dict(
        {name: each.float() for name, each in _read_weights(layer, base).items()}
    )
    with torch.random.fork_rng(devices=[]):  # the new layer draws weights, which are replaced
        made = quantize_dynamic(plain, {base}, torch.float16)
    (quantised,) = made
    if type(quantised) is base:
        raise NotInForce(f"quantize_dynamic left nn.{base.__name__} as it was")
    output, finals = quantised(given, states)
    dtype = next(layer.parameters()).dtype
    return _map_packed(lambda each: each.to(dtype), output), _map(lambda e: e.to(dtype), finals)


def _as_plain(layer: nn.RNNBase, base: LayerClass) -> nn.RNNBase:
    """Return the layer of torch that shares the parameters of a layer."""
    plain = copy.copy(layer)
    plain.__class__ = base
    return plain


def _build_again(layer: nn.RNNBase, base: LayerClass) -> nn.RNNBase:
    """Return a layer in float32 with the arguments of another, in the same mode.

    It draws no random numbers, and its parameters are uninitialised.
    """
    names = ["num_layers", "bias", "batch_first", "dropout", "bidirectional"]
    more = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
    names += ["proj_size"] if isinstance(layer, nn.LSTM) else []
    named = {name: getattr(layer, name) for name in names} | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the expected warning about dropout with a single layer
        build: Any = base
        made = build(layer.input_size, layer.hidden_size, **named, device="meta")
    found: nn.RNNBase = made.to_empty(device="cpu").train(layer.training)
    return found


def _read_weights(layer: nn.RNNBase, base: LayerClass) -> dict[str, torch.Tensor]:
    """Return the weights by their documented names, however they are stored."""
    return {name: getattr(layer, name) for name, _ in _build_again(layer, base).named_parameters()}


class Wrapper(nn.Module):
    """A module around a layer with one state."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, input: torch.Tensor, hx: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output and the final state."""
        return self.layer(input, hx)  # type: ignore[no-any-return]


class PairWrapper(nn.Module):
    """A module around a layer with two states."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, input: torch.Tensor, hx: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return the output and the final states."""
        return self.layer(input, hx)  # type: ignore[no-any-return]


def _map(change: Callable[[torch.Tensor], Any], states: Any) -> Any:
    """Return a changed state, or a changed pair of states."""
    return tuple(map(change, states)) if isinstance(states, tuple | list) else change(states)


def _map_packed(change: Callable[[torch.Tensor], torch.Tensor], input: Any) -> Any:
    if isinstance(input, PackedSequence):
        rest = (input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return PackedSequence(change(input.data), *rest)
    return change(input)


def _repeat(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return zeros like a tensor, with another batch size of at least two."""
    size = 3 if tensor.shape[axis] == 2 else 2
    shape = [size if each == axis else length for each, length in enumerate(tensor.shape)]
    return tensor.new_zeros(shape)


def make_layer(base: type[nn.RNNBase], mode: RunInMode) -> type[nn.RNNBase]:
    """Return a layer of torch whose calls use a mode."""

    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        return mode(self, base, input, hx)

    name = mode.__name__.removeprefix("run_").capitalize() + base.__name__
    made = type(
        name, (base,), {"forward": forward, "__module__": __name__, "__doc__": mode.__doc__}
    )
    return made


def make_layers(mode: RunInMode) -> list[type[nn.RNNBase]]:
    """Return the layers of torch whose calls use a mode."""
    return [make_layer(base, mode) for base in (nn.RNN, nn.GRU, nn.LSTM)]


CompiledRNN, CompiledGRU, CompiledLSTM = make_layers(run_compiled)
ExportedRNN, ExportedGRU, ExportedLSTM = make_layers(run_exported)
ScriptedRNN, ScriptedGRU, ScriptedLSTM = make_layers(run_scripted)
FunctionalRNN, FunctionalGRU, FunctionalLSTM = make_layers(run_functional)
AutocastRNN, AutocastGRU, AutocastLSTM = make_layers(run_autocast)
QuantisedRNN, QuantisedGRU, QuantisedLSTM = make_layers(run_quantised)
