"""Check a recurrent layer: `rnnspec.check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from rnnspec.adapters.adapter import Adapter
from rnnspec.api.building import build_subject, check_kind
from rnnspec.api.isolated import run_isolated
from rnnspec.api.validation import check_run_options
from rnnspec.api.wording import list_changed_wording
from rnnspec.cases.axes import AXIS, DropoutLevel, DType, Feature, Float32Precision, Projection
from rnnspec.cases.case import CONFIG_AXES, Case
from rnnspec.cases.plan import PROFILES
from rnnspec.contract.kinds import KINDS, LAYER_KINDS
from rnnspec.declared.deviations import list_deviations, list_refusals
from rnnspec.declared.files import Project, find_project, read_target
from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.engine.capabilities import (
    build_base_case,
    list_working,
    parse_features,
    probe_capabilities,
)
from rnnspec.engine.outcome import CaseT, ObservedT, Progress
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
from rnnspec.rulekit.deviation import DeclaredRefusal
from rnnspec.rulekit.guard import guard_rules
from rnnspec.rulekit.selection import select_in_force, select_parts
from rnnspec.rules.catalogue import select_layer_rules
from rnnspec.subjects.devices import check_device, find_limits, keep_random_numbers
from rnnspec.subjects.kind import guess_kind
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.subjects.threads import use_one_thread
from rnnspec.suites.layer import LayerSuite

FEWEST = "only the fewest cases that reach every rule were checked"
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
    """Check your implementation of a recurrent layer against the documented contract.

    `target` is a class, a factory, a string such as 'package.module:attribute' or
    'path/to/file.py:attribute', or the name of a target that your project's file declares together
    with its options. The options are the fields of `rnnspec.CheckOptions`. If you pass `watch`, it
    is called with the number of cases done and the number of all cases. Nothing is printed. You get
    a report: use `report.ok` for the verdict, `report.faults` for the causes, and
    `report.raise_for_violations()` to fail your test. Raises CannotCheck (TargetError,
    SelectionError, DeviceError) if nothing can be checked, and TypeError for an unknown option.

    Your target runs in this process by default. Use `isolate=True`, here or in your adapter, to run
    it in its own process; a crash or a hang is then a finding in the report. Each call may take
    `timeout` seconds, and the process may allocate `memory` MiB. If another process cannot import
    your target, it runs in this process all the same, and the report has a note about it.
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
    """Return the adapter's choice to run in its own process or not; None if it leaves this open.

    Raises TargetError if the target does not exist.
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
    """Check a layer in this process, see `check`. Your `notes` become notes of the report."""
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

    `project` holds the project's declarations; if it is None, they are searched for. `replayed` are
    cases to check first, as data.
    """
    suite = prepare_suite(target, options, project)
    return suite.replay(replayed), list_changed_wording(suite.kind)


def run_undisturbed(suite: Suite[CaseT, ObservedT]) -> Progress[CaseT]:
    """Check all cases without changing the caller's random number generators."""
    with keep_random_numbers():
        return run_campaign(suite)


def prepare_suite(
    target: LayerTarget | Target, options: CheckOptions, project: Project | None = None
) -> LayerSuite:
    """Return the suite that `check` runs, after resolving the target and probing its features.

    If the user leaves `sizes` at auto, a slow target gets sizes from the pool. `project` holds the
    project's declarations; if it is None, they are searched for. Raises CannotCheck.
    """
    refuse_options(options)
    check_device(options.device)
    chosen = select_parts(select_layer_rules(options.rules), options.parts)
    named = resolve_target(target)
    found, options, remarks = _adapt_target(named, options)
    declared = project or find_project(options.known, found.label)
    if isinstance(found.factory, Adapter):
        options = replace(options, arguments={**found.factory.fixed, **options.arguments})
    pinned = _pin_axes(options)
    refusals = list_refusals(declared.file, declared.target)
    with keep_random_numbers():
        subject, untrue = _probe(found, options, refusals)
        pace = _measure_pace(subject, options.sizes)
    deviations, notes = list_deviations(declared.file, declared.target, select_layer_rules(()))
    rules = select_in_force(chosen, torch.__version__, subject.kind)
    rules = guard_rules(rules, deviations, refusals)
    chosen_cases = (FEWEST,) if options.fewest else ()
    remarks = (*remarks, *notes, *([subject.remark] if subject.remark else []), *chosen_cases)
    profile = PROFILES[options.profile]
    suite = LayerSuite(
        subject,
        rules,
        profile,
        options.seed,
        pinned,
        options.cases,
        remarks=remarks,
        replayed=tuple(
            each.case
            for each in deviations
            if each.case is not None and each.case.config.kind == subject.kind
        ),
        is_declared=isinstance(named.factory, Adapter),
        is_reduced=options.fewest,
        untrue=untrue,
    )
    if options.sizes != AUTOMATIC:
        return replace(suite, sizes=SizeSource(options.sizes))
    if pace is None or not pace.is_slow:
        return suite
    return replace(suite, sizes=SizeSource.POOL, remarks=(*remarks, describe_pool(suite.size)))


