"""The suite for a recurrent layer: the rules of the contract, and the cases of a plan."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

from rnnspec.cases.axes import AXES, DropoutLevel, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.opening import list_opening_cases
from rnnspec.cases.plan import PROFILES, PlanRow, Profile, Scope
from rnnspec.cases.space import ONE_IN_CELLS, LayerCaseSpace
from rnnspec.contract.clauses import Level
from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.faults import find_faults
from rnnspec.diagnosis.likely_cause import check_cause, find_likely_cause
from rnnspec.diagnosis.randomness import find_random_results
from rnnspec.diagnosis.requirements import find_cause_of_calls
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.capabilities import ATTEMPTS, works_in
from rnnspec.engine.explanations import LikelyCause, Program
from rnnspec.engine.outcome import Finding, Progress
from rnnspec.mistakes.hypothesis import Hypothesis, combine_mistakes
from rnnspec.mistakes.layer import Maker
from rnnspec.mistakes.outcome import Agreement
from rnnspec.observe.observation import Observation, collect_observations
from rnnspec.observe.tensors import measure_distance
from rnnspec.options import SizeSource
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.report.error_map import ErrorMap
from rnnspec.report.locating import make_error_map
from rnnspec.report.program import find_program
from rnnspec.rulekit import facts
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.rulekit.selection import select_in_force
from rnnspec.rulekit.violation import ComparedArrays, ErrorSize
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.subjects.location import find_location
from rnnspec.subjects.steps import USING_RESULTS, announce_case, announce_step
from rnnspec.subjects.subject import Subject, TorchSubject
from rnnspec.suites.declaration import describe_declaration, suggest_declarations
from rnnspec.suites.obstacles import find_obstacle
from rnnspec.suites.planning import LayerPlan, choose_fewest

SIZE_FIELDS = ("steps", "batch", "lengths")
MAPPED, MOST_MAPPED = 60, 5_000
"""Limits on the number of cases from which the report takes one to show its errors, and on the
elements of its output. Drawing the cases and computing the errors took 0.26 to 0.36 s of CPU for
torch's RNN, GRU, LSTM and LSTMCell.
"""
OF_OUTPUT, OF_STEP = "recurrence.output", "cells.step"
"""The rules that compare the leading result of a layer, and of a cell, with the reference."""
SIZE_NAMES = {
    "input_size": "features",
    "hidden_size": "units",
    "steps": "steps",
    "batch": "samples",
    "num_layers": "layers",
}
"""The sizes of a case by the names used in a report."""

MOST_EXPLAINED = 40
"""A likely cause must explain this many failing cases, if there are as many."""
MOST_COMPARED = 100
"""A cause that explains only some failing cases is compared with up to this many."""


@dataclass(frozen=True)
class LayerSuite:
    """The suite for a recurrent layer.

    subject      the implementation under test
    rules        the rules that are checked
    profile      how thorough the check is
    seed         the seed of everything that is drawn
    pinned       the axes that have the same value in every case, with that value
    limit        the number of cases, or None for the number that the profile draws
    sizes        the source of the sizes of the cases
    remarks      remarks for the report on how the cases were chosen
    replayed     cases that are checked first, because deviations or failures showed in them
    is_declared  whether the user has declared an adapter, which may be wrong
    is_reduced   whether only the fewest cases that reach every rule are checked
    untrue       remarks on features that are declared as refused, but that work
    """

    subject: Subject
    rules: tuple[Rule[Case, Observation], ...]
    profile: Profile = PROFILES["default"]
    seed: int = 0
    pinned: tuple[tuple[str, Any], ...] = ()
    limit: int | None = None
    sizes: SizeSource = SizeSource.FREE
    remarks: tuple[str, ...] = ()
    replayed: tuple[Case, ...] = ()
    is_declared: bool = False
    is_reduced: bool = False
    untrue: tuple[str, ...] = ()

    def replay(self, cases: Iterable[Mapping[str, Any]]) -> LayerSuite:
        """Return the suite with further cases, as data, that are checked first if the subject
        offers them.
        """
        found = [case for case in map(Case.read_stored, cases) if case is not None]
        fitting = tuple(case for case in found if self._takes(case))
        return replace(self, replayed=(*self.replayed, *fitting))

    def _takes(self, case: Case) -> bool:
        values = ((axis, case.get_choice(axis.name)) for axis in AXES)
        is_offered = all(value in self.scope.list_values(axis) for axis, value in values)
        return case.config.kind == self.kind and is_offered

    @property
    def label(self) -> str:
        """The user's name of the subject."""
        return self.subject.target.label

    @property
    def kind(self) -> str:
        """The kind of layer."""
        return self.subject.kind

    @property
    def device(self) -> str:
        """The device that the subject runs on."""
        return self.subject.device

    @property
    def unsupported(self) -> Mapping[Feature, str]:
        """The features that the subject does not support, with the reasons."""
        return self.subject.capabilities.unsupported

    @property
    def facts(self) -> LayerSuite:
        """Finds the facts that do not hold in a case: the suite itself."""
        return self

    @property
    def space(self) -> LayerCaseSpace:
        """The space of its cases."""
        return LayerCaseSpace(self.scope)

    @cached_property
    def scope(self) -> Scope:
        """The values that may be drawn."""
        return Scope(frozenset(self.unsupported), self.pinned, self.kind)

    @cached_property
    def plan(self) -> LayerPlan:
        """The plan of the whole profile. It does not depend on which rules are checked."""
        fixed = self.subject.fixed
        return _share_plan(
            self.profile, self.seed, self.scope, fixed.get("dropout"), fixed.get("proj_size")
        )

    @cached_property
    def rows(self) -> list[PlanRow]:
        """The rows of the plan, which is repeated if `limit` is more than the profile draws.

        Rows stay short this way, which matters because drawing a single case of a row draws all its
        cases, and different processes draw different ranges of cases.
        """
        planned = self.plan.rows
        count = sum(row.cases for row in planned)
        factor = 1 if self.limit is None else -(-self.limit // count)
        return planned * max(1, factor)

    @cached_property
    def opening(self) -> list[Case]:
        """The cases that begin the run."""
        return [*self.replayed, *list_opening_cases(self.scope, self.seed)]

    @cached_property
    def size(self) -> int:
        """The number of case indices."""
        if self.is_reduced:
            return len(self._fewest)
        count = self._count_planned()
        return count if self.limit is None else min(count, self.limit)

    @property
    def is_limited(self) -> bool:
        """Whether the user wants fewer cases than its plan has."""
        return self.limit is not None and self.limit < self._count_planned()

    @cached_property
    def _fewest(self) -> list[Case]:
        whole = replace(self, is_reduced=False)
        cases = [case for _, case in whole.draw_cases(0, None)]
        rules = [each for each in self.rules if each.needs.isdisjoint(self.unsupported)]
        first = len(self.replayed)
        return cases[:first] + choose_fewest(cases[first:], rules, self.profile.minimum)

    def _count_planned(self) -> int:
        return len(self.opening) + sum(row.cases for row in self.rows)

    def draw_cases(self, start: int, stop: int | None) -> Iterator[tuple[int, Case]]:
        """Yield the cases with an index in [start, stop), or all from `start`, each with its index.

        The plan is made only if the opening cases do not suffice, because it takes a while.
        """
        if self.is_reduced:
            yield from list(enumerate(self._fewest))[start:stop]
            return
        first = len(self.opening)
        for index, case in list(enumerate(self.opening))[start:stop]:
            if self.limit is None or index < self.limit:
                yield index, self.plan.adapt(case)
        if stop is not None and stop <= first:
            return
        begin, end = max(0, start - first), self.size if stop is None else min(stop, self.size)
        for index, case in self.plan.draw_cases(self.rows, begin, end - first, self.sizes):
            yield index + first, case

    def observe(self, case: Case) -> Observation:
        """Return the observation of the subject in a case."""
        announce_case((self.subject.target.factory, case))
        return Observation(self.subject, case)

    def collect_observations(self) -> AbstractContextManager[list[Observation]]:
        """Return a context that collects the observations that are made in it."""
        return collect_observations()

    def find_broken_facts(
        self, observation: Observation, *, with_gradients: bool = False
    ) -> dict[Fact, Case]:
        """Return the first fact that does not hold, with the case that shows it.

        If the check itself fails, no fact is known to be broken.
        """
        try:
            with announce_step(USING_RESULTS):
                return facts.find_broken_facts(observation, with_gradients=with_gradients)
        except Ended:
            return {Fact.CALL: observation.case}
        except Exception:
            return {}

    def find_blocker(self, observation: Observation) -> Failure | None:
        """Return the failure that stopped the checked call, or None."""
        try:
            with announce_step(USING_RESULTS):
                return facts.find_blocker(observation)
        except Ended as failure:
            return failure
        except Exception:
            return None

    def find_wrong_results(self, observation: Observation) -> Case | None:
        """Return the case that shows that the results of an observed call are wrong, or None.

        It is the case itself or, if dropout makes its results random, the same case without
        dropout.
        """
        case = observation.case
        if not observation.was_called or min(case.batch, case.steps) < 1:
            return None
        try:
            with announce_step(USING_RESULTS):
                shown = facts.remove_dropout(observation) or observation
                return shown.case if facts.has_wrong_results(shown) else None
        except Ended:
            return case
        except Exception:
            return None

    def find_likely_cause(self, query: CauseQuery[Observation]) -> LikelyCause | None:
        """Return the simplest mistake that explains the observations, or None."""
        most = MOST_COMPARED if query.is_partial else MOST_EXPLAINED
        first = list(islice(query.failing, most))
        cause = find_likely_cause(replace(query, failing=first))
        return find_random_results(first) if cause is None and query.is_whole else cause

    def find_cause_of_calls(
        self,
        rule: Rule[Case, Observation],
        failing: Iterable[Observation],
        known: Collection[LikelyCause] = (),
    ) -> LikelyCause | None:
        """Return the mistake that explains the calls of a rule in cases where it fails, or None.

        If several mistakes do, prefer a mistake that is `known` from another fault.
        """
        return find_cause_of_calls(rule, failing, known)

    def is_explained(
        self, cause: LikelyCause, observation: Observation, *, gradients: bool = False
    ) -> bool | None:
        """Return whether a likely cause predicts the observation.

        False means that it predicts another result, and None that it predicts nothing.
        """
        agreement = check_cause(cause, observation, gradients=gradients)
        if agreement is Agreement.NEUTRAL:
            return None
        return agreement is not Agreement.CONTRADICTION

    def can_explain(self, cause: LikelyCause, case: Case) -> bool:
        """Return whether a layer that makes only this mistake can be wrong in a case.

        A layer that remembers earlier calls always can, because a rule may call it again.
        """
        mistake = cause.origin
        if not isinstance(mistake, Hypothesis) or mistake.remembers:
            return True
        return mistake.concerns(case) or mistake.unclear(case)

    def make_mistaken(
        self, causes: Sequence[LikelyCause], case: Case, *, gradients: bool = False
    ) -> LayerSuite | None:
        """Return the suite of a layer whose only errors are these likely causes, for a case."""
        mistakes = [each.origin for each in causes if isinstance(each.origin, Hypothesis)]
        if not mistakes or len(mistakes) < len(causes) or any(each.remembers for each in mistakes):
            return None
        own = self.subject
        target = replace(own.target, factory=Maker(combine_mistakes(mistakes), case, gradients))
        subject = TorchSubject(target, own.device, own.kind, own.fixed, own.capabilities)
        return replace(self, subject=subject)

    def arrange_results(self) -> LayerSuite:
        """Return the suite of the subject with its results rearranged into the documented form.

        They are rearranged only if it is clear which result is which.
        """
        own = self.subject
        subject = TorchSubject(
            own.target, own.device, own.kind, own.fixed, own.capabilities, arranges_results=True
        )
        return replace(self, subject=subject)

    def measure_error(
        self, observation: Observation, *, gradients: bool = False
    ) -> ErrorSize | None:
        """Return the size of the error of the results or gradients, or None if they are right."""
        try:
            return facts.measure_error(observation, gradients=gradients)
        except Exception:
            return None

    def find_misreturned(self, observation: Observation) -> str:
        """Return the only wrong result, if others show that it was computed correctly, or ""."""
        try:
            return facts.find_misreturned(observation)
        except Exception:
            return ""

    def find_obstacle(self, rule: Rule[Case, Observation]) -> str:
        """Return why a rule applies to no case of this suite, or an empty string if it does."""
        return find_obstacle(rule, self.scope, self.unsupported)

    def list_sizes(self, case: Case, passed: Collection[str]) -> dict[str, int]:
        """Return the sizes of a case, if its leading result is right; see `Suite`.

        A cell has no steps and layers.
        """
        is_cell = case.config.kind_data.is_cell
        if (OF_STEP if is_cell else OF_OUTPUT) not in passed:
            return {}
        varied = {name for name in SIZE_NAMES if not (is_cell and name in ONE_IN_CELLS)}
        return {SIZE_NAMES[name]: case.size(name) for name in SIZE_NAMES if name in varied}

    def describe_case(self, case: Case) -> dict[str, Any]:
        """Return a case as data: configuration, sizes, call, seed and text."""
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

    def name_feature(self, case: Case, names: Collection[str]) -> str:
        """Return the feature that a case needs because of any of these axes, or an empty string.

        A feature whose plain use works is not named: the subject offers it, and only its
        combination with another choice or size fails.
        """
        values = ((axis, case.get_choice(axis.name)) for axis in AXES if axis.name in names)
        needed = (axis.needed_feature(value) for axis, value in values)
        named = (feature for feature in needed if feature is not None)
        lacking = (
            each for each in named if each not in ATTEMPTS or not works_in(self.subject, each)
        )
        return next((each.text for each in lacking), "")

    def write_program(self, finding: Finding[Case]) -> Program:
        """Return a program that fails for the subject and passes for torch.nn.RNN, or why not."""
        return find_program(self.subject.target, finding, self.subject.fixed, self.device)

    def find_faults(
        self,
        progress: Progress[Case],
        *,
        until: Collection[Level] = (),
        remark: Callable[[str], object] = tuple,
        watch: Watcher | None = None,
    ) -> list[Fault[Case]]:
        """Return the faults behind the failing cases, the most important first."""
        return find_faults(self, progress, until=until, remark=remark, watch=watch)

    def complete_report(self, report: Report) -> Report:
        """Return the report, with notes on untrue refusals, with a note if the declaration of an
        adapter may explain the violations, and with the errors in a case if no fault has a map of
        its errors.
        """
        untrue = (*self.untrue, *report.untrue_refusals)
        report = replace(
            report,
            notes=(*report.notes, *untrue),
            untrue_refusals=untrue,
            location=find_location(self.subject.target.factory),
            errors=self._map_errors() if self._has_right_results(report) else None,
        )
        if not self.is_declared or report.verdict is not RunVerdict.VIOLATES:
            return report
        target, broken = self.subject.target, [fault.rule for fault in report.faults]
        said = [describe_declaration(target), *suggest_declarations(target, broken)]
        return replace(report, notes=(*report.notes, *filter(None, said)))

    def _has_right_results(self, report: Report) -> bool:
        leading = OF_STEP if KINDS[self.kind].is_cell else OF_OUTPUT
        is_right = any(
            each.rule == leading and each.verdict is Verdict.PASS for each in report.results
        )
        return is_right and not report.stopped and not any(each.errors for each in report.faults)

    def _map_errors(self) -> ErrorMap | None:
        """Return the errors of the leading result in a large case, or None if a call fails now."""
        name = "h_1" if KINDS[self.kind].is_cell else "output"
        drawn = [case for _, case in self.draw_cases(0, MAPPED)]
        fitting = [each for each in drawn if _can_be_mapped(each)]
        if not fitting:
            return None
        case = max(fitting, key=_rank_shown)
        try:
            observation = self.observe(case)
            with announce_step(USING_RESULTS), observation.surroundings():
                got, expected = observation.get_result(name), observation.expected
                error = measure_distance(got, expected.results[name])
                compared = ComparedArrays(name, error, expected.bound.results[name])
                return make_error_map(compared, str(case))
        except BaseException:  # after Ctrl-C the report is wanted, without a map
            return None


def _can_be_mapped(case: Case) -> bool:
    """Return whether the report may show the errors of a case: plain numbers, and not too many."""
    is_plain = not (case.dtype.is_half or case.is_packed or case.has_active_dropout)
    return is_plain and 0 < math.prod(_list_dimensions(case)) <= MOST_MAPPED


def _rank_shown(case: Case) -> tuple[int, int]:
    """Return a key that prefers cases with several indices in each dimension, then large cases."""
    sizes = _list_dimensions(case)
    return sum(each > 1 for each in sizes), math.prod(sizes)


def _list_dimensions(case: Case) -> tuple[int, int, int]:
    """Return the number of time steps, samples and units of the output."""
    return case.steps, case.batch, case.config.output_size


_PLANS: deque[tuple[tuple[object, ...], LayerPlan]] = deque(maxlen=16)
"""The plans made last, each with its arguments: a profile contains dictionaries and is no key."""


def _share_plan(
    profile: Profile, seed: int, scope: Scope, dropout: float | None, proj_size: int | None
) -> LayerPlan:
    """Return the plan of a check in which the user has fixed these arguments, if any.

    Suites share their plan with the cases that were drawn: in a check by a single rule, planning
    and drawing take a third of the time.
    """
    arguments = profile, seed, scope, dropout, proj_size
    for known, plan in _PLANS:
        if known == arguments:
            return plan
    adapt = partial(_set_fixed_arguments, dropout, proj_size)
    opening = tuple(map(adapt, list_opening_cases(scope, seed)))
    rules = select_in_force(list_layer_rules(), kind=scope.kind)
    plan = LayerPlan(profile, seed, scope, opening, rules, adapt)
    _PLANS.append((arguments, plan))
    return plan


def _set_fixed_arguments(dropout: float | None, proj_size: int | None, case: Case) -> Case:
    """Return a case with the probability and the projection that the user set, if any.

    The probability is set only in cases whose probability is between 0 and 1.
    """
    if dropout is not None and case.get_choice("dropout") is DropoutLevel.SOME:
        case = case.replace(dropout=float(dropout))
    if proj_size:
        hidden_size = max(case.config.hidden_size, int(proj_size) + 1)
        case = case.replace(hidden_size=hidden_size, proj_size=int(proj_size))
    return case
