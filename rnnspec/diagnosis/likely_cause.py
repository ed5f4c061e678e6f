"""The likely cause of a fault: the only mistake that explains the observations of every case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

from rnnspec.diagnosis.suite import Budget, CauseQuery
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.catalogue import adapt_to_kind, list_hypotheses
from rnnspec.mistakes.evidence import Evidence, GradientEvidence, PartEvidence, read_evidence
from rnnspec.mistakes.gradient_clips import infer_gradient_clips
from rnnspec.mistakes.hypothesis import Hypothesis, list_further
from rnnspec.mistakes.inferred import infer_hypotheses
from rnnspec.mistakes.outcome import Agreement
from rnnspec.observe.observation import Observation

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`). A
# mistake with a constant can be fitted to a single value, and to two values by chance.
FEWEST = 3
"""The number of wrong values needed if there is only a single wrong case."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It is larger than the two cases that confirm a cause of all cases.
ENOUGH = 3
"""The number of cases that a mistake must explain if it does not explain all of them."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Each case takes 8 times as many predictions as there are mistakes with a constant.
INFERRED = 3
"""The number of cases, the fastest ones, used to infer constants."""
# Nobody measured it: a sentence about three mistakes was hard to read.
MOST_EQUAL = 1
"""The number of mistakes that may be named beside a cause because no case distinguishes them."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`). A
# single case may hold weights that a wrong load does not change, such as zeros.
LOADED = 2
"""The number of cases used to compare the weights of the layer with the loaded weights."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It equals the minimum budget of a search (`LEAST_WORK`).
MOST_WORK = 150_000
"""The largest number of sums of a vector that are predicted for a case, which takes a few seconds.
If many mistakes may cause a fault that shows in no smaller case, the fault has no likely cause."""


def find_likely_cause(query: CauseQuery[Observation]) -> LikelyCause | None:
    """Return the only mistake that explains the fault, or None if there is none or more than one.

    Two mistakes count as one if no case of the fault distinguishes them, and both are named. A
    partial query skips a case that no mistake explains together with the earlier cases. Cases
    with the same terms of the equations as the first case come first.
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
    cases = OrderedCases(seen, _measure_duration, partial(_differ, first))
    found = _explain_by_known(cases, others, query)
    families = _unite_equal(_prefer_consistent(found, others), cases)
    chosen = choose_one(families)
    if chosen is None or len(families[chosen]) > MOST_EQUAL:
        return None
    return _make_likely_cause(chosen, found[chosen].explained, len(seen), families[chosen])


