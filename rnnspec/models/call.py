"""Calls of a model, written as Python expressions over the model and its possible inputs."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.errors import suggest_similar
from rnnspec.models.caller import CASTS, EXPRESSION, RANDOM, CallersTensors, wrap_states
from rnnspec.models.steps import take_step
from rnnspec.subjects.steps import CALL, announce_case

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

        Without `lengths`, every sequence has all steps. Initial states are moved to the device and
        the dtype of the model's parameters, also if a method of the model returns them, in `state`
        or within the expression.
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
