"""Faults that were found apart and turn out to be one."""

from __future__ import annotations

from dataclasses import replace

from rnnspec.diagnosis.faults import find_faults
from rnnspec.diagnosis.joining import is_same_cause, join_same_causes
from rnnspec.diagnosis.search import Search
from rnnspec.engine.campaign import run_campaign
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.precision import OF_DTYPES
from tests.diagnosis.planted_mistakes import diagnose
from tests.engine.toy import ToyLayer, make_rule, make_suite

STATES = make_rule("states.initial-state-used")
CELL_STATES = make_rule("cell-state.final")
CAUSE = LikelyCause(
    "c.clipped", "the cell state is clipped", "do not clip it", (CELL_STATES.id,), 5, 6
)


def test_faults_of_one_cause_are_named_by_it_if_one_of_them_was() -> None:
    suite = make_suite(
        ToyLayer(wrong=lambda case: case.steps > 1), STATES, CELL_STATES, cause=CAUSE
    )
    progress = run_campaign(suite)
    (named,) = find_faults(suite, progress)
    assert named.root == CELL_STATES
    for faults in ([replace(named, root=STATES), named], [replace(named, root=STATES)]):
        search = Search(suite, [event.case for event in named.events])
        search.faults.extend(faults)
        join_same_causes(search)
        assert [fault.root for fault in search.faults] == [faults[-1].root]


def test_causes_are_the_same_if_they_round_the_same_to_as_many_bits() -> None:
    one, other, elsewhere = (
        diagnose(next(each for each in OF_DTYPES if each.key == key))
        for key in ("W_hh.rounded=float16", "W_hh.rounded=tf32", "W_ih.rounded=float16")
    )
    assert one is not None
    assert other is not None
    assert elsewhere is not None
    assert is_same_cause(one, other)
    assert not is_same_cause(one, elsewhere)
    assert not is_same_cause(CAUSE, replace(CAUSE, key="h.clipped"))
