"""The check of a model as a Python call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from rnnspec.api.validation import check_choice, check_run_options
from rnnspec.cases.plan import PROFILES
from rnnspec.engine.campaign import Watcher
from rnnspec.errors import TargetError
from rnnspec.models.catalogue import select_model_rules
from rnnspec.models.faults import repair_model
from rnnspec.models.infer import CannotInfer, Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import first_tensor, own_random_numbers
from rnnspec.models.observation import READOUTS, NotApplicable, as_module
from rnnspec.models.readout import ReadoutMap
from rnnspec.options import ModelOptions, show_options
from rnnspec.pipeline import check_suite
from rnnspec.report.data import Report
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.suites.model import ModelSuite

ModelTarget = str | Callable[..., Any]


@dataclass(frozen=True)
class ModelReport(Report):
    """The report on a model.

    `readout` is what its read-out sees, or None if the model gives no prediction to measure.
    """

    readout: ReadoutMap | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, with the read-out map."""
        return {**super().as_dict(), "readout": self.readout.as_dict() if self.readout else None}


@show_options(ModelOptions)
def check_model(
    target: ModelTarget, *, watch: Watcher | None = None, **options: Any
) -> ModelReport:
    """Check a model that contains a recurrent layer.

    `target` is a class, a factory or a string that names one; it is called with the option
    `arguments` and must return a callable. That takes token ids below `vocabulary`, or `features`
    features per time step, and returns predictions of shape (batch, outputs) with readout="last" or
    (batch, sequence, outputs) with "every". What is not given is inferred, and the report's notes
    say so: vocabulary and padding from the first embedding, else features from the first recurrent
    layer, and readout from the shape of a prediction. The options are those of
    `rnnspec.ModelOptions`; `watch` is called with the number of cases done and of all. Prints
    nothing. Raises CannotCheck (TargetError, SelectionError, DeviceError) if nothing can be
    checked, and TypeError for an unknown option.
    """
    return run_model_check(target, ModelOptions.from_keywords("check_model", options), watch=watch)


def run_model_check(
    target: ModelTarget, options: ModelOptions, *, watch: Watcher | None = None
) -> ModelReport:
    """Check a model; see `check_model`."""
    suite, notes = prepare_model_suite(target, options)
    with own_random_numbers(0):
        report = check_suite(
            suite, strict=options.strict, fail_fast=options.fail_fast, watch=watch, notes=notes
        )
        readout = measure_first_readout(suite)
    known = {each.name: getattr(report, each.name) for each in fields(Report)}
    return ModelReport(**known, readout=readout)


def measure_first_readout(suite: ModelSuite) -> ReadoutMap | None:
    """Return the read-out map of the model in the first case, or None if it cannot be measured."""
    try:
        return suite.observe(suite.drawn[0]).map
    except (NotApplicable, RuntimeError, TypeError, ValueError):
        return None


def prepare_model_suite(
    target: ModelTarget, options: ModelOptions
) -> tuple[ModelSuite, tuple[str, ...]]:
    """Return the suite that `check_model` runs, and what was inferred for it. Raises CannotCheck."""
    if options.readout is not None:
        check_choice("readout", options.readout, READOUTS)
    chosen = select_model_rules(options.rules)
    check_run_options(options)
    found = resolve_target(target)
    model = _build_model(found, options.arguments)
    interface = _infer_interface(found, model, options)
    readout, notes = options.readout, interface.inferred
    if readout is None:
        readout, note = _infer_readout(model, interface)
        notes = (*notes, note)
    suite = ModelSuite(
        target=found,
        interface=interface,
        readout=readout,
        rules=chosen,
        profile=PROFILES[options.profile],
        seed=options.seed,
        device=options.device,
        limit=options.cases,
        arguments=options.arguments,
    )
    return suite, notes


def _build_model(target: Target, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the model. Raises TargetError if the target does not give one."""
    if isinstance(target.factory, nn.Module):
        raise TargetError(
            f"{target.label} is a model already; name a class or a factory that builds a new one."
        )
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    try:
        with own_random_numbers(0):
            return as_module(target.factory(**arguments))
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise TargetError(f"{target.label}: building it with ({given}) raised {text}") from error


def _infer_interface(target: Target, model: nn.Module, options: ModelOptions) -> Interface:
    try:
        interface = infer_interface(
            model,
            vocabulary=options.vocabulary,
            features=options.features,
            batch_first=options.batch_first,
            padding=options.padding,
        )
        Inputs(interface)
    except CannotInfer as error:
        raise TargetError(f"{target.label}: {error}") from error
    return interface


def _infer_readout(model: nn.Module, interface: Interface) -> tuple[str, str]:
    """Return whether the model predicts once per sequence or at every step, and why."""
    x = Inputs(interface).draw(0, torch.get_default_dtype())
    try:
        with torch.no_grad(), own_random_numbers(0):
            shape = tuple(first_tensor(repair_model(model.eval(), x)(x)).shape)
    except Exception:  # the rules say what is wrong with it
        return "last", "readout=last, since a first call gave no prediction"
    readout = "every" if len(shape) == 3 else "last"
    taken = f"a prediction of shape {shape} for an input of shape {tuple(x.shape)}"
    return readout, f"readout={readout}, from {taken}"
