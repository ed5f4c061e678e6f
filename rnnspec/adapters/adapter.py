"""An adapter: how to build and call an implementation, and which features it lacks."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

from torch import nn

from rnnspec.adapters.expressions import Expression, parse_expression
from rnnspec.adapters.forms import OUTPUT, Form, parse_arguments, parse_results
from rnnspec.adapters.layer import Adaptation, AdaptedLayer
from rnnspec.adapters.recipes import WeightRecipe, check_template, make_recipes
from rnnspec.adapters.settings import nest_arguments
from rnnspec.adapters.validation import (
    check_boolean,
    check_fixed,
    check_function,
    check_mapping,
    check_text,
)
from rnnspec.contract.config import Config
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import LAYER_KINDS, UNGATED, Kind
from rnnspec.errors import AdapterError, TargetError, suggest_similar
from rnnspec.options import check_choice
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.target import locate_target, resolve_target

SIZES = ("input_size", "hidden_size")
MAIN = "__main__"
ADAPTED = "an adapter stands in for the constructor, the parameters and the methods of the layer"
PICKLED = "pickling would pickle the adapter"
PREFIXES = "a call returns final states alone; the output comes from calls on parts of a sequence"
NEED_OUTPUT = (Feature.PACKED, Feature.UNBATCHED, Feature.DROPOUT)
"""The features that calls on parts of a batch of sequences cannot check."""
DRAWS = "side-effects.random-generators"
"""The rule that fails if the layer is built anew in each call."""
HINTS = {DRAWS: "if it builds a module in each call, build that in the constructor instead"}


@dataclass(frozen=True)
class Adapter:
    """A factory that takes the documented arguments, for an implementation with others.

    build_own      builds the implementation from a configuration
    kind           the kind of layer
    weights        the expression for each parameter of the implementation, by name or template
    arguments      the implementation's own names of the documented arguments that it takes
    fixed          the documented arguments that have the same value in every layer
    call           the form of the arguments of a call
    returns        the form of the results of a call
    lacks          the features that the implementation lacks, with the reasons
    needs_state    whether a call requires a state, so that the adapter passes zeros by default
    seed           seeds an implementation that draws dropout masks from its own generator; called
                   before each call that draws masks
    isolate        whether Python code and pytest check it in a separate process, because it may end
                   or block the process; if it is None, the caller decides
    as_kind        makes the same declaration with another kind of layer, if it is of a function
    passes_states  whether it passes initial states on unchanged, whatever their size
    hints          what to declare differently if a rule fails, by the id of the rule
    label          the name of the implementation in messages
    """

    build_own: Callable[[Config], nn.Module]
    kind: Kind
    weights: Mapping[str, Expression]
    arguments: Mapping[str, str]
    fixed: Mapping[str, Any]
    call: Form
    returns: Form
    lacks: Mapping[Feature, str]
    needs_state: bool = False
    seed: Callable[[int], Any] | None = None
    isolate: bool | None = None
    as_kind: Callable[[str], Adapter] | None = field(default=None, compare=False)
    passes_states: bool = False
    hints: Mapping[str, str] = field(default_factory=HINTS.copy, compare=False)
    label: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.isolate not in (None, True, False):
            raise AdapterError(f"isolate must be True, False or left out, got {self.isolate!r}")

    def __call__(self, *positional: Any, **named: Any) -> AdaptedLayer:
        """Build a layer from the documented arguments, as a check does and as you can in a test.

        Raises TypeError for any other argument, and Unsupported if you pass another value of an
        argument that the adapter fixes.
        """
        dtype, device = named.pop("dtype", None), named.pop("device", None)
        given = {**dict(zip(self.kind.arguments, positional, strict=False)), **named}
        for name in given:
            if name not in self.kind.arguments or len(positional) > len(self.kind.arguments):
                raise TypeError(f"{self.kind.page} has no argument {name!r}")
        config = Config(**{**self.fixed, **given}, kind=self.kind.name)
        for name, value in self.fixed.items():
            if getattr(config, name) != value:
                raise Unsupported(f"{name} is always {value!r}")
        return AdaptedLayer(self, config, dtype, device)

    def declare_as(self, kind: str) -> Adapter | None:
        """Return the same declaration with another kind of layer, or None for a module.

        Raises AdapterError if a part of the declaration has no meaning for that kind.
        """
        return None if self.as_kind is None else self.as_kind(kind)

    def __repr__(self) -> str:
        return f"adapter of {self.label}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Adapter:
        return self

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle an adapter as a module and a name, so that another process imports it."""
        for module in [each for name, each in sys.modules.items() if name != MAIN]:
            for name, value in list(vars(module).items()):
                if value is self:
                    return import_adapter, (module.__name__, name)
        return super().__reduce__()

    @property
    def unsupported(self) -> dict[Feature, str]:
        """The features that cannot be checked through the adapter, with the reasons."""
        found = {Feature.DROP_IN: ADAPTED, Feature.PICKLE: PICKLED}
        if not self.passes_states:
            found[Feature.STATE_CHECKS] = ADAPTED
        passed = (*SIZES, *self.arguments, *self.fixed)
        optional = {feature.text: feature for feature in Feature}
        for name in self.kind.arguments:
            if name not in passed and name in optional:
                found[optional[name]] = f"{self.label} takes no argument {name}"
        if "h" not in self.call.names:
            found[Feature.STATE] = f"{self.label} takes no initial state"
        if OUTPUT not in self.returns.names:
            found |= dict.fromkeys(NEED_OUTPUT, PREFIXES)
            # A layer above reads both directions of the whole sequence below it.
            is_two_way = bool(self.fixed.get("bidirectional"))
            if is_two_way or "num_layers" in {*self.arguments, *self.fixed}:
                found[Feature.NUM_LAYERS if is_two_way else Feature.BIDIRECTIONAL] = PREFIXES
        missing = [letter for letter in self.kind.states if letter not in self.returns.names]
        if missing:
            names = " and ".join(map(self.kind.name_final, missing))
            found[Feature.FINAL_STATE] = f"{self.label} returns no {names}"
        return {**found, **self.lacks}

    @property
    def takes_state(self) -> bool:
        """Whether a call accepts an initial state."""
        return Feature.STATE not in self.unsupported

    @property
    def returned_states(self) -> tuple[str, ...]:
        """The letters of the final states that a call returns and that can be compared."""
        if Feature.FINAL_STATE in self.lacks:
            return ()
        return tuple(letter for letter in self.kind.states if letter in self.returns.names)

    def make_recipes(self, config: Config) -> dict[str, WeightRecipe]:
        """Return the recipe for each parameter of the implementation, for a configuration."""
        return make_recipes(self.weights, config)


