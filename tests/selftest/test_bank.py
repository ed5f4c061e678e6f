"""The bank is what it says: correct layers equal torch.nn.RNN, and every planted bug can be seen and names its rule."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.selftest import (
    BUGS,
    CORRECT,
    Plain,
    find_named_rule,
    find_public_report,
    is_narrow,
    read_story,
)
from rnnspec.selftest.correct_torch import AsOnCuda
from tests.releases import skip_unless_promised
from tests.selftest.observing import Kind, build, called, gradients, inputs, outcome, pack, same
from tests.selftest.probes import built, refused, restored
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
LAYOUTS = ("batched", "unbatched", "packed", "unsorted")

CONSTRUCTIONS = {
    "input_size 0": built(0, 4),
    "hidden_size 0": built(3, 0),
    "num_layers 0": built(3, 4, 0),
    "negative": built(-1, 4),
    "float size": built(3.0, 4),
    "word for a size": built("3", 4),
    "int for bias": built(3, 4, bias=1),
    "int for batch_first": built(3, 4, batch_first=0),
    "nonlinearity": built(3, 4, nonlinearity="sin"),
    "no nonlinearity": built(3, 4, nonlinearity=None),
    "dropout above 1": built(3, 4, dropout=1.5),
    "negative dropout": built(3, 4, dropout=-0.1),
    "dropout as flag": built(3, 4, dropout=True),
    "no dropout": built(3, 4, dropout=None),
    "NaN for dropout": built(3, 4, dropout=float("nan")),
    "one layer": built(3, 4, dropout=0.5),
    "all by position": built(3, 4, 2, "relu", False, True, 0.5, True),
    "dtype": built(3, 4, 2, bidirectional=True, dtype=torch.bfloat16),
    "meta": built(3, 4, device="meta"),
    "unknown keyword": built(3, 4, project=3),
}

BUILT_LATER = {
    "input_size 0": "rnn.args.sizes.input-size-positive",
    "negative": "rnn.args.sizes.input-size-positive",
    "int for bias": "rnn.args.bias.bool",
    "int for batch_first": "rnn.args.batch-first.bool",
    "all by position": "rnn.args.order",
}
"""What not every release promises."""

REFUSALS = {
    "features": refused((5, 3, 4)),
    "one feature": refused((5, 3, 1)),
    "1-D": refused((3,)),
    "4-D": refused((5, 2, 3, 3)),
    "flat state": refused((5, 3, 3), (2, 4)),
    "batched state": refused((5, 3), (2, 1, 4)),
    "state of four axes": refused((5, 3, 3), (1, 2, 3, 4)),
    "too many layers": refused((5, 3, 3), (3, 3, 4)),
    "too few layers": refused((5, 3, 3), (1, 3, 4)),
    "other batch": refused((5, 3, 3), (2, 2, 4)),
    "batch of one": refused((5, 3, 3), (2, 1, 4)),
    "units": refused((5, 3, 3), (2, 3, 5)),
    "no steps": refused((0, 3, 3)),
    "no steps, batch_first": refused((3, 0, 3), batch_first=True),
    "no samples": refused((5, 0, 3)),
    "dtype": refused((5, 3, 3), dtypes="sd"),
    "dtype of the state": refused((5, 3, 3), (2, 3, 4), dtypes="ds"),
    "packed features": refused((3, 2, 4), packed=True),
    "packed layers": refused((3, 2, 3), (3, 2, 4), packed=True),
    "packed units": refused((3, 2, 3), (2, 2, 5), packed=True),
    "packed dtype": refused((3, 2, 3), dtypes="sd", packed=True),
}

every_correct = pytest.mark.parametrize("kind", CORRECT.values(), ids=CORRECT)


def close(left: Any, right: Any) -> bool:
    """Whether two lists of observations are equal but for rounding in float64."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(close, left, right))
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.shape == right.shape and torch.allclose(
            left, right, rtol=1e-9, atol=1e-11, equal_nan=True
        )
    return same(left, right)


def call(layer: nn.Module, layout: str, state: bool) -> list[Any]:
    """The output, the final state and all gradients of one call."""
    leaves = inputs(layer, layout, state)
    result = layer(pack(leaves[0], layout, layer.batch_first), leaves[1])
    return outcome(lambda: (*result, *gradients(result, [*leaves, *layer.parameters()], "both")))


