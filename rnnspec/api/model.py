"""The check of a model as a Python call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from rnnspec.api.layer import check_device, check_integer
from rnnspec.cases.plan import PROFILES
from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.errors import SelectionError, TargetError, suggest
from rnnspec.models.faults import repair_model
from rnnspec.models.infer import CannotInfer, Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import first_tensor, own_random_numbers
from rnnspec.models.observation import READOUTS, NotApplicable, as_module
from rnnspec.models.readout import ReadoutMap
from rnnspec.models.registry import select_model_rules
from rnnspec.report.build import report_of
from rnnspec.report.data import Report, list_scored_levels
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.suites.model import ModelSuite


@dataclass(frozen=True)
class ModelReport(Report):
    """The report on a model. `readout` is what its read-out sees; None where the model gives no prediction to measure."""

    readout: ReadoutMap | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, with the read-out map."""
        return {**super().as_dict(), "readout": self.readout.as_dict() if self.readout else None}


def check_model(
    target: str | Callable[..., Any],
    *,
    readout: str | None = None,
    vocabulary: int | None = None,
    features: int | None = None,
    batch_first: bool = True,
    padding: int | None = None,
    profile: str = "default",
    seed: int = 0,
    device: str = "cpu",
    rules: Sequence[str] | None = None,
    cases: int | None = None,
    strict: bool = False,
    first: bool = False,
    arguments: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
) -> ModelReport:
    """Judge a model built on a recurrent layer; prints nothing.

    `target` is a class, a factory or a string that names one; it is called with `arguments` and must give something callable from token
    ids below `vocabulary`, or from features of width `features`, to predictions of shape (batch, outputs) with `readout="last"` or
    (batch, sequence, outputs) with "every". What is not stated is inferred and told in the report's notes: vocabulary and padding id
    from the first embedding, else features from the first recurrent layer, and readout from the shape of a prediction. Raises CannotCheck
    (TargetError, SelectionError, DeviceError) where nothing can be judged.
    """
    suite, notes = prepare_model_suite(
        target,
        readout=readout,
        vocabulary=vocabulary,
        features=features,
        batch_first=batch_first,
        padding=padding,
        profile=profile,
        seed=seed,
        device=device,
        rules=rules,
        cases=cases,
        arguments=arguments,
    )
    begun = time.perf_counter()
    with own_random_numbers(0):
        progress = run_campaign(
            suite, until=list_scored_levels(strict) if first else (), watch=watch
        )
        report = report_of(
            suite, progress, strict=strict, duration_s=time.perf_counter() - begun, notes=notes
        )
        seen = readout_of(suite)
    known = {each.name: getattr(report, each.name) for each in fields(Report)}
    return ModelReport(**known, readout=seen)


def readout_of(suite: ModelSuite) -> ReadoutMap | None:
    """The read-out map of the model in the first case; None where it cannot be measured."""
    try:
        return suite.observe(suite.drawn[0]).map
    except (NotApplicable, RuntimeError, TypeError, ValueError):
        return None


def prepare_model_suite(
    target: str | Callable[..., Any],
    *,
    readout: str | None = None,
    vocabulary: int | None = None,
    features: int | None = None,
    batch_first: bool = True,
    padding: int | None = None,
    profile: str = "default",
    seed: int = 0,
    device: str = "cpu",
    rules: Sequence[str] | None = None,
    cases: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[ModelSuite, tuple[str, ...]]:
    """The check that `check_model` runs, and what was inferred for it; raises CannotCheck."""
    _known("profile", profile, PROFILES)
    if readout is not None:
        _known("readout", readout, READOUTS)
    if cases is not None:
        check_integer("cases", cases, 1)
    check_integer("seed", seed)
    chosen = select_model_rules(rules)
    check_device(device)
    found, given = resolve_target(target), dict(arguments or {})
    model = _built(found, given)
    try:
        interface = infer_interface(
            model,
            vocabulary=vocabulary,
            features=features,
            batch_first=batch_first,
            padding=padding,
        )
        Inputs(interface)
    except CannotInfer as error:
        raise TargetError(f"{found.label}: {error}") from error
    notes = interface.inferred
    if readout is None:
        readout, said = _readout(model, interface)
        notes = (*notes, said)
    return ModelSuite(
        found, interface, readout, chosen, PROFILES[profile], seed, device, cases, given
    ), notes


def _known(option: str, value: str, known: Any) -> None:
    if value not in known:
        raise SelectionError(
            f"--{option} {value!r}: one of {', '.join(known)} is needed.{suggest(str(value), known)}"
        )


def _built(target: Target, arguments: Mapping[str, Any]) -> nn.Module:
    """The model; raises TargetError where the target does not give one."""
    if isinstance(target.factory, nn.Module):
        raise TargetError(
            f"{target.label} is a model already; a class or a factory is needed, which gives a new one at every call."
        )
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    try:
        with own_random_numbers(0):
            return as_module(target.factory(**arguments))
    except Exception as error:
        told = " ".join(str(error).split())
        raise TargetError(
            f"{target.label}: building it with ({given}) raised {type(error).__name__}: {told}"
        ) from error


def _readout(model: nn.Module, interface: Interface) -> tuple[str, str]:
    """Whether the model predicts once a sequence or at every step, and what says so."""
    x = Inputs(interface).draw(0, torch.get_default_dtype())
    try:
        with torch.no_grad(), own_random_numbers(0):
            shape = tuple(first_tensor(repair_model(model.eval(), x)(x)).shape)
    except Exception:  # the rules tell what is wrong with it
        return "last", "readout=last, since a first call gave no prediction"
    readout = "every" if len(shape) == 3 else "last"
    return (
        readout,
        f"readout={readout}, from a prediction of shape {shape} for an input of shape {tuple(x.shape)}",
    )
