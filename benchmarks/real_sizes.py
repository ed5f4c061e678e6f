"""Plant errors of known size in layers of real sizes, and count the comparisons that detect them.

    python -m benchmarks.real_sizes --write

Each float32 layer has freshly initialised weights and an error of known size in one unit of one
step, the bias of one row of a gate, the input of one step, or one sample. The results are
compared in five ways: by the proved bound of a whole trajectory, by that of each step from the
layer's own states, by the usual error of a step, and by `torch.allclose` with two tolerances and
the results of the right layer. In the same way, errors are planted in gradients, relative to the
largest element: in one element, the gradients of one row, one step of the input, and one sample.
The right layer itself must pass all of them. Last, the cases at real sizes in a quick check of
torch's layers are timed. Run it from the root of a checkout; it takes three minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.tables import add_outputs, format_table, make_parser, write_report
from rnnspec.api import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.cases.sizes import REAL_SIZES
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, LAYER_KINDS
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.engine.campaign import check_one_case
from rnnspec.options import CheckOptions
from rnnspec.oracle import (
    ROUNDINGS,
    Array,
    Problem,
    certify,
    certify_gradients,
    compute_bound,
    compute_gradient_bound,
    compute_gradients,
    run_layers,
)
from tests.oracle.drawn import CheckedCase, cast, check, cotangents, excess, state_rows

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
    """Return results with an error in one unit of the output."""
    results = check(problem, torch.float32)
    results["output"][(*PLACE, problem.config.hidden_size // 2)] += error
    return results


def change_gate(problem: Problem, error: float) -> Results:
    """Return the results of a layer with an error in one row of the second bias."""
    bias = problem.weights["bias_hh_l0"].copy()
    bias[-problem.config.hidden_size // 2] += error
    weights = {**problem.weights, "bias_hh_l0": cast(bias, torch.float32)}
    return check(replace(problem, weights=weights), torch.float32)


def change_step(problem: Problem, error: float) -> Results:
    """Return the results of a layer that reads a step with a relative error."""
    return _change_input(problem, PLACE[0], 1.0 + error)


def change_sample(problem: Problem, error: float) -> Results:
    """Return the results of a layer that reads a sample with a relative error."""
    return _change_input(problem, (slice(None), PLACE[1]), 1.0 + error)


def _change_input(problem: Problem, place: Any, factor: float) -> Results:
    values = problem.input.copy()
    values[place] *= factor
    return check(replace(problem, input=cast(values, torch.float32)), torch.float32)


CHANGES: dict[str, Callable[[Problem, float], Results]] = {
    "unit": change_unit,
    "gate": change_gate,
    "step": change_step,
    "sample": change_sample,
}
WAYS = ("trajectory", "step", "usual step", "allclose(1e-4)", "allclose(1e-2)")


GRADIENTS: dict[str, tuple[str, Any]] = {
    "element": ("weight_hh_l0", (100, 100)),
    "row": ("weight_ih_l0", 100),
    "step of the input": ("input", 5),
    "sample of the input": ("input", (slice(None), 1)),
}
"""The gradients that are changed, and where."""


def change_gradient(gradients: Results, name: str, error: float) -> Results:
    """Return gradients in which some are off by an error, relative to the largest of the tensor."""
    tensor, place = GRADIENTS[name]
    values = gradients[tensor].copy()
    values[place] += error * np.abs(values).max()
    return {**gradients, tensor: values}


def find_differences(
    found: Results, right: Results, expectations: list[tuple[Results, Results]]
) -> dict[str, bool]:
    """Return which of `WAYS` finds that numbers are wrong.

    The first three are given by their expected numbers and the allowed differences.
    """

    def exceeds(expected: Results, allowed: Results) -> bool:
        return any(excess(found[name], expected[name], allowed[name]) > 1.0 for name in found)

    def differs(tolerance: float) -> bool:
        return not all(
            np.allclose(found[name], right[name], rtol=tolerance, atol=tolerance) for name in found
        )

    seen = [*(exceeds(*each) for each in expectations), differs(1e-4), differs(1e-2)]
    return dict(zip(WAYS, seen, strict=True))


def list_findings(problem: Problem, results: Results, right: Results) -> dict[str, bool]:
    """Return which of `WAYS` finds that results are wrong."""
    trace = run_layers(problem)
    whole = compute_bound(problem, trace, ROUNDING)
    proved, usual = (
        certify(problem, results["output"], ROUNDING, is_usual=is_usual)
        for is_usual in (False, True)
    )
    pairs = [(trace.results, whole.results)]
    pairs += [(each.results, each.bound.results) for each in (proved, usual)]
    return find_differences(
        results, right, [(dict(expected), dict(allowed)) for expected, allowed in pairs]
    )


def measure_gradients() -> Iterator[dict[str, object]]:
    """Yield the detections of each error that is planted in a gradient, as data."""
    for kind in LAYER_KINDS:
        for features, units in SIZES:
            problem = draw_problem(kind, features, units)
            given = cotangents(np.random.default_rng(1), problem, torch.float32)
            checked = CheckedCase(problem, torch.float32, grad=True)
            right, shown = checked.gradients(given), checked.results["output"]
            trace = run_layers(problem)
            pairs = [
                (
                    compute_gradients(problem, trace, given),
                    compute_gradient_bound(problem, trace, given, ROUNDING),
                )
            ]
            for is_usual in (False, True):
                found = certify_gradients(problem, shown, given, ROUNDING, is_usual=is_usual)
                pairs.append((dict(found.results), dict(found.bound.results)))
            case = {"kind": kind, "features": features, "units": units}
            yield {**case, "change": "none", **find_differences(right, right, pairs)}
            for name in GRADIENTS:
                for error in ERRORS:
                    changed = change_gradient(right, name, error)
                    row = find_differences(changed, right, pairs)
                    yield {**case, "change": name, "error": error, **row}


def measure() -> Iterator[dict[str, object]]:
    """Yield the detections of each planted error, as data."""
    for kind in LAYER_KINDS:
        for features, units in SIZES:
            problem = draw_problem(kind, features, units)
            right = check(problem, torch.float32)
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


def measure_times() -> Iterator[dict[str, Any]]:
    """Yield for each kind the CPU seconds of all cases of a quick check, and of the large ones."""
    for kind, data in KINDS.items():
        suite = prepare_suite(data.documented, CheckOptions(profile="quick", kind=kind))
        cases = list(suite.draw_cases(0, None))
        check_one_case(suite, *cases[0])  # what the first case of a process imports
        seconds = {True: 0.0, False: 0.0}
        large = 0
        for index, case in cases:
            begun = time.process_time()
            check_one_case(suite, index, case)
            seconds[is_real(case)] += time.process_time() - begun
            large += is_real(case)
        yield {
            "kind": data.page,
            "cases": len(cases),
            "large": large,
            "seconds": sum(seconds.values()),
            "large_seconds": seconds[True],
        }


def is_real(case: Case) -> bool:
    """Return whether a case has the features and units of one of the real sizes."""
    names = ("input_size", "hidden_size")
    return any(all(case.size(name) == sizes[name] for name in names) for sizes in REAL_SIZES)


def format_times(rows: list[dict[str, Any]]) -> str:
    """Return the table of `measure_times`."""
    head = ("kind", "cases", "at real sizes", "seconds of CPU", "share of real sizes")
    return format_table(
        head,
        [
            (
                each["kind"],
                each["cases"],
                each["large"],
                f"{each['seconds']:.1f}",
                f"{each['large_seconds'] / each['seconds']:.0%}",
            )
            for each in rows
        ],
    )


def main() -> int:
    """Measure, and print the table. The status is 1 if right results are accused."""
    parser = make_parser(__doc__)
    add_outputs(parser, "real-sizes.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found, gradients = list(measure()), list(measure_gradients())
    times = list(measure_times())
    tables = {
        "real-sizes": format_rows(found),
        "real-gradients": format_rows(gradients),
        "real-times": format_times(times),
    }
    write_report(options, "real-sizes.md", tables, [*found, *gradients, *times])
    right = [each for each in found + gradients if each["change"] == "none"]
    return int(any(each[way] for each in right for way in WAYS))


if __name__ == "__main__":
    sys.exit(main())
