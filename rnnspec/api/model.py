"""The check of a model as a Python call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from rnnspec.api.isolated import run_isolated
from rnnspec.api.model_options import (
    check_features,
    check_padding,
    check_vocabulary,
    find_other_layout,
)
from rnnspec.api.validation import check_device, check_run_options
from rnnspec.cases.plan import PROFILES
from rnnspec.engine.campaign import Watcher
from rnnspec.errors import SelectionError, TargetError
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.models import signature
from rnnspec.models.call import CallError
from rnnspec.models.case import ModelCase
from rnnspec.models.catalogue import select_model_rules
from rnnspec.models.forms import Readout
from rnnspec.models.infer import CannotInfer, Interface, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.observation import wrap_as_module
from rnnspec.models.refusal import CannotCall, EndsProcess
from rnnspec.models.steps import take_step
from rnnspec.models.trial import infer_call, infer_repaired_call
from rnnspec.options import ModelOptions, check_choice, check_integer, show_options
from rnnspec.pipeline import check_suite
from rnnspec.report.model import ModelReport
from rnnspec.subjects.failures import Ended, Raised
from rnnspec.subjects.steps import announce_step
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.subjects.threads import use_one_thread
from rnnspec.suites.model import ModelSuite
from rnnspec.text import read_message

GIVE_ARGUMENTS = (
    ". Give the arguments of the target with --arg KEY=VALUE, or name a function that builds it"
)
SIZES = {"vocabulary": 1, "features": 1, "batch": 1, "steps": 1, "padding": None}
"""The options that are integers, with the least value of each; the model decides about padding."""
INFERRING = "finding out how to call it"
ModelTarget = str | Callable[..., Any]


@show_options(ModelOptions)
def check_model(
    target: ModelTarget,
    *,
    watch: Watcher | None = None,
    isolate: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    memory: int | None = None,
    **options: Any,
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

    `isolate`, `timeout` and `memory` are those of `rnnspec.check`: the model runs in this process
    unless `isolate` is true.
    """
    chosen = ModelOptions.from_keywords("check_model", options)
    if not isolate:
        return run_model_check(target, chosen, watch=watch)
    return run_isolated(
        target,
        chosen,
        prepare_model_suite,
        run_model_check,
        watch=watch,
        timeout=timeout,
        memory=memory,
    )


@use_one_thread()
def run_model_check(
    target: ModelTarget,
    options: ModelOptions,
    *,
    watch: Watcher | None = None,
    notes: tuple[str, ...] = (),
) -> ModelReport:
    """Check a model in this process; see `check_model`. `notes` become notes of the report."""
    suite, _ = prepare_model_suite(target, options)
    with fork_random_numbers(0):
        return check_suite(
            suite,
            strict=options.strict,
            fail_fast=options.fail_fast,
            watch=watch,
            notes=notes,
        )


def describe_inference(
    predictions: Sequence[tuple[Interface, Readout]], options: ModelOptions
) -> tuple[str, ...]:
    """Return where what the model takes comes from, and how often it makes each prediction."""
    notes = list(predictions[0][0].inferred)
    for interface, readout in () if options.readout else predictions:
        which = f" for {interface.call.expression}" if len(predictions) > 1 else ""
        often = "one prediction per sequence" if readout is Readout.LAST else "one at every step"
        notes.append(f"readout={readout}{which}: {often}")
    return tuple(notes)


def prepare_model_suite(
    target: ModelTarget, options: ModelOptions
) -> tuple[ModelSuite, tuple[str, ...]]:
    """Return the suite that `check_model` runs, and what was inferred. Raises CannotCheck."""
    readout = _parse_readout(options.readout)
    chosen = select_model_rules(options.rules)
    check_run_options(options)
    check_device(options.device)
    found = resolve_target(target)
    arguments, batch = choose_batch_argument(found, options)
    model = _build_model(found, arguments)
    check_choice("padding_side", options.padding_side, ("right", "left"))
    interface = replace(
        _infer_interface(found, model, options),
        batch=batch,
        steps=options.steps,
        is_padded_left=options.padding_side == "left",
    )
    with announce_step(INFERRING):
        interface, readout = _infer_call(found, model, interface, options, readout)
        check_padding(model, interface)
    suite = ModelSuite(
        target=found,
        interface=interface,
        readout=readout,
        rules=chosen,
        profile=PROFILES[options.profile],
        seed=options.seed,
        device=options.device,
        limit=options.cases,
        arguments=arguments,
        inferred=describe_inference(interface.list_predictions(readout), options),
    )
    return suite, ()


