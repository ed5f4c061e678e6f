"""The plan of a check of a layer: its cases, chosen so that each rule is checked in enough of them.

A rule that costs more than others selects a few cases by their seed. If this were left to chance,
some rules would get a single case of a quick run. Therefore, the plan counts the cases of every
rule before any is drawn. If a rule has too few, it gives another seed to cases that no rule depends
on, and adds a case if nothing else helps.

A row of the plan does not contain sizes, which Hypothesis draws later. The rules are therefore
counted on cases of the row with sizes of the pool. If the drawn sizes do not suit a rule that
counts on the case, the case with sizes of the pool is used instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice

from rnnspec.cases.axes import AXES
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import Condition
from rnnspec.cases.drawing import SEED_MODULUS, DrawnRows, draw_cases, make_pool_case, mix_seed
from rnnspec.cases.plan import PlanRow, Profile, Scope, list_real_rows, plan_rows
from rnnspec.cases.reach import list_domains, make_search
from rnnspec.cases.sizes import DIMENSIONS, list_fitting_sizes
from rnnspec.observe.observation import Observation
from rnnspec.options import SizeSource
from rnnspec.rulekit.rule import Rule

LayerRule = Rule[Case, Observation]
VARIANTS = (0, 4, 8)
"""The distances of three sizes of the pool that show whether a condition depends on the sizes."""
MOST_SEEDS = 400
"""The number of seeds to try for a case. The rarest condition holds for 1 in 60."""
SEED_STEP = 104_729
"""The distance of these seeds: a prime number, so that every remainder occurs."""


@dataclass
class Slot:
    """A case of a plan before its sizes are drawn.

    row         the row of the plan, or None if the case is fixed
    variants    the case with several sizes of the pool
    is_open     whether it may get another seed
    conditions  the conditions that count on it
    """

    row: PlanRow | None
    variants: tuple[Case, ...]
    is_open: bool = True
    conditions: list[Condition[Case]] = field(default_factory=list)

    @property
    def substitute(self) -> Case:
        """The case to use if the drawn sizes do not fulfil the conditions."""
        return self.variants[0]

    @property
    def is_free(self) -> bool:
        """Whether it may get another seed, and no condition depends on its present seed."""
        return self.is_open and all(each.sampled is None for each in self.conditions)

    def accept(self, drawn: Case) -> Case:
        """Return the case that takes this place in the plan if these sizes are drawn."""
        case = drawn.replace(seed=self.substitute.seed)
        return case if all(holds(case) for holds in self.conditions) else self.substitute

    def count_on(self, condition: Condition[Case]) -> bool:
        """Make a condition count on it, with another seed if necessary. Return False on failure."""
        if not condition(self.substitute) and not (
            self.is_free and condition.can_hold(self.substitute) and self.take_seed(condition)
        ):
            return False
        self.conditions.append(condition)
        return True

    def take_seed(self, condition: Condition[Case]) -> bool:
        """Choose a seed with which a condition holds. Return False if none is found."""
        for number in range(MOST_SEEDS):
            seed = (self.substitute.seed + number * SEED_STEP) % SEED_MODULUS
            if condition(replace(self.substitute, seed=seed)):
                self.variants = tuple(replace(each, seed=seed) for each in self.variants)
                return True
        return False


@dataclass(frozen=True)
class LayerPlan:
    """The plan of a check: its opening cases, and the rows from which the other cases are drawn.

    opening  the cases that begin the check
    rules    the rules that each have enough cases, whichever of them the user selects
    adapt    the function that gives a case the arguments that the user has fixed
    kept     the cases of rows that were drawn
    """

    profile: Profile
    seed: int
    scope: Scope
    opening: tuple[Case, ...]
    rules: tuple[LayerRule, ...]
    adapt: Callable[[Case], Case]
    kept: DrawnRows = field(default_factory=dict, compare=False)

    @property
    def rows(self) -> list[PlanRow]:
        """The rows of the profile, and rows added for rules with too few cases."""
        return self._planned[0]

    def draw_cases(
        self, rows: list[PlanRow], start: int, stop: int | None, sizes: SizeSource
    ) -> Iterator[tuple[int, Case]]:
        """Yield the cases of its rows, which may be repeated, with an index in [start, stop)."""
        for index, case in draw_cases(rows, self.seed, start, stop, sizes, self.kept):
            yield index, self.accept(index, self.adapt(case))

    def accept(self, index: int, drawn: Case) -> Case:
        """Return the case to use for a drawn case, given its index among the drawn cases."""
        slot = self._planned[1].get(index)
        return drawn if slot is None else slot.accept(drawn)

    @cached_property
    def _planned(self) -> tuple[list[PlanRow], Mapping[int, Slot]]:
        rows = plan_rows(self.profile, self.seed, self.scope)
        drawn = self._list_slots(rows)
        fixed = [Slot(None, (case,), is_open=False) for case in self.opening]
        search = make_search(list_domains(self.scope), self.scope.kind)
        real_rows = list_real_rows(self.profile, self.scope, self.seed)
        real = self._list_slots(real_rows)
        for rule in self.rules:
            for situation in rule.spans:
                condition = rule.when & situation
                if any(slot.count_on(condition) for slot in real):
                    continue
                can_hold = search.can_hold(condition.can_hold)
                added = self._place(condition, drawn) if can_hold else None
                if added is not None and added.row is not None:
                    rows.append(added.row)
                    drawn.append(added)
        for rule in self.rules:
            if rule.needs.isdisjoint(self.scope.unsupported):
                missing = self._count_missing(rule.when, [*fixed, *drawn])
                for row, slot in self._list_more(rule.when, missing):
                    rows.append(row)
                    drawn.append(slot)
        rows += real_rows
        drawn += real
        return rows, {number: slot for number, slot in enumerate(drawn) if slot.conditions}

    def _list_slots(self, rows: Sequence[PlanRow]) -> list[Slot]:
        """Return a slot for each case that is drawn from the rows."""
        slots: list[Slot] = []
        for number, row in enumerate(rows):
            for _ in range(row.cases):
                index = len(slots)
                seed = mix_seed(mix_seed(self.seed, number), index)
                made = (make_pool_case(row, index + distance) for distance in VARIANTS)
                slots.append(Slot(row, tuple(self.adapt(each.replace(seed=seed)) for each in made)))
        return slots

    def _place(self, condition: Condition[Case], slots: Sequence[Slot]) -> Slot | None:
        """Make a condition count on a slot, with sizes of the pool that fulfil it.

        Return a new slot if every existing slot already has conditions. Return None if a slot of
        `slots` can be used, or if no sizes of the pool fulfil the condition.
        """
        for slot in slots:
            if slot.conditions and condition(slot.substitute):
                slot.conditions.append(condition)
                return None
        known = [(slot, slot.row) for slot in slots if slot.row and not slot.conditions]
        for slot, row in known:
            # Other rows have no sizes beyond the sizes of the pool, and trying them takes a second.
            if len(row.large_dimensions or ()) == 1 and self._take_sizes(slot, row, condition):
                return None
        for slot, row in known:
            for name in DIMENSIONS:
                other = replace(row, cases=1, large_dimensions=(name,))
                added = replace(slot, row=other)
                if self._take_sizes(added, other, condition):
                    return added
        return None

    def _take_sizes(self, slot: Slot, row: PlanRow, condition: Condition[Case]) -> bool:
        """Choose sizes of the pool with which a condition holds. Return False if there are none."""
        count = len(list_fitting_sizes(row.row, row.large_dimensions))
        made = (make_pool_case(row, number) for number in range(count))
        cases = (self.adapt(each.replace(seed=slot.substitute.seed)) for each in made)
        found = next(filter(condition, cases), None)
        if found is not None:
            slot.variants = (found,)
            slot.conditions = [condition]
        return found is not None

    def _count_missing(self, condition: Condition[Case], slots: Sequence[Slot]) -> int:
        """Make a condition count on enough slots, and return how many are missing.

        The order of preference: slots for which it holds whatever the sizes are, then slots for
        which it depends on the sizes, then slots that need another seed, the last of the plan
        first.
        """
        missing = self.profile.planned
        uncertain: list[Slot] = []
        for slot in slots:
            if not condition(slot.substitute):
                continue
            if not all(map(condition, slot.variants)):
                uncertain.append(slot)
                continue
            slot.conditions.append(condition)
            missing -= 1
            if not missing:
                return 0
        uncertain.sort(key=lambda slot: -sum(map(condition, slot.variants)))
        changed = (
            slot
            for slot in reversed(slots)
            if condition.sampled
            and slot.is_free
            and not condition(slot.substitute)
            and condition.can_hold(slot.substitute)
            and slot.take_seed(condition)
        )
        for slot in islice(chain(uncertain, changed), missing):
            slot.conditions.append(condition)
            missing -= 1
        return missing

    def _list_more(
        self, condition: Condition[Case], missing: int
    ) -> Iterator[tuple[PlanRow, Slot]]:
        """Yield rows and slots for the cases that a condition lacks; none if it never holds."""
        for number in range(missing):
            search = make_search(list_domains(self.scope), self.scope.kind, self.seed + number + 1)
            found = search.find(condition.can_hold)
            if found is None:
                return
            case = found.replace(seed=mix_seed(mix_seed(self.seed, -1), number))
            row = {axis.name: case.get_choice(axis.name) for axis in AXES}
            added = PlanRow({**row, "kind": self.scope.kind}, 1, ())
            slot = Slot(added, (self.adapt(case),))
            if slot.take_seed(condition):
                slot.conditions.append(condition)
                yield added, slot


def choose_fewest(cases: Sequence[Case], rules: Sequence[LayerRule], minimum: int) -> list[Case]:
    """Return a few of the cases in which each rule applies to at least `minimum`, if it can.

    They also contain the situations that a rule must span. Each time, the case that is needed by
    most rules is chosen, so there may be a smaller choice. About a seventh of a quick run is left.
    """
    spanned = [rule.when & situation for rule in rules for situation in rule.spans]
    needs = {rule.when: minimum for rule in rules} | dict.fromkeys(spanned, 1)
    reached = {index: {each for each in needs if each(case)} for index, case in enumerate(cases)}
    chosen: list[int] = []
    while reached:
        best = max(reached, key=lambda index: len(reached[index]))
        served = reached.pop(best)
        if not served:
            break
        chosen.append(best)
        for condition in served:
            needs[condition] -= 1
        full = {condition for condition in served if not needs[condition]}
        for left in reached.values():
            left -= full
    return [cases[index] for index in sorted(chosen)]
