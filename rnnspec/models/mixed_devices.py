"""Find the line that combines a tensor made by the model with a tensor on another device."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line
from rnnspec.models.tensors import list_tensors

ACROSS_DEVICES = ("copy_", "__setitem__", "index_put_", "index_put")
"""Functions that accept tensors on several devices."""


class MixtureRecorder(Recorder):
    """Records the line where a function of torch fails because of the device of a tensor.

    The tensor was made during the call, on a device other than `device`, where the model is.
    `message` describes it, or is empty.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device
        self._made: list[Tensor] = []
        self.message = ""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and record results made from tensors on another device."""
        keywords = kwargs or {}
        given = list(list_tensors([*args, *keywords.values()]))
        try:
            result = function(*args, **keywords)
        except Exception:
            if not self.message and self._is_mixture(function, given, args, keywords):
                made = next(each.device for each in given if self._is_made(each))
                self.message = (
                    f"a tensor that the model makes is on {made}; expected {self._device}, as for "
                    f"its input\n  {find_source_line()}"
                )
            raise
        if all(map(self._is_made, given)):
            self._made += [each for each in list_tensors(result) if self._is_elsewhere(each)]
        return result

    def _is_elsewhere(self, tensor: Tensor) -> bool:
        return tensor.device.type != self._device

    def _is_made(self, tensor: Tensor) -> bool:
        return any(tensor is each for each in self._made)

    def _is_mixture(
        self, function: Any, given: list[Tensor], args: Any, keywords: dict[str, Any]
    ) -> bool:
        """Return whether a function would work if all tensors were on the device of the model."""
        # A zero-dimensional tensor on the CPU may be combined with tensors on any device.
        elsewhere = [each for each in given if self._is_elsewhere(each) and each.dim() > 0]
        is_possible = len(elsewhere) < len(given) and all(map(self._is_made, elsewhere))
        if not elsewhere or not is_possible or function.__name__ in ACROSS_DEVICES:
            return False
        try:
            function(*self._move(args), **{name: self._move(keywords[name]) for name in keywords})
        except Exception:
            return False
        return True

    def _move(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(self._device)
        if type(value) in (tuple, list):
            return type(value)(map(self._move, value))
        return value
