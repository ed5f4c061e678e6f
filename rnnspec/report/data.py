"""The report of a run as data: results, verdicts and counterexamples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.contract.features import Feature
from rnnspec.contract.parts import Part
from rnnspec.engine.explanations import Dependence, Program
from rnnspec.errors import ViolationsFound
from rnnspec.report.error_map import ErrorMap
from rnnspec.subjects.location import Location
from rnnspec.text import TextEnum, make_data_printable

__all__ = [
    "Counterexample",
    "FaultSummary",
    "PartVerdict",
    "Program",
    "Report",
    "Result",
    "RunVerdict",
    "Verdict",
]

SCHEMA = "rnnspec-report-3"
BLOCKS = (32, 64, 128, 256)
"""The usual block sizes of kernels; errors often begin at sizes beyond them."""
LAYERS = "layers"
"""The dimension for which kernels use no blocks."""


class Verdict(TextEnum):
    """The verdict on a rule.

    PASS            the rule was checked in enough cases, and holds in all of them
    FAIL            the rule is broken, or your layer raised an exception instead of a result
    BLOCKED         a fault stopped your layer in so many cases that the rule was not checked
    NOT_APPLICABLE  your layer does not have the feature, or you skipped the rule
    UNREACHED       too few cases reached the situation that the rule is about
    KNOWN           the rule is broken only where you have declared it
    STALE           you have declared a deviation that no longer occurs
    CHECKER_ERROR   the check itself raised an exception, which is no fault of your layer
    """

    PASS = "pass"
    FAIL = "fail"
    BLOCKED = "blocked"
    NOT_APPLICABLE = "not-applicable"
    UNREACHED = "unreached"
    KNOWN = "known"
    STALE = "stale"
    CHECKER_ERROR = "checker-error"


class RunVerdict(TextEnum):
    """The verdict on your layer, model or backend.

    CONFORMS      every rule that counts was reached and holds
    VIOLATES      a rule that counts is broken
    CANNOT_CHECK  nothing was checked: the status of a command that writes no report
    INCONCLUSIVE  nothing is violated, but a rule was not reached, or you stopped the run
    """

    CONFORMS = "conforms"
    VIOLATES = "violates"
    CANNOT_CHECK = "cannot-check"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_status(self) -> int:
        """The exit status of the command line: 0 if your subject conforms, 1 if it violates a rule.

        It is 2 if nothing was checked, and 3 for an inconclusive run.
        """
        return list(RunVerdict).index(self)


@dataclass(frozen=True)
class Counterexample:
    """The smallest case on which a rule fails, with all that you need to build it yourself.

    configuration  the constructor's arguments
    sizes          number of time steps, batch size, and lengths of packed sequences
    call           how the layer was prepared and called: the value of each axis, as text
    seed           the seed of the weights and inputs
    text           all of this on a single line
    index          the index of the generated case from which this case was minimised
    """

    configuration: dict[str, Any]
    sizes: dict[str, Any]
    call: dict[str, str]
    seed: int
    text: str
    index: int

    def as_dict(self) -> dict[str, Any]:
        """Return the counterexample as plain data."""
        return dict(vars(self))


@dataclass(frozen=True)
class FaultSummary:
    """A fault of the subject, which may be the reason why many rules fail.

    rule               the id of the rule that names it; its result has the details
    part               the part of the contract to which the rule belongs
    cases              the number of kept failing cases that it explains
    situation          the choices and sizes that it needs, in words; empty if it needs none
    likely_cause       the mistake that explains the subject's results; empty if it is not known
    likely_cause_key   the key of this mistake, such as h_0.ignored@first-layer
    remedy             how you make the subject conform; empty if the cause is not known
    known_mistake      the mistake that explains the smallest case, if the fault has no likely
                       cause; it need not explain the other cases
    known_mistake_key  the key of this mistake
    explained          the number of cases in which the likely cause predicts the wrong results
    seen               the number of cases with which the likely cause was compared
    consequences       the ids of the other rules that fail because of it
    waiting            the ids of the rules that could not be checked in some cases because of it
    avoided_by         the feature without which the subject is not stopped; empty if there is none
    errors             the positions of the wrong elements in one of its cases; None if its rule
                       compares no tensors, or if this case is right when it is called again
    """

    rule: str
    part: Part
    cases: int
    situation: str = ""
    likely_cause: str = ""
    likely_cause_key: str = ""
    remedy: str = ""
    known_mistake: str = ""
    known_mistake_key: str = ""
    explained: int = 0
    seen: int = 0
    consequences: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    avoided_by: str = ""
    errors: ErrorMap | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as plain data."""
        converted = {
            "part": self.part.value,
            "consequences": list(self.consequences),
            "waiting": list(self.waiting),
            "errors": self.errors.as_dict() if self.errors else None,
        }
        return {**vars(self), **converted}


