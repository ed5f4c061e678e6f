"""The report of one run, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rnnspec.cases.axes import Feature
from rnnspec.contract.clauses import Level
from rnnspec.errors import ViolationsFound

__all__ = ["Counterexample", "Report", "Result", "RunVerdict", "Verdict"]

SCHEMA = "rnnspec-report-2"


class Verdict(Enum):
    """What a run says about one rule."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    UNREACHED = "unreached"
    CHECKER_ERROR = "checker-error"

    def __str__(self) -> str:
        return self.value


class RunVerdict(Enum):
    """What a run says about the subject."""

    CONFORMS = "conforms"
    VIOLATES = "violates"
    CANNOT_CHECK = "cannot-check"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_status(self) -> int:
        """The exit status of the command line."""
        return list(RunVerdict).index(self)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Counterexample:
    """The smallest failing case, and the index of the case that it was minimised from.

    configuration  the constructor's arguments
    sizes          steps, batch and lengths
    call           how the layer was prepared and called
    seed           the seed of the numbers
    text           all of it on one line
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
class Result:
    """What one rule said over the whole run.

    cases       how many cases it judged
    violations  how many of them broke it
    is_scored   whether it counts against the subject: a MUST, or a SHOULD if the run is strict
    caused_by   the broken rule of which this one is a consequence
    source      where the first clause stands
    repro       a program that shows the fault without rnnspec
    """

    rule: str
    level: Level
    verdict: Verdict
    cases: int
    violations: int = 0
    is_scored: bool = True
    message: str = ""
    requirement: str = ""
    clauses: tuple[str, ...] = ()
    source: str = ""
    caused_by: str | None = None
    depends_on: str = ""
    counterexample: Counterexample | None = None
    repro: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        example = self.counterexample.as_dict() if self.counterexample else None
        texts = {"level": self.level.value, "verdict": self.verdict.value}
        return {**vars(self), **texts, "clauses": list(self.clauses), "counterexample": example}

    @property
    def theme(self) -> str:
        """The first half of the rule's id."""
        return self.rule.split(".")[0]

    @property
    def is_broken(self) -> bool:
        """Whether the rule does not hold, or could not be judged because the check raised."""
        return self.verdict in (Verdict.FAIL, Verdict.CHECKER_ERROR)


@dataclass(frozen=True)
class Report:
    """The verdicts of one run, with everything needed to run it again."""

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
    unsupported: dict[Feature, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def violations(self) -> tuple[Result, ...]:
        """The broken rules that count against the subject."""
        return tuple(result for result in self.results if result.is_broken and result.is_scored)

    @property
    def exit_status(self) -> int:
        """The exit status of the command line."""
        return self.verdict.exit_status

    @property
    def ok(self) -> bool:
        """Whether the subject conforms."""
        return self.verdict is RunVerdict.CONFORMS

    def result(self, rule: str) -> Result:
        """Return the result of one rule. Raises KeyError if it was not part of the run."""
        for found in self.results:
            if found.rule == rule:
                return found
        raise KeyError(rule)

    def raise_for_violations(self) -> None:
        """Raise ViolationsFound, with the broken rules and their messages, if there are any."""
        if self.violations:
            lines = [f"{found.rule}: {found.message}" for found in self.violations]
            head = f"{self.subject} violates the contract of {self.kind}:"
            raise ViolationsFound("\n".join([head, *lines]))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, as `--json` writes it.

        Its schema is `rnnspec/report/schema.json`.
        """
        own = ("results", "notes", "unsupported")
        plain = {name: value for name, value in vars(self).items() if name not in own}
        return {
            "schema": SCHEMA,
            **plain,
            "verdict": self.verdict.value,
            "unsupported": {feature.text: why for feature, why in self.unsupported.items()},
            "notes": list(self.notes),
            "results": [result.as_dict() for result in self.results],
        }
