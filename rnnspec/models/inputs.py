"""Inputs for measuring a model, and copies of them with a changed position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.models.infer import CannotInfer, Interface

MAX_IDS = 65


@dataclass(frozen=True)
class Inputs:
    """A batch of `batch` sequences of `steps` time steps for an interface.

    Token ids never include the padding id, nor `nan_id`, which only `plant_nan` uses. Use different
    numbers for `batch` and `steps`, so that their sizes distinguish the two dimensions. Raises
    CannotInfer for a vocabulary with fewer than two ids besides padding.
    """

    interface: Interface
    batch: int = 3
    steps: int = 5

    def __post_init__(self) -> None:
        if self.interface.takes_tokens and len(self.usable_ids) < 2:
            number = len(self.usable_ids)
            raise CannotInfer(
                f"measuring needs at least two token ids besides padding, and there is {number}"
            )

    @property
    def usable_ids(self) -> list[int]:
        """The first token ids of the vocabulary, without the padding id."""
        return [
            number
            for number in range(min(self.interface.vocabulary or 0, MAX_IDS))
            if number != self.interface.padding
        ]

    @property
    def nan_id(self) -> int:
        """The id that `plant_nan` uses and `draw` never does."""
        return self.usable_ids[-1]

    def draw(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Draw token ids (N, L) of dtype int64, or features (N, L, F) of the given dtype.

        The first two dimensions are exchanged without `batch_first`. The same seed gives the same
        values.
        """
        generator = torch.Generator().manual_seed(seed)
        shape = (self.batch, self.steps) if self.interface.batch_first else (self.steps, self.batch)
        if not self.interface.takes_tokens:
            return torch.randn(
                *shape, self.interface.features or 1, generator=generator, dtype=torch.float64
            ).to(dtype)
        choice = torch.tensor(self.usable_ids[:-1])
        return choice[torch.randint(len(choice), shape, generator=generator)]

    def change_position(self, x: Tensor, sample: int, position: int, seed: int) -> Tensor:
        """Return a copy of x with another token id, or other features, at a position.

        New features have up to ten times the magnitude.
        """
        changed = x.clone()
        index = self.index_of(sample, position)
        generator = torch.Generator().manual_seed(seed)
        if self.interface.takes_tokens:
            others = [number for number in self.usable_ids if number != int(x[index])]
            changed[index] = others[int(torch.randint(len(others), (), generator=generator))]
        else:
            scale = (1.0, 10.0)[seed % 2]
            changed[index] = scale * torch.randn(
                x.shape[-1], generator=generator, dtype=torch.float64
            ).to(x)
        return changed

    def plant_nan(self, x: Tensor, samples: slice, positions: slice) -> Tensor:
        """Return a copy of x with NaN features, or the token id `nan_id`, at positions of samples.

        The caller has to set the embedding of that id to NaN.
        """
        changed = x.clone()
        index = (samples, positions) if self.interface.batch_first else (positions, samples)
        changed[index] = self.nan_id if self.interface.takes_tokens else float("nan")
        return changed

    def index_of(self, sample: int, position: int) -> tuple[int, int]:
        """Return the index of a position of a sample in the first two dimensions of an input."""
        return (sample, position) if self.interface.batch_first else (position, sample)
