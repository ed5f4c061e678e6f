"""Run a reproduction program in this process, and undo its changes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close as close

from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.steps import announce_step, is_from_user
from rnnspec.subjects.target import Target


def is_failing_program(source: str, target: Target, device: str = "cpu") -> bool:
    """Return whether a program raises an exception, ends the process or does not return."""
    return run_program(source, target, device) is not None


def run_program(
    source: str,
    target: Target,
    device: str = "cpu",
    given: Mapping[str, Any] | None = None,
) -> BaseException | None:
    """Run a program, and return the exception that it raises, if any.

    The program finds the subject under its own name, even if it cannot import it, and the objects
    in `given` by name. Its changes to this process are undone. A KeyboardInterrupt of the user is
    raised again.
    """
    name = target.name.split(".")[-1]
    scope = {"__name__": "rnnspec_program", name: target.factory, **(given or {})}
    try:
        with _restore_process(device), announce_step(f"the program for {target.label}"):
            exec(compile(source, "<program>", "exec"), scope)
    except BaseException as error:
        if is_from_user(error):
            raise
        return error
    return None


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    msg: Any = None,
) -> None:
    """Raise AssertionError in the same cases as `torch.testing.assert_close`, without its message.

    torch's function imports torch's support for distributed tensors (2.13: 0.6 s), which no program
    needs. It is called only if the arguments are not two tensors or two numbers with given
    tolerances.
    """
    if isinstance(actual, float) and isinstance(expected, float):
        actual, expected = (
            torch.tensor(each, device="cpu", dtype=torch.float64) for each in (actual, expected)
        )
    are_tensors = isinstance(actual, Tensor) and isinstance(expected, Tensor)
    if not are_tensors or rtol is None or atol is None:
        close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, msg=msg)
        return
    forms = [(each.shape, each.dtype, each.device, each.layout) for each in (actual, expected)]
    if forms[0] != forms[1]:
        raise AssertionError(f"{forms[0]} is not {forms[1]}")
    if not torch.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan).all():
        raise AssertionError("the values are not close")


@contextmanager
def _restore_process(device: str) -> Iterator[None]:
    """Restore the import path, the random state and the settings of torch on exit.

    `assert_close` of this module replaces torch's meanwhile.
    """
    places = list(sys.path)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            torch.enable_grad(),
            restore_settings(),
        ):
            warnings.simplefilter("ignore")
            torch.testing.assert_close = assert_close  # type: ignore[assignment]
            with switch_tf32(device, tf32=False):
                yield
    finally:
        torch.testing.assert_close = close
        sys.path[:] = places
        torch.set_default_device(None)
