"""The check of a recurrent layer as a Python call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from rnnspec.adapters.adapter import Adapter
from rnnspec.api.building import build_subject, check_kind
from rnnspec.api.isolated import run_isolated
from rnnspec.api.validation import check_device, check_run_options
from rnnspec.api.wording import list_changed_wording
from rnnspec.cases.axes import AXIS, DropoutLevel, DType, Feature, Float32Precision, Projection
from rnnspec.cases.case import CONFIG_AXES
from rnnspec.cases.plan import PROFILES
from rnnspec.contract.kinds import KINDS, LAYER_KINDS
from rnnspec.declared.deviations import list_deviations
from rnnspec.declared.files import Project, find_project, read_target
from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.engine.capabilities import build_base_case, parse_features, probe_capabilities
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Progress
from rnnspec.engine.pace import Pace, describe_pool, measure_pace
from rnnspec.engine.suite import Suite
from rnnspec.errors import AdapterError
from rnnspec.inference.describe import describe_briefly, explain_rest
from rnnspec.inference.infer import infer_adapter
from rnnspec.inference.inferred import Inferred
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.options import (
    AUTOMATIC,
    CheckOptions,
    SizeSource,
    check_choice,
    list_scored_levels,
    show_options,
)
from rnnspec.pipeline import check_suite
from rnnspec.report.data import Report
from rnnspec.rulekit.guard import guard_rules
from rnnspec.rulekit.selection import select_in_force, select_parts
from rnnspec.rules.catalogue import select_layer_rules
from rnnspec.subjects.generators import keep_random_numbers
from rnnspec.subjects.kind import guess_kind
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.subjects.threads import use_one_thread
from rnnspec.suites.layer import LayerSuite

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
LayerTarget = str | Callable[..., Any]


@show_options(CheckOptions)
def check(
    target: LayerTarget,
    *,
    watch: Watcher | None = None,
    isolate: bool | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    memory: int | None = None,
    **options: Any,
) -> Report:
    """Check an implementation of a recurrent layer against the documented contract.

    `target` is a class, a factory, or a string 'package.module:attribute' or
    'path/to/file.py:attribute', or the name of a target that the project's file declares with its
    options. The options are those of `rnnspec.CheckOptions`; `watch` is called
    with the number of cases done and of all. Prints nothing. Raises CannotCheck (TargetError,
    SelectionError, DeviceError) if nothing can be checked, and TypeError for an unknown option.

    The target runs in this process unless `isolate` is true, or an adapter says so and `isolate` is
    left out. Then it runs in a process of its own, and whatever it does to that process is a
    finding: each call may take `timeout` seconds, and `memory` MiB may be allocated. A target that
    another process cannot import runs here even so, and a note in the report says that.
    """
    target, options = read_target(target, options)
    chosen = CheckOptions.from_keywords("check", options)
    if isolate is None:
        isolate = find_isolation(target)
    if not isolate:
        return run_check(target, chosen, watch=watch)
    return run_isolated(
        target, chosen, prepare_check, run_check, watch=watch, timeout=timeout, memory=memory
    )


def find_isolation(target: Any) -> bool | None:
    """Return whether an adapter says that it runs in a process of its own, if it says anything.

    Raises TargetError if there is no such target.
    """
    factory = resolve_target(target).factory if isinstance(target, str) else target
    return factory.isolate if isinstance(factory, Adapter) else None


@use_one_thread()
def run_check(
    target: LayerTarget | Target,
    options: CheckOptions,
    *,
    watch: Watcher | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """Check a layer in this process; see `check`. `notes` become notes of the report."""
    suite, found = prepare_check(target, options)
    with keep_random_numbers():
        return check_suite(
            suite,
            scored=list_scored_levels(options),
            fail_fast=options.fail_fast,
            watch=watch,
            notes=(*found, *notes),
        )


def prepare_check(
    target: LayerTarget | Target,
    options: CheckOptions,
    project: Project | None = None,
    replayed: Sequence[Mapping[str, Any]] = (),
) -> tuple[LayerSuite, tuple[str, ...]]:
    """Return the suite that `check` runs, and the first notes of the report. Raises CannotCheck.

    `project` is what the project has declared; it is looked for if it is left out. `replayed` are
    cases, as data, that are judged first.
    """
    suite = prepare_suite(target, options, project)
    return suite.replay(replayed), list_changed_wording(suite.kind)


def run_undisturbed(suite: Suite[CaseT, ObservedT]) -> Progress[CaseT]:
    """Judge all cases, and leave the caller's random numbers as they were."""
    with keep_random_numbers():
        return run_campaign(suite)


