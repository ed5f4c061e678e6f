"""The classes whose documentation is the contract of a kind."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module

from torch import nn

from rnnspec.contract.kinds import KINDS, Kind


@cache
def load_documented(kind: Kind) -> type[nn.Module] | None:
    """Return the class that documents a kind of layer or cell, or None if there is none."""
    module, _, name = kind.documented.partition(":")
    found: type[nn.Module] | None = getattr(import_module(module), name) if module else None
    return found


def require_documented(kind: Kind) -> type[nn.Module]:
    """Return the class that documents a kind. Raises ValueError if there is none."""
    found = load_documented(kind)
    if found is None:
        raise ValueError(f"no class documents the kind {kind.name}")
    return found


def list_documented(kinds: Iterable[Kind] = KINDS.values()) -> tuple[type[nn.Module], ...]:
    """Return the classes that document the given kinds."""
    return tuple(each for each in map(load_documented, kinds) if each is not None)


def find_documented_kind(layer: type) -> Kind | None:
    """Return the kind documented by a class or by one of its base classes, or None."""
    return next((kind for kind in KINDS.values() if is_derived(layer, kind)), None)


def is_derived(layer: type, kind: Kind) -> bool:
    """Return whether a class documents a kind, or is derived from the class that does."""
    documented = load_documented(kind)
    return documented is not None and issubclass(layer, documented)
