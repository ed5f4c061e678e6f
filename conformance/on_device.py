"""Run everything that needs a device: its records, a sample of bugs and correct layers, and tests.

    CUBLAS_WORKSPACE_CONFIG=:4096:8 python conformance/on_device.py --device cuda
    python conformance/on_device.py --device xla --import examples.xla_eager --fewest

Each part runs even if an earlier part fails, and the last lines have the exit status of each part.
Without a CUDA device, rehearse the command on another one:

    python conformance/on_device.py --device cpu --rehearse --kind rnn-cell --cases 8 --each 1 \\
        --correct 1 --to records
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from rnnspec.contract.kinds import KINDS

HERE = Path(__file__).parent


def list_parts(
    device: str,
    imports: Sequence[str],
    kinds: Sequence[str],
    of_record: Sequence[str],
    of_bank: Sequence[str],
) -> dict[str, list[str]]:
    """Return the command of each part: the tests run only on CUDA, as no other device has any."""
    common = [
        *("--device", device),
        *(word for module in imports for word in ("--import", module)),
        *(word for kind in kinds for word in ("--kind", kind)),
    ]
    record = [str(HERE / "record.py"), *common, "--profile", "quick", *of_record]
    parts = {"records": record, "bank": [str(HERE / "planted.py"), *common, *of_bank]}
    if device.startswith("cuda"):
        parts["tests"] = ["-m", "pytest", "-m", "cuda", "conformance", "tests"]
    return {name: [sys.executable, *words] for name, words in parts.items()}


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.option("--device", default="cuda", show_default=True, help="Any device that torch knows.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Imported first.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Repeatable.")
@click.option("--cases", type=int, help="The number of cases of a record, to try the command.")
@click.option("--fewest", is_flag=True, help="Record only the fewest cases, with sizes of a pool.")
@click.option("--each", default=10, show_default=True, help="Planted bugs of each kind.")
@click.option("--correct", default=2, show_default=True, help="Correct layers of each kind.")
@click.option("--rehearse", is_flag=True, help="Use the four settings of CUDA on another device.")
@click.option("--to", "root", metavar="FOLDER", help="The folder of the records.")
def run(
    device: str,
    imports: tuple[str, ...],
    kinds: tuple[str, ...],
    cases: int | None,
    fewest: bool,
    each: int,
    correct: int,
    rehearse: bool,
    root: str | None,
) -> None:
    """Run every part, print its exit status, and exit with status 1 if a part failed."""
    of_record = [
        *(() if cases is None else ("--cases", str(cases))),
        *(("--fewest", "--sizes", "pool") if fewest else ()),
        *(("--rehearse",) if rehearse else ()),
        *(() if root is None else ("--to", root)),
    ]
    of_bank = ["--each", str(each), "--correct", str(correct)]
    statuses = {}
    for name, words in list_parts(device, imports, kinds, of_record, of_bank).items():
        click.echo(f"{name}: {' '.join(words[1:])}")
        statuses[name] = subprocess.run(words, cwd=HERE.parent, check=False).returncode
    for name, found in statuses.items():
        click.echo(f"{name}: exit status {found}")
    sys.exit(any(statuses.values()))


if __name__ == "__main__":
    run()
