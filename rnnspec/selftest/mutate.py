"""Change a single statement of a Python module: the operators of mutation.

An operator is a row of `OPERATORS`: a name, the type of the nodes that it changes, and a function
that returns replacements of such a node. `rnnspec.selftest.mutants` applies each of them to each
statement that a layer can reach in its own module.

Two libraries for mutation testing were considered. cosmic-ray 8.7 has an interface for operators,
and a function that applies an operator to a text, but its thirteen operators do not cover slices,
arguments, omitted statements, dtypes or copies, and it needs a database, Git and a web client.
mutmut 3.8 runs the tests by itself, and its mutations have no public interface. Therefore, the
operators are written here, using `ast`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

SIMPLE = (
    *(ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Raise, ast.Delete, ast.Assert),
    *(ast.Break, ast.Continue),
)
"""The statements that can be left out."""


@dataclass(frozen=True)
class NodeContext:
    """The context of a node.

    known       the names that the function has bound before the statement, in order
    attributes  the data attributes of `self` that the class uses, in order
    """

    known: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


NodeChange = Callable[[ast.AST, NodeContext], Iterable[ast.AST]]


@dataclass(frozen=True)
class Operator:
    """A way to change code: a description, the nodes that it applies to, and their replacements."""

    name: str
    text: str
    nodes: type[ast.AST] | tuple[type[ast.AST], ...]
    change: NodeChange


ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OTHER_FUNCTIONS = {
    "tanh": "sigmoid",
    "sigmoid": "tanh",
    "relu": "tanh",
    "zeros": "ones",
    "ones": "zeros",
    "empty": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "empty_like": "zeros_like",
    "new_zeros": "new_ones",
    "new_ones": "new_zeros",
    "new_empty": "new_zeros",
    "new_full": "new_empty",
    "uniform_": "normal_",
    "bernoulli": "round",
    "cat": "stack",
    "stack": "cat",
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "sum": "mean",
    "mean": "sum",
    "view": "reshape",
    "reshape": "view",
    "chunk": "split",
    "no_grad": "enable_grad",
    "enable_grad": "no_grad",
    "detach": "clone",
    "clone": "detach",
    "floor": "ceil",
    "ceil": "floor",
    "append": "extend",
}
"""Functions and methods that people mistake for another."""
IN_PLACE = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}
CONVERSIONS = ("float", "double", "half", "detach", "clone")
"""Methods that are called on a result, though they should not be."""
MAKING_TENSORS = {
    *("tanh", "sigmoid", "relu", "linear", "matmul", "mm", "addmm", "cat", "stack", "bmm", "lerp"),
    *("index_select", "gather", "where", "transpose", "reshape", "view", "flip", "to", "unsqueeze"),
    *("squeeze", "zeros", "new_zeros", "zeros_like", "t", "flatten", "unflatten", "addcmul", "sum"),
    *("expand", "contiguous", "permute", "rnn_tanh", "rnn_relu", "lstm", "gru", "mul", "add"),
}
"""In the code of a layer, calls of these names return a tensor."""
KEPT_CALLS = {
    *("super", "isinstance", "issubclass", "getattr", "hasattr", "print", "len", "range", "type"),
    *("zip", "enumerate", "iter", "next", "tuple", "list", "dict", "set", "cast", "sorted"),
}
"""Calls that are not replaced by their argument."""
NAMESPACES = ("torch", "F", "nn", "math", "init", "functional", "np")
TEXT_PAIRS = (("ih", "hh"), ("hh", "ih"), ("_reverse", ""), ("tanh", "relu"), ("relu", "tanh"))
PLAIN_DECORATORS = {"staticmethod", "classmethod", "property", "overload", "dataclass", "setter"}
"""Decorators without which nothing works."""


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call_method(value: ast.expr, name: str, *given: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(value, name, ast.Load()), list(given), [])


def _add(value: ast.expr, number: int) -> ast.expr:
    operation = ast.Add() if number > 0 else ast.Sub()
    return ast.BinOp(value, operation, ast.Constant(abs(number)))


def name_called(node: ast.expr) -> str:
    """Return the last part of the name of a called function, or an empty string."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _with(node: ast.AST, **changes: object) -> ast.AST:
    """Return a shallow copy of a node with some fields changed."""
    made = copy.copy(node)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def _exchange(items: Sequence[ast.expr], place: int) -> list[ast.expr]:
    return [*items[:place], items[place + 1], items[place], *items[place + 2 :]]


def _change_arithmetic(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.BinOp | ast.AugAssign)
    if other := ARITHMETIC.get(type(node.op)):
        yield _with(node, op=other())


def _drop_operand(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.BinOp)
    yield from (node.left, node.right)


