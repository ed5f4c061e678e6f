"""From what a campaign found to a report: verdicts, small counterexamples, causes and programs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version

import torch

from rnnspec._version import __version__
from rnnspec.cases.axes import AXES
from rnnspec.cases.case import Case
from rnnspec.cases.drawing import cases_between
from rnnspec.cases.plan import PROFILES, Scope, plan
from rnnspec.diagnosis.causes import causes
from rnnspec.diagnosis.dependence import depends_on
from rnnspec.engine.campaign import Campaign
from rnnspec.engine.minimise import Minimum, minimise
from rnnspec.engine.outcome import Progress, Tally
from rnnspec.report.model import Counterexample, Report, Result
from rnnspec.report.program import shortest_proof
from rnnspec.rules.rule import Rule

SIZE_FIELDS = ("steps", "batch", "lengths")


def report_of(campaign: Campaign, progress: Progress, *, strict: bool = False, seconds: float = 0.0) -> Report:
    """The report of a campaign: each broken rule with its smallest case, its cause and a program that shows it."""
    minima = {
        rule.id: minimise(rule, campaign.subject, first)
        for rule in campaign.rules
        if (first := progress.tallies[rule.id].first) is not None
    }
    follows = causes(campaign.rules, campaign.subject, minima)
    results = tuple(_result(campaign, rule, progress.tallies[rule.id], minima.get(rule.id), follows) for rule in campaign.rules)
    return Report(
        subject=campaign.subject.target.label,
        kind=campaign.subject.kind,
        seed=campaign.seed,
        profile=campaign.profile.name,
        strict=strict,
        cases=progress.cases,
        seconds=round(seconds, 3),
        stopped=progress.stopped,
        environment=environment(campaign.subject.device),
        results=results,
        refused=dict(campaign.subject.refused),
    )


def environment(device: str) -> dict[str, str]:
    """The versions that a run depends on."""
    return {
        "rnnspec": __version__,
        "torch": torch.__version__,
        "hypothesis": version("hypothesis"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
    }


def _result(campaign: Campaign, rule: Rule, tally: Tally, minimum: Minimum | None, follows: Mapping[str, str]) -> Result:
    verdict, message = _verdict(campaign, rule, tally, minimum)
    known = {
        "rule": rule.id,
        "level": rule.level.value,
        "verdict": verdict,
        "examples": tally.examples,
        "violations": tally.violations,
        "message": message,
        "requirement": rule.requirement,
        "clauses": tuple(clause.id for clause in rule.clauses),
        "where": rule.where,
    }
    if minimum is None:
        return Result(**known)
    return Result(
        **known,
        follows=follows.get(rule.id),
        depends_on=depends_on(minimum),
        counterexample=counterexample(minimum),
        repro=shortest_proof(campaign.subject.target, minimum.finding),
    )


def _verdict(campaign: Campaign, rule: Rule, tally: Tally, minimum: Minimum | None) -> tuple[str, str]:
    """The verdict of a rule and the message that goes with it."""
    if minimum is not None:
        return "fail", minimum.finding.message
    refused = sorted(rule.needs & campaign.subject.refused.keys())
    if refused:
        return "not-applicable", campaign.subject.refused[refused[0]]
    if tally.examples >= campaign.profile.minimum:
        return "pass", ""
    if tally.refusals and not tally.examples:
        return "not-applicable", tally.refusals.most_common(1)[0][0]
    out_of_scope = _out_of_scope(campaign, rule)
    if out_of_scope and not tally.examples:
        return "not-applicable", out_of_scope
    return "unreached", f"reached {tally.examples} times, at least {campaign.profile.minimum} needed: {rule.when.text}"


def _out_of_scope(campaign: Campaign, rule: Rule) -> str:
    """Why no case in the campaign's scope can reach a rule, or nothing where one can."""
    outside = ""
    for case in _everything():
        if rule.when(case):
            reason = _outside(case, campaign)
            if not reason:
                return ""
            outside = outside or reason
    return outside


@lru_cache(maxsize=1)
def _everything() -> tuple[Case, ...]:
    """Cases over every axis, whatever a subject refuses."""
    return tuple(case for _, case in cases_between(plan(PROFILES["quick"], 0, Scope()), 0))


def _outside(case: Case, campaign: Campaign) -> str:
    scope = campaign.scope
    for axis in AXES:
        value = case.axis(axis.name)
        feature = axis.needs.get(value)
        if feature in campaign.subject.refused:
            return campaign.subject.refused[str(feature)]
        if value not in scope.values(axis):
            return f"{axis.name} is {scope.values(axis)[0]} in this run"
    return ""


def counterexample(minimum: Minimum) -> Counterexample:
    """The smallest failing case as data."""
    case = minimum.finding.case
    data = case.as_dict()
    sizes = {name: data.pop(name) for name in SIZE_FIELDS}
    configuration, seed = data.pop("config"), data.pop("seed")
    return Counterexample(configuration, sizes, data, seed, str(case), minimum.finding.index)
