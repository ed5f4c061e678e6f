"""Refuse options that contradict the model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from rnnspec.errors import SelectionError
from rnnspec.models.attempt import call_once
from rnnspec.models.infer import CannotInfer, Interface, find_embedding, infer_interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.refusal import CannotCall
from rnnspec.models.trial import infer_call
from rnnspec.options import ModelOptions


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
