"""A campaign: the cases of a check, each judged by every rule that applies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rnnspec.engine.outcome import Progress, Tally, judge
from rnnspec.engine.protocol import Checks
from rnnspec.rules.rule import Rule

Watcher = Callable[[int, int], None]


def run(checks: Checks, start: int = 0, stop: int | None = None, *, first_only: bool = False, watch: Watcher | None = None) -> Progress:
    """Judge the cases whose index lies in [start, stop).

    A pure function of its arguments and of the versions of rnnspec, Hypothesis and torch; results of ranges merge. `first_only` ends
    after the first case that breaks a rule, an interrupt ends at once; both mark the result as stopped.
    """
    end = checks.size if stop is None else min(stop, checks.size)
    progress = Progress({rule.id: Tally() for rule in checks.rules})
    try:
        for index, case in checks.cases(start, end):
            broken = _judge_all(checks, progress, index, case)
            if watch is not None:
                watch(index - start + 1, end - start)
            if broken and first_only:
                progress.stopped = True
                break
    except KeyboardInterrupt:
        progress.stopped = True
    return progress


def _judge_all(checks: Checks, progress: Progress, index: int, case: Any) -> bool:
    seen = checks.observe(case)
    progress.cases += 1
    broken = False
    for rule in applicable(checks, case):
        with undisturbed():
            outcome = judge(rule, seen, index)
        progress.tallies[rule.id].add(outcome)
        broken = broken or progress.tallies[rule.id].first is not None
    return broken


def applicable(checks: Checks, case: Any) -> list[Rule]:
    """The rules that apply to a case of this subject."""
    return [rule for rule in checks.rules if rule.when(case) and not rule.needs & checks.refused.keys()]


class undisturbed:
    """Give the default dtype and the gradient mode back as they were, whatever a subject does to them."""

    def __enter__(self) -> None:
        self.dtype = torch.get_default_dtype()
        self.grad = torch.is_grad_enabled()

    def __exit__(self, *error: object) -> None:
        if torch.get_default_dtype() != self.dtype:
            torch.set_default_dtype(self.dtype)
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
