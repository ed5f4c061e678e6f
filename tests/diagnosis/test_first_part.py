"""The part of the results that is computed first decides nothing that the whole would not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
import torch

from rnnspec.cases.case import Case
from rnnspec.mistakes.catalogue import list_hypotheses
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.observe.observation import Observation
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import Changes
from tests.diagnosis.planted_mistakes import Planted, expect, list_cases

every_kind = pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("rnn", 40),
        ("lstm", 800),
        pytest.param("rnn", 3, marks=pytest.mark.slow),
        pytest.param("gru", 10, marks=pytest.mark.slow),
        pytest.param("lstm", 30, marks=pytest.mark.slow),
    ],
)


def is_drawn(case: Case) -> bool:
    """Return whether masks are drawn: with a probability of 1, all values are dropped."""
    return case.has_active_dropout and case.config.dropout < 1


def list_mistakes(kind: str, number: int) -> Iterator[tuple[Hypothesis, Case]]:
    """Yield one in `number` mistakes of a kind, each with a few cases that it concerns.

    Some of the few that change the start of a layer are always among them.
    """
    cases = [case for case in list_cases(kind) if not is_drawn(case)]
    known = list_hypotheses(kind, gradients=False)
    starts = [each for each in known if "first" in each.changes]
    for each in (*known[::number], *starts[:: max(2, number // 4)]):
        concerned = [case for case in cases if each.concerns(case)]
        yield from ((each, case) for case in concerned[:: 1 + len(concerned) // 2])


def is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9, equal_nan=True)


@every_kind
def test_the_first_part_depends_on_nothing_later(kind: str, number: int) -> None:
    for mistake, case in list_mistakes(kind, number):
        changes, given = mistake.changes, Given.from_values(case, expect(case).values)
        first = replace(given, input=given.input[:1])
        is_cut = changes.leave_later_steps and (given.directions == 1 or given.layers == 1)
        try:
            output, final = Reference(given, changes).run()
            if is_cut and not case.config.kind_data.is_cell:
                (start,), _ = Reference(first, changes).run()
                units = slice(given.hidden)
                assert is_same(output[0][:, units], start[:, units]), mistake.text
            if changes.leave_other_places:
                assert is_same(final["h"][0], Reference(given, changes).run_first()["h"])
        except (Refused, RuntimeError, IndexError):
            continue


@every_kind
def test_a_mistake_is_refuted_at_once_only_if_all_results_refute_it(
    kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistakes = list(list_mistakes(kind, number))
    others = [mistake for mistake, _ in mistakes]
    refuted = 0
    for place, (mistake, case) in enumerate(mistakes):
        seen = cast(Observation, Planted(case, mistake.changes))
        quick, whole = Evidence(seen), Evidence(seen)
        monkeypatch.setattr(whole, "is_refuted_at_once", lambda hypothesis: False)
        for other in (mistake, *others[place + 1 : place + 4]):
            assert quick.check(other) is whole.check(other), (mistake.text, other.text)
            part = quick._first_part
            refuted += part is not None and quick.is_refuted_at_once(other)
    assert refuted > len(mistakes) / 4


def test_a_start_is_computed_first_unless_it_needs_a_final_state() -> None:
    alone = Changes.declare({"first": lambda first: first})
    after = Changes.declare({"first.h": lambda first, ended: first})
    assert alone.leave_later_steps
    assert alone.leave_other_places
    assert not after.leave_later_steps
    assert after.leave_other_places
    assert not alone.compose(after).leave_later_steps
