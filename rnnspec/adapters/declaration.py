"""The declaration of an adapter as data, for making the adapter and writing its source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from rnnspec.adapters.adapter import Adapter, module
from rnnspec.adapters.cells import cell
from rnnspec.contract.kinds import DEFAULT_KIND

WIDTH = 100


@dataclass(frozen=True)
class Declaration:
    """The arguments of `rnnspec.adapt.module` for a layer."""

    kind: str
    weights: Mapping[str, str]
    arguments: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    call: str = "x, h"
    returns: str = "output, h"
    lacks: Mapping[str, str] = field(default_factory=dict)
    needs_state: bool = False
    function: ClassVar[str] = "module"
    """The name of the function in `rnnspec.adapt` that takes them."""

    def make(self, factory: Callable[..., nn.Module]) -> Adapter:
        """Return the adapter of a class or a factory."""
        return module(factory, **vars(self))

    def write_call(self, target: str) -> str:
        """Return the source of the call that makes the adapter; `target` is inserted unchanged."""
        lines = [f"    {target},"]
        if self.kind != DEFAULT_KIND:
            lines.append(f"    kind={write_value(self.kind)},")
        for name in ("weights", "arguments", "fixed", "extra"):
            lines += _write_mapping(name, getattr(self, name))
        lines += [
            f"    call={write_value(self.call)},",
            f"    returns={write_value(self.returns)},",
        ]
        lines += _write_mapping("lacks", self.lacks)
        lines += ["    needs_state=True,"] if self.needs_state else []
        body = "\n".join(lines)
        return f"adapt.{self.function}(\n{body}\n)"


@dataclass(frozen=True)
class CellDeclaration(Declaration):
    """The arguments of `rnnspec.adapt.cell` for a module that computes a single step."""

    function: ClassVar[str] = "cell"

    def make(self, factory: Callable[..., nn.Module]) -> Adapter:
        """Return the adapter of a class or a factory of cells."""
        declared = {name: getattr(self, name) for name in ("kind", "weights", "fixed", "extra")}
        return cell(factory, **declared, call=self.call, returns=self.returns, lacks=self.lacks)


def write_value(value: Any) -> str:
    """Return a value as source, with text in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _write_mapping(name: str, values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    entries = [f"{write_value(key)}: {write_value(value)}" for key, value in values.items()]
    line = f"    {name}={{{', '.join(entries)}}},"
    if len(line) <= WIDTH and name != "weights":
        return [line]
    return [f"    {name}={{", *(f"        {entry}," for entry in entries), "    },"]
