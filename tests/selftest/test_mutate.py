"""The operators of mutation: each makes modules that compile and differ in one statement."""

from __future__ import annotations

import ast

import pytest

from rnnspec.errors import SelectionError
from rnnspec.selftest.mutants import Mutant, list_mutants, sample_mutants
from rnnspec.selftest.mutate import OPERATOR_NAMES

CHANGES: dict[str, list[tuple[str, str]]] = {
    "arithmetic": [("return x + h", "return x - h"), ("x += 1", "x -= 1")],
    "operand": [("return x + h", "return h")],
    "order": [("return x @ h", "return h @ x")],
    "sign": [("return x[-1]", "return x[1]"), ("return not x", "return x")],
    "comparison": [("return x < h", "return x <= h"), ("return x is None", "return x is not None")],
    "choice": [("return x if h else 1", "return 1 if h else x")],
    "conjunction": [("return x and h", "return x or h"), ("return x and h", "return x")],
    "index": [("return x[h]", "return x[h + 1]"), ("return x[0]", "return x")],
    "slice": [("return x[h:]", "return x[:]"), ("return x[:h]", "return x[:h - 1]")],
    "number": [("return x[0]", "return x[1]"), ("return x * 2.0", "return x * 3.0")],
    "truth": [("x = True", "x = False"), ("return f(x, keep=False)", "return f(x, keep=True)")],
    "text": [("return f'weight_ih_l{x}'", "return f'weight_hh_l{x}'")],
    "omission": [("x.detach_()", "pass"), ("raise ValueError(x)", "pass"), ("h = x", "pass")],
    "assignment": [("x = x + h", "x += h"), ("x += h", "x = h"), ("h = x", "h += x")],
    "arguments": [
        ("return f(x, h)", "return f(h, x)"),
        ("return f(x, dtype=h)", "return f(x)"),
        ("return f(x, h)", "return f(x)"),
    ],
    "call": [("return x.clone()", "return x"), ("return torch.tanh(x)", "return x")],
    "function": [("return torch.tanh(x)", "return torch.sigmoid(x)")],
    "conversion": [("h = torch.tanh(x)", "h = torch.tanh(x).float()")],
    "place": [
        ("return f(x, dtype=x.dtype)", "return f(x, dtype=torch.float32)"),
        ("return f(x, device=x.device)", "return f(x, device='cpu')"),
    ],
    "training": [("return self.training and x", "return True and x")],
    "name": [("return f(x)", "return f(h)")],
    "attribute": [("return self.first + self.second", "return self.second + self.second")],
    "elements": [("return x, h", "return (h, x)")],
    "in-place": [("return x + h", "return x.add_(h)")],
}
HEADS = {
    "condition": [("if x:", "not x"), ("while x:", "False")],
    "number": [("for x in f(2):", "f(3)")],
    "function": [("with torch.no_grad():", "torch.enable_grad()")],
}


def write_method(statement: str) -> str:
    return f"class Layer:\n    def run(self, x, h):\n        {statement}\n"


def check_whole(mutants: list[Mutant], source: str) -> None:
    """Check that each mutant is another module, in which all other lines are the same."""
    for each in mutants:
        changed = each.apply(source)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), each
        pairs = zip(source.splitlines(), changed.splitlines(), strict=True)
        different = [number for number, (one, other) in enumerate(pairs, 1) if one != other]
        assert different == [each.line]


@pytest.mark.parametrize("operator", CHANGES)
def test_an_operator_changes_one_statement(operator: str) -> None:
    for statement, after in CHANGES[operator]:
        source = write_method(statement)
        mutants = list_mutants(source, ["Layer"])
        assert after in [each.after for each in mutants if each.operator == operator]
        check_whole(mutants, source)


@pytest.mark.parametrize("operator", HEADS)
def test_the_head_of_a_compound_statement_is_changed(operator: str) -> None:
    for head, after in HEADS[operator]:
        source = write_method(f"{head}\n            x = h")
        mutants = list_mutants(source, ["Layer"])
        assert after in [each.after for each in mutants if each.operator == operator]
        check_whole(mutants, source)


def test_defaults_are_changed_and_decorators_left_out() -> None:
    source = "class Layer:\n    @once\n    def run(self, bias: bool = True) -> int: return bias\n"
    found = {(each.operator, each.after) for each in list_mutants(source, ["Layer"])}
    assert {("truth", "False"), ("decorator", "")} <= found


def test_every_operator_has_an_example() -> None:
    assert set(OPERATOR_NAMES) == CHANGES.keys() | {"condition", "decorator"}


def test_only_code_that_the_layer_uses_is_changed() -> None:
    source = "ONE = 1\n\ndef help(x): return x + ONE\n\ndef other(x): return x + 2\n\n"
    source += "class Layer:\n    'A text.'\n    def run(self, x: int): return help(x)\n"
    assert {each.line for each in list_mutants(source, ["Layer"])} == {1, 3, 9}
    with pytest.raises(SelectionError, match="defines no Absent"):
        list_mutants(source, ["Absent"])


def test_places_are_right_behind_other_letters_than_those_of_ascii() -> None:
    source = "def f(x): return 'äöü', x + 1\n"
    [changed] = [each for each in list_mutants(source, ["f"]) if each.operator == "arithmetic"]
    assert changed.apply(source) == "def f(x): return ('äöü', x - 1)\n"


def test_messages_and_annotations_are_left_alone() -> None:
    source = write_method("raise ValueError(f'{x + 1} is too many')")
    assert [each.after for each in list_mutants(source, ["Layer"])] == ["pass"]


def test_a_sample_has_some_of_each_operator_and_a_smaller_one_is_a_part_of_it() -> None:
    source = write_method("return x[1] + self.first * self.second if x < h else torch.tanh(h)")
    mutants = list_mutants(source, ["Layer"])
    chosen = sample_mutants(mutants, 20, seed=3)
    assert len({each.operator for each in chosen}) == len({each.operator for each in mutants})
    assert sample_mutants(mutants, 5, seed=3) == chosen[:5]
    assert sample_mutants(mutants, 20, seed=4) != chosen
    assert len(sample_mutants(mutants, 10**6, seed=0)) == len(mutants)