def import_adapter(place: str, name: str) -> Adapter:
    """Return the adapter that a module has under a name."""
    found: Adapter = getattr(importlib.import_module(place), name)
    return found


def module(
    target: str | Callable[..., nn.Module] | None = None,
    *,
    weights: Mapping[str, str],
    kind: str = UNGATED.name,
    gates: str = "",
    build: Callable[[Config], nn.Module] | None = None,
    arguments: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    call: str = "x, h",
    returns: str = "output, h",
    lacks: Mapping[str, str] | None = None,
    needs_state: bool = False,
    seed: Callable[[int], Any] | None = None,
    isolate: bool | None = None,
) -> Adapter:
    """Return an adapter for a torch module that computes a whole layer.

    `target` is your class or factory, which takes both sizes by position, or a text that names it,
    whose file is searched first beside yours. Or give `build`, a function that builds your module
    from the configuration. `weights` has an expression over the documented parameters for each
    parameter of your module. Use `{layer}`, `{number}` (layer + 1), `{direction}` (0 or 1),
    `{suffix}` ("" or "_reverse") and `{row}` (layer * D + direction) in its name to repeat it.
    `gates` is the module's order of the gates, such as "update, reset, new", if it is not the
    documented order. `arguments` contains your module's own names of the documented arguments (use
    `config.units` for an entry of a single object), `fixed` the values of arguments that you cannot
    choose, and `extra` the values of other arguments of the target. `call` and `returns` are forms,
    see `rnnspec.adapters.forms`. The rest is as for `Adapter`. Raises AdapterError.
    """
    _check_types(locals())
    data = LAYER_KINDS[kind]
    names, always = dict(arguments or {}), dict(fixed or {})
    located = locate_beside(target, inspect.currentframe())
    _check_arguments(names, always, data)
    makes_all = build is not None and arguments is None
    return Adapter(
        build_own=build or make_builder(located, names, extra or {}),
        kind=data,
        weights=_parse_weights(weights, data, gates),
        arguments={name: name for name in data.arguments} if makes_all else names,
        fixed=always,
        call=parse_arguments(call, data),
        returns=parse_results(returns, data, (OUTPUT, "h")),
        lacks={find_feature(name): reason for name, reason in (lacks or {}).items()},
        needs_state=needs_state,
        seed=seed,
        isolate=isolate,
        label=name_target(build if target is None else target),
    )


