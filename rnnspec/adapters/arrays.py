"""Use functions on arrays of NumPy, JAX, MLX, or torch without a module as layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.adapters.adapter import DRAWS, Adapter, find_feature, module, name_target
from rnnspec.adapters.array_layer import ArrayLayer, BuildFirst, Compute, Implementation
from rnnspec.adapters.expressions import PROJECTION, ROLES, parse_expression
from rnnspec.adapters.libraries import Arrays
from rnnspec.adapters.validation import (
    COMPUTED,
    LENGTHS,
    PULLED_BACK,
    SEED,
    TRAINING,
    check_function,
    check_keywords,
    check_mapping,
    list_optional,
)
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import LAYER_KINDS, UNGATED
from rnnspec.errors import AdapterError, suggest_similar
from rnnspec.options import check_choice

COPIED = "tensors are copied into arrays"
BUILT = "what it calls was built on a device of its own"
LACKS: dict[Arrays, dict[str, str]] = {
    Arrays.TORCH: {},
    Arrays.NUMPY: {"bfloat16": "NumPy has no bfloat16", "functional": COPIED, "meta": COPIED},
    Arrays.JAX: {"functional": COPIED, "meta": COPIED},
    Arrays.MLX: {"functional": COPIED, "meta": COPIED},
    Arrays.DLPACK: {"functional": COPIED, "meta": COPIED},
}
"""Features that a function lacks because of its arrays."""
PLAIN = {
    Arrays.NUMPY: "it computes with NumPy arrays",
    Arrays.DLPACK: "its arrays are handed over by DLPack, which has no gradients",
}
"""Reasons why a function on these arrays only has gradients that the user provides."""
HINTS = {
    "errors.h-0-batch": "if its caller checks the sizes of states, declare "
    'lacks={"state-checks": "its caller checks states"}',
    **dict.fromkeys(
        ("gradients.h-0", "gradients.c-0"),
        'if it has none, declare lacks={"state-gradients": "it has no gradient of h_0"}',
    ),
}
"""Declarations that may help if your function breaks a rule, by the id of the rule."""
UNBUILT = {
    DRAWS: "if the function builds a layer in each call, give a function "
    "build=build(config, dtype), which builds it once"
}
"""A further declaration that may help if there is no build function."""
BUILT_FROM = ("config", "dtype")
"""The arguments of the build function."""
DTYPES = ("float64", "float32", "bfloat16", "float16")
ONE = "it computes one layer in one direction"
ABOVE = {
    **dict.fromkeys(("num_layers", "bidirectional", "dropout"), ONE),
    "unbatched": "it takes batches",
    "batch_first": "time is the first axis",
}
"""Features beyond a single layer in a single direction."""
MODELESS = "it has no parameter `training` or `seed`, so it does not know when to drop values"


def function(
    compute: Compute,
    *,
    kind: str = UNGATED.name,
    gates: str = "",
    build: BuildFirst | None = None,
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

    rnnspec calls your `compute(config, x, h_0, weights)` and expects `output` and `h_n` with the
    documented shapes. `h_0` is None if no state is given; for an LSTM, states are pairs. `config`
    has the constructor's arguments. If you give `build`, the first argument is `build(config,
    dtype)` instead, which is called once per configuration and dtype. Further parameters are passed
    if your function has them: `lengths` are the lengths of a packed input, which is padded, or
    None; `training` is whether the layer is in training mode; `seed` is an integer for each call
    that drops values, or None, and is the same after the same `torch.manual_seed`. If you declare
    that it lacks "final-state", it returns `output` alone.

    `weights` has the weights that your function uses, by name or template, as for `module`; by
    default, these are the documented parameters. `gates` is the order of the gates in them, if it
    is not the documented order. `arrays` is the library of the arrays: numpy, jax, mlx, torch, or
    dlpack for any other. Gradients flow through functions of JAX, MLX and torch. For other
    libraries, give `gradients(config, x, h_0, weights, grad_output, grad_h_n)`, which returns the
    gradients of x and h_0 and a dictionary with the gradients of the weights; the gradient of h_0
    may be None if it lacks "state-gradients". `dtypes` lists the supported dtypes; the default is
    all. `states` is the form of a state, such as `{}[0]`. The rest is as for `module`. Your
    function must not write into its arguments. Raises AdapterError.
    """
    given = _check_parts(locals())
    return replace(_make_adapter(given), as_kind=_redeclare(function, given))


