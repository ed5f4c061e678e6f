"""The steps of a model: its code runs in them, so that it can be watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from rnnspec.subjects.failures import MAX_LENGTH, Ended, Raised, classify_error
from rnnspec.subjects.steps import announce_step, is_from_user
from rnnspec.text import read_message

BACKWARD = "backward"
"""The step in which gradients are computed."""


@contextmanager
def take_step(step: str) -> Iterator[None]:
    """Return a context for a step of the model. Raises what the model raises.

    What is no Exception becomes one: a model that raises SystemExit is as wrong as any other. Only
    the user's wish to stop stays as it is.
    """
    try:
        with announce_step(step):
            yield
    except Exception:
        raise
    except BaseException as error:
        if is_from_user(error):
            raise
        raise Raised(step, error) from error


def find_gradients(
    target: Tensor, sources: Sequence[Tensor], *, retain_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Return the gradient of a number with respect to each tensor, or None where none arrives.

    Raises Raised if the model raises, whose code may be a part of it, or Unsupported if that is an
    open refusal.
    """
    with take_step(BACKWARD):
        try:
            return torch.autograd.grad(
                target, list(sources), retain_graph=retain_graph, allow_unused=True
            )
        except Exception as error:
            raise classify_error(BACKWARD, error) from error


def describe_error(error: BaseException) -> str:
    """Return the type of an exception and the first line of its message, or how a step ended."""
    if isinstance(error, Ended):
        return str(error)
    cause = _find_cause(error)
    try:
        line = str(cause).strip().partition("\n")[0]
    except BaseException:  # the model may define its own
        line = read_message(cause)
    return f"{type(cause).__name__}: {line}" if line else type(cause).__name__


def tell_error(error: BaseException) -> str:
    """Return what a model did instead of predicting, as the continuation of a sentence about it."""
    return str(error.error) if isinstance(error, Ended) else f"raises {describe_error(error)}"


def tell_whole_error(error: BaseException) -> str:
    """Return the same with the whole message of an exception on one line, unless it is long."""
    if isinstance(error, Ended):
        return tell_error(error)
    cause = _find_cause(error)
    return f"raises {type(cause).__name__}: {read_message(cause)[:MAX_LENGTH]}"


def _find_cause(error: BaseException) -> BaseException:
    return error.error if isinstance(error, Raised) else error
