"""Plant what is not about the cell of a layer in a layer of another kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from rnnspec.contract.kinds import UNGATED, Kind
from rnnspec.mistakes.gates import multiplies_hidden_part
from rnnspec.mistakes.of_cells import RULES
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import correct, correct_sums
from rnnspec.selftest.bank import find_named_rule, list_classes, names_rule
from rnnspec.selftest.bugs import cells
from rnnspec.selftest.bugs.planted import Row
from rnnspec.selftest.seen import LABELS, seen_by

OTHERWISE_RUN = (
    correct.DoubleInside,
    correct.BackwardByFlipping,
    correct.InChunks,
    correct.PaddedAndMasked,
    correct.NamesOfItsOwn,
    correct_sums.SumsIn16Bits,
)
"""Correct layers that run the steps of any cell in another way."""


def plant_everywhere(
    bugs: Mapping[str, type[nn.Module]],
    plain: type[nn.Module],
    kind: Kind,
    module: dict[str, Any],
    outside: tuple[type, ...] = (),
    *,
    is_outermost: bool = False,
) -> dict[str, type[nn.Module]]:
    """Return the bugs that can be planted in a layer of another kind, by name.

    `plain` is its correct layer, and `outside` are classes that change what a call takes and
    returns, whatever the bug does, unless the bug `is_outermost`. Bugs that say so are left out,
    those whose rule does not apply to the kind, and bases of bugs, which name none. The classes
    become attributes of the module with these globals, so that they can be pickled and named on the
    command line.
    """
    around, within = ((), (*outside, plain)) if is_outermost else (outside, (plain,))
    planted = {
        name: combine(name, bug, module["__name__"], inside=within, outside=around, kind=kind)
        for name, bug in bugs.items()
        if names_rule(bug) and can_be_planted(bug, kind)
    }
    found = {name: bug for name, bug in planted.items() if is_about(bug, kind)}
    module.update(found)
    return found


def gather_cells(
    kind: Kind,
    module: dict[str, Any],
    *,
    bugs: Mapping[str, type[nn.Module]],
    correct: Mapping[str, type[nn.Module]],
    inside: type[nn.Module],
    outside: tuple[type, ...],
) -> tuple[dict[str, type[nn.Module]], dict[str, type[nn.Module]]]:
    """Return the planted bugs and the correct cells of a kind, by name.

    `bugs` and `correct` are layers, of which cells are made: `inside` is the correct layer behind a
    cell, and `outside` takes one step. Bugs about what a cell takes and returns are added. The
    classes become attributes of the module with these globals.
    """
    planted = plant_everywhere(bugs, inside, kind, module, outside)
    own = plant_everywhere(
        list_classes(cells, cells.PlantedCell),
        inside,
        kind,
        module,
        is_outermost=True,
        outside=outside,
    )
    made = {
        name: combine(name, each, module["__name__"], inside=(inside,), outside=outside)
        for name, each in correct.items()
    }
    module.update(made)
    return {**planted, **own}, made


def combine(
    name: str,
    layer: type[nn.Module],
    module: str,
    *,
    inside: tuple[type, ...] = (),
    outside: tuple[type, ...] = (),
    kind: Kind = UNGATED,
) -> type[nn.Module]:
    """Return a class in which a layer changes plain ones of another kind.

    The classes `outside` change what it takes and returns, unless the layer is made of them. A cell
    names the rules of cells. A bug that changes named values is planted in the layer of the kind.
    """
    row: Row | None = getattr(layer, "row", None)
    if row is not None:
        combined = row.plant(name, kind, module)
        return seen_by(*_name_rules(row.rules, kind), report=row.report)(combined)
    attributes = {"__module__": module, "__doc__": layer.__doc__}
    around = tuple(each for each in outside if not issubclass(layer, each))
    combined = type(name, (*around, layer, *inside), attributes)
    label = LABELS.get(layer)
    if label is None:
        return combined
    return seen_by(*_name_rules(label.rules, kind), report=label.report)(combined)


def _name_rules(rules: Iterable[str], kind: Kind) -> Iterable[str]:
    """Return the rules of a kind that see a bug which rules of layers see."""
    return dict.fromkeys(RULES.get(each, each) if kind.is_cell else each for each in rules)


def can_be_planted(bug: type[nn.Module], kind: Kind) -> bool:
    """Return whether a bug changes what a layer of a kind computes."""
    row: Row | None = getattr(bug, "row", None)
    if row is not None and not row.concerns(kind):
        return False
    if kind.is_gated and getattr(bug, "ungated", False):
        return False
    if multiplies_hidden_part(kind) and getattr(bug, "equal_biases", False):
        return False
    if kind.is_cell and getattr(bug, "beyond_cells", False):
        return False
    if getattr(bug, "packed_checks", False) and not kind.checks_packed:
        return False
    return not kind.has_several_states or not getattr(bug, "single_state", False)


def is_about(bug: type[nn.Module], kind: Kind) -> bool:
    """Return whether the rule that a bug names applies to a kind."""
    return bool(find_layer_rule(find_named_rule(bug)).clauses_of(kind.name))
