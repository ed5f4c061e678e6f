"""Test the measurement of a subject's speed, on a clock that only computing moves."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import RawValue
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api.building import build_subject
from rnnspec.api.layer import prepare_check, prepare_suite
from rnnspec.cases.sizes import BEYOND_POOL, POOL, REAL_SIZES
from rnnspec.contract.kinds import KINDS, RNN
from rnnspec.engine import pace
from rnnspec.engine.capabilities import build_base_case, probe_capabilities
from rnnspec.engine.pace import Pace, measure_pace
from rnnspec.errors import SelectionError
from rnnspec.isolation.announcement import Announcement
from rnnspec.isolation.checker import Checker
from rnnspec.isolation.guard import Guard
from rnnspec.isolation.messages import CheckRange, Job, Precautions, Reported, Sampling, WriteReport
from rnnspec.options import CheckOptions, SizeSource
from rnnspec.report.console import format_headline
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.target import resolve_target

FEW: dict[str, Any] = {"profile": "quick", "rules": ("recurrence.output",)}


READING, PASS = 8e-4, 4e-5
"""The seconds by which each reading moves the clock, and so those of a pass of the reference."""


class Clock:
    """A clock that only readings and layers move."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        self.now += READING
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace, "read_processor_seconds", found.read)
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


def measure(layer: Any, kind: str = RNN.name) -> Pace | None:
    subject = build_subject(resolve_target(layer), "cpu", kind, {})
    subject = replace(subject, capabilities=probe_capabilities(subject, {}))
    return measure_pace(subject, build_base_case(subject))


def test_constructions_and_calls_are_measured_apart_from_the_reference(clock: Clock) -> None:
    found = measure(make_layer(clock, 0.05, 0.02))
    assert found is not None
    assert found.construction == pytest.approx(0.05 + READING)
    assert found.call == pytest.approx(0.02 + READING)
    assert found.reference == pytest.approx(PASS)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_cells_of_torch_are_not_slow(kind: str) -> None:
    found = measure(require_documented(KINDS[kind]), kind)
    assert found is not None
    assert not found.is_slow


def test_time_that_a_subject_waits_makes_it_no_slower() -> None:
    class Waits(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            time.sleep(0.05)
            return super().forward(input, hx)

    found = measure(Waits)
    assert found is not None
    assert found.call < 0.05


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
    assert compiled.call == pytest.approx(2.0 + READING)
    assert compiled.is_slow


def test_a_target_that_cannot_be_observed_is_not_slow() -> None:
    class Fails(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            raise ValueError("no")

    assert measure(Fails) is None


def test_a_subject_is_slow_by_the_passes_of_the_reference_in_its_time() -> None:
    assert Pace(0.05, 0.05, PASS).is_slow
    assert not Pace(0.001, 0.001, PASS).is_slow
    # On a machine that is a hundred times as slow, the same subject is as slow as before.
    assert not Pace(0.1, 0.1, 100 * PASS).is_slow


def test_sizes_of_a_slow_subject_come_from_the_pool_unless_the_user_overrides_it(
    clock: Clock,
) -> None:
    slow = make_layer(clock, 0.05, 0.05)
    suite = prepare_suite(slow, CheckOptions(**FEW))
    assert suite.sizes is SizeSource.POOL
    assert suite.remarks == (
        "the target is slow: in each case it takes more processor time than 5,000 passes of the "
        f"reference, so the {suite.size} cases have sizes from a small pool (--sizes pool). "
        "--sizes free draws all sizes",
    )
    large = {case.config.input_size for _, case in suite.draw_cases(9, None)}
    assert large <= {sizes["input_size"] for sizes in (*POOL, *BEYOND_POOL, *REAL_SIZES)} | {1}
    free = prepare_suite(slow, CheckOptions(**FEW, sizes="free"))
    assert (free.sizes, free.remarks) == (SizeSource.FREE, ())
    quick = prepare_suite(make_layer(clock, 0.001, 0.001), CheckOptions(**FEW))
    assert (quick.sizes, quick.remarks) == (SizeSource.FREE, ())


def test_a_report_names_the_source_of_sizes(clock: Clock) -> None:
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


def test_a_worker_draws_sizes_as_the_first_worker_chose() -> None:
    options = CheckOptions(**FEW, cases=14)
    job = Job("torch.nn:RNN", prepare_check, ("torch.nn:RNN", options))
    choice = Sampling("pool", ("the first worker says so",))
    connection: Any = Connection(CheckRange(9, 12, Precautions(), choice))
    guard = Guard(RawValue(Announcement), connection, 60.0, can_fork=False)
    checker = Checker(connection, job, guard)
    before = checker.suite
    with pytest.raises(EOFError):
        checker.answer_requests()
    ready, *checked, done = connection.answers
    assert (ready.size, ready.choice, done.stop) == (14, Sampling("free"), 12)
    assert checker.suite.sizes is SizeSource.POOL
    expected = replace(before, sizes=SizeSource.POOL)
    assert list(checker.suite.draw_cases(9, 12)) == list(expected.draw_cases(9, 12))
    assert list(checker.suite.draw_cases(9, 12)) != list(before.draw_cases(9, 12))
    results = [each.result for each in checked]
    connection.requests.append(WriteReport(results, False, Precautions(), choice))
    with pytest.raises(EOFError):
        checker.answer_requests()
    report = pickle.loads(next(a.report for a in connection.answers if isinstance(a, Reported)))
    assert (report.sizes, report.cases) == ("pool", 3)
    assert report.notes[-1] == "the first worker says so"
    assert torch.is_grad_enabled()


OVERRIDDEN = Path(__file__).parent / "overridden.py"


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("Fast", "pool"),
        pytest.param("Fast", "auto", marks=pytest.mark.slow),
        pytest.param("Compiled", "auto", marks=pytest.mark.slow),
    ],
)
def test_units_beyond_a_block_are_missed_wherever_sizes_come_from(name: str, sizes: str) -> None:
    report = rnnspec.check(
        f"{OVERRIDDEN}:{name}",
        profile="quick",
        rules="recurrence.h-n",
        without="packed",
        sizes=sizes,
        isolate=True,
    )
    assert report.sizes == ("pool" if name == "Compiled" else sizes.replace("auto", "free"))
    assert [fault.likely_cause for fault in report.faults] == [
        "units beyond the first 128 are zero"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["Path", "Offset", "Tail"])
