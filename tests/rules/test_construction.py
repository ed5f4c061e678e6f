"""The rules of construction: each passes for torch.nn.RNN and tells what a planted bug does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.cases.axes import DType, EarlierCalls, Layout, Mode, ModuleUses
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding, UnsupportedCase
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import (
    ConstructorCall,
    call_constructor,
    pick_values,
    plan_constructor_call,
)
from rnnspec.rulekit.rejections import constructors
from rnnspec.rulekit.rule import REGISTRY, Theme
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.release import is_promised
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.releases import skip_unless_promised
from tests.rules.judged import make_case, judge_layer
from tests.rules.proven import prove_violation

WIDE = make_case(num_layers=2, nonlinearity="relu", bias=False, bidirectional=True, batch_first=True)
PASSES: dict[str, list[Case]] = {
    "construction.keywords": [make_case(), WIDE, make_case(layout=Layout.UNBATCHED, prior_use=EarlierCalls.CALLED)],
    "construction.positional": [make_case(), WIDE, make_case(layout=Layout.PACKED, lengths=(5, 4, 2))],
    "construction.defaults": [make_case(), WIDE, make_case(num_layers=2, mode=Mode.TRAIN)],
    "construction.documented-example": [make_case(), make_case(dtype=DType.BFLOAT16)],
    "construction.device-and-dtype": [make_case(), WIDE],
    "construction.default-dtype": [make_case(), WIDE],
    "construction.nonlinearity-attribute": [
        make_case(),
        WIDE,
        make_case(nonlinearity="relu", prior_use=ModuleUses.DEEPCOPIED),
    ],
    "construction.single-layer-dropout-warns": [make_case(), WIDE],
    "construction.refuses-sizes": [make_case(), WIDE],
    "construction.refuses-types": [make_case(), WIDE],
    "construction.refuses-nonlinearity": [make_case(), WIDE],
    "construction.refuses-dropout": [make_case(), WIDE],
    "construction.refuses-proj-size": [make_case(), WIDE],
    "construction.exception-types": [make_case(), WIDE],
}
FAILS = [
    (
        "construction.keywords",
        "LayersByPositionOnly",
        make_case(num_layers=2),
        r"built by keyword: the state_dict has no weight_ih_l1",
    ),
    (
        "construction.keywords",
        "BidirectionalLostBesideRelu",
        WIDE,
        r"built by keyword: the state_dict has no weight_ih_l0_reverse",
    ),
    (
        "construction.positional",
        "NonlinearityByNameOnly",
        make_case(nonlinearity="relu"),
        r"built by position: output\[0, 0",
    ),
    ("construction.positional", "BatchFirstBeforeBias", make_case(), "built by position: "),
    (
        "construction.defaults",
        "BiasOffByDefault",
        make_case(),
        "built with defaults: the state_dict has no bias_ih_l0",
    ),
    ("construction.documented-example", "LayersByNameOnly", make_case(), r"the example"),
    (
        "construction.device-and-dtype",
        "DtypeIgnored",
        make_case(),
        r"weight_ih_l0 is torch.float32, expected torch.(float64|bfloat16|float16)",
    ),
    (
        "construction.device-and-dtype",
        "DeviceIgnored",
        make_case(),
        "weight_ih_l0 is on cpu, expected meta",
    ),
    (
        "construction.device-and-dtype",
        "ReverseInDefaultDtype",
        WIDE,
        "weight_ih_l0_reverse is torch.float32",
    ),
    (
        "construction.default-dtype",
        "AlwaysSinglePrecision",
        make_case(),
        "weight_ih_l0 is torch.float32, expected torch.float64",
    ),
    (
        "construction.nonlinearity-attribute",
        "NonlinearityForgotten",
        make_case(),
        "nonlinearity reads '', expected 'tanh'",
    ),
    (
        "construction.single-layer-dropout-warns",
        "SilentSingleLayer",
        make_case(),
        r"build\(3, 4, dropout=.*, num_layers=1\) gave no warning",
    ),
    ("construction.refuses-sizes", "ZeroInputSizeAccepted", make_case(), "input_size=0 is accepted"),
    ("construction.refuses-types", "FloatSizesAccepted", make_case(), r"_size=[24].[05] is accepted"),
    ("construction.refuses-types", "FlagsByTruth", make_case(), "(bias|batch_first)=.* is accepted"),
    (
        "construction.refuses-nonlinearity",
        "UnknownNonlinearityIsRelu",
        make_case(),
        "nonlinearity=.* is accepted by the constructor",
    ),
    (
        "construction.refuses-dropout",
        "DropoutUnchecked",
        make_case(),
        "dropout=.* is accepted by the constructor",
    ),
    ("construction.refuses-proj-size", "ProjectionIgnored", make_case(), r"proj_size=\d is accepted"),
    (
        "construction.exception-types",
        "SizesAsserted",
        make_case(),
        r"raised AssertionError, (Type|Value)Error is due",
    ),
]


def observed(factory: Any, near: Case | None = None, **others: Any) -> Observation:
    return Observation(TorchSubject(resolve_target(factory), **others), near or make_case())


@pytest.mark.parametrize("name", PASSES)
def test_torch_passes(name: str) -> None:
    assert [judge_layer(name, nn.RNN, near) for near in PASSES[name]] == [None] * len(PASSES[name])


@pytest.mark.parametrize(
    ("name", "bug", "near", "text"), FAILS, ids=[f"{name}-{bug}" for name, bug, _, _ in FAILS]
)
def test_a_planted_bug_is_told_and_proven(name: str, bug: str, near: Case, text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(prove_violation(name, bug, near, seeds=12))


def test_every_rule_is_tried() -> None:
    find_layer_rule("construction.keywords")
    assert (
        {rule.id for rule in REGISTRY[Theme.CONSTRUCTION]} == set(PASSES) == {name for name, *_ in FAILS}
    )


def test_a_fault_of_every_way_of_building_is_not_blamed_on_one() -> None:
    """A layer that computes wrongly however it is built is no matter of keywords, order or defaults."""
    from rnnspec.selftest import BUGS

    for name in ("construction.keywords", "construction.positional", "construction.defaults"):
        assert judge_layer(name, BUGS["HiddenBiasLost"], make_case()) is None


def test_the_default_dtype_is_given_back() -> None:
    from rnnspec.selftest import BUGS

    assert isinstance(
        judge_layer("construction.default-dtype", BUGS["AlwaysSinglePrecision"], make_case()), Finding
    )
    assert torch.get_default_dtype() == torch.float32


def test_a_construction_is_written_as_a_call() -> None:
    assert (
        str(ConstructorCall((3, 4), {"bias": False, "nonlinearity": "relu"}))
        == "build(3, 4, bias=False, nonlinearity='relu')"
    )


def test_a_construction_leaves_out_what_is_refused_and_adds_what_is_fixed() -> None:
    seen = observed(nn.RNN, WIDE, fixed={"bidirectional": True}, refused={"bias": "no biases"})
    assert (
        str(plan_constructor_call(seen, hidden_size=0))
        == "build(3, 0, num_layers=2, nonlinearity='relu', batch_first=True, bidirectional=True)"
    )


def refusing(*sizes: int, **others: Any) -> nn.Module:
    """A layer that takes sizes alone and says so."""
    if others:
        raise NotImplementedError(f"no {next(iter(others))}")
    return nn.RNN(*sizes)


def test_an_open_refusal_is_no_refusal_of_a_wrong_value() -> None:
    with pytest.raises(Unsupported, match="no dropout"):
        call_constructor(observed(refusing), ConstructorCall((3, 4), {"dropout": 2.0}))
    assert isinstance(judge_layer("construction.refuses-dropout", refusing, make_case()), UnsupportedCase)  # type: ignore[arg-type]


def test_a_wrong_value_that_only_a_call_refuses_is_refused() -> None:
    class Late(nn.RNN):
        def __init__(self, input_size: int, hidden_size: int, *args: Any, **others: Any) -> None:
            super().__init__(max(input_size, 1), max(hidden_size, 1), *args, **others)
            self.wrong = min(input_size, hidden_size) < 1

        def forward(self, *given: Any) -> Any:
            if self.wrong:
                raise RuntimeError("no features")
            return super().forward(*given)

    assert judge_layer("construction.refuses-sizes", Late, make_case(), seeds=12) is None


def test_wrong_values_of_clauses_that_came_later_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constructors, "is_promised", lambda clause: "hidden" in clause)
    tried = constructors.try_argument(observed(nn.RNN), constructors.SIZES, 9)
    assert {wrong.name for wrong in tried} == {"hidden_size"}


def test_what_a_subject_refuses_is_not_tried() -> None:
    skip_unless_promised("rnn.args.sizes.integers", "rnn.args.batch-first.bool")
    tried = constructors.try_argument(
        observed(nn.RNN, refused={"bias": "none"}), constructors.TYPES, 99
    )
    assert {wrong.name for wrong in tried} == {"input_size", "hidden_size", "batch_first"}


def test_all_wrong_values_are_tried_over_a_run() -> None:
    values = list(range(7))
    chosen = {
        value
        for seed in range(7)
        for value in pick_values(observed(nn.RNN, make_case(seed=seed)), values, 2)
    }
    assert chosen == set(values)


def test_the_installed_torch_promises_what_is_old() -> None:
    assert is_promised("rnn.args.dropout.range")