@dataclass(frozen=True)
class Result:
    """The result of a rule over the whole run.

    rule             the id of the rule
    part             the part of the contract to which it belongs
    cases            number of cases that the rule checked
    violations       number of cases that broke it
    blocked          number of cases that could not be checked because the subject was stopped
    holds_otherwise  whether it held in enough of the other cases
    is_scored        whether the rule counts against the subject: a MUST does, a SHOULD if the run
                     is strict, a NOTE if it is strict about accuracy
    message          the failure, or the reason why the rule does not apply or was not reached
    lacking          the missing feature, if the rule does not apply because of it
    requirement      the requirement of the rule, in one or two sentences
    clauses          ids of the clauses that it tests
    source           the section of the documentation that holds its first clause
    caused_by        id of the rule that names the fault behind this failure
    depends_on       the axis values and sizes without which the failure does not occur
    counterexample   the smallest failing case
    repro            a program that reproduces the failure without rnnspec
    no_repro         why there is no such program, if the rule is broken and not a consequence
    """

    rule: str
    level: Level
    part: Part
    verdict: Verdict
    cases: int
    violations: int = 0
    blocked: int = 0
    holds_otherwise: bool = True
    is_scored: bool = True
    message: str = ""
    lacking: Feature | None = None
    requirement: str = ""
    clauses: tuple[str, ...] = ()
    source: str = ""
    caused_by: str | None = None
    depends_on: Dependence | None = None
    counterexample: Counterexample | None = None
    repro: str | None = None
    no_repro: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        example = self.counterexample.as_dict() if self.counterexample else None
        texts = {
            "level": self.level.value,
            "part": self.part.value,
            "verdict": self.verdict.value,
            "lacking": None if self.lacking is None else self.lacking.text,
            "depends_on": "" if self.depends_on is None else str(self.depends_on),
            "dependence": None if self.depends_on is None else self.depends_on.as_dict(),
        }
        return {**vars(self), **texts, "clauses": list(self.clauses), "counterexample": example}

    @property
    def theme(self) -> str:
        """The theme of the rule: the part of its id before the dot."""
        return self.rule.split(".")[0]

    @property
    def is_following(self) -> bool:
        """Whether it fails, or was not checked, only because of a fault that you find elsewhere."""
        return self.caused_by is not None

    @property
    def is_broken(self) -> bool:
        """Whether your layer breaks the rule, or its check raised an error."""
        return self.verdict in (Verdict.FAIL, Verdict.CHECKER_ERROR)

    @property
    def is_fault(self) -> bool:
        """Whether it counts against the subject; an error of the check does not."""
        return self.is_scored and self.verdict is not Verdict.CHECKER_ERROR