@pytest.mark.parametrize(
    "arguments", CONFIGURATIONS, ids=lambda arguments: "-".join(map(str, arguments.values()))
)
def test_correct_layers_equal_torch(arguments: dict[str, Any]) -> None:
    layers = {name: build(kind, 3, 4, **arguments) for name, kind in CORRECT.items()}
    reference = build(nn.RNN, 3, 4, **arguments)
    for layout, state in itertools.product(LAYOUTS, (False, True)):
        expected = call(reference, layout, state)
        wrong = [
            name
            for name, layer in layers.items()
            if not close(call(layer, layout, state), expected)
        ]
        assert not wrong, f"{layout}, {'with' if state else 'without'} a state"


@every_correct
def test_a_correct_layer_drops_as_torch_does_where_no_chance_is_at_work(kind: Kind) -> None:
    for train, dropout in ((True, 1.0), (False, 0.5), (True, 0.0)):
        probe = called(num_layers=3, bidirectional=True, dropout=dropout, train=train, state=True)
        assert close(probe(nn.RNN), probe(kind)), f"dropout={dropout}, train={train}"


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_correct_layers_are_built_and_refused_as_torch(name: str) -> None:
    skip_unless_promised(*([BUILT_LATER[name]] if name in BUILT_LATER else []))
    expected = CONSTRUCTIONS[name](nn.RNN)
    assert not [title for title, kind in CORRECT.items() if CONSTRUCTIONS[name](kind) != expected]


@pytest.mark.parametrize("name", REFUSALS)
def test_correct_layers_refuse_calls_as_torch(name: str) -> None:
    expected = REFUSALS[name](nn.RNN)
    assert not [
        title for title, kind in CORRECT.items() if not close(REFUSALS[name](kind), expected)
    ]


@every_correct
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_correct_layer_works_in_other_dtypes(kind: Kind, dtype: torch.dtype) -> None:
    layer = build(kind, 3, 4, dtype, num_layers=2, bidirectional=True)
    torch_layer = build(nn.RNN, 3, 4, dtype, num_layers=2, bidirectional=True)
    x = inputs(layer)[0]
    for got, expected in zip(layer(x), torch_layer(x), strict=True):
        torch.testing.assert_close(
            got, expected, rtol=20 * torch.finfo(dtype).eps, atol=20 * torch.finfo(dtype).eps
        )


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CORRECT.values() if kind is not AsOnCuda],
    ids=lambda kind: kind.__name__,
)
def test_a_correct_layer_has_second_derivatives(kind: Kind) -> None:
    layer = build(kind, 2, 3, bidirectional=True)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_what_cudnn_refuses_is_refused_and_nothing_else() -> None:
    layer = build(AsOnCuda, 2, 3, num_layers=2)
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


def test_parameters_lie_in_one_buffer_as_on_cuda_also_after_a_conversion() -> None:
    for layer in (AsOnCuda(2, 3, num_layers=2), AsOnCuda(2, 3, num_layers=2).double()):
        assert (
            len({parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}) == 1
        )


def test_a_state_for_too_many_samples_is_refused_before_it_is_sorted() -> None:
    """torch itself takes it, and uses the first rows."""
    probe = refused((3, 2, 3), (2, 4, 4), packed=True)
    assert probe(Plain) == ["RuntimeError"]
    assert probe(nn.RNN) != ["RuntimeError"]


def test_plain_never_calls_the_layer_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rnn_tanh", "rnn_relu", "rnn_tanh_cell", "rnn_relu_cell"):
        monkeypatch.setattr(torch, name, None)
        monkeypatch.setattr(torch._VF, name, None)
    assert len(called(num_layers=2)(Plain)) > 1


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_can_be_seen(name: str) -> None:
    with restored():
        expected = SHOWN_BY[name](Plain)
    with restored():
        assert not same(SHOWN_BY[name](BUGS[name]), expected)


def test_every_bug_names_its_rule_and_says_what_is_wrong() -> None:
    for name in BUGS:
        theme, _, rule = find_named_rule(name).partition(".")
        assert theme in THEMES, name
        assert rule, name
        assert read_story(name), name


def test_the_table_has_the_bugs_and_nothing_else() -> None:
    assert list(SHOWN_BY) == list(BUGS)


def test_every_theme_has_bugs() -> None:
    assert {find_named_rule(name).partition(".")[0] for name in BUGS} == THEMES


def test_half_of_the_bugs_are_known_from_reports_and_a_third_is_narrow() -> None:
    assert 2 * sum(find_public_report(name) is not None for name in BUGS) >= len(BUGS)
    assert 3 * sum(is_narrow(name) for name in BUGS) >= len(BUGS)


def test_a_bug_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="Plain names no rule"):
        find_named_rule(Plain)
