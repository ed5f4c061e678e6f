"""Check on random configurations that correct layers and cells never exceed the rounding bound.

    python -m benchmarks.bound_holds --configs 25000 --dtype float32 --seed 0 --grad
    python -m benchmarks.bound_holds --kind lstm gru-cell --configs 25000 --grad --log bounds.jsonl

Run it from the root of a checkout. In 16-bit dtypes, the layer or cell of torch.nn is compared with
two bounds: for sums in any precision, and for sums in float32. An RNN that rounds its sums
to 16 bits after each addition, from the first term, from the last or pairwise, is compared with the
first. Where the results show all hidden states, each step is also compared with the bound of one
step, from the states that the layer returned before it, and gradients with the bound of a backward
pass on these states. Configurations are checked in portions,
several at a time. Each finished portion becomes a line of the log, and portions in the log are not
repeated, so that an interrupted benchmark can be continued. It exits with status 1 if a result
exceeds its bound, and prints the seed of each such configuration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field

import numpy as np

from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.oracle import (
    FLOAT32_SUMS,
    ROUNDINGS,
    Array,
    Problem,
    Rounding,
    Trace,
    certify,
    certify_gradients,
    compute_bound,
    compute_gradient_bound,
    compute_gradients,
    name_shown,
    run_layers,
)
from rnnspec.selftest.correct_sums import SumsIn16Bits, SumsIn16BitsPairwise, SumsIn16BitsReversed
from rnnspec.selftest.processes import start_processes
from tests.oracle.drawn import DTYPES, CheckedCase, cotangents, draw, excess

PORTION = 500
"""The configurations that one process checks before it writes them to the log."""


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

    def add(self, seed: int, checked: Array, reference: Array, allowance: Array) -> None:
        """Count one tensor."""
        ratio = excess(checked, reference, allowance)
        self.elements += checked.size
        self.outside += int(np.isinf(allowance).sum())
        self.closest = max(self.closest, ratio)
        if ratio > 1.0:
            self.violations += 1
            self.seeds.append(seed)
        covered = np.isfinite(allowance)
        error = float(np.abs(checked[covered] - reference[covered]).max(initial=0.0))
        if error > 0.0:
            self.ratios.append(float(f"{allowance[covered].max() / error:.3g}"))

    def merge(self, other: Tally) -> None:
        """Add the counts of other configurations."""
        self.configurations += other.configurations
        self.elements += other.elements
        self.outside += other.outside
        self.violations += other.violations
        self.closest = max(self.closest, other.closest)
        self.ratios += other.ratios
        self.seeds += other.seeds


@dataclass(frozen=True)
class Portion:
    """The configurations of a kind and a dtype with the seeds from `seed` to `seed + configs`.

    Sizes are at most `largest`, and sequences have at most `steps` steps. `grad` says whether
    gradients are checked too.
    """

    kind: str
    dtype: str
    seed: int
    configs: int
    largest: int
    steps: int
    grad: bool


SHORT_SUMS = (SumsIn16Bits, SumsIn16BitsReversed, SumsIn16BitsPairwise)


@dataclass(frozen=True)
class Drawn:
    """One configuration, which is drawn from its own seed, with the reference's results."""

    seed: int
    problem: Problem
    trace: Trace
    cotangents: dict[str, Array]


def draw_configuration(portion: Portion, seed: int) -> Drawn:
    """Draw a configuration of a portion."""
    rng, dtype = np.random.default_rng(seed), DTYPES[portion.dtype]
    problem = draw(rng, dtype, largest=portion.largest + 1, steps=portion.steps, kind=portion.kind)
    return Drawn(seed, problem, run_layers(problem), cotangents(rng, problem, dtype))


