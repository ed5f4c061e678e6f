"""Biases that a layer has once instead of twice, or not at all."""

from __future__ import annotations

from dataclasses import replace

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.inference.matching import Assignment
from rnnspec.oracle.catalogue import cell_of


def list_separate_gates(kind: Kind) -> list[str]:
    """Return the gates whose two biases are not added to each other: those with two sums."""
    cell = cell_of(Config(2, 2, kind=kind.name))
    blocks = zip(kind.gates, cell.input_blocks, cell.hidden_blocks, strict=True)
    return [gate for gate, read, carried in blocks if read != carried]


def merge_biases(found: Assignment) -> None:
    """Give each bias that stands for two the sum of both.

    If a gate needs two and the layer has one, or if it has none for some gates, its biases are held
    at zero, and the assignment says why.
    """
    kind, covers = found.trial.kind, found.covers
    blocks = {
        role: {gate for each, gate in covers if each == role} for role in ("bias_ih", "bias_hh")
    }
    if not blocks["bias_ih"] | blocks["bias_hh"]:
        found.unbiased = "it has no biases"
        return
    merged = blocks["bias_ih"] ^ blocks["bias_hh"]
    bare = [each for each in kind.gates if each not in blocks["bias_ih"] | blocks["bias_hh"]]
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
        if candidate.is_bias:
            own = frozenset(candidate.gates) & merged
            found.chosen[name] = replace(candidate, merged=own)
