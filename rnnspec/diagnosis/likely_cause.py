"""The likely cause of a fault: the one mistake that explains what the layer did in every case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

from rnnspec.diagnosis.budget import Budget
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.agreement import Agreement
from rnnspec.mistakes.catalogue import adapt_to_kind, list_hypotheses
from rnnspec.mistakes.composition import list_further
from rnnspec.mistakes.evidence import Evidence, PartEvidence, read_evidence
from rnnspec.mistakes.gradient_clips import infer_gradient_clips
from rnnspec.mistakes.gradient_evidence import GradientEvidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.inferred import infer_hypotheses
from rnnspec.observe.observation import Observation

# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# A mistake with one constant can be made to fit one value, and two by chance.
FEWEST = 3
"""The number of wrong values that a single case must have."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# One more than the two by which a cause of all cases is confirmed.
ENOUGH = 3
"""So many cases a mistake must explain that does not explain all of them."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Each case takes as many predictions as there are mistakes with a constant, times 8.
INFERRED = 3
"""From how many cases, the quickest ones, constants are inferred."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# One case may hold weights that a wrong load leaves alone, such as zeros.
LOADED = 2
"""Of so many cases it is asked whether the layer has the weights that were loaded."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It is the work that every search may do (`LEAST_WORK`).
MOST_WORK = 150_000
"""So many sums of a vector are predicted for one case at most, which takes some seconds. A fault
that shows in no smaller case has no likely cause if so many mistakes may have made it."""


def find_likely_cause(query: CauseQuery[Observation]) -> LikelyCause | None:
    """Return the only mistake that explains the fault, or None if there is none, or several.

    A partial query leaves out a case that nothing explains together with those before it. Those
    with the same terms as the first come first.
    """
    seen = [_read_failing(each, query) for each in query.failing]
    if not _have_weights(seen):
        return None
    others = [_read_evidence(each, query.gradients) for each in query.passing]
    if query.is_whole and not any(_is_wrong(case) and not _is_stopped(case) for case in seen):
        stopped = [case for case in seen if _is_stopped(case)]
        right = [case for case in seen if case.is_right]
        if stopped:
            return _find_cause_of_stops(stopped, [*right, *others])
    if not _say_enough(seen):
        return None
    first = next(filter(_is_wrong, seen), None) if query.is_partial else None
    cases = Telling(seen, _measure_cost, partial(_differ, first))
    found = _explain_by_known(cases, others, query)
    told = choose_one(_leave_out_equal(_prefer_consistent(found, others), cases))
    if told is None:
        return None
    return _tell(told, found[told].explained, len(seen))


@dataclass(frozen=True)
class Telling:
    """The cases that can be compared, those first that show most; each is called when it is due.

    Groups come one after the other. In each, a rank decides, but a case that says little comes
    late, and last one that is right in the part that is compared: it can contradict a mistake, but
    not show it. Hardly any mistake is left after the first case, so most are never called.
    """

    cases: Sequence[Evidence]
    rank: Callable[[Evidence], tuple[Any, ...]]
    group: Callable[[Evidence], tuple[Any, ...]] = lambda case: ()

    def __iter__(self) -> Iterator[Evidence]:
        ordered = sorted(self.cases, key=lambda case: (self.group(case), self.rank(case)))
        for _, group in groupby(ordered, self.group):
            late = []
            for case in group:
                if case.observed is None:
                    continue
                if case.is_right or case.says_little:
                    late.append(case)
                else:
                    yield case
            yield from sorted(late, key=lambda case: (case.is_right, case.says_little))

    @property
    def first(self) -> Evidence:
        """The first case. Raises StopIteration if there is none."""
        return next(iter(self))


def _measure_cost(case: Evidence) -> tuple[bool, int]:
    return case.case.dtype.is_half, case.cost


def _differ(first: Evidence | None, case: Evidence) -> tuple[bool, bool]:
    """Return whether a case is another one than the first, and whether it has other terms."""
    is_other = first is not None and case is not first
    return is_other, first is not None and not _have_same_terms(case, first)


def _have_same_terms(one: Evidence, other: Evidence) -> bool:
    """Return whether the same terms of the equations are there in two cases."""
    first, second = one.case, other.case
    return (first.config.bias, first.initial_state) == (second.config.bias, second.initial_state)


def _tell(told: Hypothesis, explained: int, seen: int) -> LikelyCause:
    """Return a likely cause from the mistake, and how many of the cases it explains."""
    rounding = f"{told.rounded} by {told.family}" if told.rounds else ""
    return LikelyCause(
        told.key, told.text, told.remedy, told.rules, explained, seen, told, rounding
    )


def _explain_by_known(
    cases: Telling,
    passing: Sequence[Evidence],
    query: CauseQuery[Observation],
) -> dict[Hypothesis, Tally]:
    """Return the mistakes of the catalogue, or else inferred ones, that explain the cases."""
    is_partial, budget = query.is_partial, query.budget
    hypotheses: Sequence[Hypothesis] = list_hypotheses(
        cases.first.case.config.kind, gradients=query.gradients
    )
    if query.besides is not None:
        first = query.besides.origin
        if not isinstance(first, Hypothesis):
            return {}
        return _explain(cases, list(list_further(first, hypotheses)), is_partial, budget)
    if cases.first.estimate_work(hypotheses) > MOST_WORK:
        hypotheses = _leave_out_refuted(hypotheses, passing, budget)
    takes_long = cases.first.estimate_work(hypotheses) > MOST_WORK
    found = _explain(cases, hypotheses, is_partial, budget)
    is_precise = any(each.computes_in is None for each in found)
    if is_precise or takes_long:
        return found
    infer = infer_gradient_clips if query.gradients else infer_hypotheses
    return _explain(cases, _infer_from(cases, infer), is_partial, budget) or found


def _leave_out_refuted(
    hypotheses: Sequence[Hypothesis], passing: Iterable[Evidence], budget: Budget
) -> Sequence[Hypothesis]:
    """Return the hypotheses that no case contradicts in which the layer is right.

    A fault that needs a long sequence takes many predictions, and most mistakes would show in a
    short one.
    """
    left = hypotheses
    for case in sorted(passing, key=lambda case: case.cost):
        work = case.estimate_work(left)
        if case.is_right and work <= MOST_WORK and budget.take(work):
            left = [each for each in left if case.judge(each) is not Agreement.CONTRADICTION]
    return left


def _is_wrong(case: Evidence) -> bool:
    """Return whether something can be compared in a case and is not right."""
    return case.observed is not None and not case.is_right


def _is_stopped(case: Evidence) -> bool:
    """Return whether the layer raised in a case."""
    seen = case.observed
    return seen is not None and (seen.has_raised or _is_stopped_before(case))


def _is_stopped_before(case: Evidence) -> bool:
    """Return whether the layer raised before the judged call."""
    seen = case.observed
    return seen is not None and seen.has_raised_before


def _find_cause_of_stops(cases: Sequence[Evidence], near: Sequence[Evidence]) -> LikelyCause | None:
    """Return the only mistake that predicts which calls are stopped, or None.

    A call that is stopped before the judged one may be any other, so it says nothing if there are
    others. That a call is stopped says little, so it must also predict which of the `near` cases
    are, and what the others give. In some of these it could have stopped the call, but for their
    sizes.
    """
    found = list(list_hypotheses(cases[0].case.config.kind, gradients=False))
    judged = [case for case in cases if not _is_stopped_before(case)]
    for case in sorted(judged or cases, key=lambda case: case.cost):
        found = [each for each in found if case.judge(each) is Agreement.PREDICTED]
    for case in near:
        found = [each for each in found if case.judge(each) is not Agreement.CONTRADICTION]
    passed = [case.case for case in near if case.is_right]
    told = choose_one(
        each
        for each in found
        if sum(each.concerns(case) and not each.unclear(case) for case in passed) >= each.spares
    )
    if told is None:
        return None
    return _tell(told, len(cases), len(cases))


def judge_cause(
    cause: LikelyCause, observation: Observation, *, gradients: bool = False
) -> Agreement:
    """Return what another case says about a likely cause."""
    if not isinstance(cause.origin, Hypothesis):
        return Agreement.NEUTRAL
    return _read_evidence(observation, gradients).judge(cause.origin)


def _read_evidence(observation: Observation, gradients: bool) -> Evidence:
    return read_evidence(observation, GradientEvidence if gradients else Evidence)


def _read_failing(observation: Observation, query: CauseQuery[Observation]) -> Evidence:
    part = query.part
    if not part:
        return _read_evidence(observation, query.gradients)
    return observation.remember(
        f"{PartEvidence.__name__} of {part}", lambda: PartEvidence(observation, part)
    )


def _have_weights(cases: Sequence[Evidence]) -> bool:
    """Return whether the layers of the first cases have the weights that were loaded.

    What a layer does with other weights may look like a mistake of the call, and is none.
    """
    try:
        compared = (case for case in cases if case.observed is not None)
        return all(case.observation.holds_weights for case in islice(compared, LOADED))
    except Exception:  # such a layer cannot be built or loaded, or its weights not be read
        return True


def _say_enough(cases: Sequence[Evidence]) -> bool:
    """Return whether something can be learnt from the cases: several wrong values at least."""
    all_wrong = (case for case in cases if _is_wrong(case) and not case.says_little)
    wrong = list(islice(all_wrong, 2))
    return len(wrong) > 1 or (len(wrong) == 1 and wrong[0].count_wrong() >= FEWEST)


def _explain(
    cases: Iterable[Evidence],
    hypotheses: Sequence[Hypothesis],
    is_partial: bool,
    budget: Budget,
) -> dict[Hypothesis, Tally]:
    """Return the hypotheses that enough cases confirm and no case contradicts.

    The quickest cases come first: hardly any hypothesis is left after the first one. With
    `is_partial`, a case is left out that contradicts all that are left and explained something.
    """
    tallies, number = {hypothesis: Tally() for hypothesis in hypotheses}, 0
    for number, case in enumerate(cases):
        work = case.estimate_work(tallies)
        if work > MOST_WORK or not budget.take(work):
            return {}
        agreeing = _keep_agreeing(case, tallies)
        if is_partial and number == 0 and _decides(case):
            agreeing = {each: tally for each, tally in agreeing.items() if tally.explained}
        has_evidence = any(tally.evidence for tally in agreeing.values())
        tallies = agreeing if has_evidence or number == 0 or not is_partial else tallies
        if not tallies:
            return {}
    wanted = ENOUGH if is_partial else min(2, number + 1)
    return {each: tally for each, tally in tallies.items() if tally.is_enough(wanted)}


def _decides(case: Evidence) -> bool:
    """Return whether a case shows of each mistake that can change it whether it is made.

    Elsewhere, a mistake that is made may predict nothing that can be compared.
    """
    return not (case.is_right or case.says_little or case.case.dtype.is_half)


@dataclass(frozen=True)
class Tally:
    """How many cases a hypothesis explains, and how many of them by values or shapes."""

    explained: int = 0
    evidence: int = 0
    is_shown: bool = False

    def is_enough(self, wanted: int) -> bool:
        """Return whether the evidence is enough."""
        return self.is_shown and self.evidence > 0 and self.explained >= wanted


def _infer_from(
    cases: Telling, infer: Callable[[Evidence], Iterable[Hypothesis]]
) -> list[Hypothesis]:
    """Return mistakes with constants that one of a few cases suggests, each constant once."""

    def measure(case: Evidence) -> tuple[Any, ...]:
        precision = case.case.dtype.roundoff, case.case.is_packed
        return *precision, cases.group(case), cases.rank(case)

    precise = (case for case in Telling(cases.cases, measure) if not case.is_right)
    found = {
        each.key: each for case in islice(precise, INFERRED) for each in case.infer_once(infer)
    }
    return [*adapt_to_kind(found.values(), cases.first.case.config.kind_data)]


def _keep_agreeing(case: Evidence, tallies: dict[Hypothesis, Tally]) -> dict[Hypothesis, Tally]:
    kept: dict[Hypothesis, Tally] = {}
    for hypothesis, tally in tallies.items():
        agreement = case.judge(hypothesis)
        if agreement is not Agreement.CONTRADICTION:
            explains = agreement in (Agreement.EVIDENCE, Agreement.PREDICTED)
            is_evidence = agreement is Agreement.EVIDENCE
            kept[hypothesis] = Tally(
                tally.explained + explains,
                tally.evidence + is_evidence,
                tally.is_shown or (explains and hypothesis.shown_by(case.case)),
            )
    return kept


def _prefer_consistent(
    found: Iterable[Hypothesis], passing: Sequence[Evidence]
) -> list[Hypothesis]:
    """Return the hypotheses that hold in the passing cases too, or all if none does."""
    everything = list(found)
    consistent = [
        hypothesis
        for hypothesis in everything
        if not any(case.judge(hypothesis) is Agreement.CONTRADICTION for case in passing)
    ]
    return consistent or everything


def _leave_out_equal(found: Iterable[Hypothesis], cases: Telling) -> list[Hypothesis]:
    """Return the hypotheses without those that differ from another in final states only.

    If the layer returns none, a mistake that is also about them cannot be told from one that is
    not, and the latter is told.
    """
    kept: list[Hypothesis] = []
    for each in found:
        is_seen = cases.first.observation.state_names or not any(
            all(case.predicts_the_same(each, other) for case in cases) for other in kept
        )
        kept += [each] if is_seen else []
    return kept


def choose_one(found: Iterable[Hypothesis]) -> Hypothesis | None:
    """Return the hypothesis to tell, or None if several of them cannot be told apart.

    Within a family, the one with the lowest rank is told.
    """
    by_rank = sorted(found, key=lambda hypothesis: hypothesis.rank)
    if len({hypothesis.family or id(hypothesis) for hypothesis in by_rank}) != 1:
        return None
    if len(by_rank) > 1 and by_rank[0].rank == by_rank[1].rank:
        return None
    return by_rank[0]
