"""Rules, the decorator that makes a rule from a function, and the registry of all rules."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from rnnspec.cases.conditions import CaseT, Condition, always
from rnnspec.cases.space import FIELDS
from rnnspec.contract.clauses import Clause, Level, find_clause, find_source
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import KINDS, LAYER_KINDS
from rnnspec.contract.parts import Part
from rnnspec.rulekit.deviation import DeclaredRefusal, Deviation
from rnnspec.rulekit.snippet import Snippet

CHECKED_THROUGH_ADAPTERS = ("side-effects.*", "modules.second-call")
"""The rules about modules and interfaces that also check an adapted layer itself."""
CHECKED_IF_STATES_ARE_PASSED_ON = (
    "errors.h-0-batch*",
    "errors.h-0-size",
    "errors.c-0-batch",
    "errors.c-0-size",
)
"""The rules about wrong sizes of states, which an adapter may pass on unchanged."""
NOT_CHECKED_THROUGH_ADAPTERS = (
    "dropout.attribute-changed",
    "layouts.input-by-name",
    "layouts.states-stay-layer-first",
    "modes.default-device",
    "shapes.returns-pair",
    "states.by-name",
    "states.none",
)
"""The rules about values that would check the adapter of a layer."""


def needs_drop_in(name: str, part: Part) -> bool:
    """Return whether a rule would check an adapter instead of the adapted layer."""
    if part in (Part.VALUES, Part.GRADIENTS):
        return name in NOT_CHECKED_THROUGH_ADAPTERS
    return not any(fnmatchcase(name, each) for each in CHECKED_THROUGH_ADAPTERS)


def add_drop_in(needs: Iterable[Feature], name: str, part: Part) -> frozenset[Feature]:
    """Return the features that a rule needs, including `DROP_IN` or `STATE_CHECKS` if it needs
    them.
    """
    if any(fnmatchcase(name, each) for each in CHECKED_IF_STATES_ARE_PASSED_ON):
        return frozenset(needs) | {Feature.STATE_CHECKS}
    return frozenset(needs) | ({Feature.DROP_IN} if needs_drop_in(name, part) else frozenset())


ObservationT = TypeVar("ObservationT")
CheckFunction = Callable[[ObservationT], None]


class Theme(Enum):
    """The themes of rules, in the order of the report.

    If several rules fail on cases of equal simplicity, the rule with the first theme is reported as
    the cause.
    """

    CONSTRUCTION = "construction"
    PARAMETERS = "parameters"
    ERRORS = "errors"
    MODES = "modes"
    SHAPES = "shapes"
    PACKED = "packed"
    LAYOUTS = "layouts"
    MODULES = "modules"
    SIDE_EFFECTS = "side-effects"
    DROPOUT = "dropout"
    SAMPLES = "samples"
    NONLINEARITY = "nonlinearity"
    STATES = "states"
    DIRECTIONS = "directions"
    STACKING = "stacking"
    GATES = "gates"
    CELLS = "cells"
    CELL_STATE = "cell-state"
    PROJECTION = "projection"
    RECURRENCE = "recurrence"
    GRADIENTS = "gradients"
    MODEL = "model"
    READOUT = "readout"

    @property
    def is_about_models(self) -> bool:
        """Whether the rules check a model that contains recurrent layers, not a layer itself."""
        return self in (Theme.MODEL, Theme.READOUT)

    @property
    def part(self) -> Part:
        """The part of the contract that the rules of the theme belong to by default."""
        return PARTS.get(self, Part.VALUES)


PARTS = {
    Theme.CONSTRUCTION: Part.INTERFACE,
    Theme.ERRORS: Part.INTERFACE,
    Theme.PARAMETERS: Part.MODULE,
    Theme.MODULES: Part.MODULE,
    Theme.SIDE_EFFECTS: Part.MODULE,
    Theme.GRADIENTS: Part.GRADIENTS,
}
"""The part of each theme. A theme that is not listed belongs to VALUES."""


class Fact(Enum):
    """A fact that a rule may presuppose of the case that it checks.

    If your rule presupposes a fact that does not hold, its failure counts as a consequence.
    """

    CALL = "the call returns results of the documented form"
    RESULTS = "output and h_n are right"
    GRADIENTS = "the gradients are right"


@dataclass(frozen=True)
class Rule(Generic[CaseT, ObservationT]):
    """An executable check of one or more clauses of the same level.

    id           the theme and the name, e.g. "gradients.input"
    theme        the section of the report
    clauses      the clauses that it checks
    when         the cases to which it applies
    needs        the features without which it cannot be checked
    check        the function that raises Violation if the rule is broken
    requirement  the behaviour that the layer must have, in a sentence or two
    how          how the requirement is checked
    catches      the mistakes that it finds
    part         the part of the contract that it belongs to
    about        the axes and sizes that the requirement is about. If a layer is wrong even though
                 one of them has its simplest value, another rule reports the fault
    presupposes  facts about the checked case, and ids or patterns of ids of other rules. If one of
                 these does not hold, a failure of this rule is only a consequence
    establishes  the facts that the rule checks: if such a fact does not hold, the rule can name the
                 fault
    program      the last lines of a program that shows why the subject fails, if that is not the
                 checked call
    deviations   the deviations from it that the project has declared
    excuses      the declared deviations from other rules that also excuse a failure of this rule
    refusals     the situations that the project declares as refused, which excuse any failure
    results      the results that it compares by name. Kinds without these results do not have the
                 rule
    of_cells     the requirement of a cell, if it differs from a layer's in more than words
    spans        situations that must be among the cases where the rule holds. Otherwise it is not
                 reached
    """

    id: str
    theme: Theme
    clauses: tuple[Clause, ...]
    when: Condition[CaseT]
    needs: frozenset[Feature]
    check: CheckFunction[ObservationT]
    requirement: str
    how: str
    catches: str
    part: Part
    about: frozenset[str] = frozenset()
    presupposes: frozenset[Fact | str] = frozenset()
    establishes: frozenset[Fact] = frozenset()
    program: Snippet | None = None
    deviations: tuple[Deviation[CaseT], ...] = ()
    excuses: tuple[Deviation[CaseT], ...] = ()
    refusals: tuple[DeclaredRefusal[CaseT], ...] = ()
    results: frozenset[str] = frozenset()
    of_cells: str = ""
    spans: tuple[Condition[CaseT], ...] = ()

    @property
    def level(self) -> Level:
        """The level of the clauses."""
        return self.clauses[0].level

    def presupposes_rule(self, name: str) -> bool:
        """Return whether the rule presupposes another rule, by its id or by a pattern of ids."""
        patterns = (each for each in self.presupposes if isinstance(each, str))
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    @property
    def brought_about(self) -> frozenset[str]:
        """The axes that the rule sets itself: the axes it is about, and those it changes in further
        calls.
        """
        return self.about | self.changed_in_calls

    @property
    def changed_in_calls(self) -> frozenset[str]:
        """The axes that the rule changes in further calls, derived from the rules that it
        presupposes.

        A rule that presupposes the rules about a given initial state passes an initial state, and a
        rule that presupposes the rule about memory layouts passes tensors with such a layout.
        """
        return frozenset(
            axis for axis, rules in CHANGED_AXES.items() if self.presupposes.issuperset(rules)
        )

    def clauses_of(self, kind: str) -> tuple[Clause, ...]:
        """Return the clauses that hold for a kind of layer, or all clauses for any other subject.

        The result is empty if the rule does not apply to the kind, also because a call of this kind
        does not return the results that the rule compares. A model counts as another subject.
        """
        if kind not in KINDS:
            return self.clauses
        if not self.results.issubset(KINDS[kind].results):
            return ()
        return tuple(clause for clause in self.clauses if kind in clause.kinds)

    def requirement_of(self, kind: str) -> str:
        """Return the requirement in the words for a kind of layer or cell, or for any other
        subject.
        """
        is_cell = kind in KINDS and KINDS[kind].is_cell
        if not is_cell or not any(self.clauses_of(each) for each in LAYER_KINDS):
            return self.requirement
        return self.of_cells or KINDS[kind].reword(self.requirement)

    def source_of(self, kind: str) -> str:
        """Return the place where the first of these clauses is documented for the kind.

        Raises ValueError if the rule does not apply to the kind.
        """
        found = self.clauses_of(kind)
        if not found:
            raise ValueError(f"{self.id} has no clause about the kind {kind!r}")
        return find_source(found[0], kind)


CONSTRUCTOR_CALLS = (
    "construction.keywords",
    "construction.positional",
    "construction.defaults",
)
"""Presupposed by every rule that builds a layer with specific arguments."""
NAMED_ARGUMENTS = ("construction.keywords",)
"""Presupposed by rules that only observe the exceptions and warnings of the constructor.

