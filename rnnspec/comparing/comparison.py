"""Compare a candidate with a reference, and return what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial

from rnnspec.comparing.calls import check_calls
from rnnspec.comparing.causes import explain_form, explain_values
from rnnspec.comparing.conditions import AS_BUILT, LARGE, REDRAWN, SMALL, Condition
from rnnspec.comparing.differences import Difference, Kind, describe_failure, find_difference
from rnnspec.comparing.evaluation import DRAWS, Case, Pair, Precision
from rnnspec.comparing.explanation import Cause, Explanation
from rnnspec.comparing.gradients import GradientDifference, compare_gradients
from rnnspec.comparing.halves import find_wrong_halves
from rnnspec.comparing.modes import check_modes
from rnnspec.comparing.probing import Prober
from rnnspec.comparing.program import write_program
from rnnspec.comparing.remarks import describe_reference, is_stateless
from rnnspec.comparing.rows import (
    LARGE_WORK,
    Row,
    can_call,
    choose_base,
    count_work,
    find_free_sizes,
    is_affordable,
    list_rows,
)
from rnnspec.comparing.sizes import Sizes
from rnnspec.comparing.tracing import calls_reference, uses_library
from rnnspec.comparing.visibility import ConditionSearch, Link, find_links
from rnnspec.comparing.weights import Moved, find_moves
from rnnspec.errors import TargetError
from rnnspec.models.steps import describe_error, tell_error
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.subjects.settings import (
    SettingValues,
    list_changed_settings,
    read_settings,
    restore_settings,
    undo_changes,
)
from rnnspec.text import join_words

MOST_DIFFERENTIATED = 2
"""So many cases with a long memory are differentiated, besides the smallest one."""
MOST_EXPLAINED = 4
"""So many differences are explained; further ones seldom have another cause."""
# It takes a few seconds, most of them in float64.
MOST_MINIMISING = 1e10
"""So many products are computed to find the smallest sizes that show a difference."""
UNUSED = 1000
"""So much is added to the seed for inputs that no call has had before."""
LONGEST = 64
"""Conditions for more samples or steps are found with so many, which takes less time."""
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
"""Gradients and modes are not compared after one of these, which change them too."""


class RemarkKey(Enum):
    """What is worth knowing about a candidate, and is no fault."""

    NO_GRADIENTS = "no-gradients"
    CALLS_REFERENCE = "calls-the-reference"
    USES_LIBRARY = "uses-the-library"
    REFUSES_SIZES = "refuses-sizes"
    REFUSES_USES = "refuses-uses"
    FALLS_BACK = "falls-back-to-the-library"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Remark:
    """A remark on the candidate."""

    key: RemarkKey
    text: str


@dataclass(frozen=True)
class Finding:
    """A fault of the candidate: its cause, the case that shows it, and what differs there.

    `is_avoided` says whether the fault no longer shows in later cases.
    """

    cause: Cause
    text: str
    case: Case
    difference: str
    program: str = ""
    is_avoided: bool = False


@dataclass
class Comparison:
    """A comparison under way: what is compared, and what was found.

    `base` are the smallest sizes that both take, and `refused` sizes that only the candidate
    refuses. `remembering` are small cases in which the two agree, with conditions under which what
    was read is kept for long.
    """

    pair: Pair
    seed: int = 0
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    remembering: list[Case] = field(default_factory=list)
    about_reference: list[str] = field(default_factory=list)
    refused: list[tuple[Sizes, str]] = field(default_factory=list)
    base: Sizes = field(default_factory=dict)
    explained: int = 0
    cases: int = 0

    def run(self) -> None:
        """Compare the two at all sizes, and undo changes of global settings afterwards."""
        with restore_settings() as before:
            try:
                self.compare_all(before)
            except Ended as error:  # a call that does more than compare values
                case = Case(self.base, AS_BUILT, self.seed)
                text = f"it {tell_error(error)}"
                self.add(Explanation(Cause.RAISES, text), case, text)

    def compare_all(self, before: SettingValues) -> None:
        """Compare the two at all sizes. `before` are the settings before anything was called."""
        self.base = base = self.choose_common_base()
        if not self.choose_move(base):
            return
        small = choose_base(self.pair)
        self.pair = replace(
            self.pair,
            free=tuple(find_free_sizes(self.pair, small)),
            is_stateless=is_stateless(self.pair, Case(small, AS_BUILT, self.seed)),
        )
        case = Case(base, AS_BUILT, self.seed)
        self.about_reference = describe_reference(self.pair, replace(case, sizes=small))
        self.check_settings(case, before)
        unused = replace(case, seed=self.seed + UNUSED)
        for found in check_calls(self.pair, unused):
            self.add(found, unused, found.text)
        if not self.must_stop:
            self.compare_rows(base)
        if not any(each.cause in HIDING for each in self.findings):
            self.compare_further(case)
        if not self.must_stop:
            self.trace(case)

    def choose_common_base(self) -> Sizes:
        """Return small sizes that both take, or the original ones if the candidate refuses others.

        Raises TargetError if the reference cannot be called.
        """
        base = choose_base(self.pair)
        self.require_reference(base)
        original = self.pair.recipe.original
        free = {name: base[name] for name in find_free_sizes(self.pair, base)}
        for sizes in (base, {**original, **free}, dict(original)):
            if sizes == base or (is_affordable(self.pair, sizes) and can_call(self.pair, sizes)):
                case = Case(sizes, AS_BUILT, self.seed)
                is_large = count_work(self.pair, sizes) > LARGE_WORK
                is_counted = is_large and self.pair.precision is Precision.IEEE
                self.pair = replace(self.pair, draws=0 if is_counted else DRAWS)
                difference = self.compare(case)
                if difference is None or difference.kind is not Kind.REFUSES:
                    return sizes
                self.refused.append((sizes, difference.text))
        return base

    def check_settings(self, case: Case, before: SettingValues) -> None:
        """Add which global settings the candidate changes, beside what the first one loads."""
        undo_changes(before)
        now = read_settings()
        self.compare(case)
        changed = list_changed_settings(now, read_settings())
        if changed:
            listed = join_words(f"{name}{change}" for name, change in changed)
            text = f"building and calling it changes global settings: {listed}"
            self.add(Explanation(Cause.SETTINGS, text), case, text)

    def require_reference(self, base: Sizes) -> None:
        """Raise TargetError if the reference cannot be called with its arguments."""
        label = self.pair.recipe.reference.target.label
        case = Case(base, AS_BUILT, self.seed)
        try:
            results = self.pair.call_reference(case, self.pair.make_given(case))
        except Ended:
            raise
        except Exception as error:
            text = f"{label}: it cannot be called as it should: {describe_error(error)}"
            raise TargetError(text) from error
        if not results:
            raise TargetError(f"{label}: a call returns no tensor")

    def compare_rows(self, base: Sizes) -> None:
        """Compare values at all sizes."""
        search = ConditionSearch(self.pair)
        small = choose_base(self.pair)
        links = find_links(self.pair, Case(small, AS_BUILT, self.seed))
        for row in list_rows(self.pair, base, small):
            if self.is_shown(row.sizes):
                continue
            self.rows.append(row)
            for condition in self.choose_conditions(row, small, search, links):
                case = Case(row.sizes, condition, self.seed)
                difference = self.compare(case, draws=self.count_draws(row))
                if difference is not None and difference.kind is Kind.REFUSES:
                    self.refused.append((row.sizes, difference.text))
                    self.rows.remove(row)
                    break
                if difference is not None:
                    self.explained += 1
                    self.add_difference(case, difference, base)
                    break
                if not row.is_large and condition in search.useful:
                    self.remembering.append(case)
            if self.explained >= MOST_EXPLAINED or self.must_stop:
                break

    def compare_further(self, case: Case) -> None:
        """Compare gradients and modes, which means nothing if values differ."""
        for found in check_modes(self.pair, case):
            if found.is_refusal:
                self.remarks.append(Remark(RemarkKey.REFUSES_USES, found.text))
            else:
                self.add(found, case, found.text)
        wrong = find_wrong_halves(self.pair, case)
        if wrong:
            text = f"its results are wrong {join_words(wrong)}"
            self.add(Explanation(Cause.HALVES, text), case, text)
        for each in (case, *self.remembering[:MOST_DIFFERENTIATED]):
            try:
                difference = compare_gradients(self.pair, each)
            except Ended:
                raise
            except Failure as error:
                difference = GradientDifference(f"the backward pass raises {describe_error(error)}")
            if difference is None:
                continue
            if difference.is_absent:
                self.remarks.append(Remark(RemarkKey.NO_GRADIENTS, difference.text))
            else:
                found = Explanation(Cause.GRADIENT, difference.text)
                self.add(found, each, difference.text, gradient=difference.tolerance)
            return

    def trace(self, case: Case) -> None:
        """Remark what the candidate refuses, and whose code it runs."""
        if self.refused:
            sizes, text = self.refused[0]
            listed = ", ".join(f"{name}={size}" for name, size in sizes.items())
            text = f"{text} for sizes that the reference takes, such as {listed}"
            self.remarks.append(Remark(RemarkKey.REFUSES_SIZES, text))
        if calls_reference(self.pair, case):
            text = "it calls the class of the reference"
            self.remarks.append(Remark(RemarkKey.CALLS_REFERENCE, text))
        cases = [Case(row.sizes, AS_BUILT, self.seed) for row in self.rows if not row.is_large]
        used = [uses_library(self.pair, each) for each in cases or [case]]
        if all(used):
            text = "it computes with a recurrent layer of torch"
            self.remarks.append(Remark(RemarkKey.USES_LIBRARY, text))
        elif any(used):
            text = (
                f"it falls back to a recurrent layer of torch in {sum(used)} of {len(used)} sizes"
            )
            self.remarks.append(Remark(RemarkKey.FALLS_BACK, text))

    def is_shown(self, sizes: Sizes) -> bool:
        """Return whether sizes are at least those at which some known fault shows.

        A fault that shows at all sizes hides whatever else is wrong, unless its part of the inputs
        is left out from then on.
        """
        return any(
            all(sizes[name] >= size for name, size in each.case.sizes.items())
            for each in self.findings
            if not each.is_avoided
        )

    @property
    def must_stop(self) -> bool:
        """Whether what was found makes it pointless to go on."""
        return any(each.cause in STOPPING for each in self.findings)

    def choose_move(self, base: Sizes) -> bool:
        """Find out how weights are moved; return whether the candidate can be built."""
        recipe, case = self.pair.recipe, Case(base, AS_BUILT, self.seed)
        try:
            candidate = recipe.build(recipe.candidate, base, self.seed)
        except Failure as error:
            text = f"its constructor {tell_error(error)}"
            self.add(Explanation(Cause.RAISES, text), case, text)
            return False
        moves = find_moves(recipe.build(recipe.reference, base, self.seed), candidate)
        for move in moves:
            pair = replace(self.pair, move=move)
            condition = REDRAWN if move.is_complete else AS_BUILT
            if self.compare(replace(case, condition=condition), pair) is None:
                self.pair = pair
                break
        else:
            self.pair = replace(self.pair, move=moves[0])
        if moves[0].how is Moved.NAMES and self.pair.move.how is not Moved.NAMES:
            text = "weights that are loaded with load_state_dict do not change its results"
            self.add(
                Explanation(Cause.STALE_WEIGHTS, text),
                replace(case, condition=REDRAWN),
                "it computes with a copy of the weights from its constructor",
                pair=replace(self.pair, move=moves[0]),
            )
        return True

    def count_draws(self, row: Row) -> int:
        """Return how often roundings are drawn at a row of sizes.

        The reference rounds as float32 does, so its own error is enough for that precision only.
        """
        return max(row.draws, self.pair.precision is not Precision.IEEE)

    def choose_conditions(
        self, row: Row, small: Sizes, search: ConditionSearch, links: frozenset[Link]
    ) -> Iterator[Condition]:
        """Yield the conditions at sizes under which the reference shows what it depends on.

        Those that show most come first, so that what is found is explained under them. They are
        found at small sizes, where `links` are what there is to see.
        """
        if row.is_largest and search.useful:
            yield search.useful[0]
            return
        if row.is_large:
            yield from search.useful[:2]
        else:
            sizes = {
                name: size if size <= small[name] else max(small[name], min(size, LONGEST))
                for name, size in row.sizes.items()
            }
            yield from search.choose(Case(sizes, AS_BUILT, self.seed), links)
        yield AS_BUILT
        if row.sizes == small:
            yield from (SMALL, LARGE)

    def compare(
        self, case: Case, pair: Pair | None = None, draws: int | None = None
    ) -> Difference | None:
        """Return the first difference of the two in a case, or None.

        `draws` is that of `Pair.compute_expected`.
        """
        pair = pair or self.pair
        self.cases += 1
        given = pair.make_given(case)
        try:
            got = pair.call(pair.recipe.candidate, pair.build_candidate(case), given, case)
        except Failure as error:
            return describe_failure(error)
        return find_difference(pair.compute_expected(case, given, draws), got)

    def add_difference(self, case: Case, difference: Difference, base: Sizes) -> None:
        """Add the finding that a difference is a part of, on the smallest sizes that show it."""
        small = self.minimise(case, difference.kind, base)
        smaller = self.compare(small)
        before = case
        if smaller is not None:
            case, difference = small, smaller
        if difference.kind is Kind.VALUES:
            probers = (self.make_prober(case), self.make_prober(self.shrink(before, base)))
            found = explain_values(*probers)
        else:
            found = explain_form(difference)
        self.add(found, case, difference.text)

    def shrink(self, case: Case, base: Sizes) -> Case:
        """Return a case at the base sizes if it shows a difference there, or the case itself."""
        smaller = replace(case, sizes=base)
        return case if self.compare(smaller) is None else smaller

    def make_prober(self, case: Case) -> Prober:
        """Return what finds out on what the results of a case depend."""
        given = self.pair.make_given(case)
        expected = self.pair.compute_expected(case, given)
        build = partial(self.pair.build_candidate, case)
        return Prober(self.pair, case, given, expected, build)

    def minimise(self, case: Case, kind: Kind, base: Sizes) -> Case:
        """Return the case with the smallest sizes that show a difference of the same kind.

        It is the smallest that was found when a certain amount of work is done.
        """
        spent = 0.0

        def fails(sizes: Sizes) -> bool:
            nonlocal spent
            spent += count_work(self.pair, sizes)
            if spent > MOST_MINIMISING:
                return False
            try:
                found = self.compare(replace(case, sizes=sizes), draws=1)
            except Exception:  # the reference refuses these sizes
                return False
            return found is not None and found.kind is kind

        def fails_at(name: str, number: int) -> bool:
            return fails({**sizes, name: number})

        sizes = dict(case.sizes)
        order = sorted(sizes, key=lambda name: -sizes[name])
        for name in order:  # which makes all further calls faster
            if base[name] < sizes[name] and fails({**sizes, name: base[name]}):
                sizes[name] = base[name]
        for each in order:
            sizes[each] = _find_least(sizes[each], partial(fails_at, each))
        return replace(case, sizes=sizes)

    def add(
        self,
        found: Explanation,
        case: Case,
        difference: str,
        *,
        pair: Pair | None = None,
        gradient: float = 0.0,
    ) -> None:
        """Add a finding, unless there is one of the same cause, or a better one.

        Inputs that the candidate ignores are zeros from then on, so that other faults show. `pair`
        is that of the case, if it is another one, and `gradient` the tolerance of gradients.
        """
        known = {each.cause for each in self.findings}
        if found.cause in known or (found.cause is Cause.OTHER_VALUES and known):
            return
        case = found.case or case
        program = self.write_program(case, found.cause, pair, gradient)
        self.pair = replace(self.pair, zeroed=self.pair.zeroed | found.unread)
        is_avoided = bool(found.unread)
        self.findings.append(
            Finding(found.cause, found.text, case, difference, program, is_avoided)
        )

    def write_program(
        self, case: Case, cause: Cause, pair: Pair | None = None, gradient: float = 0.0
    ) -> str:
        """Return a program that shows a finding, or nothing if there is none."""
        pair = pair or self.pair
        if cause is Cause.RAISES:
            return write_program(pair, case, cause, ())
        expected = pair.compute_expected(case, pair.make_given(case))
        return write_program(pair, case, cause, tuple(expected.tolerances.values()), gradient)


def _find_least(largest: int, fails: Callable[[int], bool]) -> int:
    """Return the least number found that fails, by halving the distance to the largest, which does.

    Small numbers are tried first.
    """
    for number in (1, 2, 3):
        if number < largest and fails(number):
            return number
    least, most = min(3, largest), largest
    while most - least > 1:
        middle = (least + most) // 2
        if fails(middle):
            most = middle
        else:
            least = middle
    return most
