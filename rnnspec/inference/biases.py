"""Map the biases of layers that do not have two biases per gate."""

from __future__ import annotations

from dataclasses import replace

from rnnspec.inference.candidates import list_rows
from rnnspec.inference.matching import Assignment
from rnnspec.oracle.catalogue import list_separate_gates


def merge_biases(found: Assignment) -> None:
    """Assign the sum of both documented biases to each bias that stands for both.

    If a gate has no bias, or a single bias where the formula uses the two separately, hold all
    biases at zero and record the reason in `found.unbiased`.
    """
    if not any(name.startswith("bias") for name, _ in found.covers):
        found.unbiased = "it has no biases"
        return
    for row in list_rows(found.trial.config):
        _merge_row(found, row.ending)


def _merge_row(found: Assignment, row: str) -> None:
    """Merge the biases of a single layer and direction."""
    kind, covers = found.trial.kind, found.covers
    read, carried = (
        {gate for each, gate in covers if each == f"{role}{row}"} for role in ("bias_ih", "bias_hh")
    )
    # A bias that covers a gate alone acts as the sum of both, since the formula adds them.
    merged = read ^ carried
    bare = [each for each in kind.gates if each not in read | carried]
    # The new gate of a GRU multiplies its second bias by the reset gate: no sum replaces both.
    split = [each for each in list_separate_gates(kind) if each in merged]
    if bare or split:
        gate = (bare or split)[0]
        count = "no bias" if bare else "one bias"
        need = "the documented layer has two" + (
            ", and a formula in which they are not added" if split else ""
        )
        found.unbiased = f"its {gate} gate has {count}; {need}"
        for name, candidate in found.chosen.items():
            if candidate.is_bias:
                found.chosen[name] = replace(candidate, is_zero=True)
        return
    for name, candidate in found.chosen.items():
        if candidate.is_bias and candidate.row == row:
            own = frozenset(candidate.gates) & merged
            found.chosen[name] = replace(candidate, merged=own)
