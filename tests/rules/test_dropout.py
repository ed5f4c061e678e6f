"""The rules of dropout: each passes for torch.nn.RNN, and reports and proves a planted bug."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnspec.cases.axes import Distribution, DType, InitialState, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding, UnsupportedCase, check_case
from rnnspec.observe.observation import Observation
from rnnspec.plain.call import Here, draw_mask
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.report.program import find_program
from rnnspec.rulekit.statistics.mask_samples import sample_masks
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.bugs.planted import replace_gradient
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import (
    Fails,
    Passes,
    check_layer,
    describe_violation,
    find_applicable_cases,
    find_violation,
    make_case,
)

RAGGED: dict[str, Any] = {"layout": Layout.PACKED, "lengths": (5, 3, 1)}
TRAIN: dict[str, Any] = {"mode": Mode.TRAIN, "num_layers": 2, "dropout": 0.3}
ONE = make_case(mode=Mode.TRAIN, num_layers=3, dropout=1.0, bidirectional=True)
READ = make_case(**TRAIN, distribution=Distribution.READABLE)
DEEP = make_case(
    **{**TRAIN, "num_layers": 3},
    distribution=Distribution.READABLE,
    bidirectional=True,
    hidden_size=3,
    batch_first=True,
)
READ_PACKED = make_case(**TRAIN, distribution=Distribution.READABLE, **RAGGED, dtype=DType.FLOAT32)
READ_LSTM = make_case(kind="lstm", **TRAIN, distribution=Distribution.READABLE)
SOLVED = make_case(
    **TRAIN,
    distribution=Distribution.SOLVABLE,
    bidirectional=True,
    initial_state=InitialState.GIVEN,
)
SOLVED_RELU = make_case(
    **TRAIN,
    distribution=Distribution.SOLVABLE,
    nonlinearity="relu",
    bias=False,
    dtype=DType.FLOAT32,
    **RAGGED,
)
SOLVED_HIGH = SOLVED.replace(dropout=0.9)
DEAF = make_case(
    **{**TRAIN, "num_layers": 3}, distribution=Distribution.DEAF, initial_state=InitialState.GIVEN
)
DEAF_LOW = make_case(
    **TRAIN, distribution=Distribution.DEAF, dtype=DType.BFLOAT16, layout=Layout.UNBATCHED
)
EVAL = make_case(num_layers=2, dropout=0.3)
ZERO = make_case(num_layers=2, mode=Mode.TRAIN)
SINGLE = make_case(dropout=0.7, mode=Mode.TRAIN)

READ_HALF = make_case(
    **{**TRAIN, "num_layers": 3, "dropout": 0.5},
    distribution=Distribution.READABLE,
    dtype=DType.BFLOAT16,
    bidirectional=True,
    hidden_size=20,
)
READ_DEEP = make_case(
    **{**TRAIN, "num_layers": 11, "dropout": 0.2},
    distribution=Distribution.READABLE,
    dtype=DType.FLOAT32,
)
READ_PROJECTED = make_case(
    kind="lstm", **TRAIN, distribution=Distribution.READABLE, proj_size=3, bidirectional=True
)
SOLVED_UNHELD = make_case(
    kind="gru",
    **TRAIN,
    distribution=Distribution.SOLVABLE,
    bias=False,
    bidirectional=True,
    initial_state=InitialState.GIVEN,
)
SOLVED_PROJECTED = make_case(
    kind="lstm", **TRAIN, distribution=Distribution.SOLVABLE, bias=False, proj_size=2, **RAGGED
)
WIDENED = [READ_HALF, READ_DEEP, READ_PROJECTED, SOLVED_UNHELD, SOLVED_PROJECTED]

READ_OFF = [READ, DEEP, READ_PACKED, SOLVED, SOLVED_RELU]
SELDOM_AND_MOSTLY = [
    READ.replace(dropout=0.02),
    READ_PACKED.replace(dropout=0.98),
    SOLVED.replace(dropout=0.02),
    SOLVED_HIGH,
    SOLVED_RELU.replace(dropout=0.98),
]
PASSES: Passes = {
    "dropout.place": [*READ_OFF, *SELDOM_AND_MOSTLY, *WIDENED],
    "dropout.scale": [*READ_OFF, *SELDOM_AND_MOSTLY, *WIDENED],
    "dropout.rate": [*READ_OFF, *SELDOM_AND_MOSTLY, *WIDENED],
    "dropout.fresh-masks": READ_OFF,
    "dropout.independent": [*READ_OFF, *WIDENED],
    "dropout.eval": [
        EVAL,
        make_case(num_layers=5, dropout=1.0, **RAGGED),
        make_case(num_layers=2, dropout=0.5, dtype=DType.FLOAT16),
    ],
    "dropout.not-on-output": [DEAF, DEAF_LOW],
    "dropout.not-in-states": [DEAF, DEAF_LOW, *READ_OFF, *WIDENED],
    "dropout.p-zero": [ZERO, make_case(num_layers=3, mode=Mode.TRAIN, **RAGGED)],
    "dropout.p-one": [
        ONE,
        make_case(mode=Mode.TRAIN, num_layers=2, dropout=1.0, **RAGGED),
        make_case(mode=Mode.TRAIN, num_layers=2, dropout=1.0, dtype=DType.FLOAT16),
    ],
    "dropout.single-layer": [SINGLE, make_case(dropout=1.0, mode=Mode.TRAIN, **RAGGED)],
    "dropout.attribute-changed": [ZERO, ONE, *READ_OFF],
    "dropout.integer": [ZERO, ONE, READ, SOLVED_RELU],
    "dropout.reproducible": READ_OFF,
    "dropout.long-masks": [READ, SOLVED, READ_HALF, SOLVED_UNHELD, READ_PROJECTED],
    "dropout.backward-again": [*READ_OFF, *WIDENED],
    "dropout.backward": [
        *READ_OFF,
        *WIDENED,
        ONE,
        make_case(
            **{**TRAIN, "num_layers": 5}, distribution=Distribution.READABLE, nonlinearity="relu"
        ),
    ],
}
FAILS: Fails = [
    (
        "dropout.place",
        "DropsInput",
        SOLVED,
        r"no dropout mask between the layers explains output\[",
    ),
    ("dropout.place", "NeverDrops", READ, "the output is the same as without dropout"),
    ("dropout.place", "NeverDrops", SOLVED, "the output is the same as without dropout"),
    (
        "dropout.place",
        "DropsFirstBoundaryOnly",
        DEEP.replace(seed=1),
        "the output is the same as without dropout|no dropout mask between the layers|output",
    ),
    (
        "dropout.place",
        "DropsRecurrentState",
        SOLVED,
        r"no dropout mask between the layers explains output\[",
    ),
    (
        "dropout.place",
        "KeepsPackedWhole",
        READ_PACKED,
        "the output is the same as without dropout",
    ),
    (
        "dropout.scale",
        "NotScaled",
        SOLVED,
        r"surviving values are scaled by 1(\.0\d*)?; expected 1 / \(1 - 0.3\) = 1.42857",
    ),
    ("dropout.scale", "NotScaled", READ, r"surviving values are scaled by 1; expected 1 / \(1 - 0"),
    (
        "dropout.rate",
        "KeepsWithP",
        make_case(**{**TRAIN, "dropout": 0.7}, distribution=Distribution.SOLVABLE),
        r"\d+ of \d+ values were dropped; expected about \d+, or 70% \(probability",
    ),
    (
        "dropout.rate",
        "DropsTooMany",
        READ,
        r"\d+ of \d+ values were dropped; expected about \d+, or 30% \(probability",
    ),
    (
        "dropout.fresh-masks",
        "OneMaskForever",
        READ,
        r"(\d+) of \1 pairs of values in a call and the next call were both dropped or both kept",
    ),
    (
        "dropout.independent",
        "OneMaskForAllSteps",
        READ,
        r"(\d+) of \1 pairs of values at neighbouring steps were both dropped or both kept",
    ),
    (
        "dropout.independent",
        "OneMaskForAllSamples",
        READ,
        r"(\d+) of \1 pairs of values at neighbouring samples were both dropped or both kept",
    ),
    (
        "dropout.independent",
        "OneMaskForAllUnits",
        READ,
        r"(\d+) of \1 pairs of values at neighbouring units were both dropped or both kept",
    ),
    (
        "dropout.independent",
        "OneMaskForBothDirections",
        DEEP,
        r"(\d+) of \1 pairs of values in both directions were both dropped or both kept",
    ),
    (
        "dropout.independent",
        "OneMaskForAllLayers",
        DEEP,
        r"\b0 of \d+ values of units kept at all boundaries above|dropped at a boundary above",
    ),
    ("dropout.eval", "DropsInEval", EVAL, "output"),
    ("dropout.eval", "ScalesInEval", EVAL, "output"),
    ("dropout.not-on-output", "DropsOutput", DEAF, "output"),
    ("dropout.not-in-states", "DropsFinalState", DEAF, "h_n"),
    ("dropout.not-in-states", "DropsFinalState", SOLVED, "h_n"),
    (
        "dropout.not-in-states",
        "DropsLowerFinalStates",
        DEAF.replace(layout=Layout.PACKED, lengths=(5, 3, 1)),
        "h_n",
    ),
    ("dropout.p-zero", "ZeroMeansDefault", ZERO, "output"),
    ("dropout.p-one", "OneGivesNan", ONE, "output.* is nan, expected"),
    ("dropout.single-layer", "DropsSingleLayer", SINGLE, "output"),
    ("dropout.attribute-changed", "FixedAtConstruction", ZERO, "with dropout set to 1, output"),
    ("dropout.attribute-changed", "FixedAtConstruction", ONE, "with dropout set to 0, output"),
    ("dropout.attribute-changed", "ScaleFixedAtConstruction", SOLVED, "^with dropout set to 0.6, "),
    ("dropout.integer", "IntegerForgotten", ZERO, r"^with dropout=1, output\[0, 0, 0\] is "),
    ("dropout.scale", "NeverDropsMost", SOLVED_HIGH, r"scaled by 4; expected 1 / \(1 - 0.9\) = 10"),
    (
        "dropout.reproducible",
        "OwnGenerator",
        READ,
        "after the same seed, unit . of sample . at step . is dropped in one call and kept in the",
    ),
    ("dropout.backward", "GradientNotDropped", SOLVED, "gradient of"),
    ("dropout.backward", "GradientNotDropped", ONE, "gradient of"),
    ("dropout.backward", "GradientDroppedAfresh", SOLVED, "gradient of"),
    ("dropout.backward", "GradientAllDropped", DEEP, "gradient of"),
    ("dropout.backward", "GradientWithFirstMask", SOLVED, "gradient of"),
    ("dropout.long-masks", "MaskRepeats", READ, "pairs of values 10,007 apart, step after step, "),
    ("dropout.long-masks", "MaskRepeats", READ_HALF, "pairs of values 10,007 apart, step after "),
    ("dropout.rate", "RateInSixteenths", READ_HALF.replace(dropout=0.1), "or 10% .probability of"),
    ("dropout.backward-again", "SecondPassDropsAnew", SOLVED, "gradient of"),
    ("dropout.backward-again", "SecondPassDropsAnew", DEEP, "gradient of"),
    ("dropout.backward-again", "MaskLostInEval", SOLVED, "gradient of"),
    ("dropout.backward-again", "MaskOfLatestCall", SOLVED, "gradient of"),
    ("dropout.backward-again", "MaskOfLatestCall", READ_HALF, "gradient of"),
    ("dropout.scale", "NotScaledWithoutBiases", SOLVED_UNHELD, "scaled by 1(\\.0\\d*)?; expected"),
    ("dropout.scale", "NotScaledIn16Bits", READ_HALF, "scaled by 1(\\.0\\d*)?; expected|output"),
    ("dropout.independent", "OneMaskIn16Bits", READ_HALF, "pairs of values at neighbouring samp"),
    ("dropout.scale", "NotScaledInDeepStacks", READ_DEEP, "output"),
    ("dropout.place", "DropsBeforeProjection", READ_PROJECTED, "no dropout mask between the lay"),
    ("dropout.place", "DropsBeforeProjection", SOLVED_PROJECTED, "no dropout mask between the"),
]
IS_SLOW = True


def prove_otherwise(name: str, bug: str, near: Case, seeds: int) -> str:
    """Return the message of a violation that has a program on one of several examples."""
    finding = find_violation(name, bug, near, seeds)
    assert find_program(resolve_target(find_bank(near.config.kind).bugs[bug]), finding).source
    return finding.message


def test_the_message_gives_the_share_of_dropped_values() -> None:
    text = describe_violation("dropout.rate", "DropsTooMany", READ)
    counts = re.search(r"(\d+) of (\d+) values were dropped; expected about (\d+), or 30%", text)
    assert counts is not None
    dropped, total, expected = map(int, counts.groups())
    assert 0.34 <= dropped / total < 0.36
    assert expected == round(0.3 * total)


def drop_a_little_more(mask: Tensor, spot: Here) -> Tensor:
    rate = spot.call.dropout
    return torch.empty_like(mask).bernoulli_(1 - rate - 0.02) / (1 - rate)


class DropsALittleMore(Plain):
    """Values are dropped with a probability that is 0.02 too high."""

    changes = change_values({"mask": drop_a_little_more})


def drop_anew_in_backward(dropped: Tensor, below: Sequence[Tensor], spot: Here) -> Tensor:
    if spot.layer == 1 or not spot.call.drops:
        return dropped
    return replace_gradient(dropped, below[-1] * draw_mask(below[-1], spot.call.dropout))


class NewBackwardMaskAbove(Plain):
    """At all boundaries but the first, the backward pass draws another mask."""

    changes = change_values({"dropped": drop_anew_in_backward})


def list_findings(
    name: str, kind: type[nn.Module], near: Case, seeds: int
) -> list[Finding[Any] | UnsupportedCase]:
    """Return the findings of a rule on a layer in the first `seeds` cases that fit."""
    rule = find_layer_rule(name)
    outcomes = (
        check_case(rule, Observation(TorchSubject(resolve_target(kind)), each))
        for each in find_applicable_cases(rule, near, seeds)
    )
    return [each for each in outcomes if each is not None]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_a_rate_that_is_off_by_two_percent_is_reported_within_some_cases(p: float) -> None:
    assert list_findings("dropout.rate", DropsALittleMore, READ.replace(dropout=p), 12)
    assert not list_findings("dropout.rate", Plain, READ.replace(dropout=p), 12)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("distribution", [Distribution.READABLE, Distribution.SOLVABLE], ids=str)
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_single_kept_value_does_not_look_like_a_layer_without_dropout(
    distribution: Distribution, nonlinearity: str
) -> None:
    tiny = make_case(
        distribution=distribution,
        nonlinearity=nonlinearity,
        hidden_size=1,
        input_size=1,
        steps=1,
        batch=1,
        mode=Mode.TRAIN,
        num_layers=2,
        dtype=DType.FLOAT32,
    )
    rule = find_layer_rule("dropout.place")
    for p in (0.1, 0.7):
        for seed in range(60):
            near = tiny.replace(dropout=p, seed=3 * 7 * seed + 7)
            assert rule.when(near)
            assert check_case(rule, Observation(TorchSubject(resolve_target(nn.RNN)), near)) is None


def repeat_half(mask: Tensor, spot: Here) -> Tensor:
    """Return a mask whose first half of the time steps is that of the first call."""
    masks = spot.module.__dict__.setdefault("masks", {})
    first = masks.setdefault((spot.call.sizes, spot.layer), mask)
    half = len(mask) // 2
    return torch.cat([first[:half], mask[half:]])


def drop_the_opposite(mask: Tensor, spot: Here) -> Tensor:
    """Return a mask in which the second sample keeps the units that the first drops."""
    opposite = (mask[:, :1] == 0).to(mask) / (1 - spot.call.dropout)
    return torch.cat([mask[:, :1], opposite, mask[:, 2:]], 1)


def share_two_steps(mask: Tensor) -> Tensor:
    """Return a mask in which the second time step drops what the first drops."""
    return torch.cat([mask[:1], mask[:1], mask[2:]])


def plant(name: str, change: Callable[..., Tensor]) -> type[nn.Module]:
    """Return a class of layers that change a named value."""
    return type("Changed", (Plain,), {"changes": change_values({name: change})})


def double_above(weight: Tensor, spot: Here) -> Tensor:
    """Return a weight whose gradient is doubled above a boundary with dropout."""
    is_above = spot.layer > 0 and spot.call.drops
    return replace_gradient(weight, 2 * weight) if is_above else weight


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("rule", "layer", "near"),
    [
        ("dropout.independent", plant("mask", drop_the_opposite), READ),
        ("dropout.independent", plant("mask", share_two_steps), READ),
        ("dropout.independent", BUGS["OneMaskForBothDirections"], DEEP),
        ("dropout.rate", DropsALittleMore, READ),
        ("dropout.fresh-masks", plant("mask", repeat_half), READ),
        ("dropout.place", BUGS["DropsFinalState"], SOLVED),
        ("dropout.not-in-states", find_bank("lstm").bugs["DropsFinalState"], READ_LSTM),
        ("dropout.backward", plant("weight_ih", double_above), SOLVED),
    ],
    ids=["samples", "steps", "directions", "rate", "calls", "states", "two states", "backward"],
)
def test_a_program_shows_dropout_that_is_wrong_for_some_values(
    rule: str, layer: type[nn.Module], near: Case
) -> None:
    finding = check_layer(rule, layer, near, 12)
    assert isinstance(finding, Finding)
    assert find_program(resolve_target(layer), finding).source


class OddlyScaled(Plain):
    """Values that survive dropout are scaled by a factor that no usual mistake has."""

    changes = change_values({"mask": lambda mask: mask * 0.83})


def test_masks_that_fit_by_accident_are_not_counted() -> None:
    near = find_applicable_cases(find_layer_rule("dropout.rate"), READ)[0]
    drawn = sample_masks(Observation(TorchSubject(resolve_target(OddlyScaled)), near), 0)
    assert not drawn.known.any()
    for layer in (OddlyScaled, BUGS["NotScaled"]):
        assert not list_findings("dropout.rate", layer, READ, 3)
        assert not list_findings("dropout.rate", layer, SOLVED, 3)


def test_another_backward_mask_high_in_the_stack_is_reported() -> None:
    found = list_findings("dropout.backward", NewBackwardMaskAbove, DEEP, 12)
    assert found
    assert all(
        isinstance(each, Finding) and each.message.startswith("gradient of ") for each in found
    )


class Sealed(nn.RNN):
    """torch's layer with a dropout attribute that is not a number."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.__dict__["dropout"] = None


