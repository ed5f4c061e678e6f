"""Rules about devices and dtypes: initial states, and models in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models import snippets
from rnnspec.models.copying import convert_to_float64, move_model
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.kept_state import list_unregistered_modules
from rnnspec.models.layers import is_recurrent
from rnnspec.models.lines import MixtureRecorder, describe_cast
from rnnspec.models.named_devices import NamedDevice, list_named_devices, replace_devices
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.steps import describe_error, find_gradients, phrase_error
from rnnspec.models.tensors import find_input, list_tensors
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.meta_device import use_meta_device
from rnnspec.subjects.precision import forbid_cudnn
from rnnspec.subjects.steps import announce_case

RELATIVE_CHANGE = 1e-13
"""A relative change of a parameter that changes float64 results and no float32 results."""

VISIBLE_SHARE = 0.1
"""The share of a prediction that a parameter must have for the change to be visible.

The prediction then changes by 45 float64 roundoffs.
"""

CHANGES = 5

META, CPU = "meta", "cpu"
"""The device to which models are moved, and the device for models that read values."""

READS_VALUES = "the model reads values, which meta tensors do not have"

MAKE_LIKE_INPUT = "\n  try            device=x.device, x being the input"

MOST_NAMED = 16
"""The maximal number of named devices to replace one at a time, each in a new model."""


class StateMismatch:
    """Records an initial state whose attribute ("device" or "dtype") differs from the input's.

    `message` describes the last such state of a recurrent layer or cell, and `remedy` is the code
    to write instead; they are empty if there was none.
    """

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute
        self.message = ""
        self.remedy = ""

    def register_hooks(self, model: nn.Module) -> None:
        """Register hooks on every recurrent module; they are never removed."""
        for name, module in model.named_modules():
            if is_recurrent(module):
                watch_arguments(module, self._make_hook(name))

    def _make_hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def compare(module: nn.Module, arguments: Any, keywords: Any) -> None:
            given = [*arguments, *keywords.values()]
            source = getattr(find_input(arguments, keywords), "data", None)
            if not isinstance(source, Tensor):
                return
            for state in list_tensors(given[1:]):
                expected = getattr(source, self.attribute)
                got = getattr(state, self.attribute)
                if expected != got:
                    self.message = (
                        f"{name} is given an initial state with {self.attribute} {got}; "
                        f"expected {expected}, as for its input"
                    )
                    sizes = _write_sizes(module, find_input(arguments, keywords), state)
                    self.remedy = (
                        f"\n  try            x.new_zeros({sizes}), x being the input of {name}; "
                        f"or leave it out, self.{name}(x) starts from zeros"
                    )

        return compare


def _write_sizes(module: nn.Module, given: object, state: Tensor) -> str:
    """Return the sizes of a state as code, with the batch size taken from the input `x`."""
    sizes = [str(size) for size in state.shape]
    if isinstance(given, Tensor) and given.dim() == state.dim() > 1:
        is_first = state.dim() == 2 or getattr(module, "batch_first", False) is True
        sizes[-2] = f"x.size({0 if is_first else 1})"
    return ", ".join(sizes)


@dataclass(frozen=True)
class MetaCall:
    """The call of a model that was moved to the meta device.

    fault   the error in the initial state or the device of the prediction, or nothing
    remedy  the code to write instead
    error   the exception of the model
    """

    fault: str = ""
    remedy: str = ""
    error: Exception | None = None

    @property
    def works(self) -> bool:
        """Whether the model works on the meta device."""
        return not self.fault and self.error is None


def _call_on_meta(
    observation: ModelObservation, find: Callable[[nn.Module], Iterable[NamedDevice]] | None = None
) -> MetaCall:
    """Call a new model on the meta device.

    If you pass `find`, replace the devices that it returns for the model by the meta device.
    """
    mismatch, mixture = StateMismatch("device"), MixtureRecorder(META)
    try:
        model = move_model(observation.build_model(), META)
        mismatch.register_hooks(model)
        replaced = nullcontext() if find is None else replace_devices(find(model), META)
        with _separate_case(), use_meta_device(), replaced, mixture:
            prediction = observation.call_model(model, observation.draw_input().to(META))
    except Exception as error:  # the model may raise anything
        if mismatch.message:
            fault = f"{mismatch.message}. The model {phrase_error(error)}"
            return MetaCall(fault, mismatch.remedy, error)
        return MetaCall(mixture.message, MAKE_LIKE_INPUT if mixture.message else "", error)
    if mismatch.message:
        return MetaCall(mismatch.message, mismatch.remedy)
    if prediction.device.type != META:
        return MetaCall(
            f"for a model and an input on the meta device, the prediction is on "
            f"{prediction.device}; expected meta"
        )
    return MetaCall()


@contextmanager
def _separate_case() -> Iterator[None]:
    """Return a context for a call that is kept apart from other calls of the same sizes."""
    # Workers reuse outcomes of equal calls. A failure on the meta device must not stand for a call
    # on the real device, which made verdicts depend on the load.
    announce_case("a call on another device begins")
    try:
        yield
    finally:
        announce_case("a call on another device is over")


def _find_all(model: nn.Module) -> list[NamedDevice]:
    return list_named_devices(model, META)


@rule("model.state-device", id="model.state-device")
def state_device(observation: ModelObservation) -> None:
    """The model creates its initial state and other tensors on the device of the input, not on the
    default device.

    The model and its input are moved to the meta device, which exists on every machine. The check
    inspects the initial states of layers, and tensors that cannot be used there. A model that reads
    values, which meta tensors do not have, is run on the CPU instead, with meta as the default
    device.

    Catches `torch.zeros(...)` without a device, which breaks on CUDA.
    """
    observation.require_parameters()
    found = _call_on_meta(observation)
    if found.works:
        return
    if _call_on_meta(observation, _find_all).works:
        raise NotApplicable.because_of("model.any-device")
    if found.fault:
        raise Violation(found.fault + found.remedy, snippets.META_DEVICE) from found.error
    if found.error is not None:
        _check_with_default_device(observation, found.error)


@rule("model.any-device", id="model.any-device")
def any_device(observation: ModelObservation) -> None:
    """The model works on the device to which it is moved, even if it would choose another device
    itself.

    The model and its input are moved to the meta device. If that fails, the check repeats it with
    the meta device in place of CUDA and of the devices in the model's attributes and globals. If
    only that works, the model depends on a device of its own choice.

    Such a model works as long as it stays on that device, so this is advice.

    Catches `.to(device)` with a global, and `self.device` of the constructor, which break on a
    second GPU, and on a machine without a GPU after training on another.
    """
    observation.require_parameters()
    found = _call_on_meta(observation)
    if found.works:
        return
    if not _call_on_meta(observation, _find_all).works:
        if found.error is None or found.fault:
            raise NotApplicable.because_of("model.state-device")
        raise NotApplicable(f"{READS_VALUES}: {describe_error(found.error)}")
    raised = (
        "" if found.error is None else f"on the meta device, the model {phrase_error(found.error)}"
    )
    problem, names = found.fault or raised, _name_devices(observation)
    remedy = found.remedy or MAKE_LIKE_INPUT
    message = f"{problem}\n  The model chooses the device by {names}, not by its input.{remedy}"
    raise Violation(message, snippets.META_DEVICE) from found.error


def _name_devices(observation: ModelObservation) -> str:
    """Return the attribute, global or function that chooses the model's device."""
    if _call_on_meta(observation, lambda _: []).works:
        return "torch.cuda.is_available()"
    names = [each.name for each in _find_all(observation.build_model())]
    for index, name in enumerate(names[:MOST_NAMED]):
        if _call_on_meta(observation, partial(_find_one, index)).works:
            return name
    return "several attributes and globals"


