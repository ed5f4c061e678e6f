"""Functions on arrays as layers: of NumPy, of JAX, of MLX, or of torch without a module."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnspec.adapters.adapter import Adapter, module, name_target
from rnnspec.adapters.expressions import PROJECTION, ROLES, Expression, parse_expression
from rnnspec.adapters.libraries import Arrays, Differentiated, Function, compile_function
from rnnspec.adapters.recipes import make_recipes
from rnnspec.adapters.results import read_results
from rnnspec.adapters.validation import (
    COMPUTED,
    LENGTHS,
    PULLED_BACK,
    check_function,
    check_keywords,
    check_mapping,
    read_signature,
)
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS, UNGATED
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.errors import AdapterError, suggest_similar
from rnnspec.options import check_choice
from rnnspec.subjects.generators import keep_random_numbers

Compute = Callable[..., Any]
"""A function (config, x, h_0, weights) that returns output and h_n; an LSTM has pairs of states."""
Build = Callable[[Config, str], Any]
"""A function of a configuration and the name of a dtype that builds what computes."""
COPIED = "tensors are copied into arrays"
BUILT = "what it calls was built on a device of its own"
LACKS: dict[Arrays, dict[str, str]] = {
    Arrays.TORCH: {},
    Arrays.NUMPY: {"bfloat16": "NumPy has no bfloat16", "functional": COPIED, "meta": COPIED},
    Arrays.JAX: {"functional": COPIED, "meta": COPIED},
    Arrays.MLX: {"functional": COPIED, "meta": COPIED},
    Arrays.DLPACK: {"functional": COPIED, "meta": COPIED},
}
"""What a function lacks because of its arrays."""
PLAIN = {
    Arrays.NUMPY: "it computes with NumPy arrays",
    Arrays.DLPACK: "its arrays are handed over by DLPack, which has no gradients",
}
"""Why a function has no gradients but those that are handed over, because of its arrays."""
BUILT_FROM = ("config", "dtype")
"""What the function that builds is given."""
WITHOUT_BIAS = (
    "since with bias=False there is no bias to make it from; "
    'if the layer always has biases, declare lacks={"bias": "it always has biases"}'
)
DTYPES = ("float64", "float32", "bfloat16", "float16")
ONE = "it computes one layer in one direction"
ABOVE = {
    **dict.fromkeys(("num_layers", "bidirectional", "dropout"), ONE),
    "unbatched": "it takes batches",
    "batch_first": "time is the first axis",
}
"""What lies above one layer in one direction."""


class ArrayLayer(nn.Module):
    """A module with the parameters that a function takes, which hands arrays to it."""

    def __init__(
        self,
        compute: Compute,
        build: Build | None,
        gradients: Callable[..., Any] | None,
        arrays: Arrays,
        config: Config,
        weights: Mapping[str, Expression],
    ) -> None:
        super().__init__()
        self.compute, self.build, self.gradients = compute, build, gradients
        self.arrays, self.config = arrays, config
        documented = {name: torch.zeros(each) for name, each in parameter_shapes(config).items()}
        for name, (complete, expression) in make_recipes(weights, config).items():
            made = expression.evaluate(lambda each, full=complete: documented[full(each)])  # type: ignore[misc]
            parameter = nn.Parameter(torch.as_tensor(made).clone())
            self.register_parameter(name, parameter)
        whole = make_recipes(weights, replace(config, bias=True))
        self.missing = tuple(name for name in whole if name not in dict(self.named_parameters()))

    def forward(self, x: Any, *states: torch.Tensor) -> tuple[Any, ...]:
        """Return the output and the final states as new tensors."""
        if not isinstance(x, PackedSequence):
            return self._call(x, states, None)
        first = self.config.batch_first
        padded, lengths = pad_packed_sequence(x, batch_first=first)
        output, *finals = self._call(padded, states, lengths)
        return _pack_like(x, output, lengths, first), *finals

    def _call(
        self, x: torch.Tensor, states: tuple[torch.Tensor, ...], lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """Call the function on a tensor; `lengths` are those of the sequences, if they differ."""
        weights = dict(self.named_parameters())
        dtype = str(x.dtype).removeprefix("torch.")
        form = Flat(
            *(self.compute, self.build, self.gradients, self.config),
            *(dtype, len(states), tuple(weights), self.missing),
        )
        form.get_first()  # built here, as JAX would trace what is built within the call
        extra = None if lengths is None else self.arrays.from_lengths(lengths)
        back = None if self.gradients is None else form.pull_back
        call = Differentiated(flatten_function(form, self.arrays), self.arrays, extra, back)
        return call(x, *states, *weights.values())


@dataclass(frozen=True)
class Flat:
    """A function of an adapter as one of a flat list of arrays: x, the states and the weights.

    compute    the function of the adapter
    build      what builds its first argument, if that is not the configuration
    gradients  what makes its gradients, if it is handed over
    config     the configuration
    dtype      the name of the dtype of the input
    count      the number of states
    names      the names of the weights
    missing    the names of those that there would be with biases
    """

    compute: Compute
    build: Build | None
    gradients: Callable[..., Any] | None
    config: Config
    dtype: str
    count: int
    names: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def run(self, lengths: Any, *given: Any) -> tuple[Any, ...]:
        """Return the output and the final states."""
        named = {LENGTHS: lengths} if takes_lengths(self.compute) else {}
        try:
            returned = self.compute(*self._arrange(given), **named)
        except KeyError as error:
            if error.args and error.args[0] in self.missing:
                raise LookupError(f"weights[{error}] is missing, {WITHOUT_BIAS}") from error
            raise
        return read_results(returned, self.config.kind_data, name_target(self.compute))

    def pull_back(self, lengths: Any, *given: Any) -> tuple[Any, ...]:
        """Return the gradients of x, the states and the weights."""
        assert self.gradients is not None
        named = {LENGTHS: lengths} if takes_lengths(self.gradients) else {}
        size = 1 + self.count + len(self.names)
        output, *finals = given[size:]
        found = self.gradients(*self._arrange(given[:size]), output, _unwrap(finals), **named)
        of_input, of_states, of_weights = found
        initial = _wrap(of_states) if self.count else ()
        return of_input, *initial, *(of_weights[name] for name in self.names)

    def get_first(self) -> Any:
        """Return the first argument: what was built for the configuration, or that itself."""
        return build_once(self.build, self.config, self.dtype) if self.build else self.config

    def _arrange(self, given: tuple[Any, ...]) -> tuple[Any, Any, Any, dict[str, Any]]:
        initial = given[1 : 1 + self.count]
        weights = dict(zip(self.names, given[1 + self.count :], strict=True))
        return self.get_first(), given[0], _unwrap(initial) if initial else None, weights


@functools.lru_cache(maxsize=1024)
def build_once(build: Build, config: Config, dtype: str) -> Any:
    """Return what a function builds, which draws none of the random numbers of its callers."""
    with keep_random_numbers():
        return build(config, dtype)


@functools.lru_cache(maxsize=4096)
def flatten_function(form: Flat, arrays: Arrays) -> Function:
    """Return the function of arrays; it is the same for the same form, so JAX compiles it once."""
    return compile_function(form.run) if arrays is Arrays.JAX else form.run


def _wrap(states: Any) -> tuple[Any, ...]:
    return tuple(states) if isinstance(states, tuple | list) else (states,)


def _unwrap(states: Sequence[Any]) -> Any:
    """Return a pair of states for a layer with two, and else the state itself."""
    return states[0] if len(states) == 1 else tuple(states)


def function(
    compute: Compute,
    *,
    kind: str = UNGATED.name,
    gates: str = "",
    build: Build | None = None,
    weights: Mapping[str, str] | None = None,
    arrays: str = Arrays.NUMPY.value,
    gradients: Callable[..., Any] | None = None,
    dtypes: Sequence[str] = (),
    fixed: Mapping[str, Any] | None = None,
    lacks: Mapping[str, str] | None = None,
    needs_state: bool = False,
    states: str = "{}",
    isolate: bool | None = None,
) -> Adapter:
    """Return an adapter for a function on arrays that computes all layers and directions.

    Called as `compute(config, x, h_0, weights)`, it returns `output` and `h_n` with the documented
    shapes. `h_0` is None if no state is given; for an LSTM, states are pairs. `config` has the
    constructor's arguments, and with `build` it is `build(config, dtype)`, which is made once for
    each of both. A parameter `lengths` is given those of a packed input, which is padded, or None.

    `weights` says what the function is given, by name or template, as for `module`; without it,
    these are the documented parameters. `gates` is the order in which these stack the gates, if it
    is not the documented one. `arrays` is the library of the arrays: numpy, jax, mlx, torch, or
    dlpack for any other. Gradients flow through functions of JAX, MLX and torch. For the others,
    `gradients(config, x, h_0, weights, grad_output, grad_h_n)` returns those of x and h_0, and a
    dictionary of those of the weights. `dtypes` lists the dtypes in which it computes; without it,
    all. The rest is as for `module`. `states` is the form of a state, such as `{}[0]`. It may not
    write into its arguments. Raises AdapterError.
    """
    given = _check_parts(locals())
    data, library, own = LAYER_KINDS[kind], Arrays.parse(arrays), weights or _name_weights(kind)
    parsed = {name: parse_expression(text, data, gates) for name, text in own.items()}
    form = ", ".join(states.format(letter) for letter in data.states)
    known = _list_lacks(compute, library, gradients is not None, build is not None)
    adapter = module(
        build=lambda config: ArrayLayer(compute, build, gradients, library, config, parsed),
        kind=kind,
        gates=gates,
        weights=own,
        fixed=fixed,
        call=f"x, {form}",
        returns=f"output, {form}",
        lacks={**known, **_list_dtypes(dtypes), **(lacks or {})},
        needs_state=needs_state,
        isolate=isolate,
    )
    return replace(adapter, label=name_target(compute), as_kind=_redeclare(function, given))


def _check_parts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the arguments of `function`. Raises CannotCheck if one has another type."""
    check_choice("kind", given["kind"], LAYER_KINDS)
    check_function("the function", given["compute"], COMPUTED)
    check_function("gradients", given["gradients"], PULLED_BACK)
    check_function("build", given["build"], BUILT_FROM)
    check_mapping("weights", given["weights"])
    check_mapping("lacks", given["lacks"])
    return dict(given)


