"""Tests of the threads that a check in the caller's process uses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

import rnnspec
from rnnspec.subjects.threads import use_one_thread

seen: set[int] = set()


class Recorder(nn.RNN):
    """Records the number of threads of each of its calls."""

    def forward(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        seen.add(torch.get_num_threads())
        return super().forward(*args, **kwargs)


@pytest.fixture(autouse=True)
def _caller_uses_two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    seen.clear()
    with threadpool_limits(limits=2):
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(before)


def read_blas_threads() -> set[int]:
    assert np.linalg.norm(np.ones(2))  # loads the library
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_check_in_the_callers_process_uses_one_thread_and_restores_the_callers_number() -> None:
    report = rnnspec.check(Recorder, rules=["recurrence.h-n"], cases=5, isolate=False)
    assert report.kind == "rnn"
    assert seen == {1}
    assert torch.get_num_threads() == 2


def test_linear_algebra_uses_one_thread_too() -> None:
    assert read_blas_threads() == {2}
    with use_one_thread():
        assert read_blas_threads() == {1}
    assert read_blas_threads() == {2}


def test_the_callers_number_is_restored_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), use_one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2