def _find_one(index: int, model: nn.Module) -> list[NamedDevice]:
    return _find_all(model)[index : index + 1]


@rule("model.state-dtype", id="model.state-dtype")
def state_dtype(observation: ModelObservation) -> None:
    """The model creates its initial state in the dtype of the input, not in the default dtype.

    The check converts the model to float64 and inspects the initial states of its recurrent layers
    and cells.

    Catches `torch.zeros(...)` without a dtype, which breaks in half and in double precision.
    """
    observation.require_parameters()
    mismatch = StateMismatch("dtype")
    with suppress(Exception):  # model.float64 reports a failure with correct states
        model = convert_to_float64(observation.build_model())
        mismatch.register_hooks(model)
        observation.call_model(model, _convert_to_float64(observation.draw_input()))
    if mismatch.message:
        raise Violation(mismatch.message + mismatch.remedy, snippets.STATE_DTYPE)


@rule("model.float64", id="model.float64")
def float64(observation: ModelObservation) -> None:
    """A model converted to float64 computes in float64 throughout.

    Predictions must be float64. A change of a parameter far below float32's resolution must change
    them, if the gradient shows that the change is large enough.

    A model for float32 works without that, so this is advice.

    Catches `.float()` inside the model, which loses half of the digits or fails.
    """
    _require_state_dtype(observation)
    model = observation.build_model()
    x = _convert_to_float64(observation.draw_input())

    def describe_lower() -> str:
        return describe_cast(partial(observation.call_model, model, x))

    try:
        model = convert_to_float64(model)
        prediction = observation.call_model(model, x)
    except Exception as error:  # the model may raise anything
        if list_unregistered_modules(model):  # these were not converted
            raise NotApplicable.because_of("model.state-dict") from error
        message = f"in float64, the model {phrase_error(error)}"
        raise Violation(message + describe_lower(), snippets.FLOAT64) from error
    if prediction.dtype != torch.float64:
        raise Violation(
            f"the predictions of a float64 model have dtype {prediction.dtype}; "
            f"expected torch.float64{describe_lower()}",
            snippets.FLOAT64,
        )
    name = _find_rounded_parameter(observation, model, x)
    if name:
        raise Violation(
            f"changing {name} by {RELATIVE_CHANGE:g} of its value changes no prediction; expected "
            "a change in float64, so a value is rounded to a lower precision on the way"
            f"{describe_lower()}",
            snippets.change_slightly(name),
        )


