"""Calls of a model, written as Python expressions over the model and its possible inputs."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnspec.errors import suggest_similar
from rnnspec.models.steps import take_step
from rnnspec.subjects.devices import keep_random_numbers
from rnnspec.subjects.steps import CALL, announce_case

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


NAMES = ("model", "x", "lengths", "state", "batch", "steps", "torch")
"""Names that an expression can use: the model, the input, the lengths of its sequences, the initial
state, the two sizes, and torch.
"""


MOVE = "_move_state"
"""The name of `move_state` in the compiled form of an expression."""


class CallError(ValueError):
    """Raised for a text that is no Python expression or uses an unknown name."""


@dataclass(frozen=True)
class ModelCall:
    """A call of a model, and the prediction in its results.

    expression  a Python expression over `NAMES`; its value is the prediction, or a tuple, list or
                dictionary whose first tensor is the prediction
    state       the expression of the initial state, over the model, `batch` and torch; empty if the
                call takes none
    is_sorted   whether the model accepts lengths only in descending order
    is_varied   whether random numbers replace the constants in tensors that the expression makes

    Raises CallError for an expression that cannot be evaluated.
    """

    expression: str = "model(x)"
    state: str = ""
    is_sorted: bool = False
    is_varied: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in find_free_names(self.expression) if name not in NAMES]
        if unknown:
            raise CallError(
                f"{self.expression!r}: there is no {unknown[0]!r}; an expression can use "
                f"{', '.join(NAMES)}.{suggest_similar(unknown[0], NAMES)}"
            )

    @property
    def is_plain(self) -> bool:
        """Whether the call passes only the input."""
        return self.expression == "model(x)"

    @property
    def takes_lengths(self) -> bool:
        """Whether the call passes the lengths of the sequences."""
        return "lengths" in find_free_names(self.expression)

    @property
    def draws_numbers(self) -> bool:
        """Whether the expression itself draws random numbers, such as noise for the model."""
        return bool(RANDOM & find_attributes(self.expression))

    @property
    def takes_state(self) -> bool:
        """Whether the call passes an initial state."""
        return "state" in find_free_names(self.expression)

    def evaluate(
        self, model: nn.Module, x: Tensor, batch: int, steps: int, lengths: Tensor | None = None
    ) -> object:
        """Return the results of the call. Raises Raised if the model raises.

        Unless you pass `lengths`, every sequence has all steps. Initial states are moved to the
        device and the dtype of the model's parameters, also if a method of the model returns them,
        in `state` or within the expression.
        """
        return self.run(self.fill_scope(model, x, batch, steps, lengths))

    def fill_scope(
        self, model: nn.Module, x: Tensor, batch: int, steps: int, lengths: Tensor | None = None
    ) -> dict[str, Any]:
        """Return the values of the names in the expression."""
        scope: dict[str, Any] = {"model": model, "x": x, "torch": torch}
        scope |= {"batch": batch, "steps": steps}
        if self.takes_lengths:
            scope["lengths"] = torch.full((batch,), steps) if lengths is None else lengths
        given = None if lengths is None else tuple(lengths.tolist())
        # A model may end the process for some sizes, and return for others.
        announce_case((self, tuple(x.shape), x.dtype, x.device, given, model.training))
        if self.takes_state:
            with take_step(CALL):
                state = eval(_compile(self.state or "None"), dict(scope))
            scope["state"] = move_state(state, model)
        return scope

    def run(self, scope: dict[str, Any]) -> object:
        """Return the results of the call, given a scope from `fill_scope`.

        Raises Raised if the model raises.
        """
        is_on = torch.is_grad_enabled()  # a model may switch gradients off or on for good
        fitting = self._fit_tensors(scope["model"], scope["x"])
        with take_step(CALL), torch.set_grad_enabled(is_on), fitting:
            return eval(_compile(self.expression), {**scope, MOVE: move_state})

    def _fit_tensors(self, model: nn.Module, x: Tensor) -> AbstractContextManager[Any]:
        """Return a context that makes tensors created by the expression fit the model."""
        is_needed = "torch" in find_free_names(self.expression) or bool(
            (CASTS | RANDOM) & find_attributes(self.expression)
        )
        if not is_needed:
            return nullcontext()
        return CallersTensors(model, x, is_varied=self.is_varied)


def move_state(state: Any, model: nn.Module) -> Any:
    """Return a state with the device and the dtype of the model's floating-point parameters."""
    if isinstance(state, tuple | list):
        return tuple(move_state(each, model) for each in state)
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    return state.to(like) if isinstance(state, Tensor) and like is not None else state


@lru_cache(maxsize=256)
def find_free_names(expression: str) -> tuple[str, ...]:
    """Return the names that an expression reads from outside. Raises CallError for bad syntax."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise CallError(f"{expression!r} is no Python expression: {error.msg}.") from error
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    free = (node.id for node in names if node.id not in bound and not hasattr(builtins, node.id))
    return tuple(dict.fromkeys(free))


@lru_cache(maxsize=256)
def find_attributes(expression: str) -> frozenset[str]:
    """Return the names of the attributes that an expression reads, such as methods of tensors."""
    tree = ast.parse(expression.strip(), mode="eval")
    return frozenset(each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute))


def list_named_sizes(expression: str) -> Iterator[tuple[int, str, str]]:
    """Yield the expression with a number replaced by a name, for each number and each name.

    Each item is the number, the name and the new expression. The names are `batch` and `steps`.
    Numbers below 2 are not sizes.
    """
    tree = ast.parse(expression.strip(), mode="eval")
    values = [each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)]
    numbers = [each for each in values if isinstance(each, int) and each > 1]
    for number, name in product(dict.fromkeys(numbers), ("batch", "steps")):
        replaced = _NumberReplacer(number, name).visit(ast.parse(expression.strip(), mode="eval"))
        yield number, name, ast.unparse(replaced)


class _NumberReplacer(ast.NodeTransformer):
    """Replaces a number by a name."""

    def __init__(self, number: int, name: str) -> None:
        self._number, self._name = number, name

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Replace a constant if it is the number."""
        return ast.Name(self._name) if node.value == self._number else node


@lru_cache(maxsize=256)
def _compile(expression: str) -> CodeType:
    return compile(wrap_states(expression.strip(), MOVE), EXPRESSION, "eval")


def find_first_tensor(value: object) -> Tensor:
    """Return the value itself, or the first tensor in a tuple, list or dictionary.

    Raises TypeError if there is none.
    """
    for item in _list_tensors(value):
        return item
    raise TypeError(f"a model must return a tensor, got {type(value).__name__}")


def _list_tensors(value: object) -> Iterator[Tensor]:
    """Return the value itself, or the tensors directly in a tuple, list or dictionary."""
    if isinstance(value, dict):
        items = list(value.values())
    else:
        items = list(value) if isinstance(value, list | tuple) else [value]
    return (item for item in items if isinstance(item, Tensor))


PLAIN = ModelCall()
"""The call of a model with nothing but its input."""
