"""Sizes inside a model, which a batch or a sequence may equal by coincidence."""

from __future__ import annotations

from collections.abc import Container, Iterator

from torch import nn

from rnnspec.models.infer import Interface
from rnnspec.models.layers import find_layers, is_recurrent, read_size


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
