"""Whether TF32 is allowed is set on CUDA around everything that is computed, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from rnnspec.cases.axes import DType
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import judge_case
from rnnspec.models.infer import Interface
from rnnspec.models.observation import ModelObservation
from rnnspec.observe.observation import Observation
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

BACKENDS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
FINER: tuple[Any, ...] = (
    (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)
    if hasattr(torch.backends.cudnn, "rnn")
    else ()
)
"""What holds the settings of later releases."""


def flags() -> list[bool]:
    return [backend.allow_tf32 for backend in BACKENDS]


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The flags of the process are left as they were."""
    before = flags()
    yield
    for holder in FINER:
        holder.fp32_precision = "none"
    for backend, value in zip(BACKENDS, before, strict=True):
        backend.allow_tf32 = value


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_cuda_rounds_as_it_is_told_within_the_block(allowed: bool, before: bool) -> None:
    for backend in BACKENDS:
        backend.allow_tf32 = before
    with switch_tf32("cuda:0", tf32=allowed):
        assert flags() == [allowed] * 2
    assert flags() == [before] * 2


def test_other_devices_are_left_alone() -> None:
    before = flags()
    with switch_tf32("cpu", tf32=not before[0]):
        assert flags() == before


@pytest.mark.skipif(not FINER, reason="this release has no finer settings")
def test_a_process_that_uses_the_finer_settings_of_later_releases_is_switched_by_them() -> None:
    before = ["tf32", "ieee"]
    for holder, value in zip(FINER, before, strict=True):
        holder.fp32_precision = value
    for allowed in (True, False):
        with switch_tf32("cuda", tf32=allowed):
            assert [holder.fp32_precision for holder in FINER] == [
                "tf32" if allowed else "ieee"
            ] * 2
        assert [holder.fp32_precision for holder in FINER] == before


@pytest.mark.parametrize("told", ["ieee", "tf32"])
def test_a_rule_judges_under_the_arithmetic_of_its_case(told: str) -> None:
    seen: list[list[bool]] = []
    rule = replace(find_layer_rule("recurrence.output"), check=lambda given: seen.append(flags()))
    case = Case(config=Config(2, 3), dtype=DType.FLOAT32, arithmetic=told)
    assert (
        judge_case(rule, Observation(TorchSubject(resolve_target(torch.nn.RNN), "cuda:0"), case))
        is None
    )
    assert seen == [[told == "tf32"] * 2]


def test_a_model_is_judged_without_tf32() -> None:
    with ModelObservation(torch.nn.Identity, Interface(features=2), device="cuda").surroundings():
        assert flags() == [False, False]
