"""torch's random number generators: set for one call, and their states."""

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


def generator_state(device: torch.device) -> torch.Tensor:
    """The state of the CPU's generator, followed by that of the device's own where it has one, as bytes."""
    own = getattr(getattr(torch, device.type, None), "get_rng_state", None)
    if device.type == "cpu" or own is None:
        return torch.get_rng_state()
    return torch.cat([torch.get_rng_state(), own() if device.type == "mps" else own(device)])
