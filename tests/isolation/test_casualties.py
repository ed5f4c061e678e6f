"""Test the reaction to workers that end."""

from __future__ import annotations

import signal

import pytest

from rnnspec.isolation.announcement import Moment
from rnnspec.isolation.crew import Casualties
from rnnspec.isolation.ends import (
    CLOSED_FILES,
    OUT_OF_MEMORY,
    WHOLE_CASE,
    describe_exit,
    describe_hang,
)
from rnnspec.isolation.messages import Precautions
from rnnspec.subjects.steps import StepKind

CRASH = describe_exit(-signal.SIGSEGV)
KILL = describe_exit(-signal.SIGKILL)
NONE = Precautions()


def test_a_step_that_crashes_is_tried_then_always_tried_and_then_left_alone() -> None:
    known = Casualties()
    given = NONE
    for expected in (
        Precautions(tried=frozenset({"the call"})),
        Precautions(tried=frozenset({"the call"}), always_tried=frozenset({"the call"})),
        Precautions(
            frozenset({"the call"}), frozenset({"the call"}), {4: ("the call", CRASH.cause)}
        ),
    ):
        known.add_case(4, Moment(9, 4, "the call"), CRASH, given)
        given = known.precautions
        assert given == expected
    assert known.deaths == 3


def test_a_crash_between_steps_is_never_tried_again() -> None:
    known = Casualties()
    known.add_case(4, Moment(9, 4, ""), CRASH, NONE)
    assert known.precautions == Precautions(fatal={4: (WHOLE_CASE, CRASH.cause)})


def test_an_end_that_may_have_an_outside_cause_gets_a_second_chance() -> None:
    known = Casualties()
    known.add_case(4, Moment(9, 4, "the call"), KILL, NONE)
    assert known.precautions == NONE
    assert known.confirm(4, has_ended=False)
    assert known.notes == [
        "in case 4, the call ended the process with signal SIGKILL, but not when the case was "
        "checked once more; the second result counts"
    ]
    known.add_case(5, Moment(9, 5, "the call"), KILL, NONE)
    known.add_case(5, Moment(9, 5, "the call"), KILL, NONE)
    assert known.precautions == Precautions(tried=frozenset({"the call"}))


def test_a_crash_that_does_not_show_again_counts_all_the_same() -> None:
    known = Casualties()
    known.add_case(4, Moment(9, 4, "the call"), CRASH, NONE)
    assert not known.confirm(4, has_ended=False)
    assert known.precautions.fatal == {4: ("the call", CRASH.cause)}
    assert known.confirm(4, has_ended=True)
    assert known.confirm(3, has_ended=False)
    assert known.notes == []


def test_a_hang_shortens_the_time_that_other_steps_get() -> None:
    known = Casualties()
    known.add_case(4, Moment(9, 4, "the call"), describe_hang(60.0), NONE)
    assert known.precautions == Precautions(tried=frozenset({"the call"}), is_slow=True)


def test_features_are_not_tried_if_even_trials_do_not_help() -> None:
    known = Casualties()
    assert not known.add_feature(StepKind.USE, NONE)
    assert known.add_feature(StepKind.TRIAL, NONE)
    assert known.precautions == Precautions(tries_none=True)
    assert not known.add_feature(StepKind.TRIAL, known.precautions)


@pytest.mark.parametrize(
    ("code", "cause", "is_fault"),
    [
        (0, "ended the process with exit status 0", False),
        (3, "ended the process with exit status 3", False),
        (-11, "ended the process with signal SIGSEGV", True),
        (-9, "ended the process with signal SIGKILL", False),
        (-500, "ended the process with signal 500", False),
        (OUT_OF_MEMORY, "used up the memory of the process", True),
        (CLOSED_FILES, "closed open files of the process", True),
        (None, "ended the process", False),
    ],
)
def test_ends_are_described(code: int | None, cause: str, is_fault: bool) -> None:
    assert (describe_exit(code).cause, describe_exit(code).is_fault) == (cause, is_fault)
