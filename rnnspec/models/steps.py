"""The steps of running a model's code, which others can watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from rnnspec.subjects.failures import MAX_LENGTH, Ended, Failure, Raised, classify_error
from rnnspec.subjects.steps import announce_step, is_from_user
from rnnspec.text import read_message

BACKWARD = "backward"
"""The step that computes gradients."""


@contextmanager
def take_step(step: str) -> Iterator[None]:
    """Return a context for a step of the model. Raises Raised for any exception of the model.

    This includes exceptions that do not derive from Exception: a model that raises SystemExit is as
    wrong as any other. Only a Failure and the user's own interruption pass unchanged. So an
    exception of a model is never mistaken for an error of the check.
    """
    try:
        with announce_step(step):
            yield
    except Failure:
        raise
    except BaseException as error:
        if is_from_user(error):
            raise
        raise Raised(step, error) from error


@contextmanager
def suppress_failures() -> Iterator[None]:
    """Return a context for an optional attempt, such as an unusual call, whose failure is ignored.

    Raises Ended, because every step that ends the process is a fault.
    """
    try:
        yield
    except Ended:
        raise
    except Failure:
        pass


def find_gradients(
    target: Tensor, sources: Sequence[Tensor], *, retain_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Return the gradient of a number with respect to each tensor, or None where none arrives.

    Raises Raised if the model's code raises, or Unsupported if it openly refuses.
    """
    with take_step(BACKWARD):
        try:
            # Keep the graph: the fallback below may need it. It is freed with the tensors.
            return torch.autograd.grad(target, list(sources), retain_graph=True, allow_unused=True)
        except Exception as error:
            # Some operations, such as reentrant checkpoints, support only `backward`.
            try:
                return _accumulate_gradients(target, sources, retain_graph=retain_graph)
            except Exception:
                raise classify_error(BACKWARD, error) from error


def _accumulate_gradients(
    target: Tensor, sources: Sequence[Tensor], *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    """Return the gradients that `backward` adds to each tensor, and restore earlier gradients."""
    kept = [source.grad if source.is_leaf else None for source in sources]
    for source in sources:
        if source.requires_grad and not source.is_leaf:
            source.retain_grad()
        source.grad = None
    try:
        target.backward(retain_graph=retain_graph)
        return tuple(source.grad for source in sources)
    finally:
        for source, gradient in zip(sources, kept, strict=True):
            source.grad = gradient


def describe_error(error: BaseException) -> str:
    """Return the type of an exception and the first line of its message, or how a step ended."""
    if isinstance(error, Ended):
        return str(error)
    cause = find_cause(error)
    try:
        line = str(cause).strip().partition("\n")[0]
    except BaseException:  # the model may define its own exception
        line = read_message(cause)
    return f"{type(cause).__name__}: {line}" if line else type(cause).__name__


def phrase_error(error: BaseException) -> str:
    """Return the failure of a model as the continuation of a sentence about it."""
    return str(error.error) if isinstance(error, Ended) else f"raises {describe_error(error)}"


def phrase_whole_error(error: BaseException) -> str:
    """Return the same with the whole message of an exception on one line, unless it is long."""
    if isinstance(error, Ended):
        return phrase_error(error)
    cause = find_cause(error)
    return f"raises {type(cause).__name__}: {read_message(cause)[:MAX_LENGTH]}"


def find_cause(error: BaseException) -> BaseException:
    """Return the exception that the model raised."""
    return error.error if isinstance(error, Raised) else error


def unwrap_error(error: Exception) -> Exception:
    """Return the exception that the model raised, unless it does not derive from Exception."""
    cause = find_cause(error)
    return cause if isinstance(cause, Exception) else error
