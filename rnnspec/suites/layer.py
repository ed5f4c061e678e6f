"""The check of a recurrent layer: the contract's rules over the cases of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from rnnspec.cases.axes import AXES, DropoutLevel, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, PlanRow, Profile, Scope, plan_rows
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.engine.outcome import Finding
from rnnspec.observe.observation import Observation
from rnnspec.report.program import find_program
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.subject import Subject

SIZE_FIELDS = ("steps", "batch", "lengths")


@dataclass(frozen=True)
class LayerSuite:
    """What is run: a subject, rules, a profile, a seed, the axes that the user pinned to one value, and a limit on the cases."""

    subject: Subject
    rules: tuple[Rule[Case, Observation], ...]
    profile: Profile = PROFILES["default"]
    seed: int = 0
    pinned: tuple[tuple[str, Any], ...] = ()
    limit: int | None = None

    @property
    def label(self) -> str:
        """What the user calls the subject."""
        return self.subject.target.label

    @property
    def kind(self) -> str:
        """The kind of layer."""
        return self.subject.kind

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.subject.device

    @property
    def unsupported(self) -> Mapping[Feature, str]:
        """The features that the subject openly lacks, with the reason."""
        return self.subject.capabilities.unsupported

    @property
    def space(self) -> LayerCaseSpace:
        """The space of its cases."""
        return LayerCaseSpace(self.scope)

    @cached_property
    def scope(self) -> Scope:
        """What may be drawn."""
        return Scope(frozenset(self.unsupported), self.pinned)

    @cached_property
    def rows(self) -> list[PlanRow]:
        """The rows of the campaign, with more cases in each where the limit asks for more than the profile draws."""
        planned = plan_rows(self.profile, self.seed, self.scope)
        drawn = sum(row.cases for row in planned)
        factor = 1 if self.limit is None else -(-self.limit // drawn)
        return (
            planned
            if factor <= 1
            else [replace(row, cases=row.cases * factor) for row in planned]
        )

    @property
    def size(self) -> int:
        """How many case indices there are."""
        drawn = sum(row.cases for row in self.rows)
        return drawn if self.limit is None else min(drawn, self.limit)

    def cases(self, start: int, stop: int) -> Iterator[tuple[int, Case]]:
        """The cases with an index in [start, stop)."""
        for index, case in draw_cases(self.rows, self.seed, start, stop):
            yield index, self._with_own_dropout(case)

    def _with_own_dropout(self, case: Case) -> Case:
        """The case with the probability that the user chose, where it drops some."""
        chosen = self.subject.fixed.get("dropout")
        return (
            case
            if chosen is None or case.axis("dropout") is not DropoutLevel.SOME
            else case.replace(dropout=float(chosen))
        )

    def observe(self, case: Case) -> Observation:
        """What the subject does with a case."""
        return Observation(self.subject, case)

    def find_obstacle(self, rule: Rule[Case, Observation]) -> str:
        """Why no case in this scope can reach a rule, or nothing where one can: of all reasons the one that holds most often."""
        reasons: Counter[str] = Counter()
        for case in _everything():
            if rule.when(case):
                outside = self._outside(case)
                if not outside:
                    return ""
                reasons.update(sorted(outside))
        return reasons.most_common(1)[0][0] if reasons else ""

    def _outside(self, case: Case) -> set[str]:
        """What puts a case out of this scope."""
        found = set()
        for axis in AXES:
            value = case.axis(axis.name)
            needed = axis.needed_feature(value)
            if needed is not None and needed in self.unsupported:
                found.add(self.unsupported[needed])
            elif value not in self.scope.values(axis):
                found.add(f"{axis.name} is {self.scope.values(axis)[0]} in this run")
        return found

    def describe_case(self, case: Case) -> dict[str, Any]:
        """A case as data."""
        data = case.as_dict()
        sizes = {name: data.pop(name) for name in SIZE_FIELDS}
        configuration, seed = data.pop("config"), data.pop("seed")
        return {
            "configuration": configuration,
            "sizes": sizes,
            "call": data,
            "seed": seed,
            "text": str(case),
        }

    def write_program(self, finding: Finding[Case]) -> str:
        """A stand-alone program that fails for the subject and passes for torch.nn.RNN."""
        return find_program(self.subject.target, finding, self.subject.fixed, self.device)


@lru_cache(maxsize=1)
def _everything() -> tuple[Case, ...]:
    """Cases over every axis, whatever a subject refuses."""
    return tuple(case for _, case in draw_cases(plan_rows(PROFILES["quick"], 0, Scope()), 0))
