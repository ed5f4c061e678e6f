"""The bank: correct layers equal torch.nn.RNN, and every planted bug shows and names its rule."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec import selftest
from rnnspec.contract.kinds import KINDS
from rnnspec.plain import checks
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import (
    BUGS,
    CORRECT,
    Plain,
    find_named_rule,
    find_public_report,
    is_narrow,
    read_story,
)
from rnnspec.selftest.bank import list_good_names
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.correct_torch import AsOnCuda
from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_bugs import BUGS as MODEL_BUGS
from tests.releases import skip_unless_promised
from tests.selftest.calls import (
    Kind,
    are_same,
    build_layer,
    compute_gradients,
    make_inputs,
    pack_input,
    probe_call,
    record_outcome,
)
from tests.selftest.probes import probe_constructor, probe_rejection, restore_settings
from tests.selftest.shown_by import SHOWN_BY

THEMES = {
    "construction",
    "parameters",
    "layouts",
    "shapes",
    "directions",
    "recurrence",
    "stacking",
    "states",
    "nonlinearity",
    "samples",
} | {*("dropout", "packed", "gradients", "side-effects", "modules", "modes", "errors")}
CONFIGURATIONS = [
    {
        "num_layers": layers,
        "bidirectional": both,
        "bias": bias,
        "batch_first": first,
        "nonlinearity": nonlinearity,
    }
    for layers, both, bias, first, nonlinearity in itertools.product(
        (1, 3), (False, True), (False, True), (False, True), ("tanh", "relu")
    )
]
USUAL = [*CONFIGURATIONS[::11], CONFIGURATIONS[-1]]
"""Configurations with both values of every argument; compiled layers are compiled for each."""
LAYOUTS = ("batched", "unbatched", "packed", "unsorted")

CONSTRUCTIONS = {
    "input_size 0": probe_constructor(0, 4),
    "hidden_size 0": probe_constructor(3, 0),
    "num_layers 0": probe_constructor(3, 4, 0),
    "negative": probe_constructor(-1, 4),
    "float size": probe_constructor(3.0, 4),
    "word for a size": probe_constructor("3", 4),
    "int for bias": probe_constructor(3, 4, bias=1),
    "int for batch_first": probe_constructor(3, 4, batch_first=0),
    "nonlinearity": probe_constructor(3, 4, nonlinearity="sin"),
    "no nonlinearity": probe_constructor(3, 4, nonlinearity=None),
    "dropout above 1": probe_constructor(3, 4, dropout=1.5),
    "negative dropout": probe_constructor(3, 4, dropout=-0.1),
    "dropout as flag": probe_constructor(3, 4, dropout=True),
    "no dropout": probe_constructor(3, 4, dropout=None),
    "NaN for dropout": probe_constructor(3, 4, dropout=float("nan")),
    "one layer": probe_constructor(3, 4, dropout=0.5),
    "all by position": probe_constructor(3, 4, 2, "relu", False, True, 0.5, True),
    "dtype": probe_constructor(3, 4, 2, bidirectional=True, dtype=torch.bfloat16),
    "meta": probe_constructor(3, 4, device="meta"),
    "unknown keyword": probe_constructor(3, 4, project=3),
}

DOCUMENTED_LATER = {
    "input_size 0": "rnn.args.sizes.input-size-positive",
    "negative": "rnn.args.sizes.input-size-positive",
    "int for bias": "rnn.args.bias.bool",
    "int for batch_first": "rnn.args.batch-first.bool",
    "all by position": "rnn.args.order",
}
"""The clauses of constructions that not every release of torch documents."""

REJECTIONS = {
    "features": probe_rejection((5, 3, 4)),
    "one feature": probe_rejection((5, 3, 1)),
    "1-D": probe_rejection((3,)),
    "4-D": probe_rejection((5, 2, 3, 3)),
    "flat state": probe_rejection((5, 3, 3), (2, 4)),
    "batched state": probe_rejection((5, 3), (2, 1, 4)),
    "state of four axes": probe_rejection((5, 3, 3), (1, 2, 3, 4)),
    "too many layers": probe_rejection((5, 3, 3), (3, 3, 4)),
    "too few layers": probe_rejection((5, 3, 3), (1, 3, 4)),
    "other batch": probe_rejection((5, 3, 3), (2, 2, 4)),
    "batch of one": probe_rejection((5, 3, 3), (2, 1, 4)),
    "units": probe_rejection((5, 3, 3), (2, 3, 5)),
    "no steps": probe_rejection((0, 3, 3)),
    "no steps, batch_first": probe_rejection((3, 0, 3), batch_first=True),
    "no samples": probe_rejection((5, 0, 3)),
    "dtype": probe_rejection((5, 3, 3), dtypes="sd"),
    "dtype of the state": probe_rejection((5, 3, 3), (2, 3, 4), dtypes="ds"),
    "packed features": probe_rejection((3, 2, 4), packed=True),
    "packed layers": probe_rejection((3, 2, 3), (3, 2, 4), packed=True),
    "packed units": probe_rejection((3, 2, 3), (2, 2, 5), packed=True),
    "packed dtype": probe_rejection((3, 2, 3), dtypes="sd", packed=True),
}

every_correct = pytest.mark.parametrize("kind", CORRECT.values(), ids=CORRECT)


def are_close(left: Any, right: Any) -> bool:
    """Return whether two recorded results are equal except for rounding in float64."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(are_close, left, right))
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.shape == right.shape and torch.allclose(
            left, right, rtol=1e-9, atol=1e-11, equal_nan=True
        )
    return are_same(left, right)


