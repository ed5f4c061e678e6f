"""Call a copy of a model once, and measure how it reacts to other lengths and other samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.models.call import find_first_tensor
from rnnspec.models.case import RECURRING_STEPS
from rnnspec.models.closeness import find_changes
from rnnspec.models.copying import CannotCopy, copy_model, set_mode
from rnnspec.models.forms import Readout
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.infer import Interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.layers import find_layers
from rnnspec.models.steps import find_gradients
from rnnspec.models.tensors import find_input
from rnnspec.readout.map import Layer
from rnnspec.subjects.failures import Ended

FIRST, SECOND = (3, 5), (4, 7)
"""The sizes (batch, steps) of the inputs. A dimension of a prediction that changes with either of
them is not the number of outputs.
"""

LONGER = (4, 19)
"""Sizes that show that a dimension depends on the number of steps, even for 5 // 4 == 7 // 4."""


def call_once(
    model: nn.Module, interface: Interface, x: Tensor, lengths: Tensor | None = None
) -> object:
    """Return the results of a copy of the model in evaluation mode. Raises its exceptions."""
    with torch.no_grad(), fork_random_numbers(0):
        try:
            module = copy_model(model)
        except CannotCopy:
            module = model
        set_mode(module, training=False)
        batch, steps = interface.sizes_of(x)
        return interface.call.evaluate(module, _cast_input(module, x), batch, steps, lengths)


def _cast_input(module: nn.Module, x: Tensor) -> Tensor:
    """Return a copy of x on a module's device, with features in the dtype of its parameters."""
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    if like is None:
        return x.clone()
    return (x.to(like) if x.is_floating_point() else x.to(like.device)).clone()


def list_parameters(
    model: nn.Module, interface: Interface, x: Tensor, entries: list[str]
) -> dict[str, frozenset[str]]:
    """Return the names of the parameters that affect each entry of a call's results."""
    found = {}
    for access in entries:
        module = set_mode(copy_model(model), training=False)
        taken = access.format(call=interface.call.expression)
        call = replace(interface.call, expression=taken)
        batch, steps = interface.sizes_of(x)
        value = find_first_tensor(call.evaluate(module, _cast_input(module, x), batch, steps))
        named = {name: each for name, each in module.named_parameters() if each.requires_grad}
        gradients = find_gradients(value.sum(), list(named.values())) if value.requires_grad else ()
        pairs = zip(named, gradients, strict=False)
        found[access] = frozenset(name for name, gradient in pairs if gradient is not None)
    return found


def is_sorted(model: nn.Module, interface: Interface) -> bool:
    """Return whether a model accepts lengths only in descending order."""
    if not interface.call.takes_lengths:
        return False
    inputs = make_inputs(interface)
    ascending = torch.arange(inputs.batch).flip(0).neg() + inputs.steps
    lengths = ascending.clamp(min=1)
    try:
        call_once(model, interface, inputs.draw(0), lengths)
    except Exception:  # the order of the lengths may be the reason
        with suppress(Exception):
            call_once(model, interface, inputs.draw(0), lengths.flip(0))
            return True
    return False


def find_least_steps(model: nn.Module, interface: Interface) -> int:
    """Return the fewest steps that a model needs: 4 if it reads its last four outputs.

    With fewer steps it raises, and with as many or more it does not. A model that raises only with
    a single step has a fault, and so does a model that ends the process: the result is 1 for them,
    so that the rules report it.
    """
    if interface.steps is not None:
        return 1
    takes = []
    for steps in range(2, FIRST[1]):
        try:
            call_once(model, interface, make_inputs(interface, steps).draw(0))
        except Ended:
            return 1
        except Exception:  # the model may raise anything
            takes.append(False)
            continue
        takes.append(True)
        if len(takes) == 1:
            return 1
    refused = takes.count(False)
    is_limit = takes == sorted(takes)
    return 2 + refused if is_limit else 1


def find_measured_steps(model: nn.Module, interface: Interface) -> int:
    """Return the fewest steps with which every recurrent layer runs over three steps of its own.

    Convolutions and pooling leave a layer fewer steps than the input has, and with a single step
    its recurrent weights have no effect. Returns 1 if no layer gets fewer steps, or if longer
    inputs change nothing, as for a decoder that makes a single step.
    """
    if interface.steps is not None:
        return 1
    counts: dict[int, Counter[str]] = {}
    for steps in (RECURRING_STEPS, *MEASURED_STEPS):
        try:
            counts[steps] = _count_steps_of_layers(model, interface, steps)
        except Ended:
            return 1
        except Exception:  # the model may raise anything, and not for other steps
            continue
        if all(number >= steps for number in counts[steps].values()):
            return 1
    most: Counter[str] = Counter()
    for each in counts.values():
        most |= each
    growing = [name for name, number in most.items() if number >= RECURRING_STEPS]
    enough = next((steps for steps, each in counts.items() if _is_enough(each, growing)), 1)
    return enough if enough > RECURRING_STEPS else 1


MEASURED_STEPS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
"""The numbers of steps to try. Larger numbers would make a check slow, as it calls a model about a
thousand times.
"""


def _is_enough(count: Counter[str], names: Iterable[str]) -> bool:
    return all(count[name] >= RECURRING_STEPS for name in names)


