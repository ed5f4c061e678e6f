"""Find out how to build and call the model of a target."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from rnnspec.errors import CannotCheck, SelectionError, TargetError
from rnnspec.models import signature
from rnnspec.models.attempt import call_once
from rnnspec.models.building.errors import find_own_lines, needs_cuda
from rnnspec.models.building.meanings import ArgumentMeaning, find_meaning
from rnnspec.models.building.search import ArgumentSearch
from rnnspec.models.building.values import WrittenArgument
from rnnspec.models.call import CallError
from rnnspec.models.case import ModelCase
from rnnspec.models.copying import convert_to_float64, copy_model, wrap_as_module
from rnnspec.models.forms import Readout
from rnnspec.models.infer import CannotInfer, Interface, find_embedding, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.interfaces import infer_any_interface, list_interfaces, list_named_steps
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.refusal import CannotCall, EndsProcess
from rnnspec.models.steps import take_step
from rnnspec.models.trial import FoundCall, find_call, infer_call, infer_repaired_call
from rnnspec.options import ModelOptions, check_integer
from rnnspec.subjects.failures import Ended, Raised
from rnnspec.subjects.steps import announce_step
from rnnspec.subjects.target import Target
from rnnspec.text import read_message


def check_vocabulary(
    model: nn.Module, interface: Interface, options: ModelOptions, given: Mapping[str, Any]
) -> None:
    """Raise SelectionError if the model's embedding does not accept every id below `vocabulary`."""
    size, embedding = options.vocabulary, find_embedding(model)
    if size is None or embedding is None or size <= embedding.num_embeddings:
        return
    least = replace(interface, vocabulary=embedding.num_embeddings)
    with suppress(CannotCall):
        found, _ = infer_call(model, least, **given)
        x = Inputs(found, found.batch or 3, found.steps or 5).draw(0)
        try:
            call_once(model, found, x.fill_(size - 1))
        except Exception as error:
            raise SelectionError(
                f"{size}: the model's own {embedding} takes token ids below "
                f"{embedding.num_embeddings} only.",
                "vocabulary",
            ) from error


def check_padding(model: nn.Module, interface: Interface) -> None:
    """Raise SelectionError if the model does not accept the padding id as a token id."""
    embedding, padding = find_embedding(model), interface.padding
    size = max(interface.vocabulary or 0, embedding.num_embeddings if embedding else 0)
    if not interface.takes_tokens or padding is None or padding in range(size):
        return
    inputs = Inputs(interface, interface.batch or 3, interface.steps or 5)
    x = inputs.draw(0)
    x[inputs.index_of(0, inputs.steps - 1)] = padding
    try:
        call_once(model, interface, x)
    except Exception as error:
        raise SelectionError(f"{padding}: token ids are 0 to {size - 1}.", "padding") from error


def find_other_layout(
    model: nn.Module, interface: Interface, options: ModelOptions, given: Mapping[str, Any]
) -> str:
    """Suggest the other layout if the model can be called with it, or return an empty string.

    `given` are the arguments of `infer_call`.
    """
    if options.batch_first is not None:
        with suppress(CannotCall):
            infer_call(model, interface, **{**given, "batch_first": not options.batch_first})
            flag = "--sequence-first" if options.batch_first else "--batch-first"
            return f"With {flag} it can be called."
    return ""


def check_features(
    model: nn.Module, interface: Interface, options: ModelOptions, given: Mapping[str, Any]
) -> None:
    """Raise SelectionError if a model accepts token ids, but not the chosen number of features."""
    if options.features is None or find_embedding(model) is None:
        return
    with suppress(CannotCall, CannotInfer):
        tokens = infer_interface(model, padding=options.padding)
        tokens = replace(tokens, batch=interface.batch, steps=interface.steps)
        infer_call(model, tokens, **given)
        raise SelectionError(
            f"{options.features}: the model has an nn.Embedding and can be called with token ids; "
            "leave out --features.",
            "features",
        )


