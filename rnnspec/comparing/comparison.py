"""Compare a candidate with a reference, and return what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from rnnspec.comparing.causes import Cause, Explanation, explain_form, explain_values
from rnnspec.comparing.conditions import AS_BUILT, LARGE, REDRAWN, SMALL, Condition
from rnnspec.comparing.differences import Difference, Kind, find_difference
from rnnspec.comparing.evaluation import DRAWS, Case, Pair
from rnnspec.comparing.probing import Prober
from rnnspec.comparing.program import COPIES, write_program
from rnnspec.comparing.recipe import Sizes
from rnnspec.comparing.rows import Row, choose_base, list_rows
from rnnspec.comparing.visibility import ConditionSearch, Link, find_links
from rnnspec.comparing.weights import Moved, find_moves
from rnnspec.models.steps import describe_error
from rnnspec.subjects.failures import Failure

MOST_EXPLAINED = 4
"""So many differences are explained; further ones seldom have another cause."""
LONGEST = 64
"""Conditions for more samples or steps are found with so many, which takes less time."""
STOPPING = (Cause.RAISES, Cause.FORM, Cause.SHAPE, Cause.DTYPE, Cause.READS_NOTHING)
"""Nothing more is compared after one of these."""


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
    """A comparison under way: what is compared, and what was found."""

    pair: Pair
    seed: int = 0
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    cases: int = 0

    def run(self) -> None:
        """Compare the two at all sizes."""
        base = choose_base(self.pair)
        if not self.choose_move(base):
            return
        search = ConditionSearch(self.pair)
        links = find_links(self.pair, Case(base, AS_BUILT, self.seed))
        for row in list_rows(self.pair, base):
            if self.is_shown(row.sizes):
                continue
            self.rows.append(row)
            for condition in self.choose_conditions(row, base, search, links):
                case = Case(row.sizes, condition, self.seed)
                difference = self.compare(case, draws=row.draws)
                if difference is not None:
                    self.add_difference(case, difference)
                    break
            if len(self.findings) >= MOST_EXPLAINED or self.must_stop:
                break

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
            text = describe_error(error)
            found = Explanation(Cause.RAISES, f"its constructor raises {text}")
            self.add(found, case, text)
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
            )
        return True

    def choose_conditions(
        self, row: Row, base: Sizes, search: ConditionSearch, links: frozenset[Link]
    ) -> Iterator[Condition]:
        """Yield the conditions at sizes under which the reference shows what it depends on."""
        if row.is_largest and search.useful:
            yield search.useful[0]
            return
        yield AS_BUILT
        if row.sizes == base:
            yield from (SMALL, LARGE)
        if row.is_large:
            yield from search.useful[:2]
        else:
            sizes = {
                name: size if size <= base[name] else max(base[name], min(size, LONGEST))
                for name, size in row.sizes.items()
            }
            yield from search.choose(Case(sizes, AS_BUILT, self.seed), links)

    def compare(
        self, case: Case, pair: Pair | None = None, draws: int = DRAWS
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
            text = f"it raises {describe_error(error)}"
            return Difference(Kind.RAISES, "output", text)
        return find_difference(pair.compute_expected(case, given, draws), got)

    def add_difference(self, case: Case, difference: Difference) -> None:
        """Add the finding that a difference is a part of, on the smallest sizes that show it."""
        small = self.minimise(case, difference.kind)
        smaller = self.compare(small)
        if smaller is not None:
            case, difference = small, smaller
        found = self.explain(case, difference)
        self.add(found, case, difference.text)

    def explain(self, case: Case, difference: Difference) -> Explanation:
        """Return the likely cause of a difference in a case."""
        given = self.pair.make_given(case)
        if difference.kind is not Kind.VALUES:
            return explain_form(difference)
        expected = self.pair.compute_expected(case, given)
        build = partial(self.pair.build_candidate, case)
        return explain_values(Prober(self.pair, case, given, expected, build))

    def minimise(self, case: Case, kind: Kind) -> Case:
        """Return the case with the smallest sizes that show a difference of the same kind."""

        def fails(sizes: Sizes) -> bool:
            try:
                found = self.compare(replace(case, sizes=sizes))
            except Exception:  # the reference refuses these sizes
                return False
            return found is not None and found.kind is kind

        sizes = dict(case.sizes)
        for each in sorted(sizes, key=lambda name: -sizes[name]):
            sizes[each] = _find_least(
                sizes[each], lambda number, name=each: fails({**sizes, name: number})
            )
        return replace(case, sizes=sizes)

    def add(self, found: Explanation, case: Case, difference: str) -> None:
        """Add a finding, unless there is one of the same cause, or a better one.

        Inputs that the candidate ignores are zeros from then on, so that other faults show.
        """
        known = {each.cause for each in self.findings}
        if found.cause in known or (found.cause is Cause.OTHER_VALUES and known):
            return
        program = self.write_program(case, found)
        self.pair = replace(self.pair, zeroed=self.pair.zeroed | found.unread)
        is_avoided = bool(found.unread) and self.compare(case) is None
        self.findings.append(
            Finding(found.cause, found.text, case, difference, program, is_avoided)
        )

    def write_program(self, case: Case, found: Explanation) -> str:
        """Return a program that shows a finding, or nothing if there is none."""
        if found.cause is Cause.RAISES:
            return write_program(self.pair, case, (), f"candidate(*{COPIES})")
        expected = self.pair.compute_expected(case, self.pair.make_given(case))
        return write_program(self.pair, case, tuple(expected.tolerances.values()))


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
