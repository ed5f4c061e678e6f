"""Find out whether the declaration of an adapter may be the reason why a layer breaks rules."""

from __future__ import annotations

from collections.abc import Collection

from rnnspec.adapters.adapter import Adapter
from rnnspec.inference.smoke import COMPARED, Remark, list_first_mistakes
from rnnspec.subjects.steps import Interrupted
from rnnspec.subjects.target import Target

MOST = 3
"""How many remarks are repeated."""


def describe_declaration(target: Target) -> str:
    """Return the mistakes that `rnnspec smoke` finds in the declaration of an adapter, as a note.

    The note is empty if the layer can be called and no other declaration fits better: then the
    layer may be at fault.
    """
    assert isinstance(target.factory, Adapter)
    try:
        found = list_first_mistakes(target.factory)
    except (Exception, Interrupted):  # without this note, the report is still right
        return ""
    if any(each.may_be_layer for each in found):
        return ""
    named = f"rnnspec smoke {target.label}" if ":" in target.label else "rnnspec smoke"
    if not found:
        return ""
    listed = "; ".join(map(_format, found[:MOST]))
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"this may be the declaration: `{named}` says {listed}{more}"


def suggest_declarations(target: Target, broken: Collection[str]) -> list[str]:
    """Return hints on other declarations that the broken rules suggest."""
    assert isinstance(target.factory, Adapter)
    hints = target.factory.hints
    return [f"{name}: {hints[name]}" for name in broken if name in hints]


def _format(remark: Remark) -> str:
    return remark.text if remark.subject == COMPARED else f"{remark.subject}: {remark.text}"