GIVE_ARGUMENTS = (
    ". Give the arguments of the target with --arg KEY=VALUE, or name a function that builds it"
)
NEEDS_FLOAT64 = (
    "In float64 it can be called: name a function that returns the model as model.double()."
)
NEEDS_CUDA = (
    ". The model puts itself on CUDA, which torch cannot use here. Check it on a machine with a "
    "GPU, or let it choose: .to('cuda' if torch.cuda.is_available() else 'cpu')"
)
SIZES = {"vocabulary": 1, "features": 1, "batch": 1, "steps": 1, "padding": None}
"""Integer options with their lower bounds; the model determines the bound of padding."""
MOST_REFUSED = 2500
"""Number of failed calls after which no other arguments are tried.

This many calls take seconds for small models, and models that can be called need fewer than 1000.
"""
WIDEST = 200
"""Longer expressions are cut off in notes; programs contain them in full."""
INFERRING = "finding out how to call it"


@dataclass(frozen=True)
class ModelUse:
    """How to build and call a model: the target, all of its arguments, and its interface."""

    target: Target
    arguments: Mapping[str, Any]
    interface: Interface
    readout: Readout
    notes: tuple[str, ...] = ()


def find_use(target: Target, options: ModelOptions, readout: Readout | None) -> ModelUse:
    """Find out how to build and call a model, and choose arguments if none are given.

    Raises SelectionError for a wrong option, and TargetError if the model cannot be built or called
    with any of the arguments tried.
    """
    _check_sizes(options)
    given, batch = choose_batch_argument(target, options)

    def build(chosen: Mapping[str, Any]) -> nn.Module:
        return _construct(target, {**given, **chosen})

    search = ArgumentSearch(target.factory, given, build)
    try:
        used = _find_first(target, options, readout, given, batch, search)
    except Ended as error:
        raise _refuse_building(target, given, {}, error) from error
    if used is not None:
        return used
    assert search.error is not None
    raise _refuse_building(target, given, search.values, search.error) from search.error


def _find_first(
    target: Target,
    options: ModelOptions,
    readout: Readout | None,
    given: Mapping[str, Any],
    batch: int | None,
    search: ArgumentSearch,
) -> ModelUse | None:
    """Return the use of the first model of a search that can be called.

    Returns None if no model can be built, and raises CannotCheck if no model can be called.
    """
    refused: list[NoCall] = []
    for chosen, model in search.list_models():
        arguments = {**given, **chosen}
        try:
            interface, found = _find_call(target, model, arguments, options, readout, batch)
        except NoCall as error:
            refused.append(error)
            search.learn(error.causes)
            if sum(len(each.causes) for each in refused) > MOST_REFUSED:
                break
            continue
        return ModelUse(target, arguments, interface, found, _describe_choice(chosen, refused))
    if refused:
        raise refused[0].explain()
    return None


class NoCall(Exception):
    """A built model cannot be called: the refusal, the errors of its calls, and the reason."""

    def __init__(
        self,
        refusal: CannotCheck,
        causes: Sequence[Exception] = (),
        reason: str = "",
        works_in_float64: Callable[[], bool] = bool,
    ) -> None:
        super().__init__(refusal, causes, reason)
        self.refusal = refusal
        self.causes = list(causes)
        self.reason = reason or str(refusal)
        self._works_in_float64 = works_in_float64

    def explain(self) -> CannotCheck:
        """Return the refusal, with a suggestion if the model can be called only in float64."""
        if self._works_in_float64():
            return TargetError(f"{self.refusal} {NEEDS_FLOAT64}")
        return self.refusal


def _describe_choice(
    chosen: Mapping[str, WrittenArgument], refused: list[NoCall]
) -> tuple[str, ...]:
    """Return notes on the chosen arguments, and the reason if they are not the first ones tried."""
    if not chosen:
        return ()
    notes = (f"{_write_chosen(chosen)}: chosen by rnnspec; set others with --arg",)
    return (*notes, f"with the values tried first, {refused[0].reason}") if refused else notes


def _write_chosen(chosen: Mapping[str, Any]) -> str:
    """Return arguments in the syntax of a call, with long values shortened."""
    return ", ".join(
        f"{name}={textwrap.shorten(repr(value), WIDEST)}" for name, value in chosen.items()
    )


def _check_sizes(options: ModelOptions) -> None:
    for name, least in SIZES.items():
        if getattr(options, name) is not None:
            check_integer(name, getattr(options, name), least)
    if options.vocabulary is not None and options.features is not None:
        raise SelectionError("give either --vocabulary N or --features N.")
    if options.batch == options.steps and options.batch not in (None, 1):
        raise SelectionError(
            f"{options.steps}: choose a number other than the batch size, so that the two "
            "dimensions can be distinguished.",
            "steps",
        )


