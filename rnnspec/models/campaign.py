"""A model judged by every rule in every case of a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from rnnspec.models.case import ModelCase
from rnnspec.models.infer import Interface
from rnnspec.models.registry import ModelRule, model_rules
from rnnspec.models.trial import NotApplicable, Trial, describe
from rnnspec.rules.violation import Violation


@dataclass(frozen=True)
class ModelFinding:
    """A rule broken in a case: what is wrong, and the lines that prove it. `crashed` where the check itself ended in another exception."""

    case: ModelCase
    message: str
    proof: str = ""
    crashed: bool = False


@dataclass
class ModelResult:
    """What one rule said in all cases: in how many it could be judged, why not in the others, and the first case that breaks it."""

    rule: ModelRule
    examples: int = 0
    violations: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: ModelFinding | None = None

    @property
    def verdict(self) -> str:
        """ "fail", "crashed", "pass", or "not-applicable" where no case could be judged."""
        if self.first is not None:
            return "crashed" if self.first.crashed else "fail"
        return "pass" if self.examples else "not-applicable"

    @property
    def message(self) -> str:
        """What is wrong, or why the rule does not apply; empty where it passes."""
        if self.first is not None:
            return self.first.message
        return "" if self.examples else next(iter(self.reasons), "")


def judge(rule: ModelRule, trial: Trial) -> ModelFinding | NotApplicable | None:
    """What one rule says in one case: a finding, a reason why it does not apply, or nothing."""
    try:
        rule.check(trial)
    except Violation as violation:
        return ModelFinding(trial.case, violation.message, violation.proof)
    except NotApplicable as reason:
        return reason
    except Exception as error:  # the model did something that the check did not expect: told, never swallowed
        return ModelFinding(trial.case, describe(error), crashed=True)
    return None


def run(
    factory: Callable[[], nn.Module],
    interface: Interface,
    readout: str,
    cases: Iterable[ModelCase],
    *,
    rules: Sequence[ModelRule] | None = None,
    device: str = "cpu",
) -> list[ModelResult]:
    """The results of the rules (all by default) in their order; a function of its arguments, of torch and of rnnspec."""
    results = [ModelResult(rule) for rule in (rules or model_rules().values())]
    for case in cases:
        trial = Trial(factory, interface, readout, case, device)
        for result in results:
            _add(result, judge(result.rule, trial))
    return results


def _add(result: ModelResult, said: ModelFinding | NotApplicable | None) -> None:
    if isinstance(said, NotApplicable):
        result.reasons[str(said)] += 1
        return
    result.examples += 1
    if said is not None:
        result.violations += 1
        result.first = result.first or said
