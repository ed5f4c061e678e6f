"""Find a constructor's own names for the documented arguments in its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch

from rnnspec.adapters.settings import DOT, Settings, find_type
from rnnspec.contract.config import DEFAULTS
from rnnspec.contract.kinds import KINDS
from rnnspec.errors import AdapterError
from rnnspec.inference.trial import HIDDEN_SIZE, INPUT_SIZE
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.subject import observe_step

SIZES = ("input_size", "hidden_size")
ALIASES: Mapping[str, tuple[str, ...]] = {
    "input_size": (
        *("in_size", "in_dim", "input_dim", "in_features", "input_features", "n_in", "n_input"),
        *("n_inputs", "num_inputs", "d_in", "nin", "features", "inputs", "in_channels", "dim_in"),
        *(
            "input_units",
            "x_dim",
            "n_features",
            "feature_size",
            "input_dims",
            "embed_dim",
            "n_embd",
        ),
        *("d_input", "ninp", "num_features", "input_sz", "embedding_dim"),
    ),
    "hidden_size": (
        *("hidden", "hidden_dim", "hidden_units", "n_hidden", "num_hidden", "nhid", "d_hidden"),
        *("units", "num_units", "hid_dim", "hidden_features", "out_features", "output_size"),
        *("out_size", "out_dim", "d_out", "n_out", "n_units", "state_size", "h_dim", "hid"),
        *("dim_hidden", "output_dim", "nh", "cell_size", "d_model", "hidden_sz", "num_hiddens"),
        *("hiddens", "nb_units"),
    ),
    "num_layers": ("n_layers", "layers", "nlayers", "depth", "num_layer", "n_layer"),
    "nonlinearity": ("activation", "act", "nonlin", "non_linearity"),
    "bias": ("use_bias", "with_bias", "biases"),
    "batch_first": (),
    "dropout": (
        *("drop", "dropout_p", "dropout_rate", "p_drop", "p", "dropout_prob", "drop_prob"),
        *("drop_rate", "p_dropout", "dropouth", "hidden_dropout", "layer_dropout", "rnn_dropout"),
    ),
    "bidirectional": ("bidir", "two_way", "both_directions", "bi"),
    "proj_size": ("projection_size", "proj", "n_proj", "num_proj", "proj_dim", "projection_dim"),
}
"""Other names of the documented arguments."""


@dataclass(frozen=True)
class Constructor:
    """A constructor's own names for the documented arguments.

    names        its own name for each documented argument that it takes; sizes that come first
                 and in order are passed by position and have none
    has_default  whether each of these arguments, except the sizes, has a default
    is_open      whether it may take more arguments than its signature lists
    extra        further arguments with their values
    """

    names: dict[str, str]
    has_default: dict[str, bool]
    is_open: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


def read_constructor(
    factory: Callable[..., Any], label: str, extra: Mapping[str, Any] = MappingProxyType({})
) -> Constructor:
    """Return the names that a class or a factory uses for the documented arguments.

    Use `extra` for arguments whose values you know already. Raises AdapterError if the constructor
    needs any other argument.
    """
    own_parameters = _list_parameters(factory)
    parameters = {name: each for name, each in own_parameters.items() if name not in extra}
    names = {documented: own for own in parameters if (documented := _find_documented(own))}
    # A documented name takes precedence over an alias.
    names |= {own: own for own in names if own in parameters}
    needed = [each.name for each in parameters.values() if each.default is each.empty]
    is_alone = len(needed) == 1 and not _find_documented(needed[0])
    if is_alone and (found := _read_settings(factory, needed[0])) is not None:
        return replace(found, extra=extra)
    leading = list(parameters)[: len(SIZES)]
    is_leading = list(own_parameters)[: len(SIZES)] == leading
    if needed == leading and _may_be_sizes(leading, names):
        names = {name: own for name, own in names.items() if own not in leading}
    for documented, own in zip(SIZES, leading, strict=False):
        if documented not in names and own not in names.values():
            names[documented] = own
    unknown = [name for name in needed if name not in names.values()]
    if unknown or (parameters and any(name not in names for name in SIZES)):
        listed = " and ".join(map(repr, unknown))
        what = f"rnnspec cannot infer {listed}" if unknown else "these are not two sizes"
        given = f"Give {'it' if len(unknown) == 1 else 'them'} with --arg NAME=VALUE. Or name"
        raise AdapterError(
            f"{label} takes {', '.join(parameters) or 'nothing'}, and {what}. "
            f"{given if unknown else 'Name'} a function that takes both sizes and returns the "
            "layer, in place of its class. Or declare an adapter with build=, see docs/adapters.md."
        )
    is_positional = is_leading and all(
        parameters[own].kind is not inspect.Parameter.KEYWORD_ONLY for own in leading
    )
    if (leading == [names.get(name) for name in SIZES] and is_positional) or not parameters:
        names = {name: own for name, own in names.items() if name not in SIZES}
    defaults = {name: own not in needed for name, own in names.items() if name not in SIZES}
    return Constructor(names, defaults, _is_open(factory), extra)


def _may_be_sizes(leading: list[str], names: Mapping[str, str]) -> bool:
    """Return whether two names can be both sizes in order, even if the table maps them otherwise.

    Some names stand for one size in a library and for the other in another, such as `features`.
    """
    known = [names.get(name) for name in SIZES]
    return set(known) != {*leading} and not any(name in leading for name in SIZES)


class _Listener(Settings):
    """Settings that return the default of any documented argument and record the names read."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, str] = {}

    def __missing__(self, name: str) -> Any:
        documented = _find_documented(name)
        value = {**DEFAULTS, "input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}.get(documented)
        if value is None:
            raise KeyError(name)
        self.heard.setdefault(documented, name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        return bool(_find_documented(str(name)))


def _read_settings(factory: Callable[..., Any], holder: str) -> Constructor | None:
    """Return the constructor of a layer that takes a single object with both sizes, or None."""
    kind = find_type(factory, holder)
    heard: Mapping[str, str]
    if kind is not None:
        own = _list_parameters(kind)
        heard = {documented: name for name in own if (documented := _find_documented(name))}
        others = [each for name, each in own.items() if not _find_documented(name)]
        if any(each.default is each.empty for each in others):
            return None
    # Without an annotation, build the layer with a listener and record the names that it reads.
    else:
        listener = _Listener()
        with suppress(Failure), observe_step("building it"), torch.random.fork_rng(devices=[]):
            factory(listener)
        heard = dict(listener.heard)
    if any(name not in heard for name in SIZES):
        return None
    # The adapter passes an object with these entries, such as `config.units`, for the argument.
    names = {documented: f"{holder}{DOT}{name}" for documented, name in heard.items()}
    return Constructor(names, {name: True for name in names if name not in SIZES})


def _is_open(factory: Callable[..., Any]) -> bool:
    """Return whether a factory takes `**kwargs`, or Python cannot inspect its signature."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in found)


def _list_parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a factory, or none if Python cannot inspect its signature."""
    try:
        found = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: each for name, each in found.items() if each.kind not in many}


def _find_documented(own: str) -> str:
    """Return the documented argument that a name stands for, or an empty text."""
    known = {name for kind in KINDS.values() for name in kind.arguments}
    if own in known:
        return own
    plain = own.lower()
    return next((name for name, others in ALIASES.items() if plain in others), "")