def _count_steps_of_layers(model: nn.Module, interface: Interface, steps: int) -> Counter[str]:
    """Return the number of steps of each recurrent layer in a call, summed over its own calls."""
    module, count = copy_model(model), Counter[str]()
    for layer in find_layers(module):

        def add(_module: nn.Module, arguments: Any, keywords: Any, layer: Layer = layer) -> None:
            given = find_input(arguments, keywords)
            if isinstance(given, PackedSequence):
                count[layer.name] += len(given.batch_sizes)
            elif isinstance(given, Tensor):
                count[layer.name] += given.shape[layer.batch_first and given.dim() > 2]

        watch_arguments(dict(module.named_modules())[layer.name], add)
    # Some models refuse a batch with as many samples as steps.
    inputs = Inputs(interface, interface.batch or RECURRING_STEPS - 1, steps)
    call_once(module, interface, inputs.draw(0))
    return count


def make_inputs(interface: Interface, steps: int = FIRST[1]) -> Inputs:
    """Return inputs with the first sizes, except for sizes that the interface fixes."""
    return Inputs(interface, interface.batch or FIRST[0], interface.steps or steps)


def is_separate(model: nn.Module, interface: Interface) -> bool:
    """Return whether a change of the first or last sample leaves all other predictions alone."""
    inputs = make_inputs(interface)
    if inputs.batch == 1:
        return True
    x = inputs.draw(0)
    try:
        before = _predict(model, interface, x)
        for sample in (0, inputs.batch - 1):
            changed = x.clone()
            changed.select(0 if interface.batch_first else 1, sample).copy_(
                inputs.draw(1).select(0 if interface.batch_first else 1, sample)
            )
            after = _predict(model, interface, changed)
            kept = torch.arange(inputs.batch) != sample
            if bool(find_changes(before[kept], after[kept]).any()):
                return False
    except Exception:  # the access or the form does not fit these sizes
        return False
    return True


def is_sound(model: nn.Module, interface: Interface) -> bool:
    """Return whether predictions contain no NaN and differ between two inputs.

    This fails if a mask hides everything, or if the input is passed as the wrong argument.
    """
    inputs = make_inputs(interface)
    with suppress(Exception):  # a rule reports exceptions
        first, second = (_predict(model, interface, inputs.draw(seed)) for seed in (0, 1))
        return not bool(first.isnan().any()) and not torch.equal(first, second)
    return True


def reads_padding(model: nn.Module, interface: Interface, readout: Readout) -> bool | None:
    """Return whether a change of the padding changes a prediction, or None if the call fails."""
    inputs = make_inputs(interface)
    if inputs.steps < RECURRING_STEPS:
        return None
    # The longest sequences come first, because some models accept no other order.
    lengths = (inputs.steps - torch.arange(inputs.batch)).clamp(min=inputs.steps - 2)
    x, changed = inputs.draw(0), inputs.draw(0)
    other = inputs.draw(1)
    for sample, length in enumerate(lengths.tolist()):
        for step in range(length, inputs.steps):
            index = inputs.index_of(sample, step)
            changed[index] = other[index]
    with suppress(Exception):  # a rule reports exceptions
        before, after = (call_once(model, interface, each, lengths) for each in (x, changed))
        assert isinstance(before, Tensor)
        assert isinstance(after, Tensor)
        if bool(before.isnan().any()):
            return None
        differs = find_changes(before, after)
        if readout is Readout.EVERY:
            return any(bool(differs[i, :length].any()) for i, length in enumerate(lengths))
        return bool(differs.any())
    return None


def returns_packed_data(model: nn.Module, interface: Interface, access: str) -> bool:
    """Return whether a model returns a row for each step of each sequence, and none for padding.

    Such a model returns fewer rows for shorter sequences.
    """
    inputs = make_inputs(interface)
    if not interface.call.takes_lengths or inputs.batch < 2:
        return False
    lengths = (inputs.steps - torch.arange(inputs.batch)).clamp(min=1)
    taken = access.format(call=interface.call.expression)
    interface = replace(interface, call=replace(interface.call, expression=taken))
    with suppress(Exception):  # the model may raise anything
        value = call_once(model, interface, inputs.draw(0), lengths)
        return isinstance(value, Tensor) and len(value) == int(lengths.sum())
    return False


def mixes_steps(model: nn.Module, interface: Interface) -> bool:
    """Return whether a change of the first or last step changes the predictions at other steps.

    If not, a recurrent model uses this dimension for samples.
    """
    inputs = make_inputs(interface)
    x, other = inputs.draw(0), inputs.draw(1)
    before = _predict(model, interface, x)
    for step in (0, inputs.steps - 1):
        changed = x.clone()
        for sample in range(inputs.batch):
            index = inputs.index_of(sample, step)
            changed[index] = other[index]
        kept = torch.arange(inputs.steps) != step
        if not torch.equal(before[:, kept], _predict(model, interface, changed)[:, kept]):
            return True
    return False


def _predict(model: nn.Module, interface: Interface, x: Tensor) -> Tensor:
    value = call_once(model, interface, x)
    if not isinstance(value, Tensor):
        raise TypeError(f"{interface.call.expression} is no tensor")
    return value
