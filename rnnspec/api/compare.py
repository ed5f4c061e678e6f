"""Compare two modules: `rnnspec.compare`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rnnspec.api.model_use import find_use
from rnnspec.comparing.comparison import Comparison
from rnnspec.comparing.evaluation import Pair, Precision
from rnnspec.comparing.explanation import ComparisonPart
from rnnspec.comparing.recipe import call_plainly, find_recipe
from rnnspec.comparing.report import CandidateFault, ComparisonReport, RemarkText
from rnnspec.comparing.sizes import Arguments
from rnnspec.isolation.limits import choose_memory
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.isolation.standing import TaskWatcher
from rnnspec.isolation.tasks import keep_result, make_task, run_task
from rnnspec.models.building.values import make_arguments
from rnnspec.models.inputs import Inputs
from rnnspec.options import (
    AUTOMATIC,
    CompareOptions,
    ModelOptions,
    check_choice,
    check_integer,
    show_options,
)
from rnnspec.report.environment import describe_environment
from rnnspec.subjects.devices import check_device, is_cuda
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.subjects.threads import use_one_thread

BATCH, STEPS = 8, 64
"""The original sizes of a model whose file has no `get_inputs`."""


@show_options(CompareOptions)
def compare(
    reference: Any,
    candidate: Any,
    *,
    isolate: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    memory: int | None = None,
    **options: Any,
) -> ComparisonReport:
    """Compare your module with a reference that is built and called in the same way.

    Pass each as a module, a class, a factory, or a string such as "model.py:Model". Use the
    functions `get_inputs` and `get_init_inputs` in the reference's file to define the arguments of
    a call and of the constructor. Without `get_inputs`, rnnspec infers how to call a class or
    factory, as in `rnnspec.check_model`. The options are the fields of `rnnspec.CompareOptions`.
    Nothing is printed. You get a report: `report.raise_for_violations()` fails your test, and
    `report.score()` returns the data for your grader. Raises CannotCheck (TargetError,
    SelectionError, DeviceError) if nothing can be compared, and TypeError for an unknown option.

    Use `isolate=True` to run both in a process of their own, where each call may take `timeout`
    seconds and the process may allocate `memory` MiB.
    """
    chosen, begun = CompareOptions.from_keywords("compare", options), time.monotonic()
    if not isolate:
        return run_comparison(reference, candidate, chosen, begun)
    label = reference if isinstance(reference, str) else resolve_target(reference).label
    limit = chosen.limit or math.inf
    job = make_task(
        label,
        run_in_worker,
        (reference, candidate, chosen, begun),
        device=chosen.device,
        timeout=min(timeout, limit),
        memory=choose_memory(1) if memory is None else memory,
        deadline=begun + limit,
    )
    report: ComparisonReport = run_task(job)[0]
    return report


def run_in_worker(
    watch: TaskWatcher | None,
    reference: Any,
    candidate: Any,
    options: CompareOptions,
    begun: float,
) -> ComparisonReport:
    """Compare two targets in a worker; see `compare`."""
    return run_comparison(reference, candidate, options, begun, watch)


@use_one_thread()
def run_comparison(
    reference: Any,
    candidate: Any,
    options: CompareOptions,
    begun: float,
    watch: TaskWatcher | None = None,
) -> ComparisonReport:
    """Compare two targets in this process; see `compare`.

    `begun` is the time of `time.monotonic` from which the limit counts. `watch` keeps the report on
    the findings so far, for the case that this process is ended at the limit.
    """
    check_integer("seed", options.seed)
    if options.limit is not None:
        check_integer("limit", options.limit, least=1)
    known = [each.value for each in Precision]
    check_choice("float32_precision", options.float32_precision, (AUTOMATIC, *known))
    check_device(options.device)
    recipe = find_recipe(reference, candidate, options.arguments, find_use_of_model)
    on_cuda = is_cuda(options.device)
    usual = Precision.TF32 if on_cuda else Precision.IEEE
    chosen = options.float32_precision
    precision = usual if chosen == AUTOMATIC else Precision(chosen)
    deadline = math.inf if options.limit is None else begun + options.limit
    pair = Pair(recipe, precision=precision, device=options.device, deadline=deadline)

    def keep(found: Comparison) -> None:
        keep_result(watch, replace(make_report(found, options), is_cut=True))

    comparison = Comparison(pair, options.seed, keep if options.limit else None)
    comparison.run()
    return make_report(comparison, options)


def find_use_of_model(
    target: Target, arguments: Mapping[str, Any]
) -> tuple[Arguments, Arguments, Callable[[nn.Module, Arguments], Any]]:
    """Find out how to build and call a model, as `check_model` does. Raises CannotCheck."""
    use = find_use(target, ModelOptions(arguments=arguments), None)
    interface = use.interface
    inputs = Inputs(interface, interface.batch or BATCH, interface.steps or STEPS)
    x = inputs.draw(0, torch.float32)
    given = Arguments((), make_arguments(use.arguments)), Arguments((x,))
    if interface.call.expression.startswith("model(x)"):
        return (*given, call_plainly)

    def call(module: nn.Module, called: Arguments) -> Any:
        (x,) = called.positional
        batch, steps = interface.sizes_of(x)
        return interface.call.run(interface.call.fill_scope(module, x, batch, steps))

    return (*given, call)


def make_report(comparison: Comparison, options: CompareOptions) -> ComparisonReport:
    """Return the report of a finished comparison."""
    pair = comparison.pair
    faults = tuple(
        CandidateFault(
            part=str(each.part),
            cause=str(each.cause),
            text=each.text,
            difference=each.difference,
            sizes=dict(each.case.sizes),
            condition=each.case.condition.describe(),
            program=each.program,
        )
        for each in comparison.findings
    )
    return ComparisonReport(
        reference=pair.recipe.reference.target.label,
        candidate=pair.recipe.candidate.target.label,
        weights=str(pair.move.how),
        faults=faults,
        about_reference=tuple(comparison.about_reference),
        remarks=tuple(RemarkText(str(each.cause), each.text) for each in comparison.remarks),
        not_compared=tuple(str(each) for each in ComparisonPart if each not in comparison.compared),
        is_cut=comparison.is_cut,
        sizes=tuple(dict(each.sizes) for each in comparison.rows),
        cases=comparison.cases,
        seed=options.seed,
        precision=str(pair.precision),
        environment=describe_environment(options.device),
        proved=len(pair.proved),
    )
