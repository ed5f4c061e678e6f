"""Repeat one finding of a report: the same rule on the same case, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rnnspec.api.layer import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.contract.kinds import KINDS
from rnnspec.engine.campaign import check_by_all, list_applicable_rules
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.options import CheckOptions
from rnnspec.subjects.devices import keep_random_numbers
from rnnspec.subjects.threads import use_one_thread
from rnnspec.suites.layer import LayerSuite


@dataclass(frozen=True)
class Replay:
    """The outcome of a repeated case.

    rule      the rule that checked it
    case      a description of the case
    expected  the message in the report
    message   the present message, or an empty string if the rule holds
    """

    rule: str
    case: str
    expected: str
    message: str


def list_findings(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the results of a JSON report that have a smallest case, by rule id.

    Use the ids to choose which finding you repeat. Raises SelectionError if the report is not about
    a layer.
    """
    if data["kind"] not in KINDS:
        raise SelectionError("the report is about a model; only layers have cases to replay.")
    return {each["rule"]: each for each in data["results"] if each["counterexample"]}


def find_finding(data: Mapping[str, Any], id: str) -> Mapping[str, Any]:
    """Return a finding of a report. Raises SelectionError, with a suggestion, if there is none."""
    found = list_findings(data)
    if id not in found:
        known = ", ".join(found) or "none"
        raise SelectionError(
            f"no finding {id!r} in the report.{suggest_similar(id, found)} It has {known}."
        )
    return found[id]


def read_case(finding: Mapping[str, Any]) -> Case:
    """Return the smallest case of a finding."""
    example = finding["counterexample"]
    sizes, call = example["sizes"], example["call"]
    return Case.from_dict(
        {**call, **sizes, "config": example["configuration"], "seed": example["seed"]}
    )


@use_one_thread()
def replay_finding(
    target: Any,
    finding: Mapping[str, Any],
    options: CheckOptions,
    *,
    debug: Callable[[LayerSuite, Case], None] | None = None,
) -> Replay:
    """Repeat a finding and return the outcome, for example to see whether your change repairs it.

    The fault is gone if the outcome has an empty `message`. If you pass `debug`, it is called with
    the suite and the case, and may raise the same errors as the rule. Raises CannotCheck.
    """
    suite, case = prepare_suite(target, options), read_case(finding)
    with keep_random_numbers():
        if debug is not None:
            debug(suite, case)
        rules, index = list_applicable_rules(suite, case), finding["counterexample"]["index"]
        _, failing = check_by_all(suite, rules, index, case)
    (rule,) = suite.rules
    message = failing.findings[rule.id].message if failing and rule.id in failing.findings else ""
    return Replay(rule.id, str(case), finding["message"], message)
