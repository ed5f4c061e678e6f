"""The rules about building a layer: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.cases.axes import (
    ConstructorStyle,
    DType,
    EarlierCalls,
    Feature,
    Layout,
    Mode,
    ModuleUses,
)
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding, FindingKind, UnsupportedCase
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import (
    ConstructorCall,
    call_constructor,
    pick_values,
    plan_constructor_call,
)
from rnnspec.rulekit.rejections import constructors
from rnnspec.selftest import BUGS
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.release import is_promised
from rnnspec.subjects.subject import Capabilities, TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.releases import skip_unless_promised
from tests.rules.checking import check_layer, make_case

WIDE = make_case(
    num_layers=2, nonlinearity="relu", bias=False, bidirectional=True, batch_first=True
)
KEYWORDS = {"constructor_style": ConstructorStyle.KEYWORDS}
POSITIONAL = {"constructor_style": ConstructorStyle.POSITIONAL}
PASSES: dict[str, list[Case]] = {
    "construction.keywords": [
        make_case(**KEYWORDS),
        WIDE.replace(**KEYWORDS),
        make_case(layout=Layout.UNBATCHED, prior_use=EarlierCalls.CALLED, **KEYWORDS),
    ],
    "construction.positional": [
        make_case(**POSITIONAL),
        WIDE.replace(**POSITIONAL),
        make_case(layout=Layout.PACKED, lengths=(5, 4, 2), **POSITIONAL),
    ],
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
    "construction.dropout-exception-type": [make_case(), WIDE],
    "construction.default-device": [make_case(), WIDE],
    "construction.size-attributes": [
        make_case(),
        WIDE,
        make_case(num_layers=2, prior_use=ModuleUses.DEEPCOPIED),
    ],
}
FAILS = [
    (
        "construction.keywords",
        "LayersByPositionOnly",
        make_case(num_layers=2, **KEYWORDS),
        r"with every argument passed by keyword: the state_dict has no weight_ih_l1",
    ),
    (
        "construction.keywords",
        "ShortSizeNames",
        make_case(**KEYWORDS),
        r"with every argument passed by keyword: the constructor raised TypeError: .*'i' and 'h'",
    ),
    (
        "construction.keywords",
        "BidirectionalLostBesideRelu",
        WIDE.replace(**KEYWORDS),
        r"with every argument passed by keyword: the state_dict has no weight_ih_l0_reverse",
    ),
    (
        "construction.positional",
        "NonlinearityByNameOnly",
        make_case(nonlinearity="relu", **POSITIONAL),
        r"with every argument passed by position: output\[0, 0",
    ),
    (
        "construction.positional",
        "BatchFirstBeforeBias",
        make_case(**POSITIONAL),
        "with every argument passed by position: ",
    ),
    (
        "construction.defaults",
        "BiasOffByDefault",
        make_case(),
        "with default values left out: the state_dict has no bias_ih_l0",
    ),
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
        "the attribute nonlinearity is '', expected 'tanh'",
    ),
    (
        "construction.single-layer-dropout-warns",
        "SilentSingleLayer",
        make_case(),
        r"build\(3, 4, dropout=.*, num_layers=1\) gave no warning, expected one",
    ),
    (
        "construction.refuses-sizes",
        "ZeroInputSizeAccepted",
        make_case(),
        "input_size=0 is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-types",
        "FloatSizesAccepted",
        make_case(),
        r"_size=[24].[05] is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-types",
        "FlagsByTruth",
        make_case(),
        "(bias|batch_first)=.* is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-nonlinearity",
        "UnknownNonlinearityIsRelu",
        make_case(),
        "nonlinearity=.* is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-dropout",
        "DropoutUnchecked",
        make_case(),
        "dropout=.* is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-proj-size",
        "ProjectionIgnored",
        make_case(),
        r"proj_size=\d is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-sizes",
        "LayersCheckedLate",
        make_case(),
        "num_layers=.* is accepted by the constructor, expected an exception",
    ),
    (
        "construction.refuses-types",
        "FlagsCheckedLate",
        make_case(),
        "(bias|batch_first)=.* is accepted by the constructor, expected an exception",
    ),
    (
        "construction.device-and-dtype",
        "DeviceObjectIgnored",
        make_case(),
        "weight_ih_l0 is on cpu, expected meta",
    ),
    (
        "construction.default-device",
        "BuiltOnCpu",
        make_case(),
        "weight_ih_l0 is on cpu, expected meta",
    ),
    (
        "construction.size-attributes",
        "HiddenSizeCountsDirections",
        WIDE,
        "the attribute hidden_size is 8, expected 4",
    ),
    (
        "construction.dropout-exception-type",
        "DropoutAsserted",
        make_case(),
        "`dropout=.*` should raise ValueError; it raised AssertionError",
    ),
    (
        "construction.exception-types",
        "SizesAsserted",
        make_case(),
        r"`.*` should raise (Type|Value)Error; it raised AssertionError",
    ),
]
SEEDS = 12


WITHOUT_BIAS = Capabilities({Feature.BIAS: "no bias argument"})


def observe(factory: Any, near: Case | None = None, **others: Any) -> Observation:
    """Return an observation of a factory; `others` are arguments of TorchSubject."""
    return Observation(TorchSubject(resolve_target(factory), **others), near or make_case())


def test_an_example_that_raises_is_reported() -> None:
    finding = check_layer(
        "construction.documented-example", BUGS["LayersByNameOnly"], make_case(), seeds=12
    )
    assert isinstance(finding, Finding)
    assert finding.kind is FindingKind.SUBJECT_ERROR
    assert finding.message.startswith("the example raised RuntimeError: hx must have shape")


@pytest.mark.slow
def test_keywords_are_the_first_cause_if_the_sizes_have_other_names() -> None:
    report = rnnspec.check(BUGS["ShortSizeNames"], profile="quick")
    first = next(result for result in report.results if result.is_broken)
    assert first.rule == "construction.keywords"
    assert first.caused_by is None
    assert "the constructor raised TypeError" in first.message


def test_a_fault_in_every_constructor_style_is_left_to_other_rules() -> None:
    """If results are wrong in every style, keywords, order and defaults are not at fault."""
    for name, style in (
        ("construction.keywords", ConstructorStyle.KEYWORDS),
        ("construction.positional", ConstructorStyle.POSITIONAL),
        ("construction.defaults", ConstructorStyle.CHANGED),
    ):
        near = make_case(constructor_style=style)
        assert check_layer(name, BUGS["HiddenBiasLost"], near) is None


def test_the_default_dtype_is_restored() -> None:
    assert isinstance(
        check_layer("construction.default-dtype", BUGS["AlwaysSinglePrecision"], make_case()),
        Finding,
    )
    assert torch.get_default_dtype() == torch.float32


def test_a_constructor_call_is_written_as_code() -> None:
    assert (
        str(ConstructorCall((3, 4), {"bias": False, "nonlinearity": "relu"}))
        == "build(3, 4, bias=False, nonlinearity='relu')"
    )


def test_unsupported_arguments_are_left_out_and_fixed_ones_added() -> None:
    observation = observe(nn.RNN, WIDE, fixed={"bidirectional": True}, capabilities=WITHOUT_BIAS)
    assert (
        str(plan_constructor_call(observation, hidden_size=0))
        == "build(3, 0, num_layers=2, nonlinearity='relu', batch_first=True, bidirectional=True)"
    )


def build_from_sizes(*sizes: int, **others: Any) -> nn.Module:
    """Return a layer; anything but sizes raises NotImplementedError."""
    if others:
        raise NotImplementedError(f"no {next(iter(others))}")
    return nn.RNN(*sizes)


def test_not_implemented_does_not_count_as_a_rejection() -> None:
    with pytest.raises(Unsupported, match="no dropout"):
        call_constructor(observe(build_from_sizes), ConstructorCall((3, 4), {"dropout": 2.0}))
    kind: Any = build_from_sizes
    outcome = check_layer("construction.refuses-dropout", kind, make_case())
    assert isinstance(outcome, UnsupportedCase)


def test_arguments_of_later_clauses_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constructors, "is_promised", lambda clause, kind: "hidden" in clause)
    kind = replace(constructors.SIZES, count=9)
    tried = constructors.choose_arguments(observe(nn.RNN), kind)
    assert {argument.name for argument in tried} == {"hidden_size"}


def test_unsupported_arguments_are_not_tried() -> None:
    skip_unless_promised("rnn.args.sizes.integers", "rnn.args.batch-first.bool")
    kind = replace(constructors.TYPES, count=99)
    tried = constructors.choose_arguments(observe(nn.RNN, capabilities=WITHOUT_BIAS), kind)
    assert {argument.name for argument in tried} == {"input_size", "hidden_size", "batch_first"}


def test_seeds_pick_every_value() -> None:
    values = list(range(7))
    chosen = {
        value
        for seed in range(7)
        for value in pick_values(observe(nn.RNN, make_case(seed=seed)), values, 2)
    }
    assert chosen == set(values)


def test_the_installed_torch_promises_an_old_clause() -> None:
    assert is_promised("rnn.args.dropout.range")
