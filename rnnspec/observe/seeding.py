"""Seed torch's random number generators, and read their states."""

from __future__ import annotations

import torch


def seed_torch(seed: int, device: str) -> None:
    """Seed the CPU's generator, or all generators if the subject runs on another device."""
    # torch.manual_seed seeds every backend, which takes longer than the call of a small layer.
    if torch.device(device).type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def read_generator_states(device: torch.device) -> torch.Tensor:
    """Return the state of the CPU's generator as bytes, followed by the device's state, if any."""
    read_own = getattr(getattr(torch, device.type, None), "get_rng_state", None)
    if device.type == "cpu" or read_own is None:
        return torch.get_rng_state()
    own = read_own() if device.type == "mps" else read_own(device)
    return torch.cat([torch.get_rng_state(), own])
