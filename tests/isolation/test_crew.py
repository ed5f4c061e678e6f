"""Tests of how workers are started when the server that they are forked from ends."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspec.isolation import crew
from rnnspec.isolation.crew import MOST_FAILED_STARTS, Crew, WorkerError
from rnnspec.isolation.messages import Job

JOB = Job("a.py:Layer", lambda: ("", ()), ())


def end_server_at(monkeypatch: pytest.MonkeyPatch, is_failure: Any) -> None:
    """Let those starts of a worker fail, by their number, whose server has ended."""
    monkeypatch.setattr(crew, "POLL_SECONDS", 0)
    numbers = iter(range(10 * MOST_FAILED_STARTS))

    def start(*given: Any, **named: Any) -> object:
        if is_failure(next(numbers)):
            raise EOFError
        return object()

    monkeypatch.setattr(crew, "Member", start)


def test_a_server_that_ends_now_and_then_does_not_end_a_long_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_server_at(monkeypatch, lambda number: number % 2)
    own = Crew(JOB, 2 * MOST_FAILED_STARTS)
    own.start()
    assert len(own.members) == 2 * MOST_FAILED_STARTS


def test_a_server_that_never_starts_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    end_server_at(monkeypatch, lambda number: True)
    with pytest.raises(WorkerError, match="no worker can be started: EOFError"):
        Crew(JOB, 1).start()