@dataclass(frozen=True)
class PartVerdict:
    """The verdict of a run on a part of the contract, as numbers of rules.

    rules      rules that apply
    faults     rules that name a fault and count against the subject, or are stale
    following  rules that fail or could not be checked only because of a fault
    doubtful   following rules that did not hold in enough other cases, and rules whose check failed
    unreached  rules that were reached too rarely
    known      rules that fail only where the project has declared it
    stale      rules with a declared deviation that no longer occurs
    """

    rules: int
    faults: int
    following: int
    doubtful: int
    unreached: int
    known: int = 0
    stale: int = 0

    @property
    def verdict(self) -> RunVerdict:
        """The verdict on this part alone."""
        if self.faults:
            return RunVerdict.VIOLATES
        is_sure = self.rules and not self.doubtful and not self.unreached
        return RunVerdict.CONFORMS if is_sure else RunVerdict.INCONCLUSIVE

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers and the verdict as plain data."""
        return {"verdict": self.verdict.value, **vars(self)}


@dataclass(frozen=True)
class Report:
    """The report of a run: its results, and everything that you need to run it again.

    subject          name of the implementation under test
    kind             the kind of layer, e.g. `rnn`
    seed             the seed of everything drawn
    strict           whether a broken SHOULD counts as a violation
    cases            number of checked cases
    duration_s       duration of the run, in seconds
    stopped          whether the run ended early: after an interrupt, or with `fail_fast`
    stop_reason      why cases are missing, if there is a specific reason, such as missing shards
    strict_accuracy  whether an error that is larger than usual for rounding counts as a violation
    sizes            the source of sizes: `free`, or `pool` for a few fixed sizes
    environment      versions, platform and device
    results          one result per rule
    faults           the faults, the most important first
    unsupported      features that the subject lacks or that you excluded, each with the reason
    notes            further remarks for you
    largest_sizes    for each dimension, such as units, the largest size of a case in which all
                     numbers are right
    location         where the subject is defined, or None if that is not known
    errors           the errors beside their bounds in a case with right results; None if a fault
                     has a map of its errors, or if the leading result was not checked enough
    untrue_refusals  remarks on features and situations that a project declares as refused, but
                     that work
    """

    subject: str
    kind: str
    verdict: RunVerdict
    seed: int
    profile: str
    strict: bool
    cases: int
    duration_s: float
    stopped: bool
    environment: dict[str, str]
    results: tuple[Result, ...]
    faults: tuple[FaultSummary, ...] = ()
    unsupported: dict[Feature, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sizes: str = "free"
    stop_reason: str = ""
    largest_sizes: dict[str, int] = field(default_factory=dict)
    strict_accuracy: bool = False
    location: Location | None = None
    errors: ErrorMap | None = None
    untrue_refusals: tuple[str, ...] = ()

    @property
    def heading(self) -> tuple[str, ...]:
        """Lines to print before the results, on how the subject was called."""
        return ()

    @property
    def condition(self) -> str:
        """The assumption about the subject on which the verdict depends, or an empty string."""
        return ""

    @property
    def otherwise(self) -> str:
        """Sentences on the findings without this assumption, or an empty string."""
        return ""

    @property
    def violations(self) -> tuple[Result, ...]:
        """The results of broken rules that count, and of declared deviations that are gone."""
        return tuple(
            result
            for result in self.results
            if (result.is_broken and result.is_scored) or result.verdict is Verdict.STALE
        )

    @property
    def parts(self) -> dict[Part, PartVerdict]:
        """The verdict on each part of the contract. Use it if you promise only some of them."""
        return {part: self._check_part(part) for part in Part}

    @property
    def uncrossed_blocks(self) -> dict[str, tuple[int, ...]]:
        """The usual block sizes that no right case exceeds, by dimension."""
        found = {
            name: tuple(each for each in BLOCKS if each >= size)
            for name, size in self.largest_sizes.items()
            if name != LAYERS
        }
        return {name: blocks for name, blocks in found.items() if blocks}

    def _check_part(self, part: Part) -> PartVerdict:
        results = [
            result
            for result in self.results
            if result.part is part and result.verdict is not Verdict.NOT_APPLICABLE
        ]
        named = {fault.rule for fault in self.faults}
        following = [result for result in results if result.is_following]
        return PartVerdict(
            rules=len(results),
            faults=sum(
                (each.rule in named and each.is_fault) or each.verdict is Verdict.STALE
                for each in results
            ),
            following=len(following),
            doubtful=sum(
                each.verdict is Verdict.CHECKER_ERROR
                or (each.is_following and not each.holds_otherwise)
                for each in results
            ),
            unreached=sum(result.verdict is Verdict.UNREACHED for result in results),
            known=sum(result.verdict is Verdict.KNOWN for result in results),
            stale=sum(result.verdict is Verdict.STALE for result in results),
        )

    @property
    def exit_status(self) -> int:
        """The exit status of the command line, for a script of yours that ends with it."""
        return self.verdict.exit_status

    @property
    def ok(self) -> bool:
        """Whether your subject conforms; an inconclusive run is no evidence, so this is false."""
        return self.verdict is RunVerdict.CONFORMS

    def result(self, rule: str) -> Result:
        """Return the result of a rule.

        Raises KeyError if your run did not include the rule, for example because of the option
        `rules`.
        """
        for found in self.results:
            if found.rule == rule:
                return found
        raise KeyError(rule)

    def raise_for_violations(self) -> None:
        """Raise ViolationsFound if your layer violates a rule, with the messages of all of them."""
        if self.violations:
            lines = [f"{found.rule}: {found.message}" for found in self.violations]
            kind = "models" if self.kind == "model" else self.kind
            violates = self.verdict is RunVerdict.VIOLATES
            verb = "violates" if violates else "could not be checked completely against"
            head = f"{self.subject} {verb} the contract of {kind}:"
            raise ViolationsFound("\n".join([head, *lines]))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, as written by `--json`.

        Its schema is `rnnspec/report/schema.json`. Read it again with
        `rnnspec.report.reading.parse_report` if you keep it.
        """
        converted = ("results", "faults", "unsupported", "largest_sizes", "location")
        plain = {name: value for name, value in vars(self).items() if name not in converted}
        data = {
            "schema": SCHEMA,
            **plain,
            "verdict": self.verdict.value,
            "unsupported": {feature.text: why for feature, why in self.unsupported.items()},
            "notes": list(self.notes),
            "untrue_refusals": list(self.untrue_refusals),
            "location": None if self.location is None else self.location.as_dict(),
            "errors": None if self.errors is None else self.errors.as_dict(),
            "largest_sizes": {
                name: {"size": size, "crosses": [each for each in BLOCKS if each < size]}
                for name, size in self.largest_sizes.items()
            },
            "parts": {part.value: verdict.as_dict() for part, verdict in self.parts.items()},
            "faults": [fault.as_dict() for fault in self.faults],
            "results": [result.as_dict() for result in self.results],
        }
        found: dict[str, Any] = make_data_printable(data)
        return found
