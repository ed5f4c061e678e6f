"""How long a subject takes, on a clock that only the subject moves, and what follows from it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from multiprocessing import RawValue
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api.layer import prepare_check, prepare_suite
from rnnspec.cases.pool import POOL
from rnnspec.engine import pace
from rnnspec.engine.capabilities import build_base_case
from rnnspec.engine.pace import Pace, format_duration, measure_pace
from rnnspec.errors import SelectionError
from rnnspec.isolation.announcement import Announcement
from rnnspec.isolation.guard import Guard
from rnnspec.isolation.judge import Judge
from rnnspec.isolation.messages import (
    Choice,
    Job,
    JudgeRange,
    Precautions,
    Reported,
    WriteReport,
)
from rnnspec.options import CheckOptions, SizeSource
from rnnspec.report.console import format_headline
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

FEW: dict[str, Any] = {"profile": "quick", "rules": ("recurrence.output",)}


class Clock:
    """A clock that stands still, except when a layer moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace.time, "perf_counter", found.read)  # type: ignore[attr-defined]
    return found


def make_layer(
    clock: Clock, construction: float, call: float, new_shape: float = 0.0
) -> type[nn.RNN]:
    """Return a layer that takes so many seconds of a clock, and more for each new shape."""
    known: set[tuple[int, ...]] = set()

    class Slow(nn.RNN):
        def __init__(self, *given: Any, **named: Any) -> None:
            clock.now += construction
            super().__init__(*given, **named)

        def forward(self, input: Any, hx: Any = None) -> Any:
            shape = tuple(getattr(input, "data", input).shape)
            clock.now += call + (0.0 if shape in known else new_shape)
            known.add(shape)
            return super().forward(input, hx)

    return Slow


def measure(layer: Any) -> Pace | None:
    subject = TorchSubject(resolve_target(layer))
    return measure_pace(subject, build_base_case(subject))


def test_constructions_and_calls_are_timed_apart(clock: Clock) -> None:
    found = measure(make_layer(clock, 0.05, 0.02))
    assert found is not None
    assert found.construction == pytest.approx(0.05)
    assert found.call == pytest.approx(0.02)


def test_the_least_time_counts_unless_every_shape_is_slow(clock: Clock) -> None:
    class Hiccups(nn.RNN):
        """Takes a minute for the first call, as on a machine that is busy."""

        calls = 0

        def forward(self, input: Any, hx: Any = None) -> Any:
            type(self).calls += 1
            clock.now += 60.0 if type(self).calls == 1 else 0.001
            return super().forward(input, hx)

    found = measure(Hiccups)
    assert found is not None
    assert not found.is_slow
    compiled = measure(make_layer(clock, 0.0, 0.0, new_shape=2.0))
    assert compiled is not None
    assert compiled.call == pytest.approx(2.0)
    assert compiled.is_slow


def test_what_cannot_be_observed_is_not_slow() -> None:
    class Fails(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            raise ValueError("no")

    assert measure(Fails) is None


def test_a_subject_is_slow_if_a_case_takes_ten_times_as_long_as_usual() -> None:
    assert Pace(0.05, 0.05).is_slow
    assert not Pace(0.001, 0.001).is_slow
    assert Pace(0.0, 0.1).is_slow
    assert not Pace(0.0, 0.01).is_slow


def test_the_user_is_told_what_a_full_run_takes() -> None:
    assert Pace(0.05, 0.05).describe(231) == (
        "the target is slow: building it takes 50 ms, and a call with a new shape 50 ms, so the "
        "231 cases have sizes from a small pool (--sizes pool). With --sizes free, a full run "
        "would take about 1.8 min in one process"
    )
    shown = [format_duration(seconds) for seconds in (0.0123, 0.5, 42.0, 150.0, 9000.0)]
    assert shown == ["12 ms", "0.5 s", "42 s", "2.5 min", "2.5 h"]


def test_sizes_of_a_slow_subject_come_from_the_pool_unless_the_user_says_otherwise(
    clock: Clock,
) -> None:
    slow = make_layer(clock, 0.05, 0.05)
    suite = prepare_suite(slow, CheckOptions(**FEW))
    assert suite.sizes is SizeSource.POOL
    assert suite.remarks[0].startswith("the target is slow: building it takes 50 ms")
    large = {case.config.input_size for _, case in suite.draw_cases(9, None)}
    assert large <= {size for sizes in POOL for size in sizes}
    free = prepare_suite(slow, CheckOptions(**FEW, sizes="free"))
    assert (free.sizes, free.remarks) == (SizeSource.FREE, ())
    quick = prepare_suite(make_layer(clock, 0.001, 0.001), CheckOptions(**FEW))
    assert (quick.sizes, quick.remarks) == (SizeSource.FREE, ())


def test_a_report_says_where_sizes_came_from(clock: Clock) -> None:
    slow = make_layer(clock, 0.05, 0.05)
    chosen = rnnspec.check(slow, cases=12, **FEW)
    again = rnnspec.check(slow, cases=12, sizes="pool", **FEW)
    assert chosen.sizes == again.sizes == "pool"
    assert chosen.as_dict()["sizes"] == "pool"
    assert chosen.notes[-1].startswith("the target is slow")
    assert "quick profile, sizes of a pool (" in format_headline(chosen)
    assert [result.cases for result in chosen.results] == [each.cases for each in again.results]
    with pytest.raises(SelectionError, match=r"'poll': choose auto, free or pool. Did you mean 'p"):
        rnnspec.check(slow, sizes="poll")


class Connection:
    """The connection of a worker, with requests that wait in it; it keeps the answers."""

    def __init__(self, *requests: Any) -> None:
        self.requests = list(requests)
        self.answers: list[Any] = []

    def fileno(self) -> int:
        return 0

    def send(self, answer: Any) -> None:
        self.answers.append(answer)

    def recv(self) -> Any:
        if not self.requests:
            raise EOFError
        return self.requests.pop(0)


def test_a_worker_draws_what_the_first_one_chose() -> None:
    options = CheckOptions(**FEW, cases=14)
    job = Job("torch.nn:RNN", prepare_check, ("torch.nn:RNN", options))
    choice = Choice("pool", ("the first worker says so",))
    connection: Any = Connection(JudgeRange(9, 12, Precautions(), choice))
    guard = Guard(RawValue(Announcement), connection, 60.0, can_fork=False)
    judge = Judge(connection, job, guard)
    before = judge.suite
    with pytest.raises(EOFError):
        judge.answer_requests()
    ready, *judged, done = connection.answers
    assert (ready.size, ready.choice, done.stop) == (14, Choice("free"), 12)
    assert judge.suite.sizes is SizeSource.POOL
    expected = replace(before, sizes=SizeSource.POOL)
    assert list(judge.suite.draw_cases(9, 12)) == list(expected.draw_cases(9, 12))
    assert list(judge.suite.draw_cases(9, 12)) != list(before.draw_cases(9, 12))
    results = [each.result for each in judged]
    connection.requests.append(WriteReport(results, False, Precautions(), choice))
    with pytest.raises(EOFError):
        judge.answer_requests()
    report = pickle.loads(next(a.report for a in connection.answers if isinstance(a, Reported)))
    assert (report.sizes, report.cases) == ("pool", 3)
    assert report.notes[-1] == "the first worker says so"
    assert torch.is_grad_enabled()
