"""Infer the adapter of a layer from its signature, its calls, its weights and its names."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import astuple, replace
from itertools import product
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.adapter import NEED_OUTPUT, SIZES, make_builder
from rnnspec.adapters.cells import LACKS
from rnnspec.adapters.declaration import CellDeclaration, Declaration
from rnnspec.contract.config import DEFAULTS, Config
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import LAYERS, Kind
from rnnspec.errors import AdapterError, TargetError
from rnnspec.inference.calling import FinalStateError, OneStepError, find_interface
from rnnspec.inference.endings import LAYER, Ending, find_ending, wrap_ending
from rnnspec.inference.extents import (
    SMALLEST,
    count_numbers,
    list_explaining,
    list_extents,
    list_smaller,
)
from rnnspec.inference.inferred import Inferred, SearchOutcome
from rnnspec.inference.matching import (
    Assignment,
    assign_as_variant,
    assign_parameters,
    merge_biases,
)
from rnnspec.inference.naming import Naming, find_templates
from rnnspec.inference.offers import list_offers
from rnnspec.inference.orders import turn_states
from rnnspec.inference.signature import Constructor, read_constructor
from rnnspec.inference.steps import CELL, find_step, wrap_cell
from rnnspec.inference.trial import (
    BUILDING,
    HIDDEN_SIZE,
    INPUT_SIZE,
    LayerInterface,
    Prober,
    Trial,
    draw_numbers,
)
from rnnspec.inference.verify import CHANGES, EXTENT, ONE_LAYER, find_difference, verify_declaration
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.kind import refuse_instance
from rnnspec.subjects.subject import observe_step
from rnnspec.subjects.target import Target

# Try float64 first, since its results have less rounding; some layers accept float32 only.
DTYPES = (torch.float64, torch.float32)


def infer_adapter(
    target: Target, kind: Kind | None = None, extra: Mapping[str, Any] = MappingProxyType({})
) -> Inferred:
    """Return the adapter of a layer, or the closest one.

    `extra` contains values of constructor arguments, under the layer's own names. If the module
    computes a single step, infer the adapter of a loop around it. Raises AdapterError if the layer
    cannot be built from two sizes or cannot be called, and TargetError if the target is an instance
    or no recurrent layer.
    """
    refuse_instance(target)
    begun = time.perf_counter()
    constructor = _drop_refused(target, read_constructor(target.factory, target.label, extra))
    try:
        found = _infer_layer(target, constructor, kind)
        cell = None if found.matched else _infer_cell(target, constructor, kind)
        found = cell if cell and cell.matched else found
    except (OneStepError, FinalStateError) as error:
        infer = _infer_cell if isinstance(error, OneStepError) else _infer_ending
        if (other := infer(target, constructor, kind)) is None:
            raise
        found = other
    return replace(found, duration_s=time.perf_counter() - begun)


def _infer_cell(target: Target, constructor: Constructor, kind: Kind | None) -> Inferred | None:
    """Return the adapter of a module that computes a single step, or None if no call works."""
    # CellDeclaration passes the sizes by position
    if any(name in constructor.names for name in SIZES):
        return None
    build = make_builder(target.factory, constructor.names, constructor.extra)
    module = _build(build, make_config())
    step = next(filter(None, (find_step(module.to(dtype).eval(), dtype) for dtype in DTYPES)), None)
    if step is None:
        return None
    loop = wrap_cell(target, step, constructor.extra)
    try:
        found = _infer_layer(loop, Constructor({}, {}), kind)
    except AdapterError:
        return None
    declaration = CellDeclaration(
        found.declaration.kind,
        {name.removeprefix(CELL): text for name, text in found.declaration.weights.items()},
        fixed=found.declaration.fixed,
        extra=constructor.extra,
        call=step.call.text,
        returns=step.returns.text,
        lacks={name: why for name, why in found.declaration.lacks.items() if name not in LACKS},
    )
    return replace(
        found.name_parameters(lambda name: name.removeprefix(CELL)),
        declaration=declaration,
        adapter=declaration.make(target.factory),
    )


def _infer_ending(target: Target, constructor: Constructor, kind: Kind | None) -> Inferred | None:
    """Return the adapter of a layer that returns final states alone, or None if it has none.

    Raises FinalStateError if it returns c_n alone, since h of the earlier steps is no function of
    it.
    """
    is_cell_state = False
    build = make_builder(target.factory, constructor.names, constructor.extra)
    layout = False if "batch_first" in constructor.names else None
    best: Inferred | None = None
    shapes = [tuple(each.shape) for each in _build(build, make_config()).parameters()]
    # The output of several layers with two directions does not follow from their final states.
    extents = [each for each in list_extents(constructor.names) if 1 in astuple(each)]
    kinds = (kind,) if kind else LAYERS[::-1]
    tried = dict.fromkeys([*list_explaining(shapes, kinds, extents), *product(kinds, [SMALLEST])])
    for each, extent in tried:
        if best and best.outcome is SearchOutcome.FOUND:
            break
        config = make_config(kind=each.name, **extent.arguments)
        module = _build(build, make_config())
        endings = (find_ending(module.to(dtype).eval(), config, dtype, layout) for dtype in DTYPES)
        ending = next(filter(None, endings), None)
        if ending is None:
            continue
        if ending.is_cell_state:
            # The states of nn.RNN with relu are large too, and its parameters have one gate.
            is_cell_state = any(4 * HIDDEN_SIZE in each.shape for each in module.parameters())
            continue
        try:
            found = _infer_layer(wrap_ending(target, ending), constructor, each)
        except (AdapterError, TargetError):
            continue
        if best is None or len(found.matched) > len(best.matched):
            best = _declare_ending(target, found, ending)
    if is_cell_state and not (best and best.matched):
        raise FinalStateError(
            "it returns c_n alone, from which the output of a step cannot be computed. Return h_n "
            "too, or compare it with a model that does the same with `rnnspec compare`"
        )
    return best


def _declare_ending(target: Target, found: Inferred, ending: Ending) -> Inferred:
    """Return the adapter of a layer, from the adapter of a module around it that has an output."""
    declared = found.declaration
    needing = set(map(str, NEED_OUTPUT))
    lacks = {name: why for name, why in declared.lacks.items() if name not in needing}
    if "num_layers" in declared.arguments and "[0]" in ending.returns.text:
        lacks.setdefault("num_layers", "a call returns the state of one layer")
    declaration = replace(
        declared,
        weights={name.removeprefix(LAYER): text for name, text in declared.weights.items()},
        fixed={**declared.fixed, **({"batch_first": True} if ending.batch_first else {})},
        call=ending.call.text,
        returns=ending.returns.text,
        lacks=lacks,
    )
    adapter = declaration.make(target.factory)
    # The module around it has the output of one direction, unless there are always two.
    own = found.deviations.keys() - {*needing, *lacks, "bidirectional"}
    deviations = {name: found.deviations[name] for name in sorted(own)}
    names = declared.arguments
    is_two_way = "bidirectional" in names and Feature.BIDIRECTIONAL not in adapter.unsupported
    for name in (ONE_LAYER, *(["bidirectional"] if is_two_way else [])):
        changes = {**declaration.fixed, **CHANGES.get(name, {})}
        config = make_config(kind=ending.kind.name, **changes)
        if not deviations and (difference := find_difference(adapter, config, found.dtype)):
            deviations[name] = difference.text
    named = found.name_parameters(lambda name: name.removeprefix(LAYER))
    return replace(named, declaration=declaration, adapter=adapter, deviations=deviations)


def _infer_layer(target: Target, constructor: Constructor, kind: Kind | None) -> Inferred:
    """Return the adapter of a module that takes whole sequences. Raises OneStepError for a cell."""
    build = make_builder(target.factory, constructor.names, constructor.extra)
    found, interface, doubts = _find_best(target, build, constructor, kind)
    # Try variants of the formula only if the documented one leaves parameters unexplained.
    if found.by_name or found.unknown:
        found = assign_as_variant(found.trial) or found
    trial = found.trial
    merge_biases(found)
    naming = _find_names(found, build, constructor, trial.kind)
    interface = _find_orders(found, interface, build, constructor)
    declaration = _declare(found, interface, constructor, naming)
    declaration, deviations = verify_declaration(declaration, target.factory, trial)
    offers = list_offers(declaration.make(target.factory), trial.dtype)
    declaration = replace(declaration, lacks={**declaration.lacks, **offers.lacks})
    return Inferred(
        target.label,
        declaration,
        declaration.make(target.factory),
        tuple(name for name in found.chosen if name not in found.by_name),
        tuple(found.by_name),
        tuple(found.unknown),
        doubts,
        unused=tuple(found.unused),
        foreign=tuple(_list_foreign(trial.module, (*found.by_name, *found.unknown))),
        deviations={**offers.faults, **deviations},
        is_open=constructor.is_open,
        dtype=trial.dtype,
        added=dict(trial.added),
        variant=trial.variant.text if trial.variant else "",
    )


def _list_foreign(module: nn.Module, names: Collection[str]) -> Iterator[str]:
    """Yield the torch modules other than linear layers that hold some of these parameters."""
    # Recurrent layers use these modules too, so they explain nothing about a parameter.
    usual = (nn.Linear, nn.RNNBase, nn.RNNCellBase, nn.ParameterList, nn.ParameterDict)
    for path, each in module.named_modules():
        own = [f"{path}.{name}" for name, _ in each.named_parameters(recurse=False)]
        is_of_torch = type(each).__module__.startswith("torch.nn.")
        if path and is_of_torch and not isinstance(each, usual) and set(own) & set(names):
            yield f"{path} is a {type(each).__name__}"


def _drop_refused(target: Target, constructor: Constructor) -> Constructor:
    """Drop the constructor arguments whose documented default the layer refuses.

    Try each of them alone, so that none is dropped because of another.
    """
    free = [name for name, may_be_left in constructor.has_default.items() if may_be_left]
    kept = {name: own for name, own in constructor.names.items() if name not in free}
    extra = constructor.extra
    if _can_build(target, constructor.names, extra) or not _can_build(target, kept, extra):
        return constructor
    for name in free:
        more = {**kept, name: constructor.names[name]}
        kept = more if _can_build(target, more, extra) else kept
    names = {name: own for name, own in constructor.names.items() if name in kept}
    return replace(constructor, names=names)


def _can_build(target: Target, names: Mapping[str, str], extra: Mapping[str, Any]) -> bool:
    try:
        _build(make_builder(target.factory, names, extra), make_config())
    except Failure:
        return False
    return True


def make_config(**changes: Any) -> Config:
    """Return the configuration of the layer in the trial, with some changes."""
    return Config(INPUT_SIZE, HIDDEN_SIZE, **changes)


def _build(build: Callable[[Config], nn.Module], config: Config) -> nn.Module:
    with observe_step(BUILDING), torch.random.fork_rng(devices=[]):
        return build(config)


def _find_best(
    target: Target,
    build: Callable[[Config], nn.Module],
    constructor: Constructor,
    asked: Kind | None,
) -> tuple[Assignment, LayerInterface, tuple[str, ...]]:
    """Return the assignment of parameters for the kind of layer that explains most of them."""
    best: tuple[Assignment, LayerInterface, tuple[str, ...]] | None = None
    said: Failure | AdapterError | None = None
    for config, dtype, is_explaining in _list_trials(target, build, constructor, asked):
        # Try layers with fewer parameters only if no layer with a fitting number works.
        if best is not None and not is_explaining:
            break
        try:
            module = _build(build, make_config()).to(dtype).eval()
            layout = False if "batch_first" in constructor.names else None
            called = find_interface(module, config, dtype, layout)
        except (Failure, AdapterError) as error:
            said = error if isinstance(error, FinalStateError) else said or error
            continue
        trial = Trial(module, config, dtype, called.interface, draw_numbers(config, 0))
        found = assign_parameters(trial)
        if best is None or found.score > best[0].score:
            best = (found, called.interface, called.doubts)
        # The parameters are explained, so further kinds and dtypes need not be tried.
        if not found.by_name and (found.is_whole or not found.unknown):
            break
    if best is None:
        kind_of_error = type(said) if isinstance(said, AdapterError) else AdapterError
        raise kind_of_error(f"{target.label}: no adapter was found: {said}") from said
    return best


def _list_trials(
    target: Target,
    build: Callable[[Config], nn.Module],
    constructor: Constructor,
    asked: Kind | None,
) -> Iterator[tuple[Config, torch.dtype, bool]]:
    """Yield the configurations whose layers may have these parameters, and the dtypes to try.

    Configurations with the same number of parameters come first; for them, the last value is True.
    """
    try:
        module = _build(build, make_config())
    except Failure as failure:
        raise AdapterError(f"{target.label}: {failure}") from failure
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    extents = list_extents(constructor.names)
    kinds = [asked] if asked else LAYERS[::-1]
    explaining, smaller = list_explaining(shapes, kinds, extents), list_smaller(shapes, kinds)
    if not explaining and not smaller:
        total = count_numbers(shapes)
        raise TargetError(f"{target.label} has {total} parameters, too few for a recurrent layer")
    for found in (explaining, smaller):
        for dtype, (kind, extent) in product(DTYPES, found):
            for nonlinearity in kind.nonlinearities or (DEFAULTS["nonlinearity"],):
                config = make_config(kind=kind.name, nonlinearity=nonlinearity, **extent.arguments)
                yield config, dtype, found is explaining


def _find_names(
    found: Assignment,
    build: Callable[[Config], nn.Module],
    constructor: Constructor,
    kind: Kind,
) -> Naming:
    base = {name: each.text for name, each in found.chosen.items()}
    # Use zero for parameters that are no part of the formula, so that they change nothing.
    base |= dict.fromkeys([*found.unknown, *found.unused], "0")

    def list_names(layers: int, directions: int) -> list[str]:
        # A failure here may be a fault of the layer, which `verify_declaration` reports.
        """Return the names of the parameters, or none if the layer cannot be built."""
        config = make_config(num_layers=layers, bidirectional=directions > 1, kind=kind.name)
        try:
            return [name for name, _ in _build(build, config).named_parameters()]
        except Failure:
            return []

    return find_templates(
        base,
        list_names,
        is_deep="num_layers" in constructor.names,
        is_two_way="bidirectional" in constructor.names,
    )


def _find_orders(
    found: Assignment,
    interface: LayerInterface,
    build: Callable[[Config], nn.Module],
    constructor: Constructor,
) -> LayerInterface:
    """Return the interface with the orders that a layer with two directions shows."""
    if "bidirectional" not in constructor.names:
        return interface
    least = found.trial.config.num_layers
    # Two layers show whether rows are ordered by layer or by direction. Without a returned state,
    # use a single layer: in a stack, a changed input reaches both halves of the output.
    layers = 2 if "num_layers" in constructor.names and "h" in interface.returns.names else least
    config = replace(found.trial.config, bidirectional=True, num_layers=layers)
    try:
        module = _build(build, config).to(found.trial.dtype).eval()
    except Failure:
        return interface
    return turn_states(Prober(module, config, found.trial.dtype), interface)


def _declare(
    found: Assignment,
    interface: LayerInterface,
    constructor: Constructor,
    naming: Naming,
) -> Declaration:
    kind, config = found.trial.kind, found.trial.config
    names = {name: own for name, own in constructor.names.items() if name in kind.arguments}
    fixed: dict[str, Any] = {
        name: getattr(config, name) for name in EXTENT if getattr(config, name) != DEFAULTS[name]
    }
    if interface.batch_first:
        fixed["batch_first"] = True
    if "nonlinearity" not in names and config.nonlinearity != DEFAULTS["nonlinearity"]:
        fixed["nonlinearity"] = config.nonlinearity
    if found.unbiased:
        fixed["bias"] = False
        names.pop("bias", None)
    return Declaration(
        kind.name,
        weights=naming.weights,
        arguments=names,
        fixed=fixed,
        extra=dict(constructor.extra),
        call=interface.call.text,
        returns=interface.returns.text,
        lacks=naming.lacks,
        needs_state=interface.needs_state,
    )