def test_a_layer_without_the_attribute_is_not_reported() -> None:
    findings = list_findings(
        "dropout.attribute-changed", Sealed, make_case(num_layers=2, mode=Mode.TRAIN), 1
    )
    assert findings == [UnsupportedCase("the dropout attribute of Sealed is not a number")]


def test_the_attribute_is_restored() -> None:
    near = find_applicable_cases(find_layer_rule("dropout.attribute-changed"), READ)[0]
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), near)
    assert check_case(find_layer_rule("dropout.attribute-changed"), observation) is None
    assert observation.module.dropout == 0.3


def test_every_boundary_is_sampled() -> None:
    near = make_case(**{**TRAIN, "num_layers": 5}, distribution=Distribution.READABLE)
    sampled = {
        each.boundary for each in find_applicable_cases(find_layer_rule("dropout.rate"), near, 20)
    }
    assert sampled == {0, 1, 2, 3}


def test_enough_values_are_known_if_there_are_boundaries_above() -> None:
    near = make_case(**{**TRAIN, "num_layers": 5}, distribution=Distribution.READABLE)
    known = [
        sample_masks(
            Observation(TorchSubject(resolve_target(nn.RNN)), near.replace(seed=seed)), 0
        ).known.mean()
        for seed in range(4)
    ]
    assert np.all(np.diff(known) >= 0)
    assert known[0] > 0.7
    assert known[3] == 1.0