def call_and_differentiate(layer: nn.Module, layout: str, state: bool) -> list[Any]:
    """Return the output, h_n and all gradients of one call."""
    leaves = make_inputs(layer, layout, state)
    result = layer(pack_input(leaves[0], layout, layer.batch_first), leaves[1])
    return record_outcome(
        lambda: (*result, *compute_gradients(result, [*leaves, *layer.parameters()], "both"))
    )


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "arguments",
    [pytest.param(each, marks=[pytest.mark.slow] * (each not in USUAL)) for each in CONFIGURATIONS],
    ids=lambda arguments: "-".join(map(str, arguments.values())),
)
def test_correct_layers_equal_torch(arguments: dict[str, Any]) -> None:
    layers = {name: build_layer(kind, 3, 4, **arguments) for name, kind in CORRECT.items()}
    reference = build_layer(nn.RNN, 3, 4, **arguments)
    for layout, state in itertools.product(LAYOUTS, (False, True)):
        expected = call_and_differentiate(reference, layout, state)
        wrong = [
            name
            for name, layer in layers.items()
            if not are_close(call_and_differentiate(layer, layout, state), expected)
        ]
        assert not wrong, f"{layout}, {'with' if state else 'without'} a state"


@pytest.mark.mostly_slow
@every_correct
def test_correct_layers_equal_torch_if_dropout_is_not_random(kind: Kind) -> None:
    for train, dropout in ((True, 1.0), (False, 0.5), (True, 0.0)):
        probe = probe_call(
            num_layers=3, bidirectional=True, dropout=dropout, train=train, state=True
        )
        assert are_close(probe(nn.RNN), probe(kind)), f"dropout={dropout}, train={train}"


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_constructors_of_correct_layers_accept_and_reject_like_torch(name: str) -> None:
    skip_unless_promised(*([DOCUMENTED_LATER[name]] if name in DOCUMENTED_LATER else []))
    expected = CONSTRUCTIONS[name](nn.RNN)
    assert not [title for title, kind in CORRECT.items() if CONSTRUCTIONS[name](kind) != expected]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", REJECTIONS)
def test_correct_layers_reject_the_calls_that_torch_rejects(name: str) -> None:
    expected = REJECTIONS[name](nn.RNN)
    assert not [
        title for title, kind in CORRECT.items() if not are_close(REJECTIONS[name](kind), expected)
    ]


@pytest.mark.mostly_slow
@every_correct
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_correct_layer_works_in_other_dtypes(kind: Kind, dtype: torch.dtype) -> None:
    layer = build_layer(kind, 3, 4, dtype, num_layers=2, bidirectional=True)
    torch_layer = build_layer(nn.RNN, 3, 4, dtype, num_layers=2, bidirectional=True)
    x = make_inputs(layer)[0]
    for got, expected in zip(layer(x), torch_layer(x), strict=True):
        torch.testing.assert_close(
            got, expected, rtol=20 * torch.finfo(dtype).eps, atol=20 * torch.finfo(dtype).eps
        )


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "kind",
    [kind for kind in CORRECT.values() if kind is not AsOnCuda],
    ids=lambda kind: kind.__name__,
)
def test_a_correct_layer_has_second_derivatives(kind: Kind) -> None:
    layer = build_layer(kind, 2, 3, bidirectional=True)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_the_layer_with_the_limits_of_cudnn_has_all_of_them() -> None:
    layer = build_layer(AsOnCuda, 2, 3, num_layers=2)
    x, h_0 = (
        torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 2, 3, dtype=torch.float64),
    )
    gradient = torch.autograd.grad(layer(x, h_0)[0].sum(), x, create_graph=True)[0]
    with pytest.raises(NotImplementedError):
        torch.autograd.grad(gradient.sum(), x)
    with pytest.raises(RuntimeError, match="rnn: hx is not contiguous"):
        layer(x, h_0.transpose(0, 1))
    with pytest.raises(
        RuntimeError, match="cudnn RNN backward can only be called in training mode"
    ):
        torch.autograd.grad(layer.eval()(x, h_0)[0].sum(), x)