@pytest.mark.parametrize("speed", ["Fast", "Compiled"])
def test_faults_beyond_a_usual_path_are_found_with_every_source_of_sizes(
    speed: str, fault: str
) -> None:
    report = rnnspec.check(
        f"{OVERRIDDEN}:{speed}{fault}",
        profile="quick",
        rules="recurrence.*",
        without="packed",
        isolate=True,
    )
    assert report.sizes == {"Fast": "free", "Compiled": "pool"}[speed]
    assert report.verdict is RunVerdict.VIOLATES
    assert {each.rule for each in report.faults} <= {"recurrence.output", "recurrence.h-n"}


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["pool", "free"])
def test_a_whole_run_has_sizes_beyond_blocks_and_one_of_fewer_cases_need_not(sizes: str) -> None:
    options: dict[str, Any] = {"profile": "quick", "rules": "recurrence.output", "sizes": sizes}
    for cases in (12, None):
        report = rnnspec.check(nn.RNN, cases=cases, **options)
        assert report.verdict is RunVerdict.CONFORMS


def test_sizes_beyond_blocks_count_where_the_rule_holds() -> None:
    """A layer that refuses large sizes openly is not known to conform there."""

    class Limited(nn.RNN):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            if self.hidden_size > 256:
                raise NotImplementedError("at most 256 units")

    report = rnnspec.check(Limited, profile="quick", rules="recurrence.output")
    [result] = report.results
    assert report.verdict is RunVerdict.INCONCLUSIVE
    assert result.verdict is Verdict.UNREACHED
    assert result.message == (
        "it held, but was never checked with hidden_size >= 257, hidden_size >= 513, "
        "(hidden_size >= 257, nonlinearity=tanh), (hidden_size >= 257, nonlinearity=relu), "
        "(hidden_size >= 257, bidirectional=False), (hidden_size >= 257, bidirectional=True) "
        "or 12 more: the constructor raised NotImplementedError: at most 256 units"
    )


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Eight processes that compute all the time."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    yield
    for each in busy:
        each.kill()
        each.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Fast", "Compiled"])
def test_a_report_does_not_depend_on_the_load(name: str, request: pytest.FixtureRequest) -> None:
    def check() -> dict[str, Any]:
        target = f"{OVERRIDDEN}:{name}"
        report = rnnspec.check(
            target, profile="quick", cases=40, rules="recurrence.h-n", isolate=True
        )
        return {**report.as_dict(), "duration_s": 0}

    alone = check()
    request.getfixturevalue("busy_machine")
    assert check() == alone
