"""Planted bugs that are rows over named values: the loop behind them, and how they are declared."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.contract.kinds import GRU, KINDS, LSTM, RNN, Kind
from rnnspec.plain.cells import PlainRNNCell
from rnnspec.plain.gated import PlainGRU, PlainLSTM
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import Functions, change_values
from rnnspec.selftest import (
    bugs,
    correct,
    correct_gates,
    correct_sums,
    correct_torch,
    correct_transforms,
)
from rnnspec.selftest.bank import list_classes, names_rule
from rnnspec.selftest.bugs import lstm
from rnnspec.selftest.bugs.planted import UNNAMED, Planted, Planter
from rnnspec.selftest.correct import NamesOfItsOwn
from rnnspec.selftest.planting import combine
from rnnspec.subjects.documented import require_documented
from tests.source_files import PACKAGE

MODULES = [
    importlib.import_module(f"{bugs.__name__}.{each.name}")
    for each in pkgutil.iter_modules(bugs.__path__)
]
CORRECT_MODULES = [correct, correct_gates, correct_sums, correct_torch, correct_transforms]
LENGTHS = [4, 2, 2, 1]
DOUBLED: Functions = {"output": lambda output: 2 * output}


def compute(layer: nn.Module, kind: Kind, given: Any) -> list[torch.Tensor]:
    """Return results of a call and the gradients of the parameters."""
    result = layer(given)
    if isinstance(result, torch.Tensor):
        result = (result,)
    found = [each for part in result for each in (part if isinstance(part, tuple) else (part,))]
    results = [each for each in found if each is not None and each.is_floating_point()]
    total = sum(each.square().sum() for each in results)
    assert isinstance(total, torch.Tensor)
    return [*results, *torch.autograd.grad(total, [*layer.parameters()])]


def make_calls(kind: Kind) -> list[torch.Tensor | PackedSequence]:
    """Return inputs of several forms; one is infinite where the last sequence has its only step."""
    x = torch.randn(4, 4, 3).double()
    if kind.is_cell:
        return [x[0], x[0, 0]]
    infinite = x.clone()
    infinite[0, 3, 0] = torch.inf
    return [x, x[:, 0], pack_padded_sequence(infinite, torch.tensor(LENGTHS))]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.title)
def test_a_row_without_functions_agrees_with_torch(kind: Kind) -> None:
    nothing = Planter(__name__, kind)("Nothing is wrong.", "recurrence.output", {})
    options: dict[str, Any] = {} if kind.is_cell else {"num_layers": 2, "bidirectional": True}
    torch.manual_seed(0)
    right = require_documented(kind)(3, 4, **options).double()
    layer = nothing(3, 4, **options).double()
    layer.load_state_dict(right.state_dict())
    for given in make_calls(kind):
        found, expected = (compute(each, kind, given) for each in (layer, right))
        for got, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(got, wanted, equal_nan=True)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_planted_bugs_have_the_names_by_which_their_modules_have_them(module: Any) -> None:
    found = {name: each for name, each in vars(module).items() if isinstance(each, type)}
    named = {name: bug for name, bug in found.items() if names_rule(bug)}
    assert [bug.__name__ for bug in named.values()] == [*named]
    assert UNNAMED not in [bug.__qualname__ for bug in named.values()]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_planted_bugs_share_no_function_with_known_mistakes(module: Any) -> None:
    path = PACKAGE / "selftest" / "bugs" / f"{module.__name__.split('.')[-1]}.py"
    assert "rnnspec.mistakes" not in path.read_text(encoding="utf-8")


def test_a_row_is_planted_where_one_of_its_values_is_computed() -> None:
    plant = Planter(__name__)
    everywhere, somewhere, nowhere = (
        plant("Something is wrong.", "recurrence.output", dict.fromkeys(names, torch.neg))
        for names in (("last.h",), ("gate.hidden", "c"), ("gate.reset",))
    )
    kinds = (RNN, GRU, LSTM)
    rows = [bug.__dict__["row"] for bug in (everywhere, somewhere, nowhere)]
    assert [[row.concerns(kind) for kind in kinds] for row in rows] == [
        [True, True, True],
        [True, False, True],
        [False, True, False],
    ]


def test_a_row_with_an_unknown_value_or_flag_is_refused() -> None:
    plant = Planter(__name__)
    with pytest.raises(ValueError, match=r"no value has the name 'gate.forgot'"):
        plant("Something is wrong.", "recurrence.output", {"gate.forgot": torch.neg})
    with pytest.raises(ValueError, match="planted bugs have no flag 'norrow'"):
        plant("Something is wrong.", "recurrence.output", {"c": torch.neg}, norrow=True)


def test_a_class_of_two_rows_has_both_bugs() -> None:
    doubled, raised = (
        Planter(__name__)("Something is wrong.", "recurrence.output", {"output": change})
        for change in (lambda output: 2 * output, lambda output: output + 1)
    )
    layer = type("Both", (doubled, raised), {})(2, 3)
    x = torch.randn(4, 1, 2)
    expected = Planter(__name__)("Nothing is wrong.", "recurrence.output", {})(2, 3)
    expected.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x)[0], 2 * (expected(x)[0] + 1))


class OutputNegated(Planter(__name__)("Something is wrong.", "recurrence.output", DOUBLED)):  # type: ignore[misc]
    """A class that is made of a row, and overrides a method besides."""

    def compute(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        output, h_n = super().compute(*given)
        return -output, h_n


class OutputRaised(OutputNegated):
    """A class that changes a value which its base changes as well."""

    changes = change_values({"output": lambda output: output + 1})


@pytest.mark.parametrize(("kind", "plain"), [(RNN, Plain), (GRU, PlainGRU)])
def test_a_class_that_is_made_of_a_row_has_all_its_bugs_in_every_kind(
    kind: Kind, plain: type[nn.Module]
) -> None:
    bugs = [OutputNegated, OutputRaised]
    planted = [combine("Made", bug, kind, __name__) for bug in bugs]
    negated, raised, right = (layer(2, 3) for layer in (*planted, plain))
    for layer in (negated, raised):
        layer.load_state_dict(right.state_dict())
    x = torch.randn(4, 1, 2)
    torch.testing.assert_close(negated(x)[0], -2 * right(x)[0])
    torch.testing.assert_close(raised(x)[0], -(2 * right(x)[0] + 1))


def list_unused_methods(layer: type[nn.Module], source: str) -> list[str]:
    """Return the methods of a class that neither override one nor are called in its module."""
    bases = (*layer.__mro__[1:], PlainLSTM, PlainRNNCell)  # a cell's bug has the plain cell behind
    return [
        name
        for name, member in vars(layer).items()
        if inspect.isfunction(member) and not name.startswith("__")
        if not any(hasattr(base, name) for base in bases)
        and not re.search(rf"self\.{name}\b", source)
    ]


@pytest.mark.parametrize("module", [*MODULES, *CORRECT_MODULES], ids=lambda each: each.__name__)
def test_each_method_of_a_planted_or_correct_layer_overrides_one_or_is_called(module: Any) -> None:
    """A method that nothing calls would be a bug that is not there."""
    source = inspect.getsource(module)
    layers = list_classes(module, nn.Module).values()
    unused = {layer: list_unused_methods(layer, source) for layer in layers}
    unused.pop(NamesOfItsOwn, None)  # has such methods on purpose
    assert not any(unused.values()), unused


def test_a_row_is_a_class_that_can_be_pickled() -> None:
    assert issubclass(lstm.MemoryClipped, Planted)
    layer = lstm.MemoryClipped(2, 3)
    x = torch.randn(4, 1, 2)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), layer(x))