def test_autocast_is_found_on_any_device_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(torch.amp, "is_autocast_available"):
        pytest.skip("this torch has no autocast on other devices")
    monkeypatch.setattr(checks, "is_autocast_enabled", lambda kind: kind == "xpu")
    assert checks.is_autocast("xpu")
    assert not checks.is_autocast("cpu")
    assert not checks.is_autocast("meta")


def test_its_parameters_share_one_buffer_even_after_a_conversion() -> None:
    for layer in (AsOnCuda(2, 3, num_layers=2), AsOnCuda(2, 3, num_layers=2).double()):
        assert (
            len({parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}) == 1
        )


def test_plain_rejects_a_state_with_too_many_samples_for_packed_input() -> None:
    """torch accepts it and uses the first rows."""
    probe = probe_rejection((3, 2, 3), (2, 4, 4), packed=True)
    assert probe(Plain) == ["RuntimeError"]
    assert probe(nn.RNN) != ["RuntimeError"]


def test_plain_never_calls_the_layer_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rnn_tanh", "rnn_relu", "rnn_tanh_cell", "rnn_relu_cell"):
        monkeypatch.setattr(torch, name, None)
        monkeypatch.setattr(torch._VF, name, None)
    assert len(probe_call(num_layers=2)(Plain)) > 1


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", BUGS)
def test_every_bug_shows(name: str) -> None:
    with restore_settings():
        expected = SHOWN_BY[name](Plain)
    with restore_settings():
        assert not are_same(SHOWN_BY[name](BUGS[name]), expected)


def test_every_bug_names_its_rule_and_has_a_story() -> None:
    for name in BUGS:
        theme, _, rule = find_named_rule(name).partition(".")
        assert theme in THEMES, name
        assert rule, name
        assert read_story(name), name


def test_the_table_has_a_probe_for_every_bug_and_no_others() -> None:
    assert sorted(SHOWN_BY) == sorted(BUGS)


MOST_NAMED_OFTEN = 64
"""Limit on the bugs that are named in more than two modules of tests. It may only fall: a bug is
named where it is shown to be one, and where its rule sees it; a test that needs any wrong layer has
one of its own, or one of `tests.engine.subjects`."""


def test_few_bugs_are_named_in_more_than_two_modules_of_tests() -> None:
    bugs = {name for kind in KINDS for name in find_bank(kind).bugs}
    bugs |= {bug.__name__ for bug in MODEL_BUGS}
    texts = (path.read_text("utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    counts = Counter(name for text in texts for name in bugs & set(re.findall(r"\w+", text)))
    often = sorted(name for name, count in counts.items() if count > 2)
    assert counts["StateIgnored"] > 2, "this shows nothing"
    assert len(often) <= MOST_NAMED_OFTEN, often


def test_every_theme_has_bugs() -> None:
    assert {find_named_rule(name).partition(".")[0] for name in BUGS} == THEMES


def test_nearly_half_of_the_bugs_cite_a_public_report_and_a_third_is_narrow() -> None:
    assert sum(find_public_report(name) is not None for name in BUGS) >= 170
    assert 3 * sum(is_narrow(name) for name in BUGS) >= len(BUGS)


@pytest.mark.parametrize(
    ("kind", "least"),
    [("gru", 27), ("lstm", 42), ("rnn-cell", 17), ("gru-cell", 41), ("lstm-cell", 47)],
)
def test_bugs_about_a_cell_cite_public_reports(kind: str, least: int) -> None:
    """More than half of those of GRUs, GRU cells and RNN cells do."""
    own = [bug for name, bug in find_bank(kind).bugs.items() if name not in BUGS]
    cited = sum(find_public_report(bug) is not None for bug in own)
    assert cited >= least
    assert 2 * cited > len(own) or kind.startswith("lstm")


def test_a_bug_must_name_a_rule() -> None:
    with pytest.raises(ValueError, match="Plain names no rule"):
        find_named_rule(Plain)


def test_a_bug_may_declare_further_good_names() -> None:
    @seen_by("states.carried shapes.h-n", report="pytorch #1")
    class Both(Planted):
        """The story; it goes on."""

    assert list_good_names(Both) == ("states.carried", "shapes.h-n")
    assert find_named_rule(Both) == "states.carried"
    assert find_public_report(Both) == "pytorch #1"
    assert read_story(Both) == "The story; it goes on"
    for name in BUGS:
        good = list_good_names(name)
        assert good[0] == find_named_rule(name), name
        assert len(good) == len(set(good)), name
        assert all(find_layer_rule(each).id == each for each in good), name


def test_rules_are_named_in_labels_and_not_in_docstrings() -> None:
    named = [
        f"{path.name}: {node.name}"
        for path in Path(selftest.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and (ast.get_docstring(node) or "").endswith(" sees it.")
    ]
    assert not named
