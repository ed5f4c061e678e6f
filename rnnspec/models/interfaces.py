"""List interfaces to try if the inferred interface does not work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from rnnspec.models import signature
from rnnspec.models.building.meanings import ArgumentMeaning, find_meaning
from rnnspec.models.infer import CannotInfer, Interface, find_embedding, infer_interface
from rnnspec.models.layers import is_recurrent

LENGTHS = (16, 32)
"""Numbers of steps to try for a model that accepts only a single number of steps.

They leave some steps after convolutions and layers that halve the number of steps.
"""
OWN_STEPS = re.compile(r"T|P|(\w+_)?(seq|window|steps?|len|length|time|timesteps)(_?\w+)?")
"""Names of attributes that hold a number of steps."""
IMAGE_HEIGHTS = (32, 28, 64)
MOST_STEPS = 64
"""The largest number of steps to try, because a model is called about a thousand times."""


def list_interfaces(
    model: nn.Module, base: Interface, chosen: Mapping[str, Any]
) -> list[Interface]:
    """Return the inferred interface, followed by others that may be meant.

    `chosen` contains the arguments that built the model. All interfaces keep the sizes that are set
    in the first.
    """
    images = any(isinstance(module, nn.Conv2d) for module in model.modules())
    found = [base, *(_list_other_inputs(model, base, chosen) if not images else ())]
    roles = [each.role for each in signature.list_arguments(model)]
    several = (*list_named_steps(model, chosen), *LENGTHS)
    # A model that takes the outputs of an encoder is a decoder and usually takes single steps.
    every = (1, *several) if signature.ArgumentRole.MEMORY in roles else (*several, 1)
    for steps in every if base.steps is None else ():
        for each in (base, *_list_other_inputs(model, base, chosen)):
            note = f"steps={steps}, because the model takes no other number of steps"
            if steps == 1:
                note = "steps=1, because the model takes one step at a time"
            found.append(_add_note(replace(each, steps=steps), note))
    if images:
        found += _list_other_inputs(model, base, chosen)
    for batch in _list_batches(model, chosen) if base.batch is None else ():
        note = f"batch={batch}, because the model takes no other batch size"
        found += [_add_note(replace(each, batch=batch), note) for each in list(found)]
    return [
        each for each in found if each.batch is None or each.batch != each.steps or each.steps == 1
    ]


def infer_any_interface(model: nn.Module, chosen: Mapping[str, Any], **given: Any) -> Interface:
    """Return the input of a model, from its modules or else from the arguments that built it.

    Raises CannotInfer.
    """
    try:
        return infer_interface(model, **given)
    except CannotInfer:
        for name, value in chosen.items():
            number = _read_number(value)
            if (
                number
                and find_meaning(name) is ArgumentMeaning.FEATURES
                and not given.get("vocabulary")
            ):
                found = infer_interface(model, **{**given, "features": number})
                return _add_note(found, f"features={number}, from the argument {name}")
        linear = next((each for each in model.modules() if isinstance(each, nn.Linear)), None)
        if linear is None:
            raise
        found = infer_interface(model, **{**given, "features": linear.in_features})
        return _add_note(found, f"features={linear.in_features}, from the first Linear")


def _list_other_inputs(
    model: nn.Module, base: Interface, chosen: Mapping[str, Any]
) -> Iterator[Interface]:
    """Yield interfaces with token ids or features that differ from the inferred ones."""
    if not base.inferred:
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            sides = [number for name, number in _list_numbers(chosen, ArgumentMeaning.HEIGHT)]
            heights = (*sides, *(each for each in IMAGE_HEIGHTS if each not in sides))
            for height in heights:
                note = f"features={height}, the height of images whose columns are the steps"
                yield _take(base, note, features=height)
            side = heights[0]
            pixels = module.in_channels * side * side
            note = (
                f"features={pixels}, one picture of {module.in_channels} x {side} x {side} a step"
            )
            yield _take(base, note, features=pixels)
            return
    embedding = find_embedding(model)
    for name, number in _list_numbers(chosen, ArgumentMeaning.VOCABULARY):
        if embedding is not None and number < embedding.num_embeddings:
            note = f"vocabulary={number}, from the argument {name}"
            yield _take(base, note, vocabulary=number)
    if embedding is None:
        for name, number in _list_numbers(chosen, ArgumentMeaning.FEATURES):
            if number != base.features:
                yield _take(base, f"features={number}, from the argument {name}", features=number)
    yield from _list_widths(model, base, embedding)


def _list_widths(
    model: nn.Module, base: Interface, embedding: nn.Embedding | None
) -> Iterator[Interface]:
    """Yield interfaces with the width of the first recurrent layer, or of a part of it."""
    recurrent = [each for each in model.modules() if is_recurrent(each)]
    widths = [int(getattr(each, "input_size", 0)) for each in recurrent]
    width = next(filter(None, widths), 0)
    if embedding is None:
        if width > 1:
            note = f"vocabulary={width}, the features of the recurrent layer taken as one-hot ids"
            yield _take(base, note, vocabulary=width)
        return
    for features in (width - embedding.embedding_dim, width):
        if features > 0:
            yield _take(base, f"features={features}, beside an embedding", features=features)


def list_named_steps(model: nn.Module, chosen: Mapping[str, Any]) -> list[int]:
    """Return the numbers of steps that attributes of a model, or its arguments, contain."""
    own = [
        value
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, int) and not isinstance(value, bool) and OWN_STEPS.fullmatch(name)
    ]
    named = [number for _, number in _list_numbers(chosen, ArgumentMeaning.STEPS)]
    exact = [each for each in dict.fromkeys((*own, *named)) if 1 < each <= MOST_STEPS]
    return list(dict.fromkeys((*exact, *(each - 1 for each in exact if each > 2))))


def _list_batches(model: nn.Module, chosen: Mapping[str, Any]) -> list[int]:
    own = [
        value
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, int)
        and not isinstance(value, bool)
        and signature.BATCH.fullmatch(name)
    ]
    named = [number for _, number in _list_numbers(chosen, ArgumentMeaning.BATCH)]
    return [each for each in dict.fromkeys((*own, *named)) if 1 <= each <= MOST_STEPS]


def _list_numbers(chosen: Mapping[str, Any], meaning: ArgumentMeaning) -> Iterator[tuple[str, int]]:
    for name, value in chosen.items():
        number = _read_number(value)
        if number is not None and find_meaning(name) is meaning:
            yield name, number


def _read_number(value: Any) -> int | None:
    with suppress(ValueError):
        return int(str(value))
    return None


def _take(
    base: Interface, note: str, *, vocabulary: int | None = None, features: int | None = None
) -> Interface:
    """Return an interface with another input."""
    return replace(
        base,
        vocabulary=vocabulary,
        features=features,
        padding=None,
        inferred=(note,),
        has_inferred_vocabulary=False,
    )


def _add_note(interface: Interface, note: str) -> Interface:
    return replace(interface, inferred=(*interface.inferred, note))
