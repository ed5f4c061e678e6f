"""Known mistakes that explain a wrong result, for rules that leave other errors alone."""

from __future__ import annotations

from rnnspec.mistakes.catalogue import list_breaking
from rnnspec.mistakes.evidence import Evidence, read_evidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.outcome import Agreement
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.questions import ask_question


def find_mistakes(observation: Observation, rule: str, *keys: str) -> list[Hypothesis]:
    """Return the mistakes that break the rule with this id and predict the results.

    Use `keys` to try only the mistakes with these keys: trying all takes long if many mistakes
    break the rule. In 16-bit dtypes the result is empty, since many mistakes agree with any result.
    """
    if observation.case.dtype.is_half:
        return []
    ask_question()
    evidence = read_evidence(observation, Evidence)
    agreeing = (Agreement.EVIDENCE, Agreement.PREDICTED)
    known = list_breaking(rule, observation.case.config.kind)
    tried = [each for each in known if not keys or each.key in keys]
    return [each for each in tried if evidence.check(each) in agreeing]


def find_mistake(observation: Observation, rule: str, *keys: str) -> Hypothesis | None:
    """Return the first mistake that breaks a rule and predicts the results, or None.

    Use it in `fail_only_if_explained` if your rule would otherwise report the faults of other
    rules.
    """
    return next(iter(find_mistakes(observation, rule, *keys)), None)
