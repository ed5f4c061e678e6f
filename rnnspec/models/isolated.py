"""A private copy of a model that can be called again and again under the same conditions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Watcher = Callable[[nn.Module], list[RemovableHandle]]


class IsolatedModel:
    """A copy of a model in eval mode and, where the model can run in it, float64.

    Every call sees the same random state. A model that does not answer the same input twice alike is copied afresh for every call, so that
    what it remembers is no answer to the next question. The given model is not touched.
    """

    def __init__(self, model: nn.Module, x: Tensor, *, training: bool = False) -> None:
        self.training = training
        self.notes: list[str] = []
        self._fresh = False
        self._pristine = copy.deepcopy(model).train(training)
        self._widen(x)
        self._fresh = not self._repeats(self.cast(x))

    @property
    def module(self) -> nn.Module:
        """The copy that calls go to."""
        return self._pristine

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the copy's first floating parameter, float64 without one."""
        return next(
            (p.dtype for p in self._pristine.parameters() if p.is_floating_point()), torch.float64
        )

    def cast(self, x: Tensor) -> Tensor:
        """The input on the copy's device, features in its dtype."""
        device = next((p.device for p in self._pristine.parameters()), x.device)
        return x.to(device, self.dtype) if x.is_floating_point() else x.to(device)

    def __call__(self, x: Tensor, *watchers: Watcher) -> Tensor:
        """The prediction for x, while the watchers' hooks are in place. Raises what the model raises."""
        return self.run(self.instance(), x, *watchers)

    def instance(self) -> nn.Module:
        """The module to call next: the copy itself, or a fresh copy of it where calls leave something behind."""
        return copy.deepcopy(self._pristine) if self._fresh else self._pristine

    def run(self, module: nn.Module, x: Tensor, *watchers: Watcher) -> Tensor:
        """The prediction of this module, which `instance` gave, for x."""
        with (
            attached(module, watchers),
            own_random_numbers(0),
            torch.backends.cudnn.flags(enabled=False),
        ):
            return first_tensor(module(self.cast(x).clone()))

    def redrawn(self, seed: int, x: Tensor) -> IsolatedModel | None:
        """The same model with every floating parameter drawn anew, or None where its prediction is not finite then."""
        other = copy.copy(self)
        other._pristine = copy.deepcopy(self._pristine)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in other._pristine.parameters():
                if parameter.is_floating_point():
                    parameter.copy_(_drawn(parameter, generator))
            return other if bool(other(x).isfinite().all()) else None

    def _widen(self, x: Tensor) -> None:
        narrow = self._pristine
        self._pristine = copy.deepcopy(narrow).double()
        try:
            self(x)
        except (
            Exception
        ) as error:  # whatever the model raises, it is measured in its own dtype instead
            self._pristine = narrow
            self.notes.append(
                f"measured in {self.dtype}, since the model fails in float64: {error}"
            )

    def _repeats(self, x: Tensor) -> bool:
        with torch.no_grad():
            untouched = copy.deepcopy(self._pristine)
            first, again = self(x), self(x)
            self._pristine = untouched
        if torch.equal(first, again):
            return True
        self.notes.append(
            "the model answers the same input differently when it is called again: each call got a fresh copy"
        )
        return False


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """torch's generators at a seed, and afterwards as they were, those of CUDA devices in use included."""
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(used)):
        torch.manual_seed(seed)
        yield


@contextmanager
def attached(module: nn.Module, watchers: Sequence[Watcher]) -> Iterator[None]:
    """The watchers' hooks in place for the length of a with statement."""
    handles = [handle for watcher in watchers for handle in watcher(module)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(value: object) -> Tensor:
    """The value itself, or the first tensor of the tuple, list or mapping that it is. Raises TypeError where there is none."""
    if isinstance(value, Tensor):
        return value
    items = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    for item in items:
        if isinstance(item, Tensor):
            return item
    raise TypeError(f"a model must return a tensor, got {type(value).__name__}")


def _drawn(parameter: Tensor, generator: torch.Generator) -> Tensor:
    limit = max(float(parameter.shape[-1]), 4.0) ** -0.5 if parameter.dim() > 1 else 0.5
    return (
        (2 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 1) * limit
    ).to(parameter)
