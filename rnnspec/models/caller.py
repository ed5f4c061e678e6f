"""Make the tensors that the caller's own expression creates fit the model, as a caller would.

An expression such as `model(x, torch.zeros(batch, 2048))` is written for the CPU and for float32.
If it is evaluated for a model on another device or in another dtype, its tensors follow, so that no
rule blames the model for them.
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

from rnnspec.subjects.generators import keep_random_numbers

EXPRESSION = "<call>"
"""The file name under which expressions are compiled."""

TORCH = str(Path(torch.__file__).parent)
"""The folder of the code of torch."""

MODULE = nn.modules.module.__file__
"""The file through which a call of a module goes."""

CASTS = frozenset({"cpu", "cuda", "double", "float", "to", "type"})
"""Methods of tensors by which an expression chooses a device or a dtype."""

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
    """Changes the results of functions of torch that an expression itself calls.

    Floating-point tensors of the default dtype get that of the model, and new tensors the device of
    x. One-dimensional integers stay on the CPU, where `pack_padded_sequence` wants lengths. Random
    numbers are the same in every evaluation. If `is_varied`, new floating-point tensors have random
    numbers in place of constants. What the model calls is left alone.
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
        """Run a function of torch, and change its result if the expression itself calls it."""
        keywords = kwargs or {}
        if not is_in_expression():
            return function(*args, **keywords)
        name = getattr(function, "__name__", "")
        with self._fix_random_numbers() if name in RANDOM else nullcontext():
            if any(isinstance(each, Tensor) for each in (*args, *keywords.values())):
                result = function(*args, **keywords)
                # A cast would round, even if its result is converted again.
                is_kept = name in CASTS and args[0].dtype == self._dtype
                return self._convert(result, args[0] if is_kept else result)
            with torch.device("cpu"):  # the default device may be another one to test the model
                result = function(*args, **keywords)
        return self._place(self._convert(result, result))

    @contextmanager
    def _fix_random_numbers(self) -> Iterator[None]:
        self._draws += 1
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        with keep_random_numbers(devices):
            torch.manual_seed(self._draws)
            yield

    def _convert(self, result: Any, exact: Any) -> Any:
        """Return a result in the dtype of the model, made from a tensor that may be more exact."""
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
    """Gives what calls such as `torch.zeros(...)` and `x.float()` return to a function."""

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
    """Gives the states that methods of a model make for a call of it to a function.

    Such a method knows nothing of the input but its sizes, as in `model.init_hidden(batch)`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_argument = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Wrap a call of a method that is an argument of another call of the model."""
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
    """Return the name at the beginning of attributes, as in `model.encoder.init_hidden`."""
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
    """Return an expression in which a function called `name` gets states that the model makes.

    It is called with the state and the model, as in `move(model.init_hidden(batch), model)`.
    """
    return _rewrite(expression, _StateWrapper(name))


def wrap_created(expression: str, name: str) -> str:
    """Return an expression in which a function called `name` gets what torch creates or casts.

    It is called with the tensor, the model and x, as in `fit(torch.zeros(batch, 8), model, x)`.
    """
    return _rewrite(expression, _CreatedWrapper(name))


def _rewrite(expression: str, transformer: ast.NodeTransformer) -> str:
    """Return an expression as a transformer changes it, character by character if it does not."""
    tree = ast.parse(expression.strip(), mode="eval")
    before = ast.dump(tree)
    changed = transformer.visit(tree)
    return expression if ast.dump(changed) == before else ast.unparse(changed)


def is_in_expression() -> bool:
    """Return whether a function of torch is called by an expression, and not by a model."""
    current = inspect.currentframe()
    frame = current.f_back.f_back if current and current.f_back else None
    while frame is not None and frame.f_code.co_filename != EXPRESSION:
        path = frame.f_code.co_filename
        if path == MODULE or not path.startswith((TORCH, __file__)):
            return False
        frame = frame.f_back
    return frame is not None
