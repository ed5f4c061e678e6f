"""The report of a comparison as data, as JSON and as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rnnspec.errors import SelectionError, ViolationsFound
from rnnspec.report.data import RunVerdict
from rnnspec.report.files import write_file
from rnnspec.report.page import render_page
from rnnspec.report.reading import load_json, read_data
from rnnspec.text import count_cases, join_words, make_data_printable, make_printable

WIDTH = 100
SCHEMA = "rnnspec-comparison-1"


@dataclass(frozen=True)
class CandidateFault:
    """A fault of your candidate.

    part        the compared part, a value of `rnnspec.comparing.explanation.ComparisonPart`
    cause       its behaviour, a value of `Cause` in the same module; use it if you count causes
    text        the same in words, for this candidate
    difference  the values that it returns, and the expected values
    sizes       the smallest sizes that show it
    condition   the change of weights and inputs in that case, or an empty text
    program     a program that fails because of it, which you can run without rnnspec
    """

    part: str
    cause: str
    text: str
    difference: str
    sizes: Mapping[str, int]
    condition: str
    program: str


@dataclass(frozen=True)
class RemarkText:
    """A remark on the candidate: a value of `RemarkKey`, and the same in words."""

    key: str
    text: str


@dataclass(frozen=True)
class ComparisonReport:
    """The findings of a comparison.

    reference, candidate  the two modules, by the names that you gave
    weights      how the candidate got the weights of the reference
    faults       the faults of your candidate
    about_reference  behaviour of the reference itself that you hardly want
    remarks      facts about the candidate that you may want to know, and that are no faults
    not_compared  the parts that were not compared, or not to their end
    is_cut       whether that is because the limit of time was reached
    sizes        the sizes at which both were called, a row for each
    cases        the number of cases
    proved       how many of them were compared within proved bounds on rounding errors too
    """

    reference: str
    candidate: str
    weights: str
    faults: tuple[CandidateFault, ...]
    about_reference: tuple[str, ...]
    remarks: tuple[RemarkText, ...]
    not_compared: tuple[str, ...]
    is_cut: bool
    sizes: tuple[Mapping[str, int], ...]
    cases: int
    seed: int
    precision: str
    environment: Mapping[str, str]
    proved: int = 0

    @property
    def verdict(self) -> RunVerdict:
        """The verdict on the candidate."""
        without = RunVerdict.INCONCLUSIVE if self.is_cut else RunVerdict.CONFORMS
        return RunVerdict.VIOLATES if self.faults else without

    @property
    def ok(self) -> bool:
        """Whether all was compared, and no fault was found; false if your limit was reached."""
        return self.verdict is RunVerdict.CONFORMS

    @property
    def exit_status(self) -> int:
        """The exit status of the command line."""
        return self.verdict.exit_status

    def raise_for_violations(self) -> None:
        """Raise ViolationsFound with the report if there is a fault, or not all was compared.

        Call it in your test; pytest then shows the whole report.
        """
        if not self.ok:
            raise ViolationsFound(str(self))

    def score(self) -> dict[str, Any]:
        """Return the data that your grader needs: whether the candidate is right, and why."""
        data: dict[str, Any] = make_data_printable(
            {
                "correct": self.ok,
                "verdict": str(self.verdict),
                "faults": [{"cause": each.cause, "text": each.text} for each in self.faults],
                "remarks": [asdict(each) for each in self.remarks],
                "about_reference": list(self.about_reference),
                "not_compared": list(self.not_compared),
                "cases": self.cases,
            }
        )
        return data

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report as data for JSON."""
        data = {"schema": SCHEMA, "verdict": str(self.verdict), **asdict(self)}
        plain: dict[str, Any] = make_data_printable(_as_plain(data))
        return plain

    def __str__(self) -> str:
        return format_comparison(self)


def is_comparison(data: Mapping[str, Any]) -> bool:
    """Return whether the object of a JSON file is the report of a comparison."""
    return data.get("schema") == SCHEMA


def read_comparison(path: str) -> ComparisonReport:
    """Return the report of a comparison that you wrote as JSON.

    Raises SelectionError if the file is damaged.
    """
    try:
        found: ComparisonReport = read_data(ComparisonReport, load_json(path))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SelectionError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
    return found


def write_comparison(report: ComparisonReport, path: str | None) -> None:
    """Write the page of a comparison, if there is a path. Raises SelectionError if that fails."""
    if path is not None:
        page = render_page("comparison.html", report=report, conclusion=_conclude(report))
        write_file(path, page, "html")


def _as_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_plain(each) for key, each in value.items()}
    return [_as_plain(each) for each in value] if isinstance(value, tuple | list) else value


def format_comparison(report: ComparisonReport) -> str:
    """Return the whole report as text; its last line is the verdict."""
    return make_printable("\n".join(_list_lines(report)), keep="\n\t")


def _list_lines(report: ComparisonReport) -> Iterator[str]:
    found = report.environment
    versions = f"torch {found['torch']}, Python {found['python']}, {found['device']}"
    count = count_cases(report.cases)
    yield f"rnnspec {found['rnnspec']}   {versions}   seed {report.seed}   ({count})"
    yield ""
    yield f"  reference  {report.reference}"
    yield f"  candidate  {report.candidate}"
    yield f"  weights    {report.weights}"
    yield f"  products   {report.precision}"
    if report.proved:
        yield f"  bounds     proved in {report.proved} cases, and measured in all"
    if report.sizes:
        yield from _fill(
            f"sizes      {len(report.sizes)}, from {_join(report.sizes[0])} to "
            f"{_join(report.sizes[-1])}"
        )
    yield ""
    for each in report.about_reference:
        yield from _fill(f"note  the reference: {each}", "")
    for fault in report.faults:
        yield from (format_fault(fault), "")
    for remark in report.remarks:
        yield from _fill(f"note  the candidate: {remark.text}", "")
    if report.not_compared:
        why = "the time was over" if report.is_cut else "the faults show there too"
        yield from _fill(f"not compared  {join_words(report.not_compared)}, since {why}", "")
    yield _conclude(report)


def format_fault(fault: CandidateFault) -> str:
    """Return a fault as text: its message, its smallest sizes, and a program."""
    return "\n".join(_list_fault(fault))


def _list_fault(fault: CandidateFault) -> Iterator[str]:
    yield f"FAIL  {fault.cause}"
    yield ""
    yield from _fill(f"{fault.text[:1].upper()}{fault.text[1:]}.")
    yield ""
    if fault.difference != fault.text:
        yield from _fill(fault.difference)
    yield from _fill(f"smallest   {_join(fault.sizes)}")
    if fault.condition:
        yield from _fill(f"with       {fault.condition}")
    if fault.program:
        yield ""
        yield from (f"  {line}".rstrip() for line in fault.program.splitlines())


def _join(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items()) or "those of the file"


def _fill(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "           ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _conclude(report: ComparisonReport) -> str:
    cases = count_cases(report.cases)
    if report.is_cut and not report.faults:
        return (
            f"No difference was found in {cases}, and the time was over before all were compared."
        )
    if not report.faults:
        return f"{report.candidate} agrees with {report.reference} in {cases}."
    number = len(report.faults)
    faults = "1 fault" if number == 1 else f"{number} faults"
    return f"{report.candidate} differs from {report.reference}: {faults}."
