"""A campaign: the cases of a plan, each judged by every rule that applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rnnspec.cases.drawing import cases_between
from rnnspec.cases.plan import PROFILES, Profile, Scope, Stretch, plan
from rnnspec.engine.outcome import Progress, Tally, judge
from rnnspec.observe.observation import Observation
from rnnspec.rules.rule import Rule
from rnnspec.subjects.subject import Subject

Watcher = Callable[[int, int], None]


@dataclass(frozen=True)
class Campaign:
    """What is run: a subject, rules, a profile, a seed, and the axes that the user pinned to one value."""

    subject: Subject
    rules: tuple[Rule, ...]
    profile: Profile = PROFILES["default"]
    seed: int = 0
    pinned: tuple[tuple[str, Any], ...] = ()
    limit: int | None = None

    @property
    def scope(self) -> Scope:
        """What may be drawn."""
        return Scope(frozenset(self.subject.refused), self.pinned)

    def stretches(self) -> list[Stretch]:
        """The rows of the campaign, with more cases in each where the limit asks for more than the profile draws."""
        planned = plan(self.profile, self.seed, self.scope)
        drawn = sum(stretch.examples for stretch in planned)
        factor = 1 if self.limit is None else -(-self.limit // drawn)
        return planned if factor <= 1 else [replace(stretch, examples=stretch.examples * factor) for stretch in planned]

    @property
    def size(self) -> int:
        """How many case indices there are."""
        drawn = sum(stretch.examples for stretch in self.stretches())
        return drawn if self.limit is None else min(drawn, self.limit)


def run(
    campaign: Campaign, start: int = 0, stop: int | None = None, *, first_only: bool = False, watch: Watcher | None = None
) -> Progress:
    """Judge the cases whose index lies in [start, stop).

    A pure function of its arguments and of the versions of rnnspec, Hypothesis and torch; results of ranges merge. `first_only` ends
    after the first case that breaks a rule, an interrupt ends at once; both mark the result as stopped.
    """
    end = campaign.size if stop is None else min(stop, campaign.size)
    progress = Progress({rule.id: Tally() for rule in campaign.rules})
    try:
        for index, case in cases_between(campaign.stretches(), campaign.seed, start, end):
            broken = _judge_all(campaign, progress, Observation(campaign.subject, case), index)
            if watch is not None:
                watch(index - start + 1, end - start)
            if broken and first_only:
                progress.stopped = True
                break
    except KeyboardInterrupt:
        progress.stopped = True
    return progress


def _judge_all(campaign: Campaign, progress: Progress, seen: Observation, index: int) -> bool:
    broken = False
    progress.cases += 1
    for rule in applicable(campaign.rules, campaign.subject, seen):
        with undisturbed():
            outcome = judge(rule, seen, index)
        progress.tallies[rule.id].add(outcome)
        broken = broken or progress.tallies[rule.id].first is not None
    return broken


def applicable(rules: Sequence[Rule], subject: Subject, seen: Observation) -> list[Rule]:
    """The rules that apply to a case of this subject."""
    return [rule for rule in rules if rule.when(seen.case) and not rule.needs & subject.refused.keys()]


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
