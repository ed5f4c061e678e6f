"""Check a model that contains a recurrent layer: `rnnspec.check_model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rnnspec.api.isolated import run_isolated
from rnnspec.api.model_use import find_use
from rnnspec.api.validation import check_run_options
from rnnspec.cases.plan import PROFILES
from rnnspec.engine.campaign import Watcher
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.models.catalogue import select_model_rules
from rnnspec.models.forms import Readout
from rnnspec.models.infer import Interface
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.options import ModelOptions, check_choice, list_scored_levels, show_options
from rnnspec.pipeline import check_suite
from rnnspec.report.model import ModelReport
from rnnspec.subjects.devices import check_device
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.subjects.threads import use_one_thread
from rnnspec.suites.model import ModelSuite

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
    """Check your model that contains a recurrent layer.

    `target` is a class, a factory or a string that names one. It is called with your option
    `arguments`, and must return a callable. The callable takes token ids below `vocabulary`, or
    `features` features per time step, and returns predictions of shape (batch, outputs) with
    readout="last" or (batch, sequence, outputs) with readout="every". Options that you leave out
    are inferred, and the report's notes list them: vocabulary and padding from the first embedding,
    otherwise features from the first recurrent layer, and the readout from the shape of a
    prediction. The options are the fields of `rnnspec.ModelOptions`. If you pass `watch`, it is
    called with the number of cases done and the number of all cases. Nothing is printed. Raises
    CannotCheck (TargetError, SelectionError, DeviceError) if nothing can be checked, and TypeError
    for an unknown option.

    Use `isolate`, `timeout` and `memory` as in `rnnspec.check`: your model runs in this process
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
    target: ModelTarget | Target,
    options: ModelOptions,
    *,
    watch: Watcher | None = None,
    notes: tuple[str, ...] = (),
) -> ModelReport:
    """Check a model in this process, see `check_model`. Your `notes` become notes of the report."""
    suite, _ = prepare_model_suite(target, options)
    with fork_random_numbers(0):
        return check_suite(
            suite,
            scored=list_scored_levels(options),
            fail_fast=options.fail_fast,
            watch=watch,
            notes=notes,
        )


def describe_inference(
    predictions: Sequence[tuple[Interface, Readout]], options: ModelOptions
) -> tuple[str, ...]:
    """Return notes on the inferred input of a model, and on how often it makes each prediction."""
    notes = list(predictions[0][0].inferred)
    for interface, readout in () if options.readout else predictions:
        which = f" for {interface.call.expression}" if len(predictions) > 1 else ""
        often = "one prediction per sequence" if readout is Readout.LAST else "one at every step"
        notes.append(f"readout={readout}{which}: {often}")
    return tuple(notes)


def prepare_model_suite(
    target: ModelTarget | Target, options: ModelOptions
) -> tuple[ModelSuite, tuple[str, ...]]:
    """Return the suite that `check_model` runs, and an empty tuple of notes. Raises CannotCheck."""
    readout = _parse_readout(options.readout)
    chosen = select_model_rules(options.rules)
    check_run_options(options)
    check_device(options.device)
    found = resolve_target(target)
    check_choice("padding_side", options.padding_side, ("right", "left"))
    used = find_use(found, options, readout)
    interface, readout = used.interface, used.readout
    suite = ModelSuite(
        target=used.target,
        interface=interface,
        readout=readout,
        rules=chosen,
        profile=PROFILES[options.profile],
        seed=options.seed,
        device=options.device,
        limit=options.cases,
        arguments=used.arguments,
        inferred=(*used.notes, *describe_inference(interface.list_predictions(readout), options)),
    )
    return suite, ()


def _parse_readout(text: str | None) -> Readout | None:
    """Parse the readout option. Raises SelectionError for an unknown value."""
    if text is None:
        return None
    check_choice("readout", text, [each.value for each in Readout])
    return Readout(text)
