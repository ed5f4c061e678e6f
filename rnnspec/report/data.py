"""The report of one run, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rnnspec.errors import ViolationsFound

SCHEMA = "rnnspec-report-1"
EXIT_STATUS = {"conforms": 0, "violates": 1, "cannot-check": 2, "inconclusive": 3}


def list_scored_levels(strict: bool) -> tuple[str, ...]:
    """The levels whose rules decide the verdict of a run."""
    return ("MUST", "SHOULD") if strict else ("MUST",)


@dataclass(frozen=True)
class Counterexample:
    """The smallest failing case: the constructor's arguments, the sizes, how the layer was called, and the seed of the values."""

    configuration: dict[str, Any]
    sizes: dict[str, Any]
    call: dict[str, str]
    seed: int
    text: str
    index: int

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Result:
    """What one rule said over the whole run.

    verdict is pass, fail, not-applicable, unreached or crashed; `follows` names the broken rule whose fault this one only sees too.
    """

    rule: str
    level: str
    verdict: str
    cases: int
    violations: int = 0
    message: str = ""
    requirement: str = ""
    clauses: tuple[str, ...] = ()
    source: str = ""
    caused_by: str | None = None
    depends_on: str = ""
    counterexample: Counterexample | None = None
    repro: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        plain = {**vars(self), "clauses": list(self.clauses)}
        return {
            **plain,
            "counterexample": self.counterexample.as_dict() if self.counterexample else None,
        }

    @property
    def theme(self) -> str:
        """The first half of the rule's id."""
        return self.rule.split(".")[0]


@dataclass(frozen=True)
class Report:
    """The verdicts of one run with everything needed to run it again."""

    subject: str
    kind: str
    seed: int
    profile: str
    strict: bool
    cases: int
    duration_s: float
    stopped: bool
    environment: dict[str, str]
    results: tuple[Result, ...]
    refused: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """conforms, violates or inconclusive; a run that was stopped early never conforms."""
        if self.violations:
            return "violates"
        nothing = all(result.verdict == "not-applicable" for result in self.results)
        open_ = (
            self.stopped
            or nothing
            or any(
                result.verdict == "unreached" and result.level != "NOTE" for result in self.results
            )
        )
        return "inconclusive" if open_ else "conforms"

    @property
    def violations(self) -> tuple[Result, ...]:
        """The failures that decide the verdict: every MUST, with `strict` every SHOULD too, and every check that crashed."""
        levels = list_scored_levels(self.strict)
        return tuple(
            result
            for result in self.results
            if (result.verdict == "fail" and result.level in levels)
            or (result.verdict == "crashed" and result.level != "NOTE")
        )

    @property
    def exit_status(self) -> int:
        """What the command line exits with."""
        return EXIT_STATUS[self.verdict]

    @property
    def ok(self) -> bool:
        """Whether the verdict is `conforms`."""
        return self.verdict == "conforms"

    def result(self, rule: str) -> Result:
        """The result of one rule; raises KeyError with the id where it was not part of the run."""
        for found in self.results:
            if found.rule == rule:
                return found
        raise KeyError(rule)

    def raise_for_violations(self) -> None:
        """Raise ViolationsFound, with the broken rules and their messages, where the verdict is `violates`."""
        if self.violations:
            lines = [f"{found.rule}: {found.message}" for found in self.violations]
            raise ViolationsFound(
                f"{self.subject} violates the contract of {self.kind}:\n" + "\n".join(lines)
            )

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, as `--json` writes it; the schema is `rnnspec/report/schema.json`."""
        plain = {
            name: value for name, value in vars(self).items() if name not in ("results", "notes")
        }
        results = [result.as_dict() for result in self.results]
        return {
            "schema": SCHEMA,
            **plain,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "results": results,
        }
