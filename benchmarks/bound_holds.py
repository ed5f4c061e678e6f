"""Check on random configurations that correct layers never exceed the rounding bound.

    python -m benchmarks.bound_holds --configs 100000 --dtype float32 --seed 0 --grad
    python -m benchmarks.bound_holds --kind lstm --grad

Run it from the root of a checkout. In 16-bit dtypes, the layer of torch.nn is compared with two
bounds: that of sums in any precision, and that of sums in float32. An RNN that rounds its sums to
16 bits after each addition, from the first term, from the last or pairwise, is compared with the
first. It exits with status 1 if a result exceeds its bound, and prints the seed of each such
configuration.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.tables import add_outputs, format_table, make_parser, write_report
from rnnspec.contract.kinds import LAYER_KINDS, RNN
from rnnspec.oracle import (
    FLOAT32_SUMS,
    ROUNDINGS,
    Array,
    Problem,
    Rounding,
    Trace,
    compute_bound,
    compute_gradient_bound,
    compute_gradients,
    run_layers,
)
from rnnspec.selftest.correct_sums import (
    SumsIn16Bits,
    SumsIn16BitsPairwise,
    SumsIn16BitsReversed,
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


SHORT_SUMS = (SumsIn16Bits, SumsIn16BitsReversed, SumsIn16BitsPairwise)


@dataclass(frozen=True)
class Drawn:
    """One configuration, which is drawn from its own seed, with the reference's results."""

    seed: int
    problem: Problem
    trace: Trace
    cotangents: dict[str, Array]


def draw_configuration(name: str, seed: int, options: argparse.Namespace) -> Drawn:
    """Draw a configuration of a dtype."""
    rng, dtype = np.random.default_rng(seed), DTYPES[name]
    problem = draw(rng, dtype, largest=options.largest + 1, steps=options.steps, kind=options.kind)
    return Drawn(seed, problem, run_layers(problem), cotangents(rng, problem, dtype))


class Comparison:
    """The results of a layer, compared with the bound of a rounding."""

    def __init__(self, rounding: Rounding) -> None:
        self.rounding = rounding
        self.forward, self.backward = Tally(), Tally()

    def add_results(self, drawn: Drawn, judged: Judged) -> None:
        """Compare the results of a layer."""
        allowed = compute_bound(drawn.problem, drawn.trace, self.rounding)
        self.forward.configurations += 1
        for key, expected in drawn.trace.results.items():
            self.forward.add(drawn.seed, judged.results[key], expected, allowed.results[key])

    def add_gradients(self, drawn: Drawn, gradients: dict[str, Array]) -> None:
        """Compare the gradients of a layer."""
        given = (drawn.problem, drawn.trace, drawn.cotangents)
        expected = compute_gradients(*given)
        tolerated = compute_gradient_bound(*given, self.rounding)
        self.backward.configurations += 1
        for key, got in gradients.items():
            self.backward.add(drawn.seed, got, expected[key], tolerated[key])


def measure_errors(
    drawn: Drawn, judged: Judged, comparisons: list[Comparison], *, grad: bool
) -> None:
    """Compare one layer on one configuration with every bound that applies to it."""
    gradients = judged.gradients(drawn.cotangents) if grad else {}
    for comparison in comparisons:
        comparison.add_results(drawn, judged)
        if grad:
            comparison.add_gradients(drawn, gradients)


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
    of_torch = {"": Comparison(ROUNDINGS[name])}
    of_short_sums = {}
    if name in FLOAT32_SUMS:
        of_torch[", bound of float32 sums"] = Comparison(FLOAT32_SUMS[name])
        if options.kind == RNN.name:
            of_short_sums[", sums in 16 bits"] = Comparison(ROUNDINGS[name])
    start = time.perf_counter()
    for index in range(options.configs):
        drawn = draw_configuration(name, options.seed + index, options)
        layers = [(None, of_torch), (SHORT_SUMS[index % 3], of_short_sums)]
        for layer, comparisons in layers[: 1 + bool(of_short_sums)]:
            judged = Judged(drawn.problem, DTYPES[name], grad=options.grad, layer=layer)
            measure_errors(drawn, judged, list(comparisons.values()), grad=options.grad)
        if index % 100 == 99 and sys.stderr.isatty():
            rate = (index + 1) / (time.perf_counter() - start)
            print(
                f"\r{name}: {index + 1:,} of {options.configs:,}, {rate:.0f} per second ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    return {
        f"{name}{kind}{title}": tally
        for title, each in (of_torch | of_short_sums).items()
        for kind, tally in (("", each.forward), (" gradients", each.backward))
        if tally.configurations
    }


def main() -> int:
    """Read the arguments, run the benchmark and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--kind", choices=LAYER_KINDS, default=RNN.name, help="kind of layer (default: %(default)s)"
    )
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
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
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
