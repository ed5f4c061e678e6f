"""TF32 on CUDA: allowed or forbidden while a case is computed, and restored afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from rnnspec.cases.axes import DType, Float32Precision
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import check_case
from rnnspec.models.infer import Interface
from rnnspec.models.observation import ModelObservation
from rnnspec.observe.observation import Observation
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.subjects.precision import forbid_cudnn, switch_tf32
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

BACKENDS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
FINER: tuple[Any, ...] = (
    (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)
    if hasattr(torch.backends.cudnn, "rnn")
    else ()
)
"""The objects that have the settings of later releases."""


def read_flags() -> list[bool]:
    return [backend.allow_tf32 for backend in BACKENDS]


@pytest.fixture(autouse=True)
def restore_flags() -> Iterator[None]:
    """Restore the settings of the process after each test."""
    before = read_flags()
    yield
    for holder in FINER:
        holder.fp32_precision = "none"
    for backend, value in zip(BACKENDS, before, strict=True):
        backend.allow_tf32 = value


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_tf32_on_cuda_is_allowed_or_forbidden_within_the_block(allowed: bool, before: bool) -> None:
    for backend in BACKENDS:
        backend.allow_tf32 = before
    with switch_tf32("cuda:0", tf32=allowed):
        assert read_flags() == [allowed] * 2
    assert read_flags() == [before] * 2


def test_nothing_is_changed_for_other_devices() -> None:
    before = read_flags()
    with switch_tf32("cpu", tf32=not before[0]):
        assert read_flags() == before


@pytest.mark.skipif(not FINER, reason="this release has no finer settings")
def test_the_settings_of_later_releases_are_switched_if_the_process_has_set_them() -> None:
    before = ["tf32", "ieee"]
    for holder, value in zip(FINER, before, strict=True):
        holder.fp32_precision = value
    for allowed in (True, False):
        with switch_tf32("cuda", tf32=allowed):
            assert [holder.fp32_precision for holder in FINER] == [
                "tf32" if allowed else "ieee"
            ] * 2
        assert [holder.fp32_precision for holder in FINER] == before


@pytest.mark.parametrize("precision", Float32Precision, ids=str)
def test_a_rule_is_checked_with_the_float32_precision_of_the_case(
    precision: Float32Precision,
) -> None:
    read: list[list[bool]] = []
    rule = replace(
        find_layer_rule("recurrence.output"),
        check=lambda observation: read.append(read_flags()),
    )
    case = Case(config=Config(2, 3), dtype=DType.FLOAT32, float32_precision=precision)
    subject = TorchSubject(resolve_target(torch.nn.RNN), "cuda:0")
    assert check_case(rule, Observation(subject, case)) is None
    assert read == [[precision is Float32Precision.TF32] * 2]


def test_a_model_is_checked_without_tf32() -> None:
    with ModelObservation(torch.nn.Identity, Interface(features=2), device="cuda").surroundings():
        assert read_flags() == [False, False]


def test_cudnn_is_forbidden_within_the_block_and_tf32_is_not_changed() -> None:
    for backend in BACKENDS:
        backend.allow_tf32 = False
    with forbid_cudnn():
        assert not torch.backends.cudnn.enabled
        assert read_flags() == [False, False]
    assert torch.backends.cudnn.enabled


@pytest.mark.skipif(not FINER, reason="this release has no finer settings")
def test_cudnn_is_forbidden_in_a_process_that_has_set_the_precision_of_recurrent_layers() -> None:
    _, layers = FINER
    layers.fp32_precision = "ieee"
    with forbid_cudnn():
        assert not torch.backends.cudnn.enabled
    assert layers.fp32_precision == "ieee"


def test_reading_the_settings_gives_no_warning() -> None:
    """The first reading of the precision of products does, in torch 2.9."""
    script = "import warnings; from rnnspec.subjects.settings import read_settings as read; "
    script += "warnings.simplefilter('error'); read()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