def _redeclare(make: Callable[..., Adapter], given: Mapping[str, Any]) -> Callable[[str], Adapter]:
    """Return what makes the same adapter with another kind."""
    return lambda kind: make(**{**given, "kind": kind})


def layer(
    compute: Compute,
    *,
    kind: str = UNGATED.name,
    fixed: Mapping[str, Any] | None = None,
    lacks: Mapping[str, str] | None = None,
    **options: Any,
) -> Adapter:
    """Return an adapter for a function on arrays that computes one layer in one direction.

    It is called as `function` says, with states that have no axis of layers (N, H), and returns
    such. What lies above is not judged: more layers, other directions, input without a batch, and
    the argument `batch_first` unless it is in `fixed`. Raises AdapterError.
    """
    check_choice("kind", kind, LAYER_KINDS)
    check_keywords(function, "adapt.layer", options)
    check_mapping("fixed", fixed)
    check_mapping("lacks", lacks)
    above = {name: reason for name, reason in ABOVE.items() if name not in (fixed or {})}
    if LAYER_KINDS[kind].has_projection:
        above["proj_size"] = "it has no projection"
    lacking = {**above, **(lacks or {})}
    made = function(compute, kind=kind, fixed=fixed, lacks=lacking, states="{}[0]", **options)
    given = {"compute": compute, "fixed": fixed, "lacks": lacks, **options}
    return replace(made, as_kind=_redeclare(layer, given))


