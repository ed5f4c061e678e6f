"""What a rule is, and the decorator that makes one of a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from rnnspec.contract.clauses import Clause, Level, find_clause
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.conditions import Condition, always

Check = Callable[[Observation], None]


@dataclass(frozen=True)
class Rule:
    """An executable check of clauses of one level.

    `when` tells to which cases it applies; `needs` names features without which it cannot be judged at all.
    """

    id: str
    clauses: tuple[Clause, ...]
    when: Condition
    needs: frozenset[str]
    check: Check
    requirement: str
    how: str
    catches: str

    @property
    def theme(self) -> str:
        """The first half of the id."""
        return self.id.split(".")[0]

    @property
    def level(self) -> Level:
        """The level of its clauses."""
        return self.clauses[0].level

    @property
    def source(self) -> str:
        """Where its first clause stands."""
        return self.clauses[0].source


THEMES: dict[str, list[Rule]] = {}
"""Every rule by theme, in order of registration; filled by importing the theme modules."""


def rule(
    *clauses: str, when: Condition = always, needs: tuple[str, ...] = ()
) -> Callable[[Check], Rule]:
    """Make a rule of a function that takes an observation and raises Violation where the clauses are broken.

    The id is the theme (the module's name) and the function's name with dashes. The docstring is the requirement in one sentence,
    then how it is checked, then, after 'Catches', what it catches. Raises ValueError where the clauses have different levels or
    the docstring lacks a part.
    """
    found = tuple(find_clause(name) for name in clauses)
    if not found or len({each.level for each in found}) > 1:
        raise ValueError(
            f"a rule needs clauses of one level, got {[(each.id, each.level.value) for each in found]!r}"
        )

    def register(check: Check) -> Rule:
        theme = check.__module__.rpartition(".")[2].replace("_", "-")
        name = f"{theme}.{check.__name__.replace('_', '-')}"
        made = Rule(name, found, when, frozenset(needs), check, *_paragraphs(name, check))
        THEMES.setdefault(theme, []).append(made)
        return made

    return register


def _paragraphs(name: str, check: Check) -> tuple[str, str, str]:
    text = inspect.getdoc(check) or ""
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in text.split("\n\n")]
    if len(paragraphs) < 3 or not paragraphs[-1].startswith("Catches "):
        raise ValueError(
            f"the docstring of {name} needs a requirement, how it is checked, and 'Catches ...'; got {text!r}"
        )
    return paragraphs[0], " ".join(paragraphs[1:-1]), paragraphs[-1].removeprefix("Catches ")