@dataclass(frozen=True)
class OrderedCases:
    """The cases that can be compared, the most informative first, each evaluated when needed.

    The groups follow each other. Within a group, the rank decides, except that a case with little
    evidence comes late. A case that is right in the compared part comes last: it can refute a
    mistake, but not show it. Hardly any mistake is left after the first case, so most cases are
    never evaluated.
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
                if case.is_right or case.has_little_evidence:
                    late.append(case)
                else:
                    yield case
            yield from sorted(late, key=lambda case: (case.is_right, case.has_little_evidence))

    @property
    def first(self) -> Evidence:
        """The first case. Raises StopIteration if there is none."""
        return next(iter(self))


def _measure_duration(case: Evidence) -> tuple[bool, int]:
    return case.case.dtype.is_half, case.duration


def _differ(first: Evidence | None, case: Evidence) -> tuple[bool, bool]:
    """Return whether a case differs from the first case, and whether it has other terms."""
    is_other = first is not None and case is not first
    return is_other, first is not None and not _have_same_terms(case, first)


def _have_same_terms(one: Evidence, other: Evidence) -> bool:
    """Return whether the equations of two cases have the same terms."""
    first, second = one.case, other.case
    return (first.config.bias, first.initial_state) == (second.config.bias, second.initial_state)


def _make_likely_cause(
    chosen: Hypothesis, explained: int, seen: int, equal: Sequence[Hypothesis] = ()
) -> LikelyCause:
    """Return a likely cause for a mistake, with the number of cases that it explains.

    Its text also names mistakes that are `equal` to it in every case.
    """
    rounding = f"{chosen.rounded} by {chosen.family}" if chosen.rounds else ""
    text = ", or ".join(each.text for each in (chosen, *equal))
    return LikelyCause(
        chosen.key, text, chosen.remedy, chosen.rules, explained, seen, chosen, rounding
    )


def _explain_by_known(
    cases: OrderedCases,
    passing: Sequence[Evidence],
    query: CauseQuery[Observation],
) -> dict[Hypothesis, CaseCount]:
    """Return the mistakes that explain the cases: known ones, or inferred if there are none."""
    is_partial, budget = query.is_partial, query.budget
    hypotheses: Sequence[Hypothesis] = list_hypotheses(
        cases.first.case.config.kind, gradients=query.gradients
    )
    if query.besides is not None:
        first = query.besides.origin
        if not isinstance(first, Hypothesis):
            return {}
        further = _explain(cases, list(list_further(first, hypotheses)), is_partial, budget)
        return {each: count for each, count in further.items() if _adds_to(each, first, cases)}
    if cases.first.estimate_work(hypotheses) > MOST_WORK:
        hypotheses = _leave_out_refuted(hypotheses, passing, budget)
    takes_long = cases.first.estimate_work(hypotheses) > MOST_WORK
    found = _explain(cases, hypotheses, is_partial, budget)
    is_precise = any(each.computes_in is None for each in found)
    if is_precise or takes_long:
        return found
    infer = infer_gradient_clips if query.gradients else infer_hypotheses
    return _explain(cases, _infer_from(cases, infer), is_partial, budget) or found


def _adds_to(further: Hypothesis, known: Hypothesis, cases: OrderedCases) -> bool:
    """Return whether a further mistake explains a case that the known mistake does not."""
    return any(
        case.check(known) is Agreement.CONTRADICTION
        and case.check(further) in (Agreement.EVIDENCE, Agreement.PREDICTED)
        for case in cases
    )


def _leave_out_refuted(
    hypotheses: Sequence[Hypothesis], passing: Iterable[Evidence], budget: Budget
) -> Sequence[Hypothesis]:
    """Return the hypotheses that no case refutes where the layer is right."""
    # A fault that needs a long sequence takes many predictions, and most mistakes would show in a
    # short sequence, too.
    left = hypotheses
    for case in sorted(passing, key=lambda case: case.duration):
        work = case.estimate_work(left)
        if case.is_right and work <= MOST_WORK and budget.take(work):
            left = [each for each in left if case.check(each) is not Agreement.CONTRADICTION]
    return left


def _is_wrong(case: Evidence) -> bool:
    """Return whether a case can be compared and is not right."""
    return case.observed is not None and not case.is_right


def _is_stopped(case: Evidence) -> bool:
    """Return whether the layer raised an exception in a case."""
    seen = case.observed
    return seen is not None and (seen.has_raised or _is_stopped_before(case))


def _is_stopped_before(case: Evidence) -> bool:
    """Return whether the layer raised an exception before the checked call."""
    seen = case.observed
    return seen is not None and seen.has_raised_before


def _find_cause_of_stops(cases: Sequence[Evidence], near: Sequence[Evidence]) -> LikelyCause | None:
    """Return the only mistake that predicts which calls are stopped, or None."""
    found = list(list_hypotheses(cases[0].case.config.kind, gradients=False))
    # A call that is stopped before the checked call may have any other reason, so use such cases
    # only if there are no others.
    checked = [case for case in cases if not _is_stopped_before(case)]
    for case in sorted(checked or cases, key=lambda case: case.duration):
        found = [each for each in found if case.check(each) is Agreement.PREDICTED]
    # A stopped call alone is little evidence. So the mistake must also predict which of the cases
    # nearby are stopped, and the results of the others.
    for case in near:
        found = [each for each in found if case.check(each) is not Agreement.CONTRADICTION]
    passed = [case.case for case in near if case.is_right]
    # Some of the calls nearby must be calls that the mistake could have stopped, except for their
    # sizes.
    chosen = choose_one(
        each
        for each in found
        if sum(each.concerns(case) and not each.unclear(case) for case in passed) >= each.spares
    )
    if chosen is None:
        return None
    return _make_likely_cause(chosen, len(cases), len(cases))


def check_cause(
    cause: LikelyCause, observation: Observation, *, gradients: bool = False
) -> Agreement:
    """Return how a likely cause agrees with the observation of another case."""
    if not isinstance(cause.origin, Hypothesis):
        return Agreement.NEUTRAL
    return _read_evidence(observation, gradients).check(cause.origin)


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
    """Return whether the layers of the first cases have the weights that were loaded."""
    # Wrong weights may look like a mistake in the call.
    try:
        compared = (case for case in cases if case.observed is not None)
        return all(case.observation.holds_weights for case in islice(compared, LOADED))
    except Exception:  # a layer may fail while it is built, loaded or read
        return True


def _say_enough(cases: Sequence[Evidence]) -> bool:
    """Return whether the cases have enough evidence: several wrong values."""
    all_wrong = (case for case in cases if _is_wrong(case) and not case.has_little_evidence)
    wrong = list(islice(all_wrong, 2))
    return len(wrong) > 1 or (len(wrong) == 1 and wrong[0].count_wrong() >= FEWEST)


def _explain(
    cases: Iterable[Evidence],
    hypotheses: Sequence[Hypothesis],
    is_partial: bool,
    budget: Budget,
) -> dict[Hypothesis, CaseCount]:
    """Return the hypotheses that enough cases confirm and no case refutes.

    If you set `is_partial`, skip a case that refutes all remaining hypotheses if some of them
    explained an earlier case.
    """
    # The fastest cases come first, because hardly any hypothesis is left after the first case.
    tallies, number = {hypothesis: CaseCount() for hypothesis in hypotheses}, 0
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
    """Return whether a case decides about every mistake that can change its results."""
    # Elsewhere, the predictions of a mistake may contain nothing that can be compared.
    return not (case.is_right or case.has_little_evidence or case.case.dtype.is_half)


@dataclass(frozen=True)
class CaseCount:
    """The number of cases that a hypothesis explains, in all and by values or shapes."""

    explained: int = 0
    evidence: int = 0
    is_shown: bool = False

    def is_enough(self, wanted: int) -> bool:
        """Return whether the evidence is sufficient."""
        return self.is_shown and self.evidence > 0 and self.explained >= wanted


def _infer_from(
    cases: OrderedCases, infer: Callable[[Evidence], Iterable[Hypothesis]]
) -> list[Hypothesis]:
    """Return mistakes with constants inferred from a few cases, each constant once."""

    def measure(case: Evidence) -> tuple[Any, ...]:
        precision = case.case.dtype.roundoff, case.case.is_packed
        return *precision, cases.group(case), cases.rank(case)

    precise = (case for case in OrderedCases(cases.cases, measure) if not case.is_right)
    found = {
        each.key: each for case in islice(precise, INFERRED) for each in case.infer_once(infer)
    }
    return [*adapt_to_kind(found.values(), cases.first.case.config.kind_data)]


def _keep_agreeing(
    case: Evidence, tallies: dict[Hypothesis, CaseCount]
) -> dict[Hypothesis, CaseCount]:
    kept: dict[Hypothesis, CaseCount] = {}
    for hypothesis, tally in tallies.items():
        agreement = case.check(hypothesis)
        if agreement is not Agreement.CONTRADICTION:
            explains = agreement in (Agreement.EVIDENCE, Agreement.PREDICTED)
            is_evidence = agreement is Agreement.EVIDENCE
            kept[hypothesis] = CaseCount(
                tally.explained + explains,
                tally.evidence + is_evidence,
                tally.is_shown or (explains and hypothesis.shown_by(case.case)),
            )
    return kept


def _prefer_consistent(
    found: Iterable[Hypothesis], passing: Sequence[Evidence]
) -> list[Hypothesis]:
    """Return the hypotheses that also agree with the passing cases, or all if none does."""
    everything = list(found)
    consistent = [
        hypothesis
        for hypothesis in everything
        if not any(case.check(hypothesis) is Agreement.CONTRADICTION for case in passing)
    ]
    return consistent or everything


def _unite_equal(
    found: Iterable[Hypothesis], cases: OrderedCases
) -> dict[Hypothesis, list[Hypothesis]]:
    """Return one of all hypotheses that predict the same in every case, with the others.

    If a rank decides between two, `choose_one` does so. If the layer returns no final states,
    mistakes that differ only in them cannot be distinguished, and only the mistake without them is
    named.
    """
    shows_states = bool(cases.first.observation.state_names)
    kept: dict[Hypothesis, list[Hypothesis]] = {}
    for each in found:
        others = (
            other
            for other in kept
            if not (shows_states and _are_ranked(each, other))
            and all(case.predicts_the_same(each, other) for case in cases)
        )
        same = next(others, None)
        if same is None:
            kept[each] = []
        elif shows_states:
            kept[same].append(each)
    return kept


def _are_ranked(one: Hypothesis, other: Hypothesis) -> bool:
    """Return whether a rank decides which of two hypotheses is reported."""
    return bool(one.family) and one.family == other.family and one.rank != other.rank


def choose_one(found: Iterable[Hypothesis]) -> Hypothesis | None:
    """Return the hypothesis to report, or None if several cannot be distinguished.

    Within a family, report the hypothesis with the lowest rank.
    """
    by_rank = sorted(found, key=lambda hypothesis: hypothesis.rank)
    if len({hypothesis.family or id(hypothesis) for hypothesis in by_rank}) != 1:
        return None
    if len(by_rank) > 1 and by_rank[0].rank == by_rank[1].rank:
        return None
    return by_rank[0]