class Comparison:
    """The results of a layer, compared with the bound of a rounding."""

    def __init__(self, rounding: Rounding) -> None:
        self.rounding = rounding
        self.forward, self.steps, self.backward = Tally(), Tally(), Tally()
        self.backward_steps = Tally()

    def add_results(self, drawn: Drawn, checked: CheckedCase) -> None:
        """Compare the results of a layer, and its steps where it shows them."""
        allowed = compute_bound(drawn.problem, drawn.trace, self.rounding)
        self.forward.configurations += 1
        for key, expected in drawn.trace.results.items():
            self.forward.add(drawn.seed, checked.results[key], expected, allowed.results[key])
        shown = name_shown(drawn.problem)
        if shown is not None:
            found = certify(drawn.problem, checked.results[shown], self.rounding)
            self.steps.configurations += 1
            for key, expected in found.results.items():
                self.steps.add(drawn.seed, checked.results[key], expected, found.bound.results[key])

    def add_gradients(
        self, drawn: Drawn, results: dict[str, Array], gradients: dict[str, Array]
    ) -> None:
        """Compare the gradients of a layer, also by its own states where it shows them."""
        given = (drawn.problem, drawn.trace, drawn.cotangents)
        expected = compute_gradients(*given)
        tolerated = compute_gradient_bound(*given, self.rounding)
        self.backward.configurations += 1
        for key, got in gradients.items():
            self.backward.add(drawn.seed, got, expected[key], tolerated[key])
        shown = name_shown(drawn.problem)
        if shown is not None:
            found = certify_gradients(
                drawn.problem, results[shown], drawn.cotangents, self.rounding
            )
            self.backward_steps.configurations += 1
            for key, got in gradients.items():
                self.backward_steps.add(
                    drawn.seed, got, found.results[key], found.bound.results[key]
                )


def measure_errors(
    drawn: Drawn, checked: CheckedCase, comparisons: list[Comparison], *, grad: bool
) -> None:
    """Compare one layer on one configuration with every bound that applies to it."""
    gradients = checked.gradients(drawn.cotangents) if grad else {}
    for comparison in comparisons:
        comparison.add_results(drawn, checked)
        if grad:
            comparison.add_gradients(drawn, checked.results, gradients)


def check_portion(portion: Portion) -> dict[str, Tally]:
    """Check every configuration of a portion; the counts have the names of the table's columns."""
    name = portion.dtype
    of_torch = {"": Comparison(ROUNDINGS[name])}
    of_short_sums = {}
    if name in FLOAT32_SUMS:
        of_torch[", bound of float32 sums"] = Comparison(FLOAT32_SUMS[name])
        if portion.kind == UNGATED.name:
            of_short_sums[", sums in 16 bits"] = Comparison(ROUNDINGS[name])
    for seed in range(portion.seed, portion.seed + portion.configs):
        drawn = draw_configuration(portion, seed)
        layers = [(None, of_torch), (SHORT_SUMS[seed % 3], of_short_sums)]
        for layer, comparisons in layers[: 1 + bool(of_short_sums)]:
            checked = CheckedCase(drawn.problem, DTYPES[name], grad=portion.grad, layer=layer)
            measure_errors(drawn, checked, list(comparisons.values()), grad=portion.grad)
    return {
        f"{name}{kind}{title}": tally
        for title, each in (of_torch | of_short_sums).items()
        for kind, tally in (
            ("", each.forward),
            (" one step", each.steps),
            (" gradients", each.backward),
            (" gradients from own states", each.backward_steps),
        )
        if tally.configurations
    }


def list_portions(options: argparse.Namespace) -> list[Portion]:
    """Return the portions that the arguments select."""
    return [
        Portion(
            kind,
            dtype,
            options.seed + first,
            min(PORTION, options.configs - first),
            options.largest,
            options.steps,
            options.grad,
        )
        for first in range(0, options.configs, PORTION)
        for kind in options.kind
        for dtype in options.dtype
    ]