def choose_batch_argument(
    target: Target, options: ModelOptions
) -> tuple[Mapping[str, Any], int | None]:
    """Return the arguments for the target, and the only batch size that the model accepts, or None.

    A model built for one batch size accepts no other. If the target requires a batch size and none
    is given, it gets three.
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
    default = ModelCase().batch
    batch = options.batch or (default + 1 if options.steps == default else default)
    return {**options.arguments, needed[0]: batch}, batch


def _list_batch_arguments(target: Target) -> list[inspect.Parameter]:
    """Return the arguments of a target that are batch sizes, according to their names."""
    return [each for each in _list_arguments(target) if signature.BATCH.fullmatch(each.name)]


def _list_default_sizes(target: Target) -> dict[str, Any]:
    """Return the defaults of a target for the sizes of its input, except batch sizes."""
    return {
        each.name: each.default
        for each in _list_arguments(target)
        if each.default is not inspect.Parameter.empty
        and find_meaning(each.name)
        in (ArgumentMeaning.STEPS, ArgumentMeaning.FEATURES, ArgumentMeaning.HEIGHT)
    }


def _list_arguments(target: Target) -> list[inspect.Parameter]:
    """Return the parameters of the target's signature, or an empty list without a signature."""
    try:
        return list(inspect.signature(target.factory).parameters.values())
    except (TypeError, ValueError):  # some callables have no signature
        return []


