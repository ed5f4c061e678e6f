"""Plant errors of known size in layers of real sizes, and count which comparisons see them.

    python -m benchmarks.real_sizes --write

In layers in float32 with the weights of a new one, one unit of one step, the bias of one row of a
gate, the input of one step, or one sample is off by an error of a known size. The results are
compared in five ways: by the proved bound of a whole trajectory, by that of each step from the
layer's own states, by the usual error of a step, and by `torch.allclose` with two tolerances and
the results of the right layer. The right layer itself must pass all of them. Run it from the root
of a checkout; it takes a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.tables import add_outputs, format_table, make_parser, write_report
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.oracle import ROUNDINGS, Array, Problem, certify, compute_bound, run_layers
from tests.oracle.drawn import cast, excess, judge, state_rows

SIZES = ((128, 256), (512, 1024))
"""The numbers of features and units."""
STEPS, BATCH = 16, 4
ERRORS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
PLACE = (5, 1)
"""The step and the sample that are off."""
ROUNDING = ROUNDINGS["float32"]
Results = dict[str, Array]


def draw_problem(kind: str, features: int, units: int) -> Problem:
    """Draw a problem of one layer with the weights of a new one."""
    rng, config = np.random.default_rng(0), Config(features, units, kind=kind)
    bound = 1.0 / np.sqrt(units)
    return Problem(
        config,
        {
            name: cast(rng.uniform(-bound, bound, shape), torch.float32)
            for name, shape in parameter_shapes(config).items()
        },
        cast(rng.standard_normal((STEPS, BATCH, features)), torch.float32),
        {
            name: cast(rng.uniform(-0.9, 0.9, state_rows(config, BATCH, name[0])), torch.float32)
            for name in config.kind_data.initial
        },
        np.full(BATCH, STEPS),
    )


def change_unit(problem: Problem, error: float) -> Results:
    """Return results in which one unit of the output is off."""
    results = judge(problem, torch.float32)
    results["output"][(*PLACE, problem.config.hidden_size // 2)] += error
    return results


def change_gate(problem: Problem, error: float) -> Results:
    """Return the results of a layer whose second bias is off in one row."""
    bias = problem.weights["bias_hh_l0"].copy()
    bias[-problem.config.hidden_size // 2] += error
    weights = {**problem.weights, "bias_hh_l0": cast(bias, torch.float32)}
    return judge(replace(problem, weights=weights), torch.float32)


def change_step(problem: Problem, error: float) -> Results:
    """Return the results of a layer that reads a step with a relative error."""
    return _change_input(problem, PLACE[0], 1.0 + error)


def change_sample(problem: Problem, error: float) -> Results:
    """Return the results of a layer that reads a sample with a relative error."""
    return _change_input(problem, (slice(None), PLACE[1]), 1.0 + error)


def _change_input(problem: Problem, place: Any, factor: float) -> Results:
    values = problem.input.copy()
    values[place] *= factor
    return judge(replace(problem, input=cast(values, torch.float32)), torch.float32)


CHANGES: dict[str, Callable[[Problem, float], Results]] = {
    "unit": change_unit,
    "gate": change_gate,
    "step": change_step,
    "sample": change_sample,
}
WAYS = ("trajectory", "step", "usual step", "allclose(1e-4)", "allclose(1e-2)")


def list_findings(problem: Problem, results: Results, right: Results) -> dict[str, bool]:
    """Return which of `WAYS` finds that results are wrong."""

    def exceeds(expected: Results, allowed: Results) -> bool:
        return any(excess(results[name], expected[name], allowed[name]) > 1.0 for name in results)

    def differs(tolerance: float) -> bool:
        return not all(
            np.allclose(results[name], right[name], rtol=tolerance, atol=tolerance)
            for name in results
        )

    trace = run_layers(problem)
    whole = compute_bound(problem, trace, ROUNDING)
    proved, usual = (
        certify(problem, results["output"], ROUNDING, is_usual=is_usual)
        for is_usual in (False, True)
    )
    found = (
        exceeds(dict(trace.results), dict(whole.results)),
        exceeds(dict(proved.results), dict(proved.bound.results)),
        exceeds(dict(usual.results), dict(usual.bound.results)),
        differs(1e-4),
        differs(1e-2),
    )
    return dict(zip(WAYS, found, strict=True))


def measure() -> Iterator[dict[str, object]]:
    """Yield what is found of each planted error, as data."""
    for kind in LAYER_KINDS:
        for features, units in SIZES:
            problem = draw_problem(kind, features, units)
            right = judge(problem, torch.float32)
            case = {"kind": kind, "features": features, "units": units}
            yield {**case, "change": "none", **list_findings(problem, right, right)}
            for name, change in CHANGES.items():
                for error in ERRORS:
                    found = list_findings(problem, change(problem, error), right)
                    yield {**case, "change": name, "error": error, **found}


def format_rows(found: list[dict[str, object]]) -> str:
    """Return the table: how many of the errors of each size are found, and of right results."""
    rows = []
    for error in (*ERRORS, None):
        those = [each for each in found if each.get("error") == error]
        counts = [sum(bool(each[way]) for each in those) for way in WAYS]
        rows.append(["none" if error is None else f"{error:.0e}", len(those), *counts])
    return format_table(("error", "planted", *WAYS), rows)


def main() -> int:
    """Measure, and print the table. The status is 1 if right results are accused."""
    parser = make_parser(__doc__)
    add_outputs(parser, "real-sizes.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = list(measure())
    write_report(options, "real-sizes.md", {"real-sizes": format_rows(found)}, found)
    return int(any(each[way] for each in found if each["change"] == "none" for way in WAYS))


if __name__ == "__main__":
    sys.exit(main())
