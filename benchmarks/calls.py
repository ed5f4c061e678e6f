"""Count the constructions, forward calls and backward passes of a layer in one check.

    python -m benchmarks.calls --write

Run it from the root of a checkout. With a slow subject, these calls take most of the time of a
check. They are counted on torch.nn.RNN, by profile and by their origin: a part of the observation,
or a rule that uses the layer itself. A copy that a rule makes of a layer does not count as a
construction. The counts do not depend on the machine. `--show-steps` prints the steps that a worker
announces, which do.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch

from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.api.layer import prepare_suite
from rnnspec.engine.campaign import run_campaign
from rnnspec.observe.part import part
from rnnspec.options import CheckOptions
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.steps import StepKind, set_watcher

CONSTRUCTIONS, CALLS, BACKWARD = "constructions", "calls", "backward passes"
REFUSED = {CONSTRUCTIONS: "refused constructions", CALLS: "refused calls"}
"""A call that is refused at once for wrong arguments costs a subject less."""
KINDS = (CONSTRUCTIONS, REFUSED[CONSTRUCTIONS], CALLS, REFUSED[CALLS], BACKWARD)
PREPARATION, SUITE = "preparing the check", "the suite itself"
MOST_ROWS = 25
Where = tuple[str, str]
"""The origin of a call: a part of the observation or a function, and the rule."""


@dataclass
class Counts:
    """The calls of a layer by origin, and the steps that were announced."""

    found: dict[str, Counter[Where]] = field(
        default_factory=lambda: {kind: Counter() for kind in KINDS}
    )
    steps: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    rule: str = PREPARATION
    checked: object = None

    def add(self, kind: str) -> None:
        """Count something that is asked now."""
        self.found[kind][_find_asking(sys._getframe(2), self.checked), self.rule] += 1

    @contextmanager
    def adding(self, kind: str) -> Iterator[None]:
        """Return a context that counts its calls, as refused if they raise."""
        where = _find_asking(sys._getframe(3), self.checked), self.rule
        try:
            yield
        except BaseException:
            self.found[REFUSED[kind]][where] += 1
            raise
        self.found[kind][where] += 1

    def total(self, kind: str) -> int:
        """Return how often something was asked."""
        return sum(self.found[kind].values())

    def by(self, place: int) -> dict[str, list[int]]:
        """Return the numbers of each kind by part (0) or by rule (1), the largest sum first."""
        sums = [Counter[str]() for _ in KINDS]
        for each, kind in zip(sums, KINDS, strict=True):
            for where, number in self.found[kind].items():
                each[where[place]] += number
        names = sum(sums, Counter()).most_common()
        return {name: [each[name] for each in sums] for name, _ in names}

    def begin_case(self, case: object) -> None:
        """Count a case; this and the next two are the methods of a watcher of steps."""
        self.cases += 1

    def enter(self, step: str, kind: StepKind) -> None:
        """Count a step that begins."""
        self.steps[step] += 1

    def leave(self, error: BaseException | None) -> None:
        """Do nothing about a step that ends."""


def _find_asking(frame: FrameType | None, checked: object) -> str:
    """Return the part of the observation that makes a call, or the function of a rule."""
    first = ""
    while frame is not None:
        name, known = frame.f_code.co_filename, frame.f_locals
        if name.endswith("observe/part.py") and isinstance(known.get("self"), part):
            whose = "of the case" if known.get("holder") is checked else "of another observation"
            return f"{known['self'].name} {whose}"
        if not first and ("/rnnspec/rul" in name or "/rnnspec/rules" in name):
            first = f"{name.rpartition('rnnspec/')[2]}: {frame.f_code.co_name}"
        frame = frame.f_back
    return first or "elsewhere"


def make_counted(counts: Counts) -> type[torch.nn.RNN]:
    """Return torch.nn.RNN as a class that counts its uses."""

    class Counted(torch.nn.RNN):
        def __init__(self, *given: Any, **named: Any) -> None:
            with counts.adding(CONSTRUCTIONS):
                super().__init__(*given, **named)

        def forward(self, input: Any, hx: Any = None) -> Any:
            with counts.adding(CALLS):
                return super().forward(input, hx)

    Counted.__name__ = Counted.__qualname__ = "Counted"
    setattr(sys.modules[__name__], "Counted", Counted)  # noqa: B010 - so that it can be pickled
    return Counted


@contextmanager
def _count_backward(counts: Counts) -> Iterator[None]:
    """Count backward passes in this context."""
    before = torch.autograd.grad, torch.autograd.backward

    def grad(*given: Any, **named: Any) -> Any:
        counts.add(BACKWARD)
        return before[0](*given, **named)

    def backward(*given: Any, **named: Any) -> Any:
        counts.add(BACKWARD)
        return before[1](*given, **named)

    torch.autograd.grad, torch.autograd.backward = grad, backward
    try:
        yield
    finally:
        torch.autograd.grad, torch.autograd.backward = before


def _name_rule(counts: Counts, rule: Rule[Any, Any]) -> Rule[Any, Any]:
    """Return a rule that records its id while it is checked."""

    def check(observation: Any) -> None:
        counts.rule, counts.checked = rule.id, observation
        try:
            rule.check(observation)
        finally:
            counts.rule = SUITE

    return replace(rule, check=check)


def count_check(profile: str, seed: int = 0, cases: int | None = None) -> Counts:
    """Return the counts of a check of torch.nn.RNN. Raises RuntimeError if a rule fails."""
    counts = Counts()
    set_watcher(counts)
    try:
        with _count_backward(counts):
            options = CheckOptions(profile=profile, seed=seed, cases=cases)
            suite = prepare_suite(make_counted(counts), options)
            counts.rule = SUITE
            rules = tuple(_name_rule(counts, rule) for rule in suite.rules)
            progress = run_campaign(replace(suite, rules=rules))
    finally:
        set_watcher(None)
    failing = next(iter(progress.failing.values()), None)
    if failing is not None:
        raise RuntimeError(f"a rule fails with seed {seed}: {failing.findings}")
    return counts


def format_totals(found: dict[str, Counts]) -> str:
    """Return a table of the totals of each profile."""
    rows = [
        (name, counts.cases, *(counts.total(kind) for kind in KINDS))
        for name, counts in found.items()
    ]
    return format_table(("profile", "cases", *KINDS), rows)


def format_shares(counts: Counts, place: int, head: str) -> str:
    """Return a table of the most frequent origins, by part or by rule."""
    listed = list(counts.by(place).items())
    others = [each for _, each in listed[MOST_ROWS:]]
    rest = [sum(column) for column in zip(*others, strict=True)]
    rows = [(name, *each) for name, each in listed[:MOST_ROWS]]
    return format_table((head, *KINDS), [*rows, *([("all others", *rest)] if rest else [])])


def main(given: Sequence[str] | None = None) -> None:
    """Count, and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--profile", action="append", help="quick and default, if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, help="check only so many cases")
    parser.add_argument("--show-steps", action="store_true", help="print the announced steps too")
    parser.add_argument("--by", choices=("part", "rule", "both"), help="print who asks, in detail")
    add_outputs(parser, "speed.md")
    options = parser.parse_args(given)
    found = {}
    for profile in options.profile or ["quick", "default"]:
        found[profile] = count_check(profile, options.seed, options.cases)
        show_progress(f"{profile}: {found[profile].cases} cases")
    first = next(iter(found))
    texts = {
        "speed.calls": format_totals(found),
        "speed.callers": format_shares(found[first], 0, f"caller in {first}"),
    }
    data = {
        profile: {kind: {" / ".join(k): n for k, n in counts.found[kind].items()} for kind in KINDS}
        for profile, counts in found.items()
    }
    write_report(options, "speed.md", texts, data)
    for counts in found.values() if options.by else ():
        if options.by in ("rule", "both"):
            print("\n" + format_shares(counts, 1, "rule"))
        if options.by == "both":
            for kind in KINDS:
                rows = [(*where, n) for where, n in counts.found[kind].most_common(60)]
                print("\n" + format_table(("part", "rule", kind), rows))
    for counts in found.values() if options.show_steps else ():
        print("\n" + format_table(("step", "times"), counts.steps.most_common()))


if __name__ == "__main__":
    main()
