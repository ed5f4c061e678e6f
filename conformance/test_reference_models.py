"""Check that the reference models follow the rules of models on the CPU and, if available, on CUDA.

Every rule is a test of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from rnnspec.api.model import check_model
from rnnspec.models import RNN1, RNN2, DeepBiRNN
from rnnspec.report.data import Verdict
from rnnspec.testing.layer import RuleTest
from rnnspec.testing.model import model_conformance

rnn1 = partial(RNN1, 10, 4, 10, 1)
rnn2 = partial(RNN2, 10, 4, 10, 1)
deep_every_step = partial(DeepBiRNN, 100, 50, 20, 1, 2, output_all_timesteps=True)
deep_final_states = partial(DeepBiRNN, 100, 50, 20, 1, 2, readout="final-states")
deep_as_printed = partial(DeepBiRNN, 100, 50, 20, 1, 2)

MODELS: dict[str, Callable[..., torch.nn.Module]] = {
    "RNN1": rnn1,
    "RNN2": rnn2,
    "DeepBiRNN every step": deep_every_step,
    "DeepBiRNN final states": deep_final_states,
}


@model_conformance(rnn1, strict=True)
def test_rnn1(rule: RuleTest) -> None:
    rule.check()


@model_conformance(rnn2, strict=True)
def test_rnn2(rule: RuleTest) -> None:
    rule.check()


@model_conformance(deep_every_step, strict=True)
def test_deep_birnn_every_step(rule: RuleTest) -> None:
    rule.check()


@model_conformance(deep_final_states, strict=True)
def test_deep_birnn_final_states(rule: RuleTest) -> None:
    rule.check()


def test_deep_birnn_as_printed_breaks_only_one_should() -> None:
    report = check_model(deep_as_printed, profile="quick")
    assert report.ok
    assert [result.rule for result in report.results if result.verdict is Verdict.FAIL] == [
        "readout.complete"
    ]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_reference_model_on_cuda(name: str) -> None:
    report = check_model(MODELS[name], profile="quick", device="cuda", strict=True)
    assert report.ok, [f"{result.rule}: {result.message}" for result in report.violations]