def choose_batch_argument(
    target: Target, options: ModelOptions
) -> tuple[Mapping[str, Any], int | None]:
    """Return the arguments for the target, and the only batch size that the model takes, if any.

    A model that is built for a batch size takes no other. If the target needs one and none is
    given, it gets three.
    """
    given = [name for name in options.arguments if signature.BATCH.fullmatch(name)]
    if given and options.batch is None:
        value = options.arguments[given[0]]
        return options.arguments, value if isinstance(value, int) else None
    needed = [
        each.name
        for each in _list_batch_arguments(target)
        if each.default is inspect.Parameter.empty and each.name not in given
    ]
    if not needed:
        return options.arguments, options.batch
    batch = options.batch or ModelCase().batch
    return {**options.arguments, needed[0]: batch}, batch


def _list_batch_arguments(target: Target) -> list[inspect.Parameter]:
    """Return the arguments of a target that are batch sizes, as their names say."""
    try:
        parameters = inspect.signature(target.factory).parameters.values()
    except (TypeError, ValueError):  # some callables have no signature
        return []
    return [each for each in parameters if signature.BATCH.fullmatch(each.name)]


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
    step = f"building it with ({given})"
    try:
        with fork_random_numbers(0), take_step(step):
            return wrap_as_module(target.factory(**arguments))
    except Ended as error:
        raise TargetError(f"{target.label}: {error}") from error
    except Exception as error:
        found = error.error if isinstance(error, Raised) else error
        text = f"{type(found).__name__}: {read_message(found)}"
        hint = GIVE_ARGUMENTS if isinstance(found, TypeError) else ""
        raise TargetError(f"{target.label}: {step} raised {text}{hint}") from error


def _infer_interface(target: Target, model: nn.Module, options: ModelOptions) -> Interface:
    for name, least in SIZES.items():
        if getattr(options, name) is not None:
            check_integer(name, getattr(options, name), least)
    if options.vocabulary is not None and options.features is not None:
        raise SelectionError("give either vocabulary=N or features=N.")
    try:
        interface = infer_interface(
            model,
            vocabulary=options.vocabulary,
            features=options.features,
            batch_first=options.batch_first is not False,
            padding=options.padding,
        )
        Inputs(interface)
    except CannotInfer as error:
        if options.vocabulary is None and options.features is None:
            raise TargetError(f"{target.label}: {error}") from error
        raise SelectionError(f"{error}.") from error
    return interface


def _infer_call(
    target: Target,
    model: nn.Module,
    interface: Interface,
    options: ModelOptions,
    readout: Readout | None,
) -> tuple[Interface, Readout]:
    """Return the interface with the way to call the model, and how often it predicts.

    Raises SelectionError for a wrong option, and TargetError if the model cannot be called.
    """
    given: dict[str, Any] = {
        "batch_first": options.batch_first,
        "readout": readout,
        "expression": options.call,
    }
    try:
        check_vocabulary(model, interface, options, given)
        return infer_call(model, interface, **given)
    except CallError as error:
        raise SelectionError(str(error), "call") from error
    except EndsProcess as error:
        raise TargetError(f"{target.label}: {error}") from error
    except CannotCall as error:
        found = infer_repaired_call(model, interface, **given)
        if found is None and interface.batch is None:
            found = _infer_call_of_default_batch(target, model, interface, given)
        if found is None:
            check_features(model, interface, options, given)
            other = find_other_layout(model, interface, options, given)
            text = f"{error.reason} {other}" if other else str(error)
            raise TargetError(f"{target.label}: {text}") from error
        return found


def _infer_call_of_default_batch(
    target: Target, model: nn.Module, interface: Interface, given: Mapping[str, Any]
) -> tuple[Interface, Readout] | None:
    """Return how a model is called with the default batch size of its constructor, or None."""
    for each in _list_batch_arguments(target):
        if isinstance(each.default, int) and each.default > 0:
            note = f"batch={each.default}, the default of {each.name}; the model takes no other"
            fixed = replace(interface, batch=each.default, inferred=(*interface.inferred, note))
            with suppress(CannotCall):
                return infer_call(model, fixed, **given)
    return None
