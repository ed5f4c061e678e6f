"""The check of a model as a Python call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from rnnspec.api.validation import check_run_options
from rnnspec.cases.plan import PROFILES
from rnnspec.engine.campaign import Watcher
from rnnspec.errors import TargetError
from rnnspec.models.catalogue import select_model_rules
from rnnspec.models.faults import repair_model
from rnnspec.models.infer import CannotInfer, Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import find_first_tensor, fork_random_numbers
from rnnspec.models.observation import NotApplicable, Readout, wrap_as_module
from rnnspec.models.readout import ReadoutMap
from rnnspec.options import ModelOptions, check_choice, show_options
from rnnspec.pipeline import check_suite
from rnnspec.report.data import Report
from rnnspec.subjects.failures import Ended
from rnnspec.subjects.steps import announce_step
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
    with fork_random_numbers(0):
        report = check_suite(
            suite, strict=options.strict, fail_fast=options.fail_fast, watch=watch, notes=notes
        )
        readout = measure_first_readout(suite)
    known = {each.name: getattr(report, each.name) for each in fields(Report)}
    return ModelReport(**known, readout=readout)


def measure_first_readout(suite: ModelSuite) -> ReadoutMap | None:
    """Return the read-out map of the model in the first case, or None if it cannot be measured."""
    try:
        return suite.observe(suite.all_cases[0]).readout_map
    except (NotApplicable, RuntimeError, TypeError, ValueError):
        return None


def prepare_model_suite(
    target: ModelTarget, options: ModelOptions
) -> tuple[ModelSuite, tuple[str, ...]]:
    """Return the suite that `check_model` runs, and what was inferred. Raises CannotCheck."""
    readout = _parse_readout(options.readout)
    chosen = select_model_rules(options.rules)
    check_run_options(options)
    found = resolve_target(target)
    model = _build_model(found, options.arguments)
    interface = _infer_interface(found, model, options)
    notes = interface.inferred
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


def _parse_readout(text: str | None) -> Readout | None:
    """Return the read-out that an option names. Raises SelectionError if there is none."""
    if text is None:
        return None
    check_choice("readout", text, [each.value for each in Readout])
    return Readout(text)


def _build_model(target: Target, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the model. Raises TargetError if the target does not give one."""
    if isinstance(target.factory, nn.Module):
        raise TargetError(
            f"{target.label} is a model already; name a class or a factory that builds a new one."
        )
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    try:
        with fork_random_numbers(0), announce_step("building it"):
            return wrap_as_module(target.factory(**arguments))
    except Ended as error:
        raise TargetError(f"{target.label}: {error}") from error
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


def _infer_readout(model: nn.Module, interface: Interface) -> tuple[Readout, str]:
    """Return whether the model predicts once per sequence or at every step, and why."""
    x = Inputs(interface).draw(0, torch.get_default_dtype())
    try:
        with torch.no_grad(), fork_random_numbers(0), announce_step("a first call"):
            shape = tuple(find_first_tensor(repair_model(model.eval(), x)(x)).shape)
    except Exception:  # the rules say what is wrong with it
        return Readout.LAST, "readout=last, because a first call gave no prediction"
    readout = Readout.EVERY if len(shape) == 3 else Readout.LAST
    taken = f"a prediction of shape {shape} for an input of shape {tuple(x.shape)}"
    return readout, f"readout={readout}, from {taken}"