def _find_rounded_parameter(observation: ModelObservation, model: nn.Module, x: Tensor) -> str:
    """Return the name of a parameter whose small change wrongly has no effect, or nothing."""
    named = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dtype == torch.float64 and parameter.requires_grad
    }
    with forbid_cudnn():
        prediction = observation.interface.predict(model, x.clone())
        if not named or not prediction.requires_grad:
            return ""
        gradients = find_gradients(prediction.sum(), list(named.values()))
        least = VISIBLE_SHARE * float(prediction.detach().abs().max())
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            is_visible = (
                gradient is not None and float((gradient * parameter.detach()).sum().abs()) > least
            )
            if is_visible and not _can_move_prediction(observation, model, x, parameter):
                return name
    return ""


def _can_move_prediction(
    observation: ModelObservation, model: nn.Module, x: Tensor, parameter: Tensor
) -> bool:
    """Return whether each of several small changes of a parameter moves the prediction.

    A single change may move a rounded value across a boundary.
    """
    with torch.no_grad():
        kept = parameter.clone()
        predictions = [observation.call_model(model, x)]
        for _ in range(CHANGES):
            parameter.mul_(1 + RELATIVE_CHANGE)
            predictions.append(observation.call_model(model, x))
        parameter.copy_(kept)
    return not any(torch.equal(one, other) for one, other in pairwise(predictions))


def _check_with_default_device(observation: ModelObservation, error: Exception) -> None:
    """Run the model on the CPU with another default device.

    For a model that raised `error` on the meta device, perhaps because it reads values.
    """
    fault = _call_with_default_device(observation)
    # A model that moves its state to CUDA, if there is one, leaves it on no default device.
    if not fault or not _call_with_default_device(observation, is_with_cuda=True):
        raise NotApplicable(f"{READS_VALUES}: {describe_error(error)}") from error
    raise Violation(fault, snippets.DEFAULT_DEVICE)


def _call_with_default_device(observation: ModelObservation, *, is_with_cuda: bool = False) -> str:
    """Call a model on the CPU with another default device, and describe any fault with devices.

    With `is_with_cuda`, the CPU stands in for CUDA. Exceptions of the model are no fault: it may
    read values of tensors that it makes, or move them.
    """
    mismatch = StateMismatch("device")
    model = move_model(observation.build_model(), CPU)
    mismatch.register_hooks(model)
    x = observation.draw_input().to(CPU)
    found = list_named_devices(model, CPU)
    replaced = replace_devices(found, CPU) if is_with_cuda else nullcontext()
    device = CPU
    with suppress(Exception), _separate_case(), replaced, torch.device(META):
        device = observation.call_model(model, x).device.type
    if mismatch.message:
        return mismatch.message + mismatch.remedy
    return (
        f"for an input on the CPU, the prediction is on the default device {device}; expected cpu"
        if device != CPU
        else ""
    )


def _require_state_dtype(observation: ModelObservation) -> None:
    try:
        state_dtype.check(observation)
    except Violation:
        raise NotApplicable.because_of("model.state-dtype") from None


def _convert_to_float64(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x
