"""The report as a page: one HTML file that you can open without scripts, fonts or other files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspec.contract.clauses import Clause, load_clauses
from rnnspec.errors import SelectionError
from rnnspec.readout.picture import draw_readout_maps
from rnnspec.report.conclusion import describe_parts, format_conclusion, list_applicable
from rnnspec.report.console import (
    LONGEST_PROGRAM,
    TOO_LONG,
    list_deviations,
    list_facts,
    list_headline,
)
from rnnspec.report.data import BLOCKS, FaultSummary, Report, Result, Verdict
from rnnspec.report.model import ModelReport
from rnnspec.report.plots import draw_errors
from rnnspec.report.rule_texts import load_rule_texts
from rnnspec.text import make_printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
MISSING = "needs Jinja: pip install 'rnnspec[html]'; nothing was checked."
EXTRA = "jinja2"


def require_templates() -> None:
    """Raise SelectionError if the library of the templates is not installed."""
    if find_spec(EXTRA) is None:
        raise SelectionError(MISSING, "html")


@cache
def _load_environment() -> Environment:
    require_templates()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        """Escape characters that a browser does not show, such as changes of the direction."""
        is_text = isinstance(value, str) and not isinstance(value, Markup)
        return make_printable(value, keep="\n\t") if is_text else value

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The pictures are made in this package, from escaped texts; templates escape everything else.
    environment.filters["picture"] = Markup
    environment.filters["code"] = lambda text: Markup(_mark_code(finalize(text)))
    environment.filters["name"] = lambda text: Markup(_allow_breaks(finalize(text)))
    return environment


def _allow_breaks(name: str) -> str:
    """Return a long name as HTML that a narrow screen breaks after dots, slashes and colons."""
    return re.sub(r"([.:/])", r"\1<wbr>", escape(name))


def _mark_code(text: str) -> str:
    """Return a text as HTML, with code between backticks marked as such."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without a second one
        return escape(text)
    tags = (("", ""), ("<code>", "</code>"))
    return "".join(
        f"{tags[index % 2][0]}{escape(part)}{tags[index % 2][1]}"
        for index, part in enumerate(parts)
    )


def render_page(template: str, **values: Any) -> str:
    """Return a page made from a template of this package.

    All texts are escaped, regardless of their origin. Raises SelectionError without the library.
    """
    return _load_environment().get_template(template).render(**values)


@dataclass(frozen=True)
class ShownFault:
    """A fault on the page.

    facts     labels and texts
    pictures  titles and pictures of the positions of its errors
    """

    summary: FaultSummary
    result: Result
    facts: tuple[tuple[str, str], ...]
    pictures: tuple[tuple[str, str], ...]
    program: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class ShownTheme:
    """A theme on the page: its results, and the number of results with each verdict."""

    name: str
    results: tuple[Result, ...]
    counts: tuple[tuple[str, int], ...]

    @property
    def has_broken(self) -> bool:
        """Whether a rule of the theme is broken."""
        return any(each.is_broken for each in self.results)


def format_page(report: Report) -> str:
    """Return a report as a page. Raises SelectionError if Jinja is not installed."""
    unreached = [each for each in report.results if each.verdict is Verdict.UNREACHED]
    skipped = [each for each in report.results if each.verdict is Verdict.NOT_APPLICABLE]
    return render_page(
        "report.html",
        report=report,
        conclusion=format_conclusion(report),
        headline=list_headline(report),
        applicable=len(list_applicable(report.results)),
        parts={} if report.kind == "model" else describe_parts(report),
        faults=[_show_fault(each, report) for each in report.faults],
        deviations=list(list_deviations(report)),
        themes=list(_list_themes(report)),
        texts={each.id: each for each in load_rule_texts()},
        clauses=load_clauses(),
        unreached=unreached,
        skipped=_group_by_reason(skipped),
        blocks=BLOCKS,
        errors=list(draw_errors(report.errors)) if report.errors else [],
        maps=list(_draw_maps(report)),
    )


def _show_fault(fault: FaultSummary, report: Report) -> ShownFault:
    result = report.result(fault.rule)
    program = result.repro or ""
    known = load_clauses()
    return ShownFault(
        fault,
        result,
        tuple(list_facts(result, fault)),
        tuple(draw_errors(fault.errors)) if fault.errors else (),
        TOO_LONG if len(program) > LONGEST_PROGRAM else program,
        tuple(known[each] for each in result.clauses if each in known),
    )


def _list_themes(report: Report) -> Iterator[ShownTheme]:
    for name in dict.fromkeys(result.theme for result in report.results):
        own = tuple(each for each in report.results if each.theme == name)
        counts = Counter(each.verdict.value for each in own)
        order = [each.value for each in Verdict if counts[each.value]]
        yield ShownTheme(name, own, tuple((each, counts[each]) for each in order))


def _group_by_reason(results: list[Result]) -> dict[str, list[str]]:
    """Return the ids of rules that do not apply, by the reason."""
    groups: dict[str, list[str]] = {}
    for each in results:
        groups.setdefault(each.message, []).append(each.rule)
    return groups


def _draw_maps(report: Report) -> Iterator[str]:
    """Yield the picture of a model's read-out map, if it could be measured."""
    if isinstance(report, ModelReport):
        found = {call: each for call, each in report.readouts.items() if each is not None}
        if found:
            yield draw_readout_maps(found)
