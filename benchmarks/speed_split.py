"""Measure where the time of one check goes: the part `split` of the benchmark on speed.

This module imports torch only inside functions, because it also measures how long that import
takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TARGET = "torch.nn:RNN"
SUBJECT, OTHERS = (
    "subject: calls and backward passes",
    "subject: construction, loading, copies, conversions",
)
ORACLE, HYPOTHESIS = "reference: results and bounds", "Hypothesis: drawing the cases"
PLANNING, VALUES, REST = (
    "covering arrays",
    "values of inputs and weights",
    "rules, comparisons and everything else",
)
ORDER = (SUBJECT, OTHERS, ORACLE, HYPOTHESIS, PLANNING, VALUES, REST)


def time_split(profile: str, seed: int, **options: Any) -> dict[str, float]:
    """Return the seconds of a check in this process by category, and those of the imports.

    `options` are further options of the check.
    """
    begun = time.perf_counter()
    import torch

    importing = {"import torch": time.perf_counter() - begun}
    begun = time.perf_counter()
    from benchmarks.stopwatch import Stopwatch
    from rnnspec.api import check
    from rnnspec.report.data import RunVerdict

    importing["import rnnspec and Hypothesis"] = time.perf_counter() - begun
    torch.set_num_threads(1)
    watch = Stopwatch()
    put_clocks(watch)
    with watch.running(REST):
        found = check(TARGET, profile=profile, seed=seed, **options)
    if found.verdict is RunVerdict.VIOLATES:
        raise RuntimeError(f"{TARGET} violates the contract with seed {seed}")
    return importing | {name: watch.seconds[name] for name in ORDER} | {"cases": found.cases}


def put_clocks(watch: Any) -> None:
    """Measure the subject's own work, the reference and Hypothesis from now on."""
    import torch

    from benchmarks.stopwatch import replace_in_modules
    from rnnspec import oracle
    from rnnspec.cases import drawing, plan
    from rnnspec.cases.values import draw_values
    from rnnspec.subjects.subject import observe_step

    torch.nn.RNN.__call__ = watch.timed(torch.nn.RNN.__call__, SUBJECT)  # type: ignore[method-assign]
    torch.autograd.grad = watch.timed(torch.autograd.grad, SUBJECT)
    torch.autograd.backward = watch.timed(torch.autograd.backward, SUBJECT)
    replace_in_modules(observe_step, _time_observations(observe_step, watch))
    for function in (
        oracle.run_layers,
        oracle.compute_bound,
        oracle.compute_gradients,
        oracle.compute_gradient_bound,
        oracle.is_exact,
        oracle.is_exact_gradient,
    ):
        replace_in_modules(function, watch.timed(function, ORACLE))
    replace_in_modules(drawing.draw_examples, watch.timed(drawing.draw_examples, HYPOTHESIS))
    replace_in_modules(plan.plan_rows, watch.timed(plan.plan_rows, PLANNING))
    replace_in_modules(draw_values, watch.timed(draw_values, VALUES))


def _time_observations(observing: Any, watch: Any) -> Any:
    """Return `observing` with its time counted as work of the subject.

    Everything that the subject is asked to do goes through `observing`. Calls have a clock of their
    own, so that only the rest is counted here.
    """

    @contextmanager
    def timed(*step: Any) -> Iterator[None]:
        with observing(*step), watch.running(OTHERS):
            yield

    return timed