def _exchange_operands(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.BinOp)
    if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult | ast.FloorDiv):
        yield _with(node, left=node.right, right=node.left)


def _drop_sign(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.UnaryOp)
    yield node.operand


def _change_comparison(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Compare)
    for other in COMPARISONS[type(node.ops[0])]:
        yield _with(node, ops=[other(), *node.ops[1:]])


def _change_choice(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.IfExp)
    yield from (node.body, node.orelse, _with(node, body=node.orelse, orelse=node.body))


def _change_conjunction(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.BoolOp)
    yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for number in range(len(node.values)):
        rest = [*node.values[:number], *node.values[number + 1 :]]
        yield rest[0] if len(rest) == 1 else _with(node, values=rest)


def _change_index(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Subscript)
    yield node.value
    if not isinstance(node.slice, ast.Slice | ast.Tuple | ast.Constant | ast.UnaryOp):
        yield _with(node, slice=_add(node.slice, 1))
        yield _with(node, slice=_add(node.slice, -1))


def _change_slice(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Slice)
    for name in ("lower", "upper", "step"):
        bound: ast.expr | None = getattr(node, name)
        if bound is not None:
            yield _with(node, **{name: None})
        if bound is not None and name != "step":
            yield _with(node, **{name: _add(bound, 1)})
            yield _with(node, **{name: _add(bound, -1)})


def _change_number(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Constant)
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if isinstance(value, int):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    else:
        yield from (ast.Constant(value + 1.0), ast.Constant(value * 0.5 if value else 0.5))


def _change_truth(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Constant)
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)


def _change_text(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Constant)
    if isinstance(node.value, str) and " " not in node.value:
        for old, new in TEXT_PAIRS:
            if old in node.value:
                yield ast.Constant(node.value.replace(old, new))


def list_bound(node: ast.AST) -> list[str]:
    """Return the names that a statement binds, without the names bound by comprehensions in it."""
    if isinstance(node, ast.comprehension):
        return []
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    return [name for each in ast.iter_child_nodes(node) for name in list_bound(each)]


