"""Compare two kill matrices, bug by bug and rule by rule, and print both side by side.

Record one with `rnnspec selftest --profile quick --json PATH` on each of two commits, then run
`python -m benchmarks.compare_matrices BEFORE AFTER`.

Without arguments, it compares the matrices from before and after all rules and values were renamed,
which are recorded in `benchmarks/recorded/`. Rule ids that changed are in `renamed_rules.json`
there. The exit status is 1 if a rule detects a bug, or accuses a correct implementation, in only
one of the two matrices. Bugs that differ from run to run do not count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables import make_parser

RECORDED = Path(__file__).parent / "recorded"
UNREPEATABLE = {
    "OwnStateRefused": "it compares addresses in memory, which differ from run to run",
    "OwnGenerator": "its random numbers do not depend on any seed",
}
"""The planted bugs that show themselves in other cases in every run, and why."""
Counts = dict[str, int]


def load_matrix(path: Path, renamed: Mapping[str, str]) -> dict[str, Counts]:
    """Return the number of cases that broke each rule, by subject, under today's rule ids."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {row["name"]: _rename(row["seen_by"], renamed) for row in rows}


def _rename(counts: Counts, renamed: Mapping[str, str]) -> Counts:
    return {renamed.get(rule, rule): number for rule, number in counts.items()}


def list_differences(
    before: Mapping[str, Counts], after: Mapping[str, Counts]
) -> Iterator[tuple[str, str, int, int]]:
    """Yield subject, rule and both counts wherever they differ."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, {}), after.get(name, {})
        for rule in sorted({*old, *new}):
            if old.get(rule, 0) != new.get(rule, 0):
                yield name, rule, old.get(rule, 0), new.get(rule, 0)


def compare(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> dict[str, Any]:
    """Return the totals of both matrices and where they differ."""
    common = [name for name in before if name in after]
    differences = list(list_differences(*({n: m[n] for n in common} for m in (before, after))))
    return {
        "subjects": len(common),
        "only_before": sorted(before.keys() - after.keys()),
        "only_after": sorted(after.keys() - before.keys()),
        "kills": [sum(len(matrix[name]) for name in common) for matrix in (before, after)],
        "cases": [sum(sum(matrix[n].values()) for n in common) for matrix in (before, after)],
        "differences": differences,
        "flips": [
            each
            for each in differences
            if each[0] not in UNREPEATABLE and not (each[2] and each[3])
        ],
    }


def format_comparison(found: Mapping[str, Any]) -> str:
    """Return the comparison as text."""
    lines = [
        f"subjects in both       {found['subjects']}",
        f"only before            {', '.join(found['only_before']) or 'none'}",
        f"only after             {', '.join(found['only_after']) or 'none'}",
        f"{'':<22} {'before':>8} {'after':>8}",
        f"{'bug and rule pairs':<22} {found['kills'][0]:>8} {found['kills'][1]:>8}",
        f"{'violating cases':<22} {found['cases'][0]:>8} {found['cases'][1]:>8}",
        f"pairs seen in one only {len(found['flips'])}",
    ]
    lines += [f"not counted            {name}: {why}" for name, why in UNREPEATABLE.items()]
    if found["differences"]:
        lines += ["", f"{'subject':<32} {'rule':<36} {'before':>6} {'after':>6}"]
        lines += [f"{n:<32} {r:<36} {a:>6} {b:>6}" for n, r, a, b in found["differences"]]
    return "\n".join(lines)


def main() -> int:
    """Print the comparison of two files; by default, of the recorded files."""
    parser = make_parser(__doc__)
    for when in ("before", "after"):
        recorded = RECORDED / f"layers_{when}_renaming.json"
        parser.add_argument(when, type=Path, nargs="?", default=recorded)
    options = parser.parse_args()
    renamed = json.loads((RECORDED / "renamed_rules.json").read_text(encoding="utf-8"))
    found = compare(load_matrix(options.before, renamed), load_matrix(options.after, {}))
    print(format_comparison(found))
    return 1 if found["flips"] else 0


if __name__ == "__main__":
    sys.exit(main())
