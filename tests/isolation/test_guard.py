"""Tests of the guard: steps that would end the process are tried in a forked process first."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

import pytest

from rnnspec.isolation.announcement import Announcement, read_moment
from rnnspec.isolation.guard import PATIENCE, Guard
from rnnspec.isolation.messages import Precautions
from rnnspec.subjects.failures import Ended
from rnnspec.subjects.steps import Interrupted, StepKind, announce_case, announce_step, set_watcher

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def connection() -> Iterator[Connection]:
    """One end of a connection, as a worker has it."""
    ours, theirs = Pipe()
    yield ours
    for end in (ours, theirs):
        end.close()


@pytest.fixture
def guard(connection: Connection) -> Iterator[Guard]:
    """A guard that watches the steps of this process and tries the step `tried`."""
    shared: Announcement = get_context("spawn").RawValue(Announcement)
    made = Guard(shared, connection, 30.0, can_fork=True)
    made.take(Precautions(tried=frozenset({"tried"})))
    set_watcher(made)
    yield made
    set_watcher(None)


def test_steps_are_announced_with_the_outer_step_when_an_inner_one_ends(guard: Guard) -> None:
    seen = []
    with announce_step("outer"):
        with announce_step("inner"):
            seen.append(read_moment(guard.shared).step)
        seen.append(read_moment(guard.shared).step)
    assert [*seen, read_moment(guard.shared).step] == ["inner", "outer", ""]


def test_a_step_that_ends_the_process_is_not_run_in_it(guard: Guard) -> None:
    process = os.getpid()
    status = "tried ended the process with exit status 7"
    with pytest.raises(Ended, match=status), announce_step("tried"):
        os._exit(7)
    assert guard.has_ended
    killed = "tried ended the process with signal SIGKILL"
    with pytest.raises(Ended, match=killed), announce_step("tried"):
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.getpid() == process
    assert read_moment(guard.shared).step == ""


def test_a_step_that_returns_is_run_in_this_process_too(guard: Guard) -> None:
    ran = []
    with announce_step("tried"):
        ran.append(os.getpid())
    assert ran == [os.getpid()]
    with pytest.raises(ValueError, match="mine"), announce_step("tried"):
        raise ValueError("mine")
    assert not guard.has_ended


def test_a_step_that_passed_is_tried_again_in_another_case(guard: Guard) -> None:
    outside, process = [], os.getpid()

    def take_step(case: int) -> None:
        announce_case(case)
        with announce_step("tried"):
            if os.getpid() != process:
                os.kill(process, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: outside.append(1))
    try:
        for case in (1, 1, 2):
            take_step(case)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(outside) == 2


def test_a_step_inside_is_blamed_if_it_ended_the_trial_of_an_outer_one(guard: Guard) -> None:
    with announce_step("tried"):
        inner = announce_step("inner")
        with pytest.raises(Ended, match="inner ended the process with"), inner:
            os._exit(3)


@pytest.mark.slow
def test_a_step_that_does_not_return_is_waited_for_once_in_a_case(guard: Guard) -> None:
    guard.timeout = 1.0
    guard.take(Precautions(tried=frozenset({"tried"}), is_slow=True))
    announce_case(1)
    for _ in range(50):
        with pytest.raises(Ended, match="tried did not return within"), announce_step("tried"):
            time.sleep(1000)
    assert 0 < guard.waited < PATIENCE
    announce_case(2)
    with announce_step("tried"):
        pass


def test_a_step_that_fails_slowly_after_it_returned_is_run_in_other_situations(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnspec.isolation.guard.SLOW_FAILURE", 0.0)
    announce_case(1)
    with announce_step("step"):
        pass
    with pytest.raises(ValueError, match="situation"), announce_step("step"):
        raise ValueError("only in this situation")
    ran = []
    with announce_step("step"):
        ran.append(1)
    announce_case(2)
    with pytest.raises(ValueError, match="always"), announce_step("step"):
        raise ValueError("always")
    with pytest.raises(ValueError, match="always"), announce_step("step"):
        ran.append(2)
    assert ran == [1]


def test_a_step_that_may_fail_does_not_affect_the_next_step(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnspec.isolation.guard.SLOW_FAILURE", 0.0)
    announce_case(1)
    with pytest.raises(ValueError, match="refused"), announce_step("step", may_fail=True):
        raise ValueError("refused")
    ran = []
    with announce_step("step"):
        ran.append(1)
    assert ran == [1]
    assert guard.waited == 0.0


def test_closed_files_end_the_process_while_the_step_is_known(
    guard: Guard, connection: Connection
) -> None:
    closed = "tried closed open files of the process"
    with pytest.raises(Ended, match=closed), announce_step("tried"):
        os.closerange(3, 256)
    assert os.fstat(connection.fileno())


def test_forgotten_modules_are_put_back(guard: Guard) -> None:
    own = sys.modules["rnnspec.isolation.guard"]
    with announce_step("any"):
        for name in [name for name in sys.modules if name.startswith("rnnspec.isolation")]:
            del sys.modules[name]
    assert sys.modules["rnnspec.isolation.guard"] is own


def test_steps_are_interrupted_in_a_report_that_is_stopped_or_given_up(guard: Guard) -> None:
    guard.shared.must_stop = True
    with announce_step("while cases are checked"):
        pass
    guard.begin_report(gives_up=False)
    with pytest.raises(Interrupted), announce_step("any"):
        pass
    guard.shared.must_stop = False
    with announce_step("any"):
        pass
    guard.begin_report(gives_up=True)
    with pytest.raises(Interrupted), announce_step("any"):
        pass


def is_left(guard: Guard) -> bool:
    return guard.is_left


def test_a_case_is_left_at_its_next_step_or_in_a_trial_if_the_run_has_to_end(guard: Guard) -> None:
    guard.begin_index(3)
    with announce_step("any"):
        guard.shared.must_hurry = True
    assert not is_left(guard)
    with pytest.raises(Interrupted), announce_step("any"):
        pass
    assert is_left(guard)
    guard.shared.must_hurry = False
    guard.begin_index(4)
    assert not is_left(guard)
    process = os.getpid()
    with pytest.raises(Interrupted), announce_step("tried"):  # noqa: PT012
        guard.shared.must_hurry = True  # this is the trial; the process that waits sees it
        if os.getpid() != process:
            time.sleep(600)
    assert is_left(guard)


def test_nothing_is_tried_where_a_fork_is_not_safe(connection: Connection) -> None:
    guard = Guard(Announcement(), connection, 30.0, can_fork=False)
    guard.take(Precautions(frozenset({"tried"}), frozenset({"tried"})))
    process, seen = os.getpid(), []
    guard.enter("tried", StepKind.USE)
    seen.append(os.getpid())
    guard.leave(None)
    assert seen == [process]


def test_call_that_hung_in_an_earlier_worker_is_not_made_again(connection: Connection) -> None:
    """The calls before it may take as long as there, and its text has the limit that it reached."""
    shared: Announcement = get_context("spawn").RawValue(Announcement)
    first = Guard(shared, connection, 15.0, can_fork=True, is_task=True)
    for number in range(3):
        first.begin_case(f"case {number % 2}")
    known = {int(shared.case): ("the call", "did not return within 15 s")}
    guard = Guard(shared, connection, 15.0, can_fork=True, is_task=True)
    guard.take(Precautions(fatal=known, is_slow=True))
    guard._longest["the call"] = 0.001
    set_watcher(guard)
    try:
        for number in range(2):
            announce_case(f"case {number}")
            assert guard._choose_limit("the call") == 15.0
            with announce_step("the call"):
                pass
        announce_case("case 0")
        with pytest.raises(Ended, match="did not return within 15 s"), announce_step("the call"):
            raise AssertionError
        assert guard._choose_limit("the call") < 1.0
    finally:
        set_watcher(None)