def _check_types(given: Mapping[str, Any]) -> None:
    """Raise CannotCheck if an argument of `module` has a wrong type."""
    check_choice("kind", given["kind"], LAYER_KINDS)
    if (given["target"] is None) == (given["build"] is None):
        raise AdapterError("an adapter needs either a target or a function that builds the module")
    for name in ("weights", "arguments", "fixed", "extra", "lacks"):
        check_mapping(name, given[name])
    check_text("call", given["call"], "x, h")
    check_text("returns", given["returns"], "output, h")
    check_boolean("needs_state", given["needs_state"])
    check_function("build", given["build"], ("config",))
    check_function("seed", given["seed"], ("number",))


def _parse_weights(weights: Mapping[str, str], kind: Kind, gates: str) -> dict[str, Expression]:
    return {
        check_template(name): parse_expression(text, kind, gates) for name, text in weights.items()
    }


def _check_arguments(names: Mapping[str, str], always: Mapping[str, Any], kind: Kind) -> None:
    """Raise AdapterError for arguments that a kind does not have, and for impossible values."""
    for what, given in (("arguments", names), ("fixed", always)):
        for name in given:
            if name not in kind.arguments:
                near = suggest_similar(name, kind.arguments)
                raise AdapterError(f"{what}: {kind.page} has no argument {name!r}.{near}")
    check_fixed(always, kind)


def find_feature(name: str) -> Feature:
    """Return the feature that you name in `lacks`. Raises AdapterError if there is none."""
    try:
        return Feature.parse(name)
    except ValueError as error:
        raise AdapterError(f"lacks: {error}") from error


def name_target(target: Any) -> str:
    """Return the name of an implementation for messages: its own name, if it has one."""
    if isinstance(target, str):
        return target
    name = str(getattr(target, "__qualname__", "<>"))
    return "the layer" if "<lambda>" in name or name == "<>" else name


def locate_beside(target: Any, frame: FrameType | None) -> Any:
    """Return a target, searching the file of a text first in the folder of the frame's caller.

    If the caller has no file, the text is returned unchanged.
    """
    caller = None if frame is None else frame.f_back
    path = None if caller is None else caller.f_globals.get("__file__")
    if not isinstance(target, str) or path is None:
        return target
    return locate_target(target, Path(path).resolve().parent)


def make_builder(
    target: Any, names: Mapping[str, str], extra: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[Config], nn.Module]:
    """Return a function that builds your module from a configuration, using its own argument names.

    `extra` contains further arguments with their values.
    """

    def build(config: Config) -> nn.Module:
        factory = resolve_target(target).factory if isinstance(target, str) else target
        sizes = [getattr(config, name) for name in SIZES if name not in names]
        given = {**{own: getattr(config, name) for name, own in names.items()}, **extra}
        made = factory(*sizes, **nest_arguments(factory, given))
        if not isinstance(made, nn.Module):
            raise TargetError(f"{name_target(target)} returned {made!r}; expected a torch module")
        return made

    return build


def list_uncovered(adapter: Adaptation, own: nn.Module, config: Config) -> list[str]:
    """Return the parameters of your module for which your adapter has no expression."""
    recipes = adapter.make_recipes(config)
    return [name for name, _ in own.named_parameters() if name not in recipes]


__all__ = ["Adapter", "list_uncovered", "module"]
