"""Make tensors that the user's call expression creates fit the model, as the user would.

An expression such as `model(x, torch.zeros(batch, 2048))` is written for the CPU and for float32.
If the model is on another device or in another dtype, the tensors are converted, so that no rule
blames the model for them.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnspec.subjects.devices import keep_random_numbers

EXPRESSION = "<call>"
"""The file name of compiled expressions."""

TORCH = str(Path(torch.__file__).parent)
"""The folder of torch's code."""

MODULE = nn.modules.module.__file__
"""The file that every call of a module passes through."""

CASTS = frozenset({"cpu", "cuda", "double", "float", "to", "type"})
"""Methods of tensors that choose a device or a dtype."""

SIZES = frozenset({"shape", "size", "ndim", "dim"})
"""Attributes and methods of tensors that give sizes."""

RANDOM = frozenset(
    {
        *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
        *("rand_like", "randn_like", "randint_like", "dropout"),
        *("bernoulli_", "exponential_", "normal_", "random_", "uniform_"),
    }
)
"""Functions and methods of torch that draw random numbers."""


class CallersTensors(TorchFunctionMode):
    """Changes the results of torch functions that the expression itself calls.

    Floating-point tensors of the default dtype are converted to the dtype of the model, and new
    tensors are moved to the device of x. One-dimensional integers stay on the CPU, where
    `pack_padded_sequence` expects lengths. Random numbers are the same in every evaluation. If
    `is_varied`, random numbers replace the constants in new floating-point tensors. Calls inside
    the model are not changed.
    """

    def __init__(self, model: nn.Module, x: Tensor, *, is_varied: bool = False) -> None:
        super().__init__()
        floats = (each.dtype for each in model.parameters() if each.is_floating_point())
        self._dtype = next(floats, x.dtype if x.is_floating_point() else None)
        self._device = x.device
        self._is_varied = is_varied
        self._draws = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and convert its result if the expression itself calls it."""
        keywords = kwargs or {}
        if not is_in_expression():
            return function(*args, **keywords)
        name = getattr(function, "__name__", "")
        with self._fix_random_numbers() if name in RANDOM else nullcontext():
            if any(isinstance(each, Tensor) for each in (*args, *keywords.values())):
                result = function(*args, **keywords)
                # Use the argument, since a cast rounds, even if its result is converted back.
                is_kept = name in CASTS and args[0].dtype == self._dtype
                return self._convert(result, args[0] if is_kept else result)
            with torch.device("cpu"):  # the default device may be changed to test the model
                result = function(*args, **keywords)
        return self._place(self._convert(result, result))

    @contextmanager
    def _fix_random_numbers(self) -> Iterator[None]:
        # Seed by the count of draws, so that every evaluation of the expression draws the same.
        self._draws += 1
        with keep_random_numbers():
            torch.manual_seed(self._draws)
            yield

    def _convert(self, result: Any, exact: Any) -> Any:
        """Convert a result to the dtype of the model, using `exact`, which may have more digits."""
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        is_default = result.dtype == torch.get_default_dtype()
        return exact.to(result.device, self._dtype) if is_default else result

    def _place(self, result: Any) -> Any:
        if not isinstance(result, Tensor) or (not result.is_floating_point() and result.dim() == 1):
            return result
        if self._is_varied and result.is_floating_point():
            generator = torch.Generator().manual_seed(result.numel())
            result = result + torch.rand(result.shape, generator=generator).to(result)
        return result.to(self._device)


class _CreatedWrapper(ast.NodeTransformer):
    """Wraps calls such as `torch.zeros(...)` and `x.float()` in a call of a function."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Wrap the call of a function of torch itself, or of a method that casts."""
        self.generic_visit(node)
        function = node.func
        if not isinstance(function, ast.Attribute):
            return node
        is_of_torch = isinstance(function.value, ast.Name) and function.value.id == "torch"
        if not is_of_torch and function.attr not in CASTS:
            return node
        given = [node, ast.Name("model"), ast.Name("x")]
        return ast.Call(ast.Name(self._name), args=given, keywords=[])


class _StateWrapper(ast.NodeTransformer):
    """Wraps states that a method of the model makes for a call of the model.

    Such a method reads nothing of the input but its sizes, as in `model.init_hidden(batch)`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_argument = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Wrap a call of a method of the model that is an argument of another call of the model."""
        is_of_model = _find_root(node.func) == "model"
        is_state = (
            self._is_argument
            and is_of_model
            and isinstance(node.func, ast.Attribute)
            and not any(_reads_input(each) for each in (*node.args, *node.keywords))
        )
        before, self._is_argument = self._is_argument, self._is_argument or is_of_model
        self.generic_visit(node)
        self._is_argument = before
        if not is_state:
            return node
        return ast.Call(ast.Name(self._name), args=[node, ast.Name("model")], keywords=[])


def _find_root(node: ast.AST) -> str:
    """Return the first name of an attribute chain: `model` in `model.encoder.init_hidden`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _reads_input(node: ast.AST) -> bool:
    """Return whether code reads more of the input than its sizes."""
    if isinstance(node, ast.Attribute) and node.attr in SIZES:
        return False
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return False
    is_input = isinstance(node, ast.Name) and node.id == "x"
    return is_input or any(_reads_input(each) for each in ast.iter_child_nodes(node))


def wrap_states(expression: str, name: str) -> str:
    """Return an expression that passes states made by the model to the function called `name`.

    The function gets the state and the model, as in `move(model.init_hidden(batch), model)`.
    """
    return _rewrite(expression, _StateWrapper(name))


def wrap_created(expression: str, name: str) -> str:
    """Return an expression that passes tensors made or cast by torch to the function called `name`.

    The function gets the tensor, the model and x, as in `fit(torch.zeros(batch, 8), model, x)`.
    """
    return _rewrite(expression, _CreatedWrapper(name))


def _rewrite(expression: str, transformer: ast.NodeTransformer) -> str:
    """Apply a transformer to an expression; if it changes nothing, return the text as it was."""
    tree = ast.parse(expression.strip(), mode="eval")
    before = ast.dump(tree)
    changed = transformer.visit(tree)
    return expression if ast.dump(changed) == before else ast.unparse(changed)


def is_in_expression() -> bool:
    """Return whether the expression, and not the model, calls the current function of torch."""
    current = inspect.currentframe()
    frame = current.f_back.f_back if current and current.f_back else None
    while frame is not None and frame.f_code.co_filename != EXPRESSION:
        path = frame.f_code.co_filename
        if path == MODULE or not path.startswith((TORCH, __file__)):
            return False
        frame = frame.f_back
    return frame is not None
