"""A snippet declares exactly the helpers and modules that its lines use."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from string import Formatter

import pytest

from rnnspec import rules
from rnnspec.contract.kinds import LSTM
from rnnspec.rulekit import fixtures, rejections, snippets
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import compare_gradients

FUNCTIONS = {
    "close": Helper.CLOSE,
    "data": Helper.DATA,
    "spread": Helper.SPREAD,
    "build": Helper.BUILD,
    "list_tensors": Helper.LIST_TENSORS,
    "map_states": Helper.MAP_STATES,
    "named": Helper.NAMED,
    "place": Helper.PLACE,
}
MODULES = {*sys.stdlib_module_names, "numpy"} - {"time"}
WORDS = {
    "add_states": "",
    "amp": "torch.bfloat16",
    "after": "",
    "before": "",
    "conversion": ".to(torch.float64)",
    "final": "reference(given[0])[1]",
    "tensors": "tensors[0]",
    "flags": "[True, False]",
    "arguments": "x",
    "axis": "1",
    "axis_of_leaf": "1",
    "back": "squeeze",
    "batch": "3",
    "between": "layer.eval()",
    "batch_first": "False",
    "builds": "4",
    "call": "build(4, 8)",
    "count": "2",
    "cut": "2",
    "device": "cpu",
    "device_state": ", torch.cuda.get_rng_state()",
    "dtype": "torch.float32",
    "expand": ".expand(-1, 3, -1)",
    "features": "4",
    "first": "weight_hh_l0",
    "hidden": "8",
    "input": "x",
    "kinds": "('weight', 'bias')",
    "last": "2",
    "layer": "1",
    "later": "each",
    "layers": "2",
    "listed": "output, h_n",
    "limit": "0.5",
    "loss": "data(output).sum()",
    "method": "double",
    "more": ", *list_tensors(states)",
    "name": "weight_ih_l0",
    "names": ["bias_ih_l0"],
    "number": "0",
    "only": "",
    "order": "[1, 0]",
    "other": "float64",
    "output": "own",
    "p": "0.2",
    "remade": "pickle.loads(pickle.dumps(copy.copy(layer)))",
    "results": "output, h_n",
    "sample": "1",
    "scale": "0.5",
    "second": "weight_hh_l1",
    "shape": "5, 3, 4",
    "sizes": "(8, 4, 6)",
    "states": "torch.randn(2, 3, 20)",
    "shapes": "((0, 3, 8), (1, 3, 8))",
    "standard": "torch.nn.RNN(4, 8)",
    "step": "layer(*given)",
    "steps": "5",
    "factor": "5",
    "there": "unsqueeze",
    "tolerance": "1e-09",
    "function": "torch.nn.utils.weight_norm",
    "source": "weight_ih_l0_g",
    "train": "True",
}
"""Sample values for the placeholders."""
WORDS_OF = {
    "AFTER_A_STATE": {"states": "[1]"},
    "DIFFERENTIATE_TWICE": {"states": ""},
    "FORKED": {"kind": ""},
    "SOME_FROZEN": {"states": "", "leaves": ""},
    "GLOBAL_SETTINGS_WHEN_BUILT": {"step": "build(4, 8)"},
    "LEARNED_STATE": {"first": "[:, :1]"},
    "ROWS": {"shape": "(5, 3, 4)"},
    "SAME_SHAPE": {"shape": "(5, 4)"},
    "SHALLOW": {"changes": "", "shape": "(5, 3, 4)"},
}
"""Samples for one snippet, if its placeholder stands for something else."""


def find_snippets() -> Iterator[tuple[str, Snippet]]:
    """Find every snippet of the packages once, under the name of the module that has it first."""
    found: set[int] = set()
    for package in (snippets, rejections, fixtures, rules):
        for each in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{each.name}")
            for name, value in vars(module).items():
                if isinstance(value, Snippet) and id(value) not in found:
                    found.add(id(value))
                    yield f"{each.name}.{name}", value


SNIPPETS = dict(find_snippets())
OVERLOOKED = {
    "BACKWARD_HOOKS": {Helper.INPUT_GRADIENTS},
    "SUMMED_LOSS": {Helper.INPUT_GRADIENTS},
    "DIFFERENTIATE_TWICE": {Helper.FLOAT64},
    "SECOND_ORDER": {Helper.FLOAT64},
    "SECOND_ORDER_OF_STATES": {Helper.FLOAT64},
}
"""Helpers that are used in another way: `.backward()` leaves the gradient in `x.grad`, and the
lines that come before are written in the dtype.
"""
NOT_USED = {"LEARNED_STATE": {Helper.INPUT_GRADIENTS}}
"""Helpers that only seem to be used: the Parameter is made of the numbers of h_0 alone."""
every_snippet = pytest.mark.parametrize("name", SNIPPETS)


def fill_placeholders(name: str, code: str) -> str:
    """Return the code with samples in its placeholders, or as it is if it has none.

    Fails if a placeholder has no sample.
    """
    try:
        fields = {field for _, field, spec, _ in Formatter().parse(code) if field and not spec}
    except ValueError:
        return code
    words = {**WORDS, **WORDS_OF.get(name.rpartition(".")[2], {})}
    assert fields <= words.keys(), f"{name} needs samples for {sorted(fields - words.keys())}"
    return code.format(**words) if fields else code


class Usage(ast.NodeVisitor):
    """The names that code reads and assigns, its calls, and what its variables are made from."""

    def __init__(self, code: str) -> None:
        self.read: set[str] = set()
        self.assigned: set[str] = set()
        self.calls: list[ast.Call] = []
        self.values: dict[str, list[ast.expr]] = {}
        self.visit(ast.parse(code))

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.assigned).add(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.assigned |= {node.name, *(each.arg for each in node.args.args)}
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.calls.append(node)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            for each in ast.walk(target):
                if isinstance(each, ast.Name):
                    self.values.setdefault(each.id, []).append(node.value)
        self.generic_visit(node)

    def is_made_from(self, expression: ast.expr, names: set[str]) -> bool:
        """Return whether an expression uses one of the names, directly or through variables."""
        pending, seen = [expression], set[str]()
        while pending:
            for each in ast.walk(pending.pop()):
                if isinstance(each, ast.Name) and each.id not in seen:
                    seen.add(each.id)
                    pending += self.values.get(each.id, [])
        return bool(seen & names)


def find_helpers(code: str) -> set[Helper]:
    usage = Usage(code)
    found = {Helper.TIME} if "time" in usage.read - usage.assigned else set()
    for call in usage.calls:
        match call.func:
            case ast.Name(id=name) if name in FUNCTIONS and name not in usage.assigned:
                found.add(FUNCTIONS[name])
            case ast.Attribute(attr="backward"):
                found.add(Helper.BACKWARD)
            case ast.Attribute(value=ast.Attribute(attr="autograd"), attr="grad"):
                found.add(Helper.BACKWARD)
                if usage.is_made_from(call.args[1], {"x", "h_0"}):
                    found.add(Helper.INPUT_GRADIENTS)
    return found


@every_snippet
def test_a_snippet_declares_the_helpers_that_it_uses(name: str) -> None:
    snippet = SNIPPETS[name]
    short = name.rpartition(".")[2]
    found = find_helpers(fill_placeholders(name, snippet.code)) | OVERLOOKED.get(short, set())
    assert set(snippet.uses) == found - NOT_USED.get(short, set())
    assert len(snippet.uses) == len(set(snippet.uses))


@every_snippet
def test_a_snippet_imports_the_modules_that_it_uses(name: str) -> None:
    snippet = SNIPPETS[name]
    usage = Usage(fill_placeholders(name, snippet.code))
    own = {each for each in snippet.imports if each.startswith("torch.")}
    assert all(f"{each}." in snippet.code for each in own), "a part of torch is read by its name"
    assert set(snippet.imports) - own == (usage.read - usage.assigned) & MODULES


def test_helpers_are_found_by_their_use_in_the_code() -> None:
    assert find_helpers("close(data(got), spread(got))") == {
        Helper.CLOSE,
        Helper.DATA,
        Helper.SPREAD,
    }
    assert find_helpers("assert 'close(' and time") == {Helper.TIME}
    assert find_helpers("leaves = [x]\ntorch.autograd.grad(total, leaves)") == {
        Helper.BACKWARD,
        Helper.INPUT_GRADIENTS,
    }
    assert find_helpers("result.backward()\nbuild(2, 3)") == {Helper.BACKWARD, Helper.BUILD}


def test_gradients_of_one_result_are_those_of_a_state_that_its_kind_has() -> None:
    code = compare_gradients("c_0", LSTM, ("output",)).code
    assert "output, (h_n, c_n) = each(*given)" in code
    assert "torch.autograd.grad(spread(data(output)), [c_0], retain_graph=True)" in code
