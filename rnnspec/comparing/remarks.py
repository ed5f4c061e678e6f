"""Remark unusual properties of a reference, such as a state that is drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.comparing.evaluation import (
    InFloat64,
    Pair,
    PairCase,
    are_equal,
    convert,
    convert_module,
)
from rnnspec.comparing.modes import is_random
from rnnspec.subjects.failures import Ended
from rnnspec.text import join_words

MOST_NAMES = 4


def describe_reference(pair: Pair, case: PairCase) -> list[str]:
    """Return remarks on the reference in a case, or none if it cannot be measured."""
    try:
        return [*_describe_calls(pair, case), *_describe_gradients(pair, case)]
    except Ended:
        raise
    except Exception:  # whatever it raises when it is differentiated
        return []


def _describe_calls(pair: Pair, case: PairCase) -> Iterator[str]:
    if is_random(pair, pair.recipe.reference, case):
        yield "it draws random numbers in evaluation mode, such as an initial state"
        return
    module, given = pair.build_reference(case), pair.make_given(case)
    first, second = (pair.call(pair.recipe.reference, module, given, case) for _ in range(2))
    if not are_equal(first, second):
        yield "it keeps a state from one call to the next: equal calls have other results"


class _Outputs:
    """The outputs of the bidirectional layers of a module in a call, as parts of the graph."""

    def __init__(self, module: nn.Module) -> None:
        self.found: dict[str, Tensor] = {}
        self.layers: dict[str, nn.RNNBase] = {}
        for name, layer in module.named_modules():
            if isinstance(layer, nn.RNNBase) and layer.bidirectional:
                self.layers[name] = layer
                layer.register_forward_hook(self._make_hook(name))

    def _make_hook(self, name: str) -> Any:
        def keep(_module: nn.Module, _arguments: Any, result: Any) -> None:
            output = result[0]
            if isinstance(output, Tensor) and output.dim() == 3 and output.requires_grad:
                self.found[name] = output

        return keep


def _describe_gradients(pair: Pair, case: PairCase) -> Iterator[str]:
    """Yield parameters that are not used, and layers of which only the last step is read."""
    module = convert_module(pair.build_reference(case))
    outputs = _Outputs(module)
    with InFloat64():
        given = pair.make_given(case).map(convert)
        results = pair.call_for_gradients(pair.recipe.reference, module, given, case)
    total = sum(each.sum() for each in results.values() if each.requires_grad)
    if not isinstance(total, Tensor):
        return
    named = {name: each for name, each in module.named_parameters() if each.requires_grad}
    sources = [*named.values(), *outputs.found.values()]
    gradients = torch.autograd.grad(total, sources, allow_unused=True)
    unused = [name for name, each in zip(named, gradients, strict=False) if each is None]
    if unused:
        listed = join_words(unused[:MOST_NAMES]) + (" ..." if len(unused) > MOST_NAMES else "")
        yield f"{listed} {'is' if len(unused) == 1 else 'are'} never used"
    for name, gradient in zip(outputs.found, gradients[len(named) :], strict=True):
        if gradient is not None and _reads_last_only(gradient, outputs.layers[name]):
            yield (
                f"it reads the last step of {name or 'its layer'}, whose backward direction has "
                "seen only that step there"
            )


def _reads_last_only(gradient: Tensor, layer: nn.RNNBase) -> bool:
    """Return whether both directions of an output are read at the last of several steps only."""
    by_step = gradient.transpose(0, 1) if layer.batch_first else gradient
    both = by_step.unflatten(2, (2, -1))
    read = both.abs().amax((1, 3)) > 0
    return len(read) > 1 and bool(read[-1].all()) and not bool(read[:-1].any())
