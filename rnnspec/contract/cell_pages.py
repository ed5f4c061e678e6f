"""The places of clauses that the pages of all cells share."""

from __future__ import annotations

from typing import Any

from rnnspec.contract.kinds import CELLS


def expand_cells(kinds: list[Any]) -> list[Any]:
    """Return names of kinds, using all kinds of cells in place of the word `cells`."""
    names = [kind.name for kind in CELLS]
    return [name for each in kinds for name in (names if each == "cells" else [each])]


def list_cell_places(given: Any) -> dict[str, Any]:
    """Return a place for each kind of cell, in the form used in the TOML files.

    `given` is the name of a passage that the page of each cell has, a table with a source, or None.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        return {kind.name: f"{kind.page}#{given}" for kind in CELLS}
    return {kind.name: given for kind in CELLS}
