"""Compare how planted bugs are detected on a device and on the CPU, and check correct layers there.

    python conformance/planted.py --device cuda
    PJRT_DEVICE=CPU python conformance/planted.py --device xla --import examples.xla_eager

Bugs are drawn from the bank of each kind of layer, and each is checked with the rule that it names.
Correct implementations are drawn from the same bank. The exit status is 1 if the rule detects a bug
on the CPU, applies on the device, and does not detect the bug there, or if a correct implementation
breaks a MUST rule on the device that PyTorch's own layer keeps there.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

import rnnspec
from rnnspec.cli.parts import import_module
from rnnspec.contract.kinds import KINDS
from rnnspec.report.data import Verdict
from rnnspec.selftest.bank import find_named_rule, is_promised
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.devices import check_device

FOUND = Verdict.FAIL.value


def draw_bugs(kinds: Iterable[str], number: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of planted bugs, `number` of each kind."""
    for kind in kinds:
        names = [name for name, bug in find_bank(kind).bugs.items() if is_promised(bug, kind)]
        for name in sorted(random.Random(seed).sample(names, number)):
            yield kind, name


def find_verdict(kind: str, name: str, device: str) -> tuple[str, str]:
    """Return the verdict of the rule that a bug names, and its message."""
    bug = find_bank(kind).bugs[name]
    rule = find_named_rule(bug)
    report = rnnspec.check(
        bug,
        kind=kind,
        rules=[rule],
        device=device,
        profile="quick",
        sizes="pool",
        fail_fast=True,
        known="none",
    )
    result = report.result(rule)
    return result.verdict.value, result.message


def find_broken(layer: Any, kind: str, device: str) -> set[str]:
    """Return the MUST rules that a layer breaks on a device in the fewest cases."""
    report = rnnspec.check(
        layer, kind=kind, device=device, profile="quick", sizes="pool", fewest=True, known="none"
    )
    return {each.rule for each in report.results if each.is_scored and each.verdict is Verdict.FAIL}


def count_flagged(kinds: Iterable[str], number: int, seed: int, device: str) -> int:
    """Print the rules that correct layers break, and return the number of such layers.

    Rules that PyTorch's own layer breaks on the device are left out.
    """
    flagged = 0
    for kind in kinds if number else ():
        correct = find_bank(kind).correct
        usual = find_broken(KINDS[kind].documented, kind, device)
        for name in sorted(random.Random(seed).sample([*correct], min(number, len(correct)))):
            broken = find_broken(correct[name], kind, device) - usual
            click.echo(f"{kind} {name} correct: {', '.join(sorted(broken)) or 'keeps all rules'}")
            flagged += bool(broken)
    return flagged


@click.command(help=__doc__)
@click.option("--device", required=True, help="Any device that torch knows.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Imported first.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Repeatable.")
@click.option("--each", default=10, show_default=True, help="The number of bugs of each kind.")
@click.option("--correct", default=0, show_default=True, help="Correct layers of each kind.")
@click.option("--seed", default=0, show_default=True, help="The seed of the draw.")
@click.option("--json", "path", type=Path, help="Where to write the verdicts.")
def compare(
    device: str,
    imports: tuple[str, ...],
    kinds: tuple[str, ...],
    each: int,
    correct: int,
    seed: int,
    path: Path | None,
) -> None:
    """Print the verdicts on every bug, and exit with status 1 if the device hides one."""
    for module in imports:
        import_module(module)
    # A backward pass on the CPU starts torch's engine, which then knows no device that was unused.
    check_device(device)
    rows: list[dict[str, str]] = []
    for kind, name in draw_bugs(kinds or KINDS, each, seed):
        expected, _ = find_verdict(kind, name, "cpu")
        verdict, message = find_verdict(kind, name, device)
        rule = find_named_rule(find_bank(kind).bugs[name])
        row = {"kind": kind, "bug": name, "rule": rule, "cpu": expected, device: verdict}
        rows.append(row if verdict == expected else {**row, "message": message})
        click.echo(" ".join(rows[-1].values()))
    hidden = [
        row["bug"]
        for row in rows
        if row["cpu"] == FOUND and row[device] not in (FOUND, Verdict.NOT_APPLICABLE.value)
    ]
    found = sum(row[device] == FOUND for row in rows)
    click.echo(
        f"{found} of {len(rows)} are detected on {device}; hidden: {', '.join(hidden) or 'none'}"
    )
    if path is not None:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    flagged = count_flagged(kinds or KINDS, correct, seed, device)
    sys.exit(bool(hidden or flagged))


if __name__ == "__main__":
    compare()
