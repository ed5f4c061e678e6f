"""Setting torch's random number generators for one call."""

from __future__ import annotations

import torch


def seed_torch(seed: int, device: str) -> None:
    """Seed the generator of the CPU, and every other where the subject runs elsewhere.

    torch.manual_seed asks every backend each time, which costs more than a small layer's call.
    """
    if torch.device(device).type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
