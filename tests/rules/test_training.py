"""The rules about gradients in training programs pass for torch.nn.RNN and report planted bugs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnspec.cases.axes import Distribution, DType, InitialState, Layout, MemoryLayout, ModuleUses
from rnnspec.engine.outcome import Finding, check_case
from rnnspec.observe.observation import Observation
from rnnspec.reference.values import change_values
from rnnspec.rulekit.fixtures.training import Loss
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS, Plain
from rnnspec.selftest.bugs.states import keep_states
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, describe_violation, make_case

GIVEN = make_case(initial_state=InitialState.GIVEN, num_layers=2)
LSTM_CELL = make_case(kind="lstm-cell", steps=1, initial_state=InitialState.GIVEN)
RAGGED = make_case(
    layout=Layout.PACKED_UNSORTED,
    lengths=(2, 5, 1),
    bidirectional=True,
    initial_state=InitialState.GIVEN,
)
SINGLE = make_case(layout=Layout.UNBATCHED, initial_state=InitialState.GIVEN)
PASSES: Passes = {
    "gradients.loop": [
        make_case(kind=kind, steps=1) for kind in ("rnn-cell", "gru-cell", "lstm-cell")
    ],
    "gradients.summed-loss": [
        GIVEN,
        RAGGED,
        SINGLE,
        make_case(dtype=DType.BFLOAT16),
        make_case(nonlinearity="relu", distribution=Distribution.INTEGER),
        make_case(prior_use=ModuleUses.FUNCTIONAL, memory_layout=MemoryLayout.EXPANDED),
    ],
    "gradients.zero-state": [
        GIVEN,
        RAGGED,
        SINGLE,
        LSTM_CELL,
        make_case(kind="lstm", proj_size=2, bidirectional=True, batch_first=True),
    ],
    "gradients.learned-state": [
        GIVEN,
        RAGGED,
        SINGLE,
        GIVEN.replace(dtype=DType.FLOAT32, memory_layout=MemoryLayout.EXPANDED),
    ],
    "gradients.across-calls": [
        GIVEN,
        SINGLE,
        make_case(batch_first=True, steps=2),
        make_case(nonlinearity="relu", distribution=Distribution.LARGE, steps=12),
        make_case(prior_use=ModuleUses.FUNCTIONAL, memory_layout=MemoryLayout.SLICED),
    ],
    "gradients.detached-state": [GIVEN, RAGGED, SINGLE, make_case(dtype=DType.FLOAT16)],
}
FAILS: Fails = [
    (
        "gradients.loop",
        "OwnStateDetached",
        make_case(kind="rnn-cell", steps=1),
        r"^in a loop, gradient of input\[",
    ),
    (
        "gradients.loop",
        "DetachedAfter16Steps",
        make_case(kind="rnn-cell", steps=1),
        r"^in a loop, gradient of input\[",
    ),
    ("gradients.summed-loss", "SummedLossReadOnce", make_case(), "gradient of input"),
    (
        "gradients.learned-state",
        "ComputedStateDetached",
        GIVEN,
        r"^gradient of the parameter that h_0 is computed from\[0, 0, 0\] is 0, expected",
    ),
    ("gradients.zero-state", "ZerosTakenForAbsent", GIVEN, "gradient of h_0"),
    ("gradients.zero-state", "ZerosTakenForAbsent", LSTM_CELL, "gradient of h_0"),
    ("gradients.zero-state", "ParametersDetached", SINGLE, "gradient of h_0"),
    ("gradients.learned-state", "ComputedStateDetached", SINGLE, "is computed from"),
    ("gradients.learned-state", "InitialStatesDetached", LSTM_CELL, "are computed from"),
    ("gradients.across-calls", "CarriedStateDetached", make_case(), "gradient of input"),
    (
        "gradients.detached-state",
        "LastStateKept",
        make_case(),
        "^the gradient of a call passes the detached state that it starts from, into the call "
        "before; expected none$",
    ),
    (
        "gradients.detached-state",
        "LastStateKept",
        make_case(layout=Layout.PACKED, lengths=(5, 2, 1), bidirectional=True),
        "expected none$",
    ),
]


def test_a_state_that_is_detached_only_if_it_was_returned_leaves_learned_states_alone() -> None:
    assert check_layer("gradients.learned-state", BUGS["CarriedStateDetached"], GIVEN) is None


def test_a_state_that_was_computed_is_carried_too() -> None:
    assert "gradient of" in describe_violation(
        "gradients.across-calls", "ComputedStateDetached", make_case()
    )


@pytest.mark.parametrize("loss", Loss)
def test_the_cotangents_are_the_derivatives_of_the_loss(loss: Loss) -> None:
    case = make_case(num_layers=2, bidirectional=True)
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), case)
    tensors = [observation.call.output_tensor, observation.call.state_tensors["h_n"]]
    found = torch.autograd.grad(loss.compute(observation.call), tensors, materialize_grads=True)
    made = loss.make_cotangents(observation)
    for gradient, name in zip(found, ("d_output", "d_final"), strict=True):
        torch.testing.assert_close(gradient, torch.from_numpy(made[name]))


def test_every_loss_is_drawn() -> None:
    subject = TorchSubject(resolve_target(nn.RNN))
    observations = [Observation(subject, make_case(seed=seed)) for seed in range(8)]
    assert {Loss.choose(each) for each in observations} == set(Loss)


class StatesOfItsOwn(Plain):
    """A layer that keeps a copy of the last states, and never uses it."""

    changes = change_values({"final": keep_states})


def test_states_that_are_only_kept_pass() -> None:
    assert check_layer("gradients.detached-state", StatesOfItsOwn, GIVEN) is None


def test_calls_of_other_rules_do_not_come_between_two_calls() -> None:
    case = make_case()
    observation = Observation(TorchSubject(resolve_target(BUGS["LastStateKept"])), case)
    _ = observation.call, observation.second_call().call
    finding = check_case(find_layer_rule("gradients.detached-state"), observation)
    assert isinstance(finding, Finding)