def _probe(
    target: Target, options: CheckOptions, refusals: Sequence[DeclaredRefusal[Case]]
) -> tuple[TorchSubject, tuple[str, ...]]:
    """Return the subject with the features that it offers, and remarks on untrue refusals."""
    subject = build_subject(target, str(options.device), options.kind, options.arguments)
    lacking = {**parse_features(options.without), **_find_limits(options)}
    untrue = _list_untrue(subject, refusals, lacking)
    refused = {feature: each.label for each in refusals for feature in each.features}
    found = probe_capabilities(subject, {**lacking, **refused})
    return replace(subject, capabilities=found), untrue


def _list_untrue(
    subject: TorchSubject, refusals: Sequence[DeclaredRefusal[Case]], lacking: Mapping[Feature, str]
) -> tuple[str, ...]:
    """Return remarks on features that are declared as refused, but that work.

    `lacking` are the features that the device lacks, or that the user excludes.
    """
    places = {feature: each.place for each in refusals for feature in each.features}
    asked = [feature for feature in places if feature not in lacking]
    return tuple(
        f"{places[feature]}: {feature} is declared as refused, but a plain use of it works"
        for feature in list_working(subject, asked, lacking)
    )


def refuse_options(options: CheckOptions) -> None:
    """Raise SelectionError if the value of an option does not exist. The device is not tried."""
    check_kind(options.kind)
    check_choice("sizes", options.sizes, (AUTOMATIC, *(each.value for each in SizeSource)))
    select_parts(select_layer_rules(options.rules), options.parts)
    check_run_options(options)
    parse_features(options.without)
    _pin_axes(options)


def _adapt_target(
    target: Target, options: CheckOptions
) -> tuple[Target, CheckOptions, tuple[str, ...]]:
    """Wrap the target in an adapter if the user requests it, and return remarks for the report.

    The adapter keeps the arguments that are not documented; the options keep the others.
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
    """Suggest a way to check a layer that has parameters outside the formula."""
    if not found.matched:
        return "Its numbers have another form: declare an adapter with build=, see docs/adapters.md"
    return (
        "To check it with zeros there, write down that declaration: "
        f"`rnnspec adapt {found.label} --write adapters.py`"
    )


def _measure_pace(subject: TorchSubject, sizes: str) -> Pace | None:
    """Return the workload of a subject, if the sizes depend on it and it can be measured."""
    return measure_pace(subject, build_base_case(subject)) if sizes == AUTOMATIC else None


def _pin_axes(options: CheckOptions) -> tuple[tuple[str, Any], ...]:
    """Return the axes fixed by options and constructor arguments; TF32 also fixes the dtype."""
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


def _find_limits(options: CheckOptions) -> dict[Feature, str]:
    """Return what the device cannot do; products may be checked against TF32 on any."""
    limits = find_limits(options.device)
    if Feature.TF32 in limits:
        if options.float32_precision == Float32Precision.TF32.text:
            del limits[Feature.TF32]
        else:
            how = "--float32-precision tf32 checks against its rounding all the same"
            limits[Feature.TF32] += f"; {how}"
    return limits
