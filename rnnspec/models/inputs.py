"""The inputs that a measurement gives to a model, and the same inputs with one position changed or spoiled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.models.infer import CannotInfer, Interface


@dataclass(frozen=True)
class Inputs:
    """A batch of `batch` sequences of `steps` positions for an interface.

    Tokens never hold the padding id, nor the `marked` id, which only `spoiled` plants. `batch` and `steps` should differ, so that an axis
    can be told from its shape. Raises CannotInfer for a vocabulary without two ids beside the padding.
    """

    interface: Interface
    batch: int = 3
    steps: int = 5

    def __post_init__(self) -> None:
        if self.interface.takes_tokens and len(self.ids) < 2:
            raise CannotInfer(
                f"a measurement needs two token ids beside the padding, got vocabulary={self.interface.vocabulary!r}"
            )

    @property
    def ids(self) -> list[int]:
        """Every id that is not padding; at most 64 of them."""
        return [
            number
            for number in range(min(self.interface.vocabulary or 0, 65))
            if number != self.interface.padding
        ]

    @property
    def marked(self) -> int:
        """The id that `spoiled` plants and `draw` never gives."""
        return self.ids[-1]

    def draw(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Token ids (N, L) or features (N, L, F), the first two axes exchanged unless batch_first; a function of the seed."""
        generator = torch.Generator().manual_seed(seed)
        shape = (self.batch, self.steps) if self.interface.batch_first else (self.steps, self.batch)
        if not self.interface.takes_tokens:
            return torch.randn(
                *shape, self.interface.features or 1, generator=generator, dtype=torch.float64
            ).to(dtype)
        choice = torch.tensor(self.ids[:-1])
        return choice[torch.randint(len(choice), shape, generator=generator)]

    def changed(self, x: Tensor, sample: int, position: int, seed: int) -> Tensor:
        """A copy of x whose one position of one sample holds another id, or other features of up to ten times the magnitude."""
        changed = x.clone()
        place = self.place(sample, position)
        generator = torch.Generator().manual_seed(seed)
        if self.interface.takes_tokens:
            others = [number for number in self.ids if number != int(x[place])]
            changed[place] = others[int(torch.randint(len(others), (), generator=generator))]
        else:
            scale = (1.0, 10.0)[seed % 2]
            changed[place] = scale * torch.randn(
                x.shape[-1], generator=generator, dtype=torch.float64
            ).to(x)
        return changed

    def spoiled(self, x: Tensor, sample: int, position: int) -> Tensor:
        """A copy of x whose one position of one sample is NaN, or holds the marked id, whose embedding the caller makes NaN."""
        spoiled = x.clone()
        spoiled[self.place(sample, position)] = (
            self.marked if self.interface.takes_tokens else float("nan")
        )
        return spoiled

    def place(self, sample: int, position: int) -> tuple[int, int]:
        """The index of one position of one sample in the first two axes."""
        return (sample, position) if self.interface.batch_first else (position, sample)