def _make_adapter(given: Mapping[str, Any]) -> Adapter:
    """Return the adapter of a declaration; `given` contains the arguments of `function`."""
    kind, gates = given["kind"], given["gates"]
    data, own = LAYER_KINDS[kind], given["weights"] or _name_weights(kind)
    parsed = {name: parse_expression(text, data, gates) for name, text in own.items()}
    form = ", ".join(given["states"].format(letter) for letter in data.states)
    lacking = _list_lacks(given)
    whole = _gather(given, lacking)
    adapter = module(
        build=lambda config: ArrayLayer(whole, config, parsed),
        weights=own,
        call=f"x, {form}",
        returns="output" if Feature.FINAL_STATE in whole.lacks else f"output, {form}",
        lacks=lacking,
        **{name: given[name] for name in ("kind", "gates", "fixed", "needs_state", "isolate")},
    )
    hints = {**HINTS, **(UNBUILT if whole.build is None else {})}
    # Pass states of wrong sizes on: arrays with an axis of size 1 are easily broadcast, which the
    # rules about wrong sizes detect only if the function gets them.
    return replace(adapter, label=name_target(whole.compute), passes_states=True, hints=hints)


def _gather(given: Mapping[str, Any], lacking: Collection[str]) -> Implementation:
    """Return the computing parts of a declaration. Raises AdapterError if they do not fit."""
    lacks = frozenset(map(find_feature, lacking))
    compute, gradients = given["compute"], given["gradients"]
    _check_seeds(compute, gradients, lacks)
    return Implementation(compute, given["build"], gradients, Arrays.parse(given["arrays"]), lacks)


def _check_parts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the arguments of `function`. Raises CannotCheck for a wrong type."""
    check_choice("kind", given["kind"], LAYER_KINDS)
    check_function("the function", given["compute"], COMPUTED)
    check_function("gradients", given["gradients"], PULLED_BACK)
    check_function("build", given["build"], BUILT_FROM)
    check_mapping("weights", given["weights"])
    check_mapping("lacks", given["lacks"])
    return dict(given)


def _check_seeds(
    compute: Compute, gradients: Callable[..., Any] | None, lacking: Collection[Feature]
) -> None:
    """Raise AdapterError if the gradients would not use the dropout mask of the results."""
    drops = Feature.DROPOUT not in lacking and SEED in list_optional(compute)
    if gradients is not None and drops and SEED not in list_optional(gradients):
        raise AdapterError(
            f"{name_target(compute)} takes `seed` and {name_target(gradients)} does not, although "
            "gradients need the dropout mask of the results; give it a parameter `seed` too"
        )


def _redeclare(make: Callable[..., Adapter], given: Mapping[str, Any]) -> Callable[[str], Adapter]:
    """Return a function that makes the same adapter with another kind."""
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

    Your function is called as by `function`, but takes and returns states (N, H) without an axis of
    layers. Features beyond that are not checked, and you need not declare them: more layers, other
    directions, input without a batch, and the argument `batch_first` unless it is in `fixed`.
    Raises AdapterError if your function has other parameters, or a part of your declaration is
    invalid.
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
    """Return reasons for the dtypes that are missing from the list; nothing for an empty list."""
    if isinstance(dtypes, str) or not isinstance(dtypes, Collection):
        raise AdapterError(f'dtypes={dtypes!r} is no list of texts; write it as dtypes=["float32"]')
    for name in dtypes:
        if name not in DTYPES:
            near = suggest_similar(str(name), DTYPES)
            raise AdapterError(f"dtypes: {name!r}: choose {', '.join(DTYPES)}.{near}")
    reason = f"it computes in {' and '.join(dtypes)}"
    return {name: reason for name in DTYPES if dtypes and name not in dtypes}


def _list_lacks(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the features that a function lacks, by its arrays, its arguments and its declaration.

    `given` contains the arguments of `function`.
    """
    arrays, optional = Arrays.parse(given["arrays"]), list_optional(given["compute"])
    found = {**({} if given["build"] is None else {"meta": BUILT}), **LACKS[arrays]}
    if arrays in PLAIN:
        found["second-order"] = PLAIN[arrays]
        if given["gradients"] is None:
            found["gradients"] = PLAIN[arrays]
    if LENGTHS not in optional:
        found["packed"] = "it takes arrays"
    if not {TRAINING, SEED}.intersection(optional):
        found["dropout"] = MODELESS
    return {**found, **_list_dtypes(given["dtypes"]), **(given["lacks"] or {})}
