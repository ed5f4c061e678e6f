"""Check torch.nn's layers with the installed release, and record the verdict on each rule.

Run `python conformance/record.py` in an environment in which rnnspec is installed. It writes a
file `torch-RELEASE/KIND-SETTING.json` for each kind of layer in the folder `results`, for a device
other than the CPU in the folder `devices`, or in the folder of `--to`. The setting is the device,
and on CUDA also the rounding of float32 and whether cuDNN is on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from rnnspec.cli import status
from rnnspec.cli.targets import combine_statuses
from rnnspec.contract.kinds import KINDS
from rnnspec.report.data import RunVerdict

RESULTS, DEVICES = Path(__file__).parent / "results", Path(__file__).parent / "devices"
WITHOUT_CUDNN = ("--import", "conformance.without_cudnn")


@dataclass(frozen=True)
class Setting:
    """A setting in which layers are checked: its name, and the options of `rnnspec check`."""

    name: str
    options: tuple[str, ...] = ()


def list_settings(device: str, *, is_rehearsal: bool = False) -> list[Setting]:
    """Return the settings in which layers are checked on a device: one, or four on CUDA.

    CUDA may round float32 to TF32 or not, and cuDNN may be on or off. A rehearsal has the settings
    of CUDA on another device.
    """
    kind = torch.device(device).type
    if kind != "cuda" and not is_rehearsal:
        return [Setting(kind)]
    return [
        Setting(f"{kind}-{precision}{name}", ("--float32-precision", precision, *options))
        for name, options in (("", ()), ("-without-cudnn", WITHOUT_CUDNN))
        for precision in ("ieee", "tf32")
    ]


def find_folder(root: Path, version: str) -> Path:
    """Return the folder of a release of torch, given by a version such as "2.13.0+cpu"."""
    return root / f"torch-{'.'.join(version.split('.')[:2])}"


@click.command(help=__doc__)
@click.option("--device", default="cpu", show_default=True, help="Any device that torch knows.")
@click.option("--profile", default="default", show_default=True, help="quick, default or thorough.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Repeatable.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Imported first.")
@click.option("--sizes", default="auto", show_default=True, help="auto, free or pool.")
@click.option("--fewest", is_flag=True, help="Only the fewest cases that reach every rule.")
@click.option("--cases", type=int, help="The number of cases, to try the command.")
@click.option("--rehearse", is_flag=True, help="Use the four settings of CUDA on another device.")
@click.option("--to", "root", type=Path, help="The folder of the results.")
def record(
    device: str,
    profile: str,
    kinds: tuple[str, ...],
    imports: tuple[str, ...],
    sizes: str,
    fewest: bool,
    cases: int | None,
    rehearse: bool,
    root: Path | None,
) -> None:
    """Record every kind in every setting, and exit with the worst status of the checks."""
    usual = RESULTS if torch.device(device).type == "cpu" else DEVICES
    folder = find_folder(root or usual, torch.__version__)
    plugins = [text for module in imports for text in ("--import", module)]
    folder.mkdir(parents=True, exist_ok=True)
    statuses = [
        status(
            [
                *("check", KINDS[kind].documented, "--profile", profile),
                *("--device", device, "--known", "none", "--sizes", sizes),
                *(*setting.options, *plugins, *(("--fewest",) if fewest else ())),
                *(() if cases is None else ("--cases", str(cases))),
                *("--record", str(folder / f"{kind}-{setting.name}.json")),
            ]
        )
        for kind in kinds or KINDS
        for setting in list_settings(device, is_rehearsal=rehearse)
    ]
    if not any(folder.iterdir()):  # nothing could be checked
        folder.rmdir()
    refused = RunVerdict.CANNOT_CHECK.exit_status
    sys.exit(refused if refused in statuses else combine_statuses(statuses))


if __name__ == "__main__":
    record()