def prepare_suite(
    target: LayerTarget | Target, options: CheckOptions, project: Project | None = None
) -> LayerSuite:
    """Return the suite that `check` runs: the target is found and its features are tried.

    If the user leaves it open where sizes come from, a slow target gets those of a pool. `project`
    is what the project has declared; it is looked for if it is left out. Raises CannotCheck.
    """
    refuse_options(options)
    check_device(options.device)
    chosen = select_parts(select_layer_rules(options.rules), options.parts)
    excluded = parse_features(options.without) | _exclude_tf32(options)
    named = resolve_target(target)
    found, options, remarks = _adapt_target(named, options)
    declared = project or find_project(options.known, found.label)
    if isinstance(found.factory, Adapter):
        options = replace(options, arguments={**found.factory.fixed, **options.arguments})
    pinned = _pin_axes(options)
    with keep_random_numbers():
        subject = build_subject(found, str(options.device), options.kind, options.arguments)
        subject = replace(subject, capabilities=probe_capabilities(subject, excluded))
        pace = _measure_pace(subject, options.sizes)
    deviations, notes = list_deviations(declared.file, declared.target, select_layer_rules(()))
    rules = guard_rules(select_in_force(chosen, torch.__version__, subject.kind), deviations)
    remarks = (*remarks, *notes, *([subject.remark] if subject.remark else []))
    profile = PROFILES[options.profile]
    suite = LayerSuite(
        subject,
        rules,
        profile,
        options.seed,
        pinned,
        options.cases,
        remarks=remarks,
        replayed=tuple(each.case for each in deviations if each.case is not None),
        is_declared=isinstance(named.factory, Adapter),
    )
    if options.sizes != AUTOMATIC:
        return replace(suite, sizes=SizeSource(options.sizes))
    if pace is None or not pace.is_slow:
        return suite
    return replace(suite, sizes=SizeSource.POOL, remarks=(*remarks, describe_pool(suite.size)))


def refuse_options(options: CheckOptions) -> None:
    """Raise SelectionError if an option has a value that does not exist; no device is tried."""
    check_kind(options.kind)
    check_choice("sizes", options.sizes, (AUTOMATIC, *(each.value for each in SizeSource)))
    select_parts(select_layer_rules(options.rules), options.parts)
    check_run_options(options)
    parse_features(options.without)
    _pin_axes(options)


def _adapt_target(
    target: Target, options: CheckOptions
) -> tuple[Target, CheckOptions, tuple[str, ...]]:
    """Return the target with an adapter, if the user asks for one, and what a report says of it.

    The adapter holds the arguments that are not documented; the options keep the others.
    """
    if not options.adapt or isinstance(target.factory, Adapter):
        return target, options, ()
    if KINDS[guess_kind(target.factory)].is_cell:
        return target, options, ("a cell has the documented names and needs no adapter",)
    documented = {name for kind in KINDS.values() for name in kind.arguments}
    given = options.arguments.items()
    extra = {name: value for name, value in given if name not in documented}
    with keep_random_numbers():
        found = infer_adapter(target, LAYER_KINDS.get(options.kind), extra)
    if found.is_documented:
        return target, options, ("the layer has the documented names and needs no adapter",)
    if found.unknown and not found.by_name:
        raise AdapterError(f"{target.label}: {explain_rest(found)}. {_advise(found)}.")
    rest = {name: value for name, value in given if name in documented}
    return found.adapt(target), replace(options, arguments=rest), (describe_briefly(found),)


def _advise(found: Inferred) -> str:
    """Return what to do about a layer with parameters that are no part of the formula."""
    if not found.matched:
        return "Its numbers have another form: declare an adapter with build=, see docs/adapters.md"
    return (
        "To check it with zeros there, write down that declaration: "
        f"`rnnspec adapt {found.label} --write adapters.py`"
    )


def _measure_pace(subject: TorchSubject, sizes: str) -> Pace | None:
    """Return how much work a subject is, if that decides about the sizes and can be observed."""
    return measure_pace(subject, build_base_case(subject)) if sizes == AUTOMATIC else None


def _pin_axes(options: CheckOptions) -> tuple[tuple[str, Any], ...]:
    """Return the axes that options and constructor arguments settle; TF32 settles the dtype too."""
    fixed = options.arguments
    found: dict[str, Any] = {name: fixed[name] for name in CONFIG_AXES if name in fixed}
    if "dropout" in fixed:
        found["dropout"] = DropoutLevel.of_probability(fixed["dropout"])
    if "proj_size" in fixed:
        found["proj_size"] = Projection.of_size(fixed["proj_size"])
    for name in ("dtype", "float32_precision"):
        text = getattr(options, name)
        if text is not None:
            known = {str(value): value for value in AXIS[name].values}
            check_choice(name, text, known)
            found[name] = known[text]
    if found.get("float32_precision") is Float32Precision.TF32:
        found["dtype"] = DType.FLOAT32
    return tuple(found.items())


def _exclude_tf32(options: CheckOptions) -> dict[Feature, str]:
    """Exclude TF32 on devices that have none, unless the user asks for it."""
    asked = options.float32_precision == Float32Precision.TF32.text
    if torch.device(options.device).type == "cuda" or asked:
        return {}
    how = "--float32-precision tf32 checks against its rounding all the same"
    return {Feature.TF32: f"{options.device} has no TF32; {how}"}
