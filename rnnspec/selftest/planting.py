"""Plant bugs and changes of one kind of layer in another kind.

Only changes that do not concern the cell can be planted.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from torch import nn

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gates import multiplies_hidden_part
from rnnspec.mistakes.of_cells import RULES
from rnnspec.plain.catalogue import PLAIN_KINDS
from rnnspec.plain.layer import Plain
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import correct, correct_sums
from rnnspec.selftest.bank import BUGS, find_named_rule, list_classes, names_rule
from rnnspec.selftest.bugs import cells
from rnnspec.selftest.bugs.planted import Row
from rnnspec.selftest.labels import LABELS, seen_by

OTHERWISE_RUN = (
    correct.DoubleInside,
    correct.BackwardByFlipping,
    correct.InChunks,
    correct.PaddedAndMasked,
    correct.NamesOfItsOwn,
    correct_sums.SumsIn16Bits,
)
"""Correct layers that run the steps of any cell in another way."""


def fill_bank(
    kind: Kind,
    module: dict[str, Any],
    *,
    own: Iterable[ModuleType],
    correct: Iterable[type[nn.Module]],
) -> tuple[dict[str, type[nn.Module]], dict[str, type[nn.Module]]]:
    """Return the planted bugs and the correct layers or cells of a kind, by name.

    A bug of another kind is planted in this kind, unless it declares that this is impossible, its
    rule does not apply to the kind, or it is a base of bugs. `own` are the modules with bugs of the
    gates or states of this kind. Layers of other kinds in `correct` are converted to this kind. The
    classes become attributes of the module with the globals `module`, so that they can be pickled
    and named on the command line.
    """
    layer = PLAIN_KINDS[kind.layer].joined
    bugs = dict(BUGS)
    for each in own:
        bugs |= list_classes(each, layer)
    if kind.is_cell:
        bugs |= list_classes(cells, cells.PlantedCell)
    planted = {
        name: combine(name, bug, kind, module["__name__"])
        for name, bug in bugs.items()
        if names_rule(bug) and can_be_planted(bug, kind)
    }
    found = {name: bug for name, bug in planted.items() if is_about(bug, kind)}
    whole = PLAIN_KINDS[kind.name].bases
    made = {
        each.__name__: combine(each.__name__, each, kind, module["__name__"])
        if issubclass(each, Plain) and not all(issubclass(each, base) for base in whole)
        else each
        for each in correct
    }
    module.update(found | made)
    return found, made


def combine(name: str, layer: type[nn.Module], kind: Kind, module: str) -> type[nn.Module]:
    """Return a class of a module that applies the changes of `layer` to the plain layer of a kind.

    A class that is not a layer changes the arguments and results of a cell, and comes first among
    the bases. A layer comes after the classes that take and return states, unless it is derived
    from them. In a cell, the label uses the rules of cells. A bug that changes named values is
    planted in the layer of the kind.
    """
    row: Row | None = getattr(layer, "row", None)
    if row is not None:
        combined = row.plant(name, kind, module)
        return seen_by(_name_rules(row.rules.split(), kind), report=row.report)(combined)
    plain = PLAIN_KINDS[kind.name]
    bases: tuple[type, ...] = (layer, *plain.bases)
    if issubclass(layer, Plain):
        around = (each for each in plain.outside if not issubclass(layer, each))
        bases = (*around, layer, plain.joined)
    combined = type(name, bases, {"__module__": module, "__doc__": layer.__doc__})
    label = LABELS.get(layer)
    if label is None:
        return combined
    return seen_by(_name_rules(label.rules, kind), report=label.report)(combined)


def _name_rules(rules: Iterable[str], kind: Kind) -> str:
    """Return the rules of a kind that see a bug, from the rules of layers that see it."""
    found = (RULES.get(each, each) if kind.is_cell else each for each in rules)
    return " ".join(dict.fromkeys(found))


def can_be_planted(bug: type[nn.Module], kind: Kind) -> bool:
    """Return whether a bug changes the results of a kind of layer."""
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
