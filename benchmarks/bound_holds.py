"""Check on random configurations that torch.nn.RNN never exceeds the rounding bound.

    python -m benchmarks.bound_holds --configs 100000 --dtype float32 --seed 0 --grad

Run it from the root of a checkout. It exits with status 1 if a result exceeds its bound, and prints
the seed of each such configuration.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.tables import add_outputs, format_table, make_parser, write_report
from rnnspec.oracle import (
    ROUNDINGS,
    Array,
    compute_bound,
    compute_gradient_bound,
    compute_gradients,
    run_layers,
)
from tests.oracle.drawn import DTYPES, Judged, cotangents, draw, excess


@dataclass
class Tally:
    """The counts for one dtype."""

    configurations: int = 0
    elements: int = 0
    outside: int = 0
    violations: int = 0
    closest: float = 0.0
    ratios: list[float] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def add(self, seed: int, judged: Array, reference: Array, allowance: Array) -> None:
        """Count one tensor."""
        ratio = excess(judged, reference, allowance)
        self.elements += judged.size
        self.outside += int(np.isinf(allowance).sum())
        self.closest = max(self.closest, ratio)
        if ratio > 1.0:
            self.violations += 1
            self.seeds.append(seed)
        covered = np.isfinite(allowance)
        error = float(np.abs(judged[covered] - reference[covered]).max(initial=0.0))
        if error > 0.0:
            self.ratios.append(float(allowance[covered].max()) / error)


def measure_errors(
    name: str, seed: int, forward: Tally, backward: Tally, options: argparse.Namespace
) -> None:
    """Check one configuration, which is drawn from its own seed."""
    rng, dtype, rounding = np.random.default_rng(seed), DTYPES[name], ROUNDINGS[name]
    problem = draw(rng, dtype, largest=options.largest + 1, steps=options.steps)
    judged, trace = Judged(problem, dtype, grad=options.grad), run_layers(problem)
    allowed = compute_bound(problem, trace, rounding)
    forward.configurations += 1
    forward.add(seed, judged.output.detach().double().numpy(), trace.output, allowed.output)
    forward.add(seed, judged.h_n.detach().double().numpy(), trace.h_n, allowed.h_n)
    if not options.grad:
        return
    seeds = cotangents(rng, problem, dtype)
    expected, tolerated = (
        compute_gradients(problem, trace, *seeds),
        compute_gradient_bound(problem, trace, *seeds, rounding),
    )
    backward.configurations += 1
    for key, got in judged.gradients(*seeds).items():
        backward.add(seed, got, expected[key], tolerated[key])


HEAD = (
    "dtype",
    "configurations",
    "elements",
    "not covered",
    "violations",
    "largest error / bound",
    "median of largest bound / largest error",
)


def format_row(name: str, tally: Tally) -> tuple[str | float, ...]:
    """Return one row of the table."""
    ratio = float(np.median(tally.ratios)) if tally.ratios else float("nan")
    return (
        name,
        tally.configurations,
        tally.elements,
        tally.outside,
        tally.violations,
        tally.closest,
        ratio,
    )


def run_campaign(name: str, options: argparse.Namespace) -> dict[str, Tally]:
    """Check one dtype on every configuration, and show the progress on a terminal."""
    forward, backward = Tally(), Tally()
    start = time.perf_counter()
    for index in range(options.configs):
        measure_errors(name, options.seed + index, forward, backward, options)
        if index % 100 == 99 and sys.stderr.isatty():
            rate = (index + 1) / (time.perf_counter() - start)
            print(
                f"\r{name}: {index + 1:,} of {options.configs:,}, {rate:.0f} per second ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    return {name: forward, f"{name} gradients": backward} if options.grad else {name: forward}


def main() -> int:
    """Read the arguments, run the benchmark and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--configs", type=int, default=1000, help="configurations per dtype (default: %(default)s)"
    )
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=DTYPES,
        default=list(DTYPES),
        help="dtypes to check (default: all)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first configuration (default: %(default)s)"
    )
    parser.add_argument(
        "--largest",
        type=int,
        default=32,
        help="largest input and hidden size (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=16, help="largest number of time steps (default: %(default)s)"
    )
    parser.add_argument("--grad", action="store_true", help="also check gradients")
    add_outputs(parser, "honesty.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tallies: dict[str, Tally] = {}
    for name in options.dtype:
        tallies |= run_campaign(name, options)
    text = format_table(HEAD, [format_row(name, tally) for name, tally in tallies.items()])
    write_report(
        options,
        "honesty.md",
        {"honesty.bounds": text},
        {
            name: dict(zip(HEAD, format_row(name, tally), strict=True))
            for name, tally in tallies.items()
        },
    )
    for name, tally in tallies.items():
        if tally.seeds:
            print(f"{name}: results exceed the bound with these seeds: {sorted(set(tally.seeds))}")
    return 1 if any(tally.violations for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
