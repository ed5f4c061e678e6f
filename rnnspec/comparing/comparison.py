"""Compare a candidate with a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from rnnspec.comparing.beside import call_beside
from rnnspec.comparing.calls import check_calls
from rnnspec.comparing.causes import OF_FORM, explain_values
from rnnspec.comparing.conditions import AS_BUILT, MAGNITUDES, REDRAWN, NumberCondition
from rnnspec.comparing.differences import DifferenceKind, ResultDifference, compare_case
from rnnspec.comparing.evaluation import DRAWS, OutOfTime, Pair, PairCase, Precision
from rnnspec.comparing.explanation import Cause, ComparisonPart, ExplainedCause, RemarkKey
from rnnspec.comparing.gradients import compare_gradients
from rnnspec.comparing.minimising import minimise
from rnnspec.comparing.modes import check_uses
from rnnspec.comparing.probing import ReachProber
from rnnspec.comparing.program import write_program
from rnnspec.comparing.remarks import describe_reference
from rnnspec.comparing.rows import (
    LARGE_PRODUCTS,
    MOST_WORK_OF_FEW,
    SizeRow,
    can_call,
    choose_base,
    count_products,
    estimate_work,
    find_free_sizes,
    is_affordable,
    list_rows,
)
from rnnspec.comparing.sizes import Sizes
from rnnspec.comparing.tracing import count_operations, trace_code
from rnnspec.comparing.visibility import ConditionSearch, find_links
from rnnspec.comparing.weights import Moved, find_moves
from rnnspec.errors import TargetError
from rnnspec.models.steps import describe_error, phrase_error, suppress_failures
from rnnspec.subjects.failures import Ended, EndOfProcess, Failure
from rnnspec.subjects.settings import SettingValues, restore_settings, undo_changes

MOST_DIFFERENTIATED = 2
"""Number of cases with a long memory whose gradients are compared, besides the smallest case."""
MOST_EXPLAINED = 4
"""The search for differences ends after this number; more of them seldom have other causes."""
# An explanation needs a hundred calls or more, to see which inputs change a result.
MOST_PROBED = 5e9
"""The most work of a case by which a difference is explained."""
UNUSED = 1000
"""Added to the seed to draw inputs that no earlier call had."""
LONGEST = 64
"""Conditions are found with at most this size, since they are the same for larger ones."""
STOPPING = (
    *(Cause.RAISES, Cause.FORM, Cause.SHAPE, Cause.DTYPE, Cause.READS_NOTHING),
    *(Cause.EARLIER_CALL, Cause.SAME_ADDRESS, Cause.RANDOM),
)
"""Values are not compared at further sizes after one of these."""
HIDING = (
    *STOPPING,
    *(Cause.IGNORES_INPUT, Cause.ONE_FOR_ALL, Cause.FORGETS, Cause.IGNORES_INDICES, Cause.MIXES),
    *(Cause.IGNORES_PARAMETER, Cause.FEWER_BITS, Cause.OTHER_VALUES, Cause.EXCHANGED_INPUTS),
    *(Cause.GATE_ORDER, Cause.KEPT_STATE, Cause.STALE_WEIGHTS, Cause.OVERWRITES_INPUT),
)
"""Gradients and other uses are not compared after one of these, which change them too."""


@dataclass(frozen=True)
class CandidateFinding:
    """A fault of the candidate: its cause, the case that shows it, and the difference there.

    `is_avoided` is whether later cases avoid the fault, so that they can show others.
    """

    part: ComparisonPart
    cause: Cause
    text: str
    case: PairCase
    difference: str
    program: str = ""
    is_avoided: bool = False


class OtherFindings(NamedTuple):
    """The findings in other uses and in gradients, the number of their cases, and those proved."""

    findings: list[CandidateFinding]
    remarks: list[ExplainedCause]
    cases: int
    proved: list[PairCase]


@dataclass
class Comparison:
    """A comparison in progress: the two modules, and the faults and remarks found so far.

    keep         a function that receives the comparison whenever it has found more
    small        small sizes that the reference takes
    base         small sizes that both take
    rows         the sizes at which both were called
    refused      sizes that only the candidate refuses, with its error
    remembering  small cases without a difference, whose weights make memory long
    compared     the parts that are finished
    part         the part in progress
    is_cut       whether the time was over before all parts were finished
    explained    the number of differences whose cause was looked for
    cases        the number of cases
    """

    pair: Pair
    seed: int = 0
    keep: Callable[[Comparison], None] | None = None
    small: Sizes = field(default_factory=dict)
    base: Sizes = field(default_factory=dict)
    findings: list[CandidateFinding] = field(default_factory=list)
    remarks: list[ExplainedCause] = field(default_factory=list)
    about_reference: list[str] = field(default_factory=list)
    rows: list[SizeRow] = field(default_factory=list)
    refused: list[tuple[Sizes, str]] = field(default_factory=list)
    remembering: list[PairCase] = field(default_factory=list)
    compared: list[ComparisonPart] = field(default_factory=list)
    part: ComparisonPart = ComparisonPart.VALUES
    is_cut: bool = False
    explained: int = 0
    cases: int = 0

    @property
    def case(self) -> PairCase:
        """The case at the base sizes, with the weights of the constructor."""
        return PairCase(self.base, AS_BUILT, self.seed)

    def run(self) -> None:
        """Compare the two at all sizes, and undo changes of global settings afterwards."""
        with restore_settings() as before:
            try:
                self.compare_all(before)
            except OutOfTime:
                self.is_cut = True
            except Ended as error:  # a call that does more than compare values
                self.add(ExplainedCause(Cause.RAISES, f"it {phrase_error(error)}"), self.case)

    def compare_all(self, before: SettingValues) -> None:
        """Compare the two at all sizes. `before` are the settings before anything was called."""
        self.save()
        self.small = self.base = choose_base(self.pair)
        self.require_reference()
        self.base = self.choose_common_base()
        if not self.choose_move():
            return
        small = PairCase(self.small, AS_BUILT, self.seed)
        self.pair = replace(
            self.pair,
            free=tuple(find_free_sizes(self.pair, self.small)),
            operations=count_operations(self.pair, self.case),
        )
        self.about_reference = describe_reference(self.pair, small)
        unused = replace(self.case, seed=self.seed + UNUSED)
        undo_changes(before)
        if not self.has(STOPPING):
            self.compare_part(ComparisonPart.CALLS, check_calls(self.pair, unused), unused)
        if not self.has(STOPPING):
            self.part = ComparisonPart.VALUES
            with ExitStack() as stack:
                compare_others = self.compare_rows(stack)
                self.finish(ComparisonPart.VALUES)
                if not self.has(HIDING):
                    self.add_others(compare_others())
                elif not self.has(STOPPING):
                    self.trace_code()
            if not self.has(STOPPING):
                self.describe_sizes()

    def compare_part(
        self, part: ComparisonPart, found: Iterable[ExplainedCause], case: PairCase | None = None
    ) -> None:
        """Add the findings of a part."""
        self.part = part
        for each in found:
            self.add(each, case or self.case)
        self.finish(part)

    def finish(self, part: ComparisonPart) -> None:
        """Note that a part is done."""
        self.compared.append(part)
        self.save()

    def save(self) -> None:
        """Keep what is known so far."""
        if self.keep is not None:
            self.keep(self)

    def has(self, causes: Iterable[Cause]) -> bool:
        """Return whether a fault with one of the causes was found."""
        return not {each.cause for each in self.findings}.isdisjoint(causes)

    def require_reference(self) -> None:
        """Raise TargetError if the reference cannot be called with its arguments."""
        label = self.pair.recipe.reference.target.label
        try:
            results = self.pair.call_reference(self.case, self.pair.make_given(self.case))
        except Ended:
            raise
        except Exception as error:
            text = f"{label}: it cannot be called as it should: {describe_error(error)}"
            raise TargetError(text) from error
        if not results:
            raise TargetError(f"{label}: a call returns no tensor")

    def choose_common_base(self) -> Sizes:
        """Return small sizes that both take, or original ones if the candidate refuses others."""
        small, original = self.small, self.pair.recipe.original
        free = {name: small[name] for name in find_free_sizes(self.pair, small)}
        for sizes in (small, {**original, **free}, dict(original)):
            if sizes == small or (is_affordable(self.pair, sizes) and can_call(self.pair, sizes)):
                is_large = count_products(self.pair, sizes) > LARGE_PRODUCTS
                is_counted = is_large and self.pair.precision is Precision.IEEE
                self.pair = replace(self.pair, draws=0 if is_counted else DRAWS)
                case = PairCase(sizes, AS_BUILT, self.seed)
                difference = self.compare(case)
                if difference is not None and isinstance(difference.error, EndOfProcess):
                    self.add(ExplainedCause(Cause.RAISES, difference.text), case, difference)
                if difference is None or difference.kind is not DifferenceKind.REFUSES:
                    return sizes
                self.refused.append((sizes, difference.text))
        return small

    def choose_move(self) -> bool:
        """Find out how weights are moved; return whether the candidate can be built."""
        recipe = self.pair.recipe
        try:
            candidate = recipe.build(recipe.candidate, self.base, self.seed)
        except Failure as error:
            text = f"its constructor {phrase_error(error)}"
            self.add(ExplainedCause(Cause.RAISES, text), self.case)
            return False
        moves = find_moves(recipe.build(recipe.reference, self.base, self.seed), candidate)
        for index, move in enumerate(moves):
            pair = replace(self.pair, move=move)
            condition = REDRAWN if move.is_complete else AS_BUILT
            # Inputs of their own, since a candidate may store the results of earlier ones.
            case = replace(self.case, condition=condition, seed=self.seed + UNUSED + 1 + index)
            if self.compare(case, pair) is None:
                # With other inputs, a fault may not show by chance.
                first, redrawn = replace(self.pair, move=moves[0]), replace(case, condition=REDRAWN)
                is_chance = index > 0 and self.compare(redrawn, first) is None
                self.pair = first if is_chance else pair
                break
        else:
            self.pair = replace(self.pair, move=moves[0])
        if moves[0].how is Moved.NAMES and self.pair.move.how is not Moved.NAMES:
            text = "weights that are loaded with load_state_dict do not change its results"
            why = "it computes with a copy of the weights from its constructor"
            case, named = replace(self.case, condition=REDRAWN), replace(self.pair, move=moves[0])
            found = ExplainedCause(Cause.STALE_WEIGHTS, text)
            self.add(found, case, ResultDifference(DifferenceKind.VALUES, why), named)
        return True

    def compare_rows(self, stack: ExitStack) -> Callable[[], OtherFindings]:
        """Compare values at all sizes, and return a function that compares everything else.

        If the call at the original sizes takes long, a process of its own does that meanwhile.
        """
        links = find_links(self.pair, PairCase(self.small, AS_BUILT, self.seed))
        search = ConditionSearch(self.pair, links)
        compare_others: Callable[[], OtherFindings] = partial(self.compare_others, self.keep)
        for row in list_rows(self.pair, self.base, self.small):
            if row.is_once and not self.has(HIDING):
                beside = call_beside(self.compare_others, self.pair.device, is_long=True)
                compare_others = stack.enter_context(beside)
            if not self.is_shown(row.sizes):
                self.compare_row(row, search)
            if self.explained >= MOST_EXPLAINED or self.has(STOPPING):
                break
        return compare_others

    def compare_others(self, keep: Callable[[Comparison], None] | None = None) -> OtherFindings:
        """Return what other uses, gradients and the code that runs show; `keep` receives it too."""
        other = replace(
            self,
            pair=replace(self.pair, proved=[]),
            keep=keep,
            findings=[*self.findings],
            remarks=[*self.remarks],
            compared=[*self.compared],
            cases=0,
        )
        other.compare_part(ComparisonPart.USES, check_uses(other.pair, other.case))
        other.compare_part(ComparisonPart.GRADIENTS, other.compare_all_gradients())
        other.trace_code()
        new = other.findings[len(self.findings) :], other.remarks[len(self.remarks) :]
        return OtherFindings(*new, other.cases, other.pair.proved)

    def add_others(self, others: OtherFindings) -> None:
        """Add the findings of the other parts."""
        self.findings += others.findings
        self.remarks += others.remarks
        self.cases += others.cases
        self.pair.proved.extend(others.proved)
        self.compared += [ComparisonPart.USES, ComparisonPart.GRADIENTS]

    def compare_row(self, row: SizeRow, search: ConditionSearch) -> None:
        """Compare values at a row of sizes, unless one of the two refuses them."""
        self.rows.append(row)
        for condition in self.choose_conditions(row, search):
            case = PairCase(row.sizes, condition, self.seed)
            try:
                difference = self.compare(case, draws=self.count_draws(row))
            except Failure:  # the reference refuses the sizes
                self.rows.remove(row)
                return
            if difference is not None and difference.kind is DifferenceKind.REFUSES:
                self.refused.append((row.sizes, difference.text))
                self.rows.remove(row)
                return
            if difference is not None:
                self.explained += 1
                self.add_difference(case, difference)
                return
            if not row.is_large and condition in search.useful:
                self.remembering.append(case)

    def is_shown(self, sizes: Sizes) -> bool:
        """Return whether a known fault shows at these sizes, because it shows at smaller ones.

        Such a fault hides all others, unless later cases avoid it.
        """
        return any(
            all(sizes[name] >= size for name, size in each.case.sizes.items())
            for each in self.findings
            if not each.is_avoided
        )

    def count_draws(self, row: SizeRow) -> int:
        """Return how often roundings are drawn at a row of sizes.

        Large rows have many numbers, so that the error of the reference in float32 is enough. It is
        not enough for TF32, to which the reference does not round.
        """
        return max(0 if row.is_large else DRAWS, self.pair.precision is not Precision.IEEE)

    def choose_conditions(self, row: SizeRow, search: ConditionSearch) -> Iterator[NumberCondition]:
        """Yield the conditions for a row: those that show what the reference depends on.

        The most useful condition comes first, because differences are explained under it.
        Conditions are found at small sizes, where measuring them takes little time.
        """
        if row.is_largest:
            yield from (*search.useful[:1], AS_BUILT)[: 1 if row.is_once else 2]
        elif row.is_large:
            work = estimate_work(self.pair, row.sizes)
            conditions = (AS_BUILT, *search.useful[:2])
            yield from conditions[: max(int(MOST_WORK_OF_FEW / work), 1)]
        else:
            small = self.small
            sizes = {
                name: size if size <= small[name] else max(small[name], min(size, LONGEST))
                for name, size in row.sizes.items()
            }
            yield from search.choose(PairCase(sizes, AS_BUILT, self.seed))
            yield AS_BUILT
            if row.sizes == small:
                yield from MAGNITUDES

    def compare_all_gradients(self) -> Iterator[ExplainedCause]:
        """Yield how gradients differ, for the first of a few cases that shows it."""
        once = replace(self.pair, draws=1)  # the other cases are larger, and have more numbers
        longer = [(once, case) for case in self.remembering[:MOST_DIFFERENTIATED]]
        for pair, case in ((self.pair, self.case), *longer):
            for found in compare_gradients(pair, case):
                yield replace(found, case=case)
                return

    def trace_code(self) -> None:
        """Add remarks on the code that runs."""
        cases = [replace(self.case, sizes=row.sizes) for row in self.rows if not row.is_large]
        self.remarks += trace_code(self.pair, cases or [self.case])

    def describe_sizes(self) -> None:
        """Add remarks on sizes that are refused or too large."""
        original = self.pair.recipe.original
        refused = [sizes for sizes, _ in self.refused]
        if original not in [*refused, *(row.sizes for row in self.rows)] and not self.findings:
            text = "the original sizes were not compared, since that takes too long"
            self.remarks.append(ExplainedCause(RemarkKey.NOT_ORIGINAL, text))
        if self.refused:
            sizes, text = self.refused[0]
            listed = ", ".join(f"{name}={size}" for name, size in sizes.items())
            text = f"{text} for sizes that the reference takes, such as {listed}"
            self.remarks.append(ExplainedCause(RemarkKey.REFUSES_SIZES, text))

    def compare(
        self, case: PairCase, pair: Pair | None = None, draws: int | None = None
    ) -> ResultDifference | None:
        """Count a case and return its difference, as `compare_case` does."""
        self.cases += 1
        return compare_case(pair or self.pair, case, draws)

    def add_difference(self, case: PairCase, difference: ResultDifference) -> None:
        """Add a finding for a difference, at the smallest sizes that show it."""

        def fails(sizes: Sizes) -> bool:
            try:
                found = self.compare(replace(case, sizes=sizes), draws=1)
            except Ended:
                raise
            except Exception:  # the reference refuses these sizes
                return False
            return found is not None and found.kind is difference.kind

        sizes = minimise(self.pair, case.sizes, self.base, fails)
        least = replace(case, sizes=sizes)
        smaller = difference if sizes == case.sizes else self.compare(least)
        if smaller is None:
            least, smaller = case, difference
        if isinstance(difference.error, EndOfProcess):
            smaller = difference  # later calls get less time, so this text has the right limit
        if smaller.kind is not DifferenceKind.VALUES:
            found = ExplainedCause(OF_FORM[smaller.kind], smaller.text)
        elif estimate_work(self.pair, sizes) > MOST_PROBED:
            found = ExplainedCause(Cause.OTHER_VALUES, "it computes other values at large sizes")
        else:
            wider = self.choose_wider(case, least)
            found = explain_values(ReachProber(self.pair, least), ReachProber(self.pair, wider))
        self.add(found, least, smaller)

    def choose_wider(self, case: PairCase, least: PairCase) -> PairCase:
        """Return a case that shows the same difference in more numbers, without much work."""
        wider = {name: max(size, self.base[name]) for name, size in least.sizes.items()}
        # A difference may show at odd sizes only, and those of the base may be even.
        more = {name: size + 1 for name, size in wider.items()}
        for sizes in (self.base, wider, more, case.sizes):
            larger = replace(case, sizes=sizes)
            is_little = estimate_work(self.pair, sizes) <= MOST_PROBED
            with suppress_failures():  # the reference may refuse the sizes
                found = self.compare(larger) if is_little else None
                if found is not None and found.kind is DifferenceKind.VALUES:
                    return larger
        return least

    def add(
        self,
        found: ExplainedCause,
        case: PairCase,
        difference: ResultDifference | None = None,
        pair: Pair | None = None,
    ) -> None:
        """Add a remark, or a finding with a cause that is not known yet.

        If the candidate ignores inputs, these are zeros in all later cases, so that other faults
        show. `pair` is the pair of the case, if it is not the current one.
        """
        cause, case, pair = found.cause, found.case or case, pair or self.pair
        if isinstance(cause, RemarkKey):
            self.remarks.append(found)
            return
        known = {each.cause for each in self.findings}
        if cause in known or (cause is Cause.OTHER_VALUES and known):
            return
        tolerances = difference.tolerances if difference else ()
        if cause is not Cause.RAISES and not tolerances:
            expected = pair.compute_expected(case, pair.make_given(case))
            tolerances = tuple(expected.tolerances.values())
        program = write_program(pair, case, cause, tolerances, found.tolerance)
        self.pair = replace(self.pair, zeroed=self.pair.zeroed | found.unread)
        shown, is_avoided = difference.text if difference else found.text, bool(found.unread)
        self.findings.append(
            CandidateFinding(self.part, cause, found.text, case, shown, program, is_avoided)
        )
        self.save()