def _omit(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [name for target in targets for name in list_bound(target)]
        if any(name not in place.known for name in names):
            return
    yield ast.Pass()


def _change_assignment(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    """Yield `a += b` for `a = b` and `a = a + b`, and the reverse."""
    if isinstance(node, ast.AugAssign):
        yield ast.Assign([node.target], node.value, lineno=0)
        return
    assert isinstance(node, ast.Assign)
    target = node.targets[0]
    if len(node.targets) > 1 or not isinstance(target, ast.Name | ast.Attribute | ast.Subscript):
        return
    value = node.value
    if isinstance(value, ast.BinOp) and ast.unparse(value.left) == ast.unparse(target):
        yield ast.AugAssign(target, value.op, value.right)
    if not isinstance(target, ast.Name) or target.id in place.known:
        yield ast.AugAssign(target, ast.Add(), value)


def _change_arguments(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Call)
    if name_called(node.func) in ("super", "isinstance", "issubclass", "hasattr"):
        return
    for number in range(len(node.args) - 1):
        yield _with(node, args=_exchange(node.args, number))
    if len(node.args) > 1:
        yield _with(node, args=node.args[:-1])
    for number, each in enumerate(node.keywords):
        if each.arg is not None:
            rest = [*node.keywords[:number], *node.keywords[number + 1 :]]
            yield _with(node, keywords=rest)


def _drop_call(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    """Yield the tensor whose method is called, or the argument of a function."""
    assert isinstance(node, ast.Call)
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if owner is not None and not _is_namespace(owner):
        yield owner
    elif node.args and name_called(node.func) not in KEPT_CALLS:
        first = node.args[0]
        yield first.value if isinstance(first, ast.Starred) else first


def _is_namespace(node: ast.expr) -> bool:
    """Return whether functions are looked up in a node, e.g. `torch.nn`, `self` or `super()`."""
    if isinstance(node, ast.Call):
        return name_called(node.func) == "super"
    if isinstance(node, ast.Attribute):
        return ast.unparse(node).split(".")[0] in NAMESPACES
    return isinstance(node, ast.Name) and node.id in (*NAMESPACES, "self", "cls")


def _change_function(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Call)
    other = OTHER_FUNCTIONS.get(name_called(node.func))
    if other and isinstance(node.func, ast.Attribute):
        yield _with(node, func=_with(node.func, attr=other))
    elif other and isinstance(node.func, ast.Name) and node.func.id in ("min", "max", "any", "all"):
        yield _with(node, func=_load(other))


def _convert(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    """Yield a statement whose value is converted, detached or copied."""
    assert isinstance(node, ast.Assign | ast.Return)
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    for number, value in enumerate(values):
        if value is None or not _makes_tensor(value):
            continue
        for name in CONVERSIONS:
            made = _call_method(value, name)
            if isinstance(node.value, ast.Tuple):
                joined = [*values[:number], made, *values[number + 1 :]]
                yield _with(node, value=ast.Tuple(joined, ast.Load()))
            else:
                yield _with(node, value=made)


def _makes_tensor(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        is_product = isinstance(node.op, ast.MatMult)
        return is_product or _makes_tensor(node.left) or _makes_tensor(node.right)
    return isinstance(node, ast.Call) and name_called(node.func) in MAKING_TENSORS


def _fix_place(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    """Yield a fixed dtype or device."""
    assert isinstance(node, ast.keyword)
    if node.arg == "dtype":
        yield _with(node, value=ast.Attribute(_load("torch"), "float32", ast.Load()))
    elif node.arg == "device":
        yield _with(node, value=ast.Constant("cpu"))


def _change_training(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Attribute)
    if node.attr == "training" and isinstance(node.ctx, ast.Load):
        yield from (ast.Constant(True), ast.Constant(False))


def _change_name(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Name)
    if isinstance(node.ctx, ast.Load) and node.id in place.known and len(place.known) > 1:
        number = place.known.index(node.id)
        yield _load(place.known[number - 1])


def _change_attribute(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Attribute)
    is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
    if is_own and node.attr in place.attributes and len(place.attributes) > 1:
        number = place.attributes.index(node.attr)
        yield _with(node, attr=place.attributes[number - 1])


def _exchange_elements(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.Tuple | ast.List)
    for number in range(len(node.elts) - 1):
        yield _with(node, elts=_exchange(node.elts, number))


def _write_in_place(node: ast.AST, place: NodeContext) -> Iterator[ast.AST]:
    assert isinstance(node, ast.BinOp)
    name = IN_PLACE.get(type(node.op))
    for one, other in ((node.left, node.right), (node.right, node.left)):
        if name and isinstance(one, ast.Name) and one.id in place.known:
            yield _call_method(one, name, other)


OPERATORS: tuple[Operator, ...] = (
    Operator(
        "arithmetic",
        "another operator: - for +",
        (ast.BinOp, ast.AugAssign),
        _change_arithmetic,
    ),
    Operator("operand", "an operand left out: a for a + b", ast.BinOp, _drop_operand),
    Operator("order", "operands exchanged: b - a for a - b", ast.BinOp, _exchange_operands),
    Operator("sign", "no minus, or no not", ast.UnaryOp, _drop_sign),
    Operator("comparison", "another comparison: <= for <", ast.Compare, _change_comparison),
    Operator("choice", "branches exchanged, or one left out", ast.IfExp, _change_choice),
    Operator("conjunction", "or for and, or a condition left out", ast.BoolOp, _change_conjunction),
    Operator("index", "an index left out, or one off", ast.Subscript, _change_index),
    Operator("slice", "a bound left out, or one off", ast.Slice, _change_slice),
    Operator("number", "another number", ast.Constant, _change_number),
    Operator("truth", "True for False", ast.Constant, _change_truth),
    Operator("text", "another name in a text: weight_hh for weight_ih", ast.Constant, _change_text),
    Operator("omission", "a statement left out", SIMPLE, _omit),
    Operator(
        "assignment",
        "in place or not: a += b for a = a + b",
        (ast.Assign, ast.AugAssign),
        _change_assignment,
    ),
    Operator("arguments", "arguments exchanged, or one left out", ast.Call, _change_arguments),
    Operator("call", "a call left out: x for x.clone()", ast.Call, _drop_call),
    Operator("function", "another function: ones for zeros", ast.Call, _change_function),
    Operator(
        "conversion",
        "a result converted, detached or copied: x.float()",
        (ast.Assign, ast.Return),
        _convert,
    ),
    Operator("place", "a fixed dtype or device", ast.keyword, _fix_place),
    Operator("training", "no look at self.training", ast.Attribute, _change_training),
    Operator("name", "another variable", ast.Name, _change_name),
    Operator("attribute", "another attribute of self", ast.Attribute, _change_attribute),
    Operator("elements", "elements exchanged: (b, a)", (ast.Tuple, ast.List), _exchange_elements),
    Operator("in-place", "an operand overwritten: a.add_(b) for a + b", ast.BinOp, _write_in_place),
)
"""Every operator. `rnnspec.selftest.mutants` also changes conditions and decorators."""
CONDITION, DECORATOR = "condition", "decorator"
OPERATOR_NAMES = (*(each.name for each in OPERATORS), CONDITION, DECORATOR)
