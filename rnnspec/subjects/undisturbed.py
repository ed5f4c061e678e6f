"""Global settings are given back as they were, whatever a subject does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_num_threads, torch.set_num_threads),
    (np.geterr, lambda state: np.seterr(**state)),
)
"""How each setting is read and how it is set."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Give the default dtype, the gradient mode and the other settings back as they were before the block."""
    before = [read() for read, _ in SETTINGS]
    try:
        yield
    finally:
        for (read, give_back), value in zip(SETTINGS, before, strict=True):
            if read() != value:
                give_back(value)