These rules pass both sizes by position and any other argument by keyword.
"""
VALID_CALLS = (
    "construction.keywords",
    "layouts.batch-first",
    "layouts.states-stay-layer-first",
    "side-effects.arguments",
)
"""Presupposed by every rule that changes a single thing about a valid call."""
GIVEN_STATES = ("states.order", "states.initial-state-used")
"""Presupposed by every rule that changes a single thing about a valid initial state.

Name them in `presupposes` if your rule passes states of its own.
"""
CHANGED_AXES = {"initial_state": GIVEN_STATES, "memory_layout": ("layouts.memory-layout",)}
"""The axes that a rule may change in further calls, with the rules that it then presupposes."""
DROPOUT = "dropout.[!b]*"
"""The rules about dropout that others presuppose: all but `dropout.backward`, about gradients."""
REPEATED_CALLS = (
    "side-effects.repeatable",
    "modules.second-call",
    "modules.history",
    "side-effects.parameters",
)
"""Presupposed by every rule that calls the same layer several times. Add it if yours does."""
OF_THE_CELL = ("recurrence.*", "gates.*", "cell-state.*", "projection.*")
"""The rules about the steps of a layer, and about the states that the steps carry."""
FIRST_GRADIENTS = (
    "gradients.input",
    "gradients.h-0",
    "gradients.c-0",
    "gradients.weights",
    "gradients.biases",
)
"""Presupposed by rules about gradients that differentiate in other ways than these rules do."""
PRESUPPOSED: dict[Part, frozenset[Fact | str]] = {
    Part.VALUES: frozenset(
        {"side-effects.repeatable", "side-effects.parameters", "parameters.loaded"}
    ),
    Part.GRADIENTS: frozenset(
        {
            Fact.RESULTS,
            "parameters.trainable",
            "side-effects.arguments",
            "side-effects.parameters",
        }
    ),
}
"""The facts and rules that all rules of a part presuppose."""
ESTABLISHED: dict[Part, frozenset[Fact]] = {
    Part.VALUES: frozenset({Fact.CALL, Fact.RESULTS}),
    Part.GRADIENTS: frozenset({Fact.GRADIENTS}),
    Part.MODULE: frozenset(),
    Part.INTERFACE: frozenset(),
}
"""The facts that a rule of each part establishes by default if it is about no axis."""
ESTABLISHED_ABOUT_AXIS: dict[Part, frozenset[Fact]] = {
    Part.VALUES: frozenset({Fact.CALL, Fact.RESULTS}),
    Part.GRADIENTS: frozenset({Fact.GRADIENTS}),
    Part.MODULE: frozenset(Fact),
}
"""The facts that a rule of each part establishes by default if it is about an axis."""

REGISTRY: dict[Theme, list[Rule[Any, Any]]] = {theme: [] for theme in Theme}
"""All rules by theme, in the order of registration. Importing a module of rules fills it."""


def rule(
    *clauses: str,
    when: Condition[CaseT] = always,
    needs: tuple[Feature, ...] = (),
    id: str | None = None,
    part: Part | None = None,
    about: tuple[str, ...] = (),
    presupposes: tuple[Fact | str, ...] = (),
    establishes: tuple[Fact, ...] | None = None,
    program: Snippet | None = None,
    results: tuple[str, ...] = (),
    of_cells: str = "",
    spans: tuple[Condition[CaseT], ...] = (),
) -> Callable[[CheckFunction[ObservationT]], Rule[CaseT, ObservationT]]:
    """Make a rule from a function that takes an observation and raises Violation.

    The default id joins the names of your module and function, with dashes for underscores. Write
    the function's docstring in three paragraphs: the requirement, how it is checked, and the
    mistakes that it finds ("Catches ..."). Use `when` and `needs` to leave out cases. Unless you
    pass `part`, the theme decides it, and `presupposes` adds to the part's facts. Use `of_cells` if
    the requirement does not fit a cell. Your rule passes only if it held in each of `spans`. Raises
    ValueError if there is no clause, their levels differ, the docstring lacks a paragraph, the
    theme does not exist, the id is taken, or `about` names neither axes nor sizes.
    """
    found = _find_clauses(clauses)

    def register(check: CheckFunction[ObservationT]) -> Rule[CaseT, ObservationT]:
        name = id or _make_id(check)
        theme = _find_theme(name)
        chosen = part or theme.part
        made = Rule(
            name,
            theme,
            found,
            when,
            add_drop_in(needs, name, chosen),
            check,
            *_split_docstring(name, check),
            chosen,
            _check_names(name, about),
            PRESUPPOSED.get(chosen, frozenset()).union(presupposes),
            _decide_established(chosen, about, presupposes, establishes),
            program,
            results=frozenset(results),
            of_cells=of_cells,
            spans=spans,
        )
        return _add(made)

    return register


def _add(made: Rule[CaseT, ObservationT]) -> Rule[CaseT, ObservationT]:
    """Register a rule. Raises ValueError if another rule has its id."""
    if any(each.id == made.id for each in REGISTRY[made.theme]):
        raise ValueError(f"expected a new id, got {made.id!r}, which another rule has")
    REGISTRY[made.theme].append(made)
    return made


def _find_clauses(names: tuple[str, ...]) -> tuple[Clause, ...]:
    found = tuple(find_clause(name) for name in names)
    if not found or len({each.level for each in found}) > 1:
        raise ValueError(f"expected clauses of one level, got {list(map(str, names))!r}")
    return found


def _decide_established(
    part: Part,
    about: tuple[str, ...],
    presupposes: tuple[Fact | str, ...],
    said: tuple[Fact, ...] | None,
) -> frozenset[Fact]:
    """Return the facts that a rule establishes: `said` if given, otherwise derived from the rest.

    A rule about an axis can name any fault along this axis. A rule that is about no axis cannot
    name a fault in a fact that it presupposes.
    """
    if said is not None:
        return frozenset(said)
    if about and part in ESTABLISHED_ABOUT_AXIS:
        return ESTABLISHED_ABOUT_AXIS[part]
    return ESTABLISHED[part] - {each for each in presupposes if isinstance(each, Fact)}


def _check_names(id: str, about: tuple[str, ...]) -> frozenset[str]:
    unknown = [name for name in about if name not in FIELDS]
    if unknown:
        raise ValueError(f"{id} is about {unknown[0]!r}; expected one of {', '.join(FIELDS)}")
    return frozenset(about)


def _make_id(check: CheckFunction[Any]) -> str:
    theme = check.__module__.rpartition(".")[2]
    return f"{theme}.{check.__name__}".replace("_", "-")


def _find_theme(id: str) -> Theme:
    name = id.partition(".")[0]
    known = {theme.value: theme for theme in Theme}
    if name not in known:
        raise ValueError(f"the theme of {id!r} is not in Theme, which has {', '.join(known)}")
    return known[name]


def _split_docstring(name: str, check: CheckFunction[Any]) -> tuple[str, str, str]:
    text = inspect.getdoc(check) or ""
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in text.split("\n\n")]
    if len(paragraphs) < 3 or not paragraphs[-1].startswith("Catches "):
        parts = "a requirement, how it is checked, and 'Catches ...'"
        raise ValueError(f"expected a docstring of {name} with {parts}; got {text!r}")
    return paragraphs[0], " ".join(paragraphs[1:-1]), paragraphs[-1].removeprefix("Catches ")


STEP_FORMULAS = (
    "rnn.recurrence.tanh",
    "rnn.recurrence.relu",
    "gru.recurrence.reset-gate",
    "gru.recurrence.update-gate",
    "gru.recurrence.new-gate",
    "gru.recurrence.state",
    "lstm.recurrence.input-gate",
    "lstm.recurrence.forget-gate",
    "lstm.recurrence.cell-gate",
    "lstm.recurrence.output-gate",
    "lstm.recurrence.cell-state",
    "lstm.recurrence.hidden-state",
)
"""The formulas of all kinds of layers and their cells."""