def _construct(target: Target, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the model. Raises TargetError if the target is a model, and any error of the target."""
    if isinstance(target.factory, nn.Module):
        raise TargetError(
            f"{target.label} is a model already; name a class or a factory that builds a new one."
        )
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    with fork_random_numbers(0), take_step(f"building it with ({given})"):
        return wrap_as_module(target.factory(**arguments))


def _refuse_building(
    target: Target,
    given: Mapping[str, Any],
    chosen: Mapping[str, WrittenArgument],
    error: Exception,
) -> TargetError:
    """Return the error for a target that could not be built, with a suggestion."""
    if isinstance(error, TargetError):
        return error
    if isinstance(error, Ended):
        return TargetError(f"{target.label}: {error}")
    found = error.error if isinstance(error, Raised) else error
    listed = _write_chosen({**given, **chosen})
    text = f"building it with ({listed}) raised {type(found).__name__}: {read_message(found)}"
    hint = GIVE_ARGUMENTS if chosen or isinstance(found, TypeError) else ""
    if needs_cuda(found):
        hint = NEEDS_CUDA
    return TargetError(f"{target.label}: {text}{hint}")


def _find_call(
    target: Target,
    model: nn.Module,
    arguments: Mapping[str, Any],
    options: ModelOptions,
    readout: Readout | None,
    batch: int | None,
) -> tuple[Interface, Readout]:
    """Return the interface of a model with the way to call it, and its readout.

    Raises SelectionError for a wrong option, TargetError if calls end the process, and NoCall if no
    call works.
    """
    interface = replace(
        _infer_interface(target, model, arguments, options),
        batch=batch,
        steps=options.steps,
        is_padded_left=options.padding_side == "left",
    )
    with announce_step(INFERRING):
        found = _infer_call(target, model, interface, arguments, options, readout)
        check_padding(model, found[0])
        return found


def _infer_interface(
    target: Target, model: nn.Module, arguments: Mapping[str, Any], options: ModelOptions
) -> Interface:
    try:
        interface = infer_any_interface(
            model,
            arguments,
            vocabulary=options.vocabulary,
            features=options.features,
            batch_first=options.batch_first is not False,
            padding=options.padding,
        )
        Inputs(interface)
    except CannotInfer as error:
        if options.vocabulary is None and options.features is None:
            raise NoCall(TargetError(f"{target.label}: {error}")) from error
        raise SelectionError(f"{error}.") from error
    return interface


def _infer_call(
    target: Target,
    model: nn.Module,
    interface: Interface,
    arguments: Mapping[str, Any],
    options: ModelOptions,
    readout: Readout | None,
) -> tuple[Interface, Readout]:
    given: dict[str, Any] = {
        "batch_first": options.batch_first,
        "readout": readout,
        "expression": options.call,
    }
    arguments = {**_list_default_sizes(target), **arguments}
    try:
        check_vocabulary(model, interface, options, given)
        found = find_call(model, interface, **given)
        if not found.is_certain and not options.call:
            better = _find_better(model, interface, arguments, given, found)
            found = better or found
        return found.interface, found.readout
    except CallError as error:
        raise SelectionError(str(error), "call") from error
    except EndsProcess as error:
        raise TargetError(f"{target.label}: {error}") from error
    except CannotCall as error:
        causes = list(error.causes)
        other = None
        # A missing attribute of the model is a mistake of the model, for any input.
        is_other = _lacks_attribute(error.causes) or _has_wrong_type(error.causes)
        if not is_other and not options.call:
            other = _infer_other_interface(target, model, interface, arguments, given, causes)
        if other is None:
            other = infer_repaired_call(model, interface, **given)
        if other is None:
            check_features(model, interface, options, given)
            layout = find_other_layout(model, interface, options, given)
            text = f"{error.reason} {layout}" if layout else str(error)
            if any(map(needs_cuda, error.causes)):
                text = f"{error.reason.rstrip('.')}{NEEDS_CUDA}"
            refusal = TargetError(f"{target.label}: {text}")
            works = partial(_can_be_called_in_float64, model, interface, given)
            raise NoCall(refusal, causes, error.reason, works) from error
        return other


def _can_be_called_in_float64(
    model: nn.Module, interface: Interface, given: Mapping[str, Any]
) -> bool:
    """Return whether calls fail only because the model itself creates float64 tensors."""
    if interface.dtype is not None:
        return False
    with suppress(Exception):  # the model may raise anything
        infer_call(convert_to_float64(copy_model(model)), interface, **given)
        return True
    return False


def _has_wrong_type(causes: tuple[Exception, ...]) -> bool:
    """Return whether one line raises TypeError in every call, as for an object of a wrong type."""
    lines = {find_own_lines(each) for each in causes}
    return len(lines) == 1 and all(isinstance(each, TypeError) for each in causes)


def _lacks_attribute(causes: tuple[Exception, ...]) -> bool:
    return any(
        isinstance(each, AttributeError) and isinstance(each.obj, nn.Module) for each in causes
    )


def _find_better(
    model: nn.Module,
    interface: Interface,
    arguments: Mapping[str, Any],
    given: Mapping[str, Any],
    found: FoundCall,
) -> FoundCall | None:
    """Return a certain way to call a model with other sizes, or None.

    A model that accepts only some numbers of steps may be wrong, so only numbers that it names
    itself are tried.
    """
    named = list_named_steps(model, arguments)
    for other in list_interfaces(model, interface, arguments)[1:]:
        if not found.is_proven and other.steps not in named:
            continue
        with suppress(CannotCall, CannotInfer):
            Inputs(other)
            better = find_call(model, other, **given)
            if better.is_certain:
                return better
    return None


def _infer_other_interface(
    target: Target,
    model: nn.Module,
    interface: Interface,
    arguments: Mapping[str, Any],
    given: Mapping[str, Any],
    causes: list[Exception],
) -> tuple[Interface, Readout] | None:
    """Find out how to call a model with an interface other than the usual one, or return None.

    Exceptions of the calls are added to `causes`.
    """
    found = None
    if interface.batch is None:
        found = _infer_call_of_default_batch(target, model, interface, given)
    for other in () if found else list_interfaces(model, interface, arguments)[1:]:
        try:
            Inputs(other)
            call = find_call(model, other, **given)
        except CannotInfer:
            continue
        except CannotCall as error:
            causes += error.causes
            continue
        if call.is_certain:
            return call.interface, call.readout
        if call.is_proven and found is None:  # the prediction comes after a loss or the like
            found = call.interface, call.readout
    return found


def _infer_call_of_default_batch(
    target: Target, model: nn.Module, interface: Interface, given: Mapping[str, Any]
) -> tuple[Interface, Readout] | None:
    """Return how to call a model with the default batch size of its constructor, or None."""
    for each in _list_batch_arguments(target):
        if isinstance(each.default, int) and each.default > 0:
            note = f"batch={each.default}, the default of {each.name}; the model takes no other"
            fixed = replace(interface, batch=each.default, inferred=(*interface.inferred, note))
            with suppress(CannotCall):
                return infer_call(model, fixed, **given)
    return None
