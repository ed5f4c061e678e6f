"""Print which reports change if thresholds of the search for faults are halved or doubled.

    python -m benchmarks.thresholds --kind lstm --number 6 --seed 0
    python -m benchmarks.thresholds --kind lstm --rounding
    python -m benchmarks.thresholds --kind lstm --constants

Run it from the root of a checkout. Some wrong layers of a bank are checked once. Then the faults
are searched for again with all thresholds of one sort changed: limits on the number of attempts,
numbers of cases that prove something, shares, and tolerances. If no report changes within a factor
of two, a threshold needs no further justification. The reports that change are printed. Of ten
wrong RNNs (`--kind rnn --number 10 --seed 1`) and six wrong GRU cells (`--kind gru-cell --number 6
--seed 2`), one report changes: with doubled shares, all results would have to be random (`MOSTLY`).

With `--rounding`, known mistakes are computed in each narrow dtype and in float64 on a few cases:
how far rounding moves the results of a mistake, and how far the mistake moves the right result,
both in units of the bound on the right result.

With `--constants`, layers are computed that make a mistake with a constant, in several amounts, and
the constants are inferred with half and twice each limit of the inference.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from itertools import islice
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.tables import make_parser, show_progress
from rnnspec.api import prepare_suite, run_undisturbed
from rnnspec.cases.axes import Distribution, DType
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis import (
    dependence,
    events,
    explaining,
    known_mistakes,
    late_causes,
    likely_cause,
    mixture,
    naming,
    numbers,
    randomness,
    recheck,
    search,
)
from rnnspec.diagnosis.faults import find_faults
from rnnspec.engine.outcome import Progress
from rnnspec.mistakes import evidence, inferred, outcome
from rnnspec.mistakes.catalogue import list_hypotheses
from rnnspec.mistakes.outcome import Outcome, find_largest_finite
from rnnspec.observe.expected import Expected
from rnnspec.options import CheckOptions
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, Changes, change_values
from rnnspec.report.program import find_reference
from rnnspec.selftest.banks import find_bank
from rnnspec.suites.layer import LayerSuite

SORTS: Mapping[str, tuple[tuple[Any, tuple[str, ...]], ...]] = {
    "limits": (
        (explaining, ("MOST", "MOST_COMPARED")),
        (late_causes, ("MOST_CALLED",)),
        (likely_cause, ("INFERRED", "LOADED", "MOST_WORK")),
        (events, ("MOST_STARTS",)),
        (naming, ("MOST_CANDIDATES",)),
        (numbers, ("MOST_FAULTS", "MOST_UNSTEADY")),
        (randomness, ("MOST", "FIRST")),
        (
            recheck,
            (
                *("MOST_JUDGED", "MOST_VARIANTS"),
                *("FEW_ATTEMPTS", "MORE_ATTEMPTS", "MOST_ATTEMPTS"),
            ),
        ),
        (search, ("MOST_NEAR", "SHORT")),
    ),
    "cases": (
        (dependence, ("CONTRADICTIONS",)),
        (likely_cause, ("FEWEST", "ENOUGH")),
        (mixture, ("FEWEST",)),
        (explaining, ("FEWEST",)),
    ),
    "shares": (
        (events, ("ROUGH",)),
        (known_mistakes, ("CLOSE",)),
        (mixture, ("MOST_ASTRAY", "LEAST_DIFFERENCE")),
        (randomness, ("MOSTLY",)),
        (explaining, ("LEAST_EXPLAINED",)),
        (numbers, ("LEAST_EXPLAINED",)),
    ),
    "tolerances": (
        (
            evidence,
            (
                *("SLACK", "SEPARATION", "MAGNIFIED_ERROR", "UNSTEADY", "ROUNDINGS"),
                *("CLOSER", "NEAR", "NEARLY"),
            ),
        ),
        (outcome, ("FEW", "SHARE", "MAGNIFIED", "ROUGH")),
    ),
}
"""The thresholds of each sort, by module."""
FACTORS = (0.5, 2.0)
CASES, SMALL_CASE, STEP = 14, 200, (11, 41)
"""On so many cases of this size, one in so many mistakes is computed, without and with gates."""
AMOUNTS = (-0.9, -0.5, -0.1, 0.01, 0.3, 1.0, 3.0)
CONSTANT_CASES = 5
"""With these amounts, every mistake with a constant is made in so many small cases."""
Summary = list[tuple[str, str, str]]
"""The rule that names each fault, its likely cause, and the other rules that fail because of it."""


def scale(value: Any, factor: float) -> Any:
    """Return a threshold times a factor; a number of cases stays one, and at least 1."""
    if isinstance(value, dict):
        return {key: scale(each, factor) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(scale(each, factor) for each in value)
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


@contextmanager
def scaled(sort: str, factor: float) -> Iterator[None]:
    """Change all thresholds of a sort in this context."""
    with ExitStack() as stack:
        for module, names in SORTS[sort]:
            for name in names:
                changed = scale(getattr(module, name), factor)
                stack.enter_context(patch.object(module, name, changed))
        yield


def sum_up(suite: LayerSuite, progress: Progress[Any]) -> Summary:
    """Return what is reported of the failures of a layer."""
    faults = find_faults(suite, deepcopy(progress))
    return [
        (
            fault.root.id,
            fault.cause.text if fault.cause else "",
            " ".join(sorted(fault.consequences)),
        )
        for fault in faults
    ]


def list_small_cases(kind: str, dtype: DType, seed: int) -> list[Case]:
    """Return cases of a kind in a dtype in which a mistake is computed in no time."""
    standard = find_reference(KINDS[kind]).factory
    suite = prepare_suite(standard, CheckOptions(profile="quick", seed=seed, kind=kind))
    small = (
        case.replace(dtype=dtype)
        for _, case in suite.draw_cases(0, suite.size)
        if not case.has_active_dropout and case.distribution is Distribution.PLAIN
        if case.steps * case.batch * case.config.num_layers <= SMALL_CASE
    )
    return list(islice(small, CASES))


def measure_mistakes(kind: str, dtype: DType, seed: int) -> list[tuple[float, float]]:
    """Return how far rounding moves the output of mistakes, and how far each moves it, in bounds.

    Some mistakes of a kind are computed, each on up to two cases that it concerns.
    """
    found = []
    cases = list_small_cases(kind, dtype, seed)
    drawn = [(case, Expected(case, draw_values(case))) for case in cases]
    for mistake in list_hypotheses(kind, gradients=False)[:: STEP[KINDS[kind].is_gated]]:
        concerned = [each for each in drawn if mistake.concerns(each[0])]
        for case, expected in concerned[:2]:
            given = Given.from_values(case, expected.values)
            bound = find_largest_finite(expected.bound.results[case.config.kind_data.leading])
            try:
                right, wrong, rounded = (
                    Reference(numbers, changes).run()[0].double()
                    for numbers, changes in (
                        (given, NOTHING),
                        (given, mistake.changes),
                        (given.convert(case.dtype.torch_dtype), mistake.changes),
                    )
                )
            except (Refused, RuntimeError, IndexError):
                continue
            if right.shape == wrong.shape == rounded.shape and math.isfinite(bound) and bound > 0:
                moved, changed = (wrong - rounded).abs().max(), (wrong - right).abs().max()
                found.append((float(moved) / bound, float(changed) / bound))
    return [pair for pair in found if all(map(math.isfinite, pair))]


def print_rounding(kind: str, seed: int) -> None:
    """Print how far rounding moves the output of mistakes in each narrow dtype."""
    for dtype in (DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16):
        pairs = measure_mistakes(kind, dtype, seed)
        moved = [each for each, _ in pairs]
        apart = [each for _, each in pairs if each]
        shares = ", ".join(
            f"{sum(each > least for each in apart) / len(apart):.1%} by more than {least}"
            for least in (3, 10, 30)
        )
        print(
            f"{dtype}: rounding moves {len(pairs)} predictions of {kind} by at most "
            f"{max(moved):.3g} bounds; they differ from the right output: {shares}"
        )


def list_wrong_cases(kind: str, seed: int) -> list[tuple[inferred.Constant, float, Any, Any]]:
    """Return mistakes with a constant: the amount, a case with what is required, and what comes.

    The case has what the inference asks of evidence: its prediction of any mistake.
    """
    found = []
    for number, case in enumerate(list_small_cases(kind, DType.FLOAT64, seed)[:CONSTANT_CASES]):
        given = Given.from_values(case, Expected(case, draw_values(case)).values)

        def predict(changes: Changes, given: Given = given) -> Outcome:
            with torch.no_grad():
                output, final = Reference(given, changes).run()
            return Outcome({"output": output.numpy(), **{k: v.numpy() for k, v in final.items()}})

        made = SimpleNamespace(case=case, predict=predict, required=predict(NOTHING))
        right = inferred._flatten(made.required)
        for constant in inferred.CONSTANTS:
            for amount in AMOUNTS[number % 2 :: 2]:
                if not constant.of(case.config.kind_data) or not constant.where(case):
                    continue
                with np.errstate(all="ignore"):
                    wrong = inferred._flatten(predict(change_values(constant.changes(amount))))
                is_seen = np.isfinite(wrong).all() and not np.allclose(wrong, right)
                if is_seen and not constant.unclear(case):
                    found.append((constant, amount, made, wrong))
    return found


def print_constants(kind: str, seed: int) -> None:
    """Print how many constants are inferred with half and twice each limit of the inference."""
    wrong = list_wrong_cases(kind, seed)
    limits = {name: getattr(inferred, name) for name in ("HOPELESS", "CLOSE")}
    changes = [(name, factor) for name in limits for factor in (1.0, *FACTORS)]
    for name, factor in changes:
        with patch.object(inferred, name, limits[name] * factor):
            amounts = [inferred._infer(constant, case, got) for constant, _, case, got in wrong]
        pairs = [(amount, each[1]) for amount, each in zip(amounts, wrong, strict=True)]
        right = sum(amount is not None and abs(amount - made) < 1e-3 for amount, made in pairs)
        none = sum(amount is None for amount, _ in pairs)
        print(
            f"{name} times {factor}: {right} of {len(pairs)} constants of {kind} inferred, "
            f"{none} not, {len(pairs) - right - none} as another number"
        )


def main() -> None:
    """Print the reports that change, and how many do for each sort."""
    parser = make_parser(__doc__)
    parser.add_argument("--kind", default="rnn")
    parser.add_argument("--number", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounding", action="store_true")
    parser.add_argument("--constants", action="store_true")
    options = parser.parse_args()
    if options.rounding:
        print_rounding(options.kind, options.seed)
    elif options.constants:
        print_constants(options.kind, options.seed)
    else:
        print_changes(options.kind, options.number, options.seed)


def print_changes(kind: str, number: int, seed: int) -> None:
    """Print the reports that change with the thresholds of each sort, and how many do."""
    bugs = find_bank(kind).bugs
    names = sorted(random.Random(seed).sample(sorted(bugs), number))
    changed = {(sort, factor): 0 for sort in SORTS for factor in FACTORS}
    for name in names:
        chosen = CheckOptions(profile="quick", seed=seed, kind=kind)
        suite = prepare_suite(bugs[name], chosen)
        progress = run_undisturbed(suite)
        usual = sum_up(suite, progress)
        show_progress(f"{name}: {usual}")
        for sort, factor in changed:
            with scaled(sort, factor):
                found = sum_up(suite, progress)
            if found != usual:
                changed[sort, factor] += 1
                print(f"{name}, {sort} times {factor}:\n  {usual}\n  {found}", flush=True)
    for (sort, factor), count in changed.items():
        print(f"{sort} times {factor}: {count} of {len(names)} reports change")


if __name__ == "__main__":
    main()
