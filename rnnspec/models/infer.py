"""Infer the input of a model, token ids or features, from its modules."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnnspec.models.call import PLAIN, ModelCall, find_first_tensor
from rnnspec.models.forms import Readout
from rnnspec.models.layers import find_layers, is_recurrent, read_size
from rnnspec.readout.assumption import Assumption
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.steps import CALL


class Widths(NamedTuple):
    """A module that turns `taken` features per time step into `given` features."""

    name: str
    module: nn.Module
    taken: int
    given: int


class Prediction(NamedTuple):
    """A prediction among the results of a call.

    `expression` is the call and the access to the prediction in its results; `readout` is how often
    it is made.
    """

    expression: str
    readout: Readout


class CannotInfer(ValueError):
    """Raised if the modules do not show the input, or if given values contradict each other."""


@dataclass(frozen=True)
class Interface:
    """The input of a model, token ids below `vocabulary` or features of width `features`, and its
    call.

    Exactly one of the two is set. Tokens have shape (N, L) and features (N, L, features), or (L, N)
    and (L, N, features) without `batch_first`.

    padding                   the token id for padding, if the model declares one
    inferred                  the source of each value that the caller did not give
    call                      the call of the model
    batch, steps              the only sizes that the model accepts, or None if it accepts others
    is_padded_left            whether padding comes before the sequences
    others                    further predictions of the same call, for example for another task
    used_besides              the parameters outside of recurrent layers that affect another result,
                              such as a loss
    dtype                     the dtype of features, or None for the default dtype
    assumptions               the inferred values that the verdict depends on
    has_inferred_vocabulary   whether the vocabulary comes from an embedding of the model
    least_steps               with fewer steps, the model raises
    measured_steps            with fewer steps, a recurrent layer behind a pooling gets too few of
                              them to show that it is recurrent

    Raises CannotInfer for both or neither of tokens and features, and for sizes below 1.
    """

    vocabulary: int | None = None
    features: int | None = None
    batch_first: bool = True
    padding: int | None = None
    inferred: tuple[str, ...] = ()
    call: ModelCall = PLAIN
    batch: int | None = None
    steps: int | None = None
    is_padded_left: bool = False
    others: tuple[Prediction, ...] = ()
    used_besides: frozenset[str] = frozenset()
    dtype: torch.dtype | None = None
    assumptions: tuple[Assumption, ...] = ()
    has_inferred_vocabulary: bool = False
    least_steps: int = 1
    measured_steps: int = 1

    def __post_init__(self) -> None:
        if (self.vocabulary is None) == (self.features is None):
            given = f"vocabulary={self.vocabulary!r}, features={self.features!r}"
            raise CannotInfer(f"give either vocabulary or features, got {given}")
        for name in ("vocabulary", "features", "batch", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CannotInfer(f"{name} must be at least 1, got {value!r}")

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is token ids."""
        return self.vocabulary is not None

    def sizes_of(self, x: Tensor) -> tuple[int, int]:
        """Return the batch size and the number of steps of an input."""
        first, second = x.shape[:2]
        return (first, second) if self.batch_first else (second, first)

    def list_predictions(self, readout: Readout) -> list[tuple[Interface, Readout]]:
        """Return the interface of each prediction, and how often it is made.

        The first is the prediction of this interface, with the given `readout`.
        """
        every = (Prediction(self.call.expression, readout), *self.others)
        return [
            (
                replace(
                    self,
                    call=replace(self.call, expression=each.expression),
                    others=tuple(other for other in every if other is not each),
                ),
                each.readout,
            )
            for each in every
        ]

    def predict(self, model: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the prediction of a model for an input.

        Raises Raised if the model raises, or if it returns no tensor.
        """
        batch, steps = self.sizes_of(x)
        value = self.call.evaluate(model, x, batch, steps, lengths)
        try:
            return find_first_tensor(value)
        except TypeError as error:
            raise Raised(CALL, error) from error


def infer_interface(
    model: object,
    *,
    vocabulary: int | None = None,
    features: int | None = None,
    batch_first: bool = True,
    padding: int | None = None,
) -> Interface:
    """Return the input of a model. Values that you give are used, and the others are inferred.

    The vocabulary is taken from the first `nn.Embedding`. Without an embedding, the number of
    features is the `input_size` of the first recurrent layer or cell, or the input width of the
    first `nn.Linear` or `nn.Conv1d` if such layers lead to it. The padding id is the `padding_idx`
    of the first embedding. Raises CannotInfer if the model has neither an embedding nor a recurrent
    layer or cell, or if both `vocabulary` and `features` are given.
    """
    notes: list[str] = []
    is_given = vocabulary is not None or features is not None
    if not is_given:
        vocabulary, features = _infer_size(model, notes)
    if vocabulary is not None and padding is None:
        padding = _infer_padding(model, notes)
    dtype = _find_other_dtype(model)
    if features is not None and dtype is not None:
        notes.append(f"features of dtype {dtype}, from the parameters")
    return Interface(
        vocabulary,
        features,
        batch_first,
        padding,
        tuple(notes),
        dtype=dtype,
        has_inferred_vocabulary=vocabulary is not None and not is_given,
    )


def _find_other_dtype(model: object) -> torch.dtype | None:
    """Return the dtype of the first floating-point parameter, or None for the default dtype."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    found = next((each.dtype for each in parameters if each.is_floating_point()), None)
    return None if found == torch.get_default_dtype() else found


def _infer_size(model: object, notes: list[str]) -> tuple[int | None, int | None]:
    """Return the vocabulary and None, or None and the number of features."""
    for name, module in _list_modules(model):
        if isinstance(module, nn.Embedding):
            size = module.num_embeddings
            notes.append(f"vocabulary={size}, from {name} ({_describe_module(module)})")
            return size, None
    earlier: list[Widths] = []
    for name, module in _list_modules(model):
        if isinstance(module, nn.Linear):
            earlier.append(Widths(name, module, module.in_features, module.out_features))
        if isinstance(module, nn.Conv1d):
            earlier.append(Widths(name, module, module.in_channels, module.out_channels))
        if is_recurrent(module) and hasattr(module, "input_size"):
            return None, _infer_width(name, module, earlier, notes)
    raise CannotInfer(
        f"{type(model).__name__} has neither an nn.Embedding nor a recurrent layer; "
        "give --vocabulary N for token ids or --features N for features"
    )


def _infer_width(name: str, layer: nn.Module, earlier: list[Widths], notes: list[str]) -> int:
    """Return the number of input features.

    This is the layer's `input_size`, or, if the last linear layer or convolution registered before
    it returns that many features, the input width of the first such module.
    """
    width = int(getattr(layer, "input_size", 0))
    source = layer
    if earlier and earlier[-1].given == width:
        name, source, width, _ = earlier[0]
    notes.append(f"features={width}, from {name} ({_describe_module(source)})")
    return width


def find_embedding(model: object) -> nn.Embedding | None:
    """Return the first embedding of a model, or None."""
    modules = (module for _, module in _list_modules(model))
    return next((module for module in modules if isinstance(module, nn.Embedding)), None)


def _infer_padding(model: object, notes: list[str]) -> int | None:
    for name, module in _list_modules(model):
        if isinstance(module, nn.Embedding):
            if module.padding_idx is not None:
                notes.append(f"padding id {module.padding_idx}, from {name}.padding_idx")
            return module.padding_idx
    return None


def _list_modules(model: object) -> list[tuple[str, nn.Module]]:
    if not isinstance(model, nn.Module):
        return []
    return [(name or "the model itself", module) for name, module in model.named_modules()]


def _describe_module(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


def list_own_sizes(model: nn.Module, interface: Interface) -> Iterator[tuple[int, str]]:
    """Yield each size of a model with its description, e.g. `(6, "hidden_size of rnn")`."""
    if interface.features is not None:
        yield interface.features, "the number of features"
    for name, module in model.named_modules():
        if is_recurrent(module):
            for size in ("hidden_size", "input_size"):
                yield read_size(module, size, 0), f"{size} of {name or 'the model'}"
    for layer in find_layers(model):
        rows = layer.num_layers * layer.directions
        yield rows, f"the number of rows of h_n of {layer.name or 'the model'}"
        yield layer.width * layer.directions, f"the width of {layer.name or 'the model'}'s output"
        yield layer.num_layers, f"num_layers of {layer.name or 'the model'}"


def choose_other_size(least: int, own: Container[int], number: int = 1) -> int:
    """Return the smallest size, at least `least`, that starts `number` sizes outside `own`.

    With number=3, neither the size nor the next two are in `own`.
    """
    while any(size in own for size in range(least, least + number)):
        least += 1
    return least
