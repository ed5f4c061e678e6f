"""Mutate correct layers, one statement at a time, and count the mutants that quick misses.

    python -m benchmarks.mutants --mutants 60 --log mutants.jsonl
    python -m benchmarks.mutants --target torch.nn:GRUCell --mutants 10 --uses 100
    python -m benchmarks.mutants --only-log --log benchmarks/recorded/mutants.jsonl --write

Run it from the root of a checkout. The layers are torch's own and those of `benchmarks/mutated`.
Each mutant is compared with its layer in a few random uses, and checked in quick if it differs, as
`rnnspec selftest --mutate --differing` does. Each becomes a line of the log and is not checked
again; with `--only-log`, none is checked. The reasons why mutants survive are written by hand in
`recorded/survivors.json`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import (
    add_outputs,
    format_share,
    format_table,
    make_parser,
    show_progress,
    write_report,
)
from rnnspec.contract.kinds import KINDS
from rnnspec.options import CheckOptions
from rnnspec.selftest.mutants import list_mutants, sample_mutants
from rnnspec.selftest.mutation import (
    MutantOutcome,
    MutantResult,
    MutationOptions,
    check_mutant,
    examine,
    hash_text,
    write_mutant,
)

PAGE = "detection.md"
RECORDED = Path(__file__).parent / "recorded"
NAMES = tuple(kind.title for kind in KINDS.values())
TARGETS = (
    *(f"torch.nn:{name}" for name in NAMES),
    *(f"benchmarks.mutated.loops:Loop{name}" for name in NAMES),
    *(f"benchmarks.mutated.functions:{name}" for name in NAMES),
    *(f"benchmarks.mutated.fused:Fused{name}" for name in ("GRU", "LSTM", "LSTMCell")),
    *(f"benchmarks.mutated.pure:Pure{name}" for name in ("RNN", "GRU", "RNNCell", "GRUCell")),
    *(
        f"benchmarks.mutated.wrapped:{name}"
        for name in ("BlockedRNN", "ChunkedLSTM", "NamedGRUCell")
    ),
)
"""Torch's own layers, and layers in five styles: loops in a subclass, functions of autograd, fused
products, pure functions, and subclasses that leave the work to torch.
"""
USES = 60
"""The uses in which each mutant is compared; the first difference ends that."""
HEAD = (
    "kind",
    "layers",
    "mutants",
    "break a promise",
    "noticed by quick",
    "differ otherwise",
    "equivalent",
    "invalid",
)
NOT_PROMISED = "not promised"
"""The class of survivors that differ from their layer but keep all promises."""
SURVIVOR_HEAD = ("class", "reason", "survivors", "for example", "a use that shows it")


@dataclass(frozen=True)
class Line:
    """The outcome for a mutant of a layer; `source` identifies the source that was changed."""

    target: str
    kind: str
    source: str
    result: MutantResult

    def as_dict(self) -> dict[str, Any]:
        """Return the line as data."""
        whole = {"target": self.target, "kind": self.kind, "source": self.source}
        return {**whole, **self.result.as_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Line:
        """Return the line that `as_dict` stored."""
        return cls(data["target"], data["kind"], data["source"], MutantResult.from_dict(data))


def check_layer(target: str, number: int, uses: int, log: Path | None) -> Iterator[Line]:
    """Yield the outcomes for the mutants of a layer. Mutants in the log are not checked again."""
    options = MutationOptions(CheckOptions(profile="quick"), uses=uses, differing=True)
    original = examine(target, options.check)
    source = Path(original.path).read_text(encoding="utf-8")
    identity = hash_text(source)
    lines = map(Line.from_dict, read_lines(log))
    known = {
        line.result.key: line for line in lines if (line.target, line.source) == (target, identity)
    }
    mutants = list_mutants(source, [original.name.split(".")[0]])
    with TemporaryDirectory() as folder:
        for count, mutant in enumerate(sample_mutants(mutants, number, seed=0), 1):
            if mutant.key not in known:
                path = write_mutant(mutant, source, original, Path(folder))
                result = check_mutant(original, mutant, path, options)
                known[mutant.key] = Line(target, original.kind, identity, result)
                add_line(log, known[mutant.key].as_dict())
                show_progress(f"{target}: {count} of {number}: {result.outcome.value}")
            yield known[mutant.key]


def summarise(found: Sequence[Line], reasons: Sequence[Mapping[str, str]]) -> str:
    """Return a table of how many mutants of each kind break a promise, and are noticed."""
    harmless = {each["before"] for each in reasons if each["class"] == NOT_PROMISED}
    rows = []
    for kind in KINDS.values():
        lines = [line for line in found if line.kind == kind.name]
        counts = Counter(line.result.outcome for line in lines)
        survivors = [line for line in lines if line.result.outcome is MutantOutcome.SURVIVOR]
        otherwise = sum(line.result.before in harmless for line in survivors)
        noticed = sum(number for outcome, number in counts.items() if outcome.is_noticed)
        breaking = noticed + len(survivors) - otherwise
        rows.append(
            (
                kind.page,
                len({line.target for line in lines}),
                len(lines),
                breaking,
                format_share(noticed, breaking),
                otherwise,
                counts[MutantOutcome.EQUIVALENT],
                counts[MutantOutcome.INVALID],
            )
        )
    return format_table(HEAD, rows)


def list_survivors(found: Sequence[Line], reasons: Sequence[Mapping[str, str]]) -> str:
    """Return a table of the reasons why mutants survive, each with an example.

    A reason belongs to a statement, whatever it becomes and whatever the layer is.
    """
    known = {each["before"]: (each["class"], each["reason"]) for each in reasons}
    survivors: dict[tuple[str, str], list[Line]] = {}
    for line in found:
        if line.result.outcome is MutantOutcome.SURVIVOR:
            reason = known.get(line.result.before, ("not examined", line.result.before))
            survivors.setdefault(reason, []).append(line)
    rows = []
    for reason, lines in survivors.items():
        result = lines[0].result
        change = f"`{lines[0].target}`: `{result.before}` becomes `{result.after or 'nothing'}`"
        rows.append((*reason, len(lines), change, result.use))
    return format_table(SURVIVOR_HEAD, rows) if rows else "No mutant survives."


def main() -> None:
    """Read the arguments, check the mutants and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--target", nargs="+", default=list(TARGETS), help="the layers to change")
    parser.add_argument("--mutants", type=int, default=60, help="mutants of each layer")
    parser.add_argument("--uses", type=int, default=USES, help="uses in which each is compared")
    parser.add_argument("--only-log", action="store_true", help="show what the log has")
    add_log(parser)
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    if options.only_log:
        found = list(map(Line.from_dict, read_lines(options.log)))
    else:
        found = [
            line
            for target in options.target
            for line in check_layer(target, options.mutants, options.uses, options.log)
        ]
    reasons = json.loads((RECORDED / "survivors.json").read_text(encoding="utf-8"))
    texts = {
        "detection.mutants": summarise(found, reasons),
        "detection.survivors": list_survivors(found, reasons),
    }
    write_report(options, PAGE, texts, [line.as_dict() for line in found])


if __name__ == "__main__":
    main()