def _name_weights(kind: str) -> dict[str, str]:
    """Return the documented names of the parameters of a kind of layer."""
    roles = (*ROLES, PROJECTION) if LAYER_KINDS[kind].has_projection else ROLES
    return {f"{role}_l{{layer}}{{suffix}}": role for role in roles}


def _list_dtypes(dtypes: Sequence[str]) -> dict[str, str]:
    """Return the dtypes that are not listed, if some are, each with the reason."""
    if isinstance(dtypes, str) or not isinstance(dtypes, Collection):
        raise AdapterError(f'dtypes={dtypes!r} is no list of texts; write it as dtypes=["float32"]')
    for name in dtypes:
        if name not in DTYPES:
            near = suggest_similar(str(name), DTYPES)
            raise AdapterError(f"dtypes: {name!r}: choose {', '.join(DTYPES)}.{near}")
    reason = f"it computes in {' and '.join(dtypes)}"
    return {name: reason for name in DTYPES if dtypes and name not in dtypes}


def _list_lacks(
    compute: Compute, arrays: Arrays, has_gradients: bool, is_built: bool
) -> dict[str, str]:
    """Return what a function lacks because of its arrays and its arguments."""
    found = {**({"meta": BUILT} if is_built else {}), **LACKS[arrays]}
    if arrays in PLAIN:
        found["second-order"] = PLAIN[arrays]
        if not has_gradients:
            found["gradients"] = PLAIN[arrays]
    if not takes_lengths(compute):
        found["packed"] = "it takes arrays"
    return found


def takes_lengths(compute: Compute) -> bool:
    """Return whether a function takes the lengths of sequences."""
    signature = read_signature(compute)
    return signature is not None and LENGTHS in signature.parameters


def _pack_like(
    packed: PackedSequence, output: torch.Tensor, lengths: torch.Tensor, batch_first: bool
) -> PackedSequence:
    """Return a padded output packed in the order of a packed input."""
    if packed.sorted_indices is not None:
        output = output.index_select(0 if batch_first else 1, packed.sorted_indices)
        lengths = lengths[packed.sorted_indices]
    data = pack_padded_sequence(output, lengths, batch_first=batch_first).data
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