def check_portions(
    portions: Iterable[Portion], options: argparse.Namespace
) -> Iterator[tuple[Portion, dict[str, Tally]]]:
    """Check portions in several processes; yield each with its counts, and add it to the log."""
    with start_processes(options.jobs) as pool:
        running = {pool.submit(check_portion, portion): portion for portion in portions}
        for number, future in enumerate(as_completed(running), 1):
            portion, tallies = running[future], future.result()
            counts = {title: asdict(tally) for title, tally in tallies.items()}
            add_line(options.log, {"portion": asdict(portion), "tallies": counts})
            show_progress(
                f"{number} of {len(running)}: {portion.kind}, {portion.dtype}, seeds from "
                f"{portion.seed:,}"
            )
            yield portion, tallies


def measure_all(options: argparse.Namespace) -> dict[str, dict[str, Tally]]:
    """Return the counts of all portions, from the log or checked now, by kind and title."""
    wanted = list_portions(options)
    known = {
        Portion(**line["portion"]): {
            title: Tally(**counts) for title, counts in line["tallies"].items()
        }
        for line in read_lines(options.log)
    }
    rest = [portion for portion in wanted if portion not in known]
    if rest:
        known |= dict(check_portions(rest, options))
    found: dict[str, dict[str, Tally]] = {kind: {} for kind in options.kind}
    for portion in wanted:
        for title, tally in known[portion].items():
            found[portion.kind].setdefault(title, Tally()).merge(tally)
    return found


HEAD = (
    "kind",
    "dtype",
    "configurations",
    "elements",
    "not covered",
    "violations",
    "largest error / bound",
    "median of largest bound / largest error",
)


def format_row(kind: str, name: str, tally: Tally) -> tuple[str | float, ...]:
    """Return one row of the table."""
    ratio = float(np.median(tally.ratios)) if tally.ratios else float("nan")
    return (
        KINDS[kind].page,
        name,
        tally.configurations,
        tally.elements,
        tally.outside,
        tally.violations,
        tally.closest,
        ratio,
    )


def sum_kinds(found: Mapping[str, Mapping[str, Tally]]) -> str:
    """Return a table with a row for each kind: all dtypes, and results and gradients together."""
    rows = [
        (
            KINDS[kind].page,
            sum(tallies[dtype].configurations for dtype in DTYPES if dtype in tallies),
            sum(each.elements for each in tallies.values()),
            sum(each.outside for each in tallies.values()),
            sum(each.violations for each in tallies.values()),
            max(each.closest for each in tallies.values()),
        )
        for kind, tallies in found.items()
    ]
    return format_table(("kind", *HEAD[2:-1]), rows)


def parse_arguments() -> argparse.Namespace:
    """Read the arguments of the command."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--kind",
        nargs="+",
        choices=list(KINDS),
        default=[UNGATED.name],
        help=f"kinds of layers or cells (default: {UNGATED.name})",
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
    parser.add_argument(
        "--jobs", type=int, default=2, help="number of worker processes (default: %(default)s)"
    )
    add_log(parser)
    add_outputs(parser, "honesty.md")
    return parser.parse_args()


def main() -> int:
    """Read the arguments, run the benchmark and print the tables."""
    options = parse_arguments()
    found = measure_all(options)
    rows = {
        kind: [format_row(kind, name, tally) for name, tally in tallies.items()]
        for kind, tallies in found.items()
    }
    write_report(
        options,
        "honesty.md",
        {f"honesty.bounds-of-{kind}": format_table(HEAD, each) for kind, each in rows.items()},
        [dict(zip(HEAD, row, strict=True)) for each in rows.values() for row in each],
        rows=[("honesty.bounds", sum_kinds(found))],
    )
    exceeded = [
        (kind, name, sorted(set(tally.seeds)))
        for kind, tallies in found.items()
        for name, tally in tallies.items()
        if tally.seeds
    ]
    for kind, name, seeds in exceeded:
        print(f"{kind}, {name}: results exceed the bound with these seeds: {seeds}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
