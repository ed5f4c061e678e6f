"""Test that each mistake of a cell is reported once, in the terms of cells."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from rnnspec.cases.axes import InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import CELLS, Kind
from rnnspec.mistakes.catalogue import list_hypotheses
from rnnspec.mistakes.evidence import Evidence, GradientEvidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.of_cells import RULES
from rnnspec.mistakes.outcome import Outcome
from rnnspec.observe.observation import Observation
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

LACKING = re.compile(
    r"\b(outputs?(?! gate)|steps?|time|batch_first|directions?|sequences?|packed|forward|"
    r"layers|(?<!the )layer)\b"
)
"""Words for features that a cell does not have; "the layer" may be the cell itself."""
DIGITS = 9
TANH = ("tanh", "tanh")
SITUATIONS = (
    (InitialState.GIVEN, Layout.BATCHED, 0),
    (InitialState.GIVEN, Layout.BATCHED, 1),
    (InitialState.ABSENT, Layout.BATCHED, 0),
    (InitialState.GIVEN, Layout.UNBATCHED, 0),
    (InitialState.ABSENT, Layout.BATCHED, 1),
    (InitialState.ABSENT, Layout.UNBATCHED, 0),
)
"""The initial state, the layout, and which of the nonlinearities, if there are any."""
every_cell = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.title)
both_sorts = pytest.mark.parametrize("gradients", [False, True], ids=["results", "gradients"])


def list_concerning(kind: Kind, gradients: bool) -> list[Hypothesis]:
    """Return the hypotheses about a kind that concern one of a few cases."""
    cases = list_cases(kind)
    found = list_hypotheses(kind.name, gradients=gradients)
    return [each for each in found if any(map(each.concerns, cases))]


def list_cases(kind: Kind) -> list[Case]:
    """Return cases of different situations; blocks of 16 and 32 leave some of the 40 units over."""
    return [
        Case(
            config=Config(
                4, 40, kind=kind.name, nonlinearity=(kind.nonlinearities or TANH)[number % 2]
            ),
            batch=1 if layout is Layout.UNBATCHED else 3 + number,
            initial_state=initial,
            layout=layout,
            seed=seed,
        )
        for seed, (initial, layout, number) in enumerate(SITUATIONS)
    ]


def write_key(outcome: Outcome) -> str:
    """Return the same text for outcomes that cannot be distinguished."""
    results = outcome.results.items()
    rounded = [
        (name, array.shape, np.round(array, DIGITS).ravel().tolist()) for name, array in results
    ]
    return f"{outcome.has_raised} {rounded}"


@every_cell
@both_sorts
def test_a_mistake_of_a_cell_is_about_nothing_that_a_cell_lacks(
    kind: Kind, gradients: bool
) -> None:
    assert not {
        text
        for each in list_concerning(kind, gradients)
        for text in (each.text, each.remedy)
        if (LACKING.search(text) and ".order=" not in each.key) or "_n" in text
    }


@every_cell
@both_sorts
def test_the_rules_of_a_mistake_are_those_of_cells(kind: Kind, gradients: bool) -> None:
    assert not {
        each.key: each.rules
        for each in list_concerning(kind, gradients)
        if RULES.keys() & set(each.rules)
    }


@pytest.mark.slow
@every_cell
@both_sorts
def test_no_two_mistakes_of_a_cell_do_the_same(kind: Kind, gradients: bool) -> None:
    """Of two mistakes of a family that always predict the same, only one is reported."""
    subject = TorchSubject(resolve_target(require_documented(kind)), kind=kind.name)
    make = GradientEvidence if gradients else Evidence
    evidence = [make(Observation(subject, case)) for case in list_cases(kind)]
    required = "".join(write_key(each.required) for each in evidence)
    alike: dict[str, list[Hypothesis]] = defaultdict(list)
    for hypothesis in list_concerning(kind, gradients):
        predicted = (
            each.predict(hypothesis.changes) if hypothesis.concerns(each.case) else each.required
            for each in evidence
        )
        alike["".join(map(write_key, predicted))].append(hypothesis)
    ambiguous = [
        sorted(each.key for each in group)
        for key, group in alike.items()
        if key != required and not is_decided(group)
    ]
    assert [group for group in ambiguous if not depends_on_sizes(group)] == []


def is_decided(group: list[Hypothesis]) -> bool:
    """Return whether the family of some hypotheses decides which of them is reported."""
    families = {each.family or str(id(each)) for each in group}
    ranks = Counter(each.rank for each in group)
    return len(group) == 1 or (len(families) == 1 and ranks[min(ranks)] == 1)


def depends_on_sizes(group: list[str]) -> bool:
    """Return whether the sizes of the cases make mistakes alike: W_ih is not square, and blocks of
    32 units leave as many over as those of 16.
    """
    return any("left-over=" in key or ".transposed" in key for key in group)
