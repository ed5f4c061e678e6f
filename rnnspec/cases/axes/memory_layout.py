"""How the tensors of a call are laid out in memory.

Each value changes the layout of a tensor, and has the code that does the same to `x` in a
reproduction program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import equal  # here, so that a subject that replaces it changes no verdict

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.contract.features import Feature

LayOut = Callable[[torch.Tensor, int | None], torch.Tensor]
GARBAGE = float("nan")
"""Fills the memory around a view, where no kernel may read."""


@dataclass(frozen=True)
class MemoryLayoutMeaning(Meaning):
    """A memory layout.

    lay_out       returns a copy of a tensor; its second argument is the axis along which all slices
                  are equal, or None
    code          the code that does the same to a tensor called {name}; {repeated} is that axis
    least         the least number of axes of a tensor for which a program contains the code
    repeats       whether a single slice stands for all slices
    """

    lay_out: LayOut
    code: str
    least: int = 1
    repeats: bool = False


def _clone(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    return tensor.clone()


_CONTIGUOUS = MemoryLayoutMeaning("contiguous", "contiguous", _clone, "")


def _reverse_axes(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    axes = list(range(tensor.dim()))[::-1]
    return tensor.permute(axes).contiguous().permute(axes)


_TRANSPOSED = MemoryLayoutMeaning(
    "transposed",
    "all axes in reverse order",
    _reverse_axes,
    "{name} = {name}.mT.contiguous().mT",
    least=2,
    needs=Feature.STRIDES,
)


def _exchange_axes(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    if tensor.dim() < 2:
        return tensor.clone()
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)


_EXCHANGED = MemoryLayoutMeaning(
    "exchanged",
    "the first two axes exchanged",
    _exchange_axes,
    "{name} = {name}.transpose(0, 1).contiguous().transpose(0, 1)",
    least=2,
    needs=Feature.STRIDES,
)


def _copy_into(
    tensor: torch.Tensor, sizes: Sequence[int], place: tuple[slice, ...]
) -> torch.Tensor:
    """Return a place in a new buffer full of garbage, with the values of a tensor."""
    buffer = torch.full(tuple(sizes), GARBAGE, dtype=tensor.dtype, device=tensor.device)
    view = buffer[place]
    view.copy_(tensor)
    return view


def _slice(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    sizes = [2 * size + 1 for size in tensor.shape]
    return _copy_into(tensor, sizes, (slice(1, None, 2),) * tensor.dim())


_SLICED = MemoryLayoutMeaning(
    "sliced",
    "every second element of a larger buffer",
    _slice,
    "{name} = torch.stack([{name} * float('nan'), {name}], dim=-1).flatten(-2)[..., 1::2]",
    needs=Feature.STRIDES,
)


def _cut(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    sizes = [size + 2 for size in tensor.shape]
    return _copy_into(tensor, sizes, (slice(1, -1),) * tensor.dim())


# Many kernels read rows at any distance, and copy their input only if its features are not next to
# each other. So a wrong distance between rows does not show in the layout "sliced".
_CUT = MemoryLayoutMeaning(
    "cut",
    "a part of a larger buffer along every axis",
    _cut,
    "{name} = torch.nn.functional.pad({name}, [1, 1] * {name}.dim(), value=float('nan'))"
    "[(slice(1, -1),) * {name}.dim()]",
    needs=Feature.STRIDES,
)


def _offset(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    sizes = (tensor.size(0) + 3, *tensor.shape[1:])
    return _copy_into(tensor, sizes, (slice(2, -1),))


_OFFSET = MemoryLayoutMeaning(
    "offset",
    "a contiguous part of a larger buffer",
    _offset,
    "{name} = torch.cat([{name}[:1] * float('nan'), {name}])[1:]",
    needs=Feature.STRIDES,
)


def _expand(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    """Repeat a slice if all are equal; a rule may have changed a slice."""
    if repeated is None or tensor.dim() <= repeated or not tensor.size(repeated):
        return tensor.clone()
    repetition = tensor.narrow(repeated, 0, 1).clone().expand(tensor.shape)
    return repetition if equal(repetition, tensor) else tensor.clone()


_EXPANDED = MemoryLayoutMeaning(
    "expanded",
    "one slice of the input, of the initial state or of both, expanded along the batch or, for "
    "the input, along time",
    _expand,
    "{name} = {name}.narrow({repeated}, 0, 1).clone().expand({name}.shape)",
    repeats=True,
    needs=Feature.STRIDES,
)


class MemoryLayout(Choice):
    """How input and state are laid out in memory."""

    _value_: MemoryLayoutMeaning

    CONTIGUOUS = _CONTIGUOUS
    TRANSPOSED = _TRANSPOSED
    EXCHANGED = _EXCHANGED
    SLICED = _SLICED
    CUT = _CUT
    OFFSET = _OFFSET
    EXPANDED = _EXPANDED

    @property
    def repeats(self) -> bool:
        """Whether a slice stands for all, so that the tensor cannot be written to."""
        return self._value_.repeats

    def lay_out(self, tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
        """Return a copy with this layout; `repeated` is the axis of equal slices, or None."""
        return self._value_.lay_out(tensor, repeated)

    def write_lines(self, name: str, axes: int, repeated: int | None) -> list[str]:
        """Return the lines of a program that lay out the tensor called `name`.

        `axes` is its number of axes; `repeated` is the axis of equal slices, or None.
        """
        meaning = self._value_
        if not meaning.code or axes < meaning.least or (meaning.repeats and repeated is None):
            return []
        return [meaning.code.format(name=name, repeated=repeated)]
