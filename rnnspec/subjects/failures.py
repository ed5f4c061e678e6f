"""The reasons why an observation was not possible.

Failure
+-- Unsupported  the subject refuses a feature openly; rules that need it do not apply
+-- Raised       the subject raised another exception
|   +-- Ended    the subject ended the process, or did not return
|       +-- LeftOut  the trial of a feature did not run
+-- Malformed    the subject returned a result that does not have the documented form
+-- Unloadable   the documented weights cannot be loaded into the subject
"""

from __future__ import annotations

import re
from enum import IntEnum, auto

import torch

from rnnspec.subjects.steps import CALL, CONSTRUCTOR, LOADING_WEIGHTS, READING_WEIGHTS, StepKind
from rnnspec.text import read_message, read_type


class Failure(Exception):
    """An observation was not possible because of an action of the subject.

    Let it pass through your rule: the engine reports it. `key` identifies this action, such as
    "shape@h_n", regardless of the numbers in the message. For an exception, the key is its message,
    since nothing else is known about it.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key or message


class Unsupported(Failure):
    """The subject refuses a feature openly, as defined by `classify_error`."""


class Raised(Failure):
    """The subject raised an exception in a step that is not an open refusal."""

    def __init__(self, step: str, error: BaseException, kind: StepKind = StepKind.USE) -> None:
        text = read_message(error)
        shown = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."
        super().__init__(f"{step} raised {read_type(error)}: {shown}", generalise_message(text))
        self.step = step
        self.error = error
        self.kind = kind


class EndOfProcess(BaseException):
    """Takes the place of the exception if a step ended the process, or did not return."""


class Ended(Raised):
    """The subject ended the process in a step, or did not return from it in time.

    `cause` is a predicate that follows the name of the step, such as "ended the process with signal
    SIGSEGV".
    """

    def __init__(self, step: str, cause: str) -> None:
        Failure.__init__(self, f"{step} {cause}", generalise_message(cause))
        self.step = step
        self.kind = StepKind.USE
        self.error = EndOfProcess(cause)


class LeftOut(Ended):
    """The trial of a feature did not run, because trials ended processes before."""

    def __init__(self, step: str) -> None:
        super().__init__(step, "was left out")


class Malformed(Failure):
    """The subject returned a result that does not have the documented form."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message, key)


class Unloadable(Failure):
    """The documented weights cannot be loaded into the subject."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message, key)


MAX_LENGTH = 200
"""Longer messages of exceptions are cut off."""
TORCH_REFUSALS = (
    "which does not have a __getstate__ method defined",
    "RNN backward can only be called in training mode",
    "hx is not contiguous",
    "cx is not contiguous",
    "does not support double backward",
    "does not currently support double backward",
)
"""Parts of the messages of torch's own RuntimeErrors that are open refusals.

They concern compiled modules that cannot be pickled, and functions that cuDNN and compiled graphs
do not support. (The second derivatives of cuDNN raise NotImplementedError.) The messages of cuDNN,
of MIOpen and of backends that copy them begin in different ways.
"""
TORCH_FAULTS = ("Cannot copy out of meta tensor", "Could not run 'aten::")
"""Parts of the messages of torch's own NotImplementedErrors that are about a wrong argument."""
KERNEL_REFUSAL = re.compile(r"not implemented for '(\w+)'")
"""The message of a kernel of torch that does not support a dtype."""
SCALAR_TYPES = {
    torch.float64: "Double",
    torch.float32: "Float",
    torch.bfloat16: "BFloat16",
    torch.float16: "Half",
}
"""The names of the dtypes of cases in messages of torch's kernels."""


SHAPE = re.compile(r"\((?:\d+, ?)*\d*\)|\[(?:\d+, ?)*\d*\]")
DTYPE = re.compile(
    r"\b(?:torch\.|c10::)?(?:double|float(?:16|32|64)?|half|bfloat16)\b", re.IGNORECASE
)
NUMBER = re.compile(r"(?:(?<!\w)-)?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def generalise_message(message: str) -> str:
    """Return the message of an exception with # in place of every number, shape and dtype.

    A layer whose state has a wrong dtype raises a different message for each dtype of its input.
    The part after a semicolon is removed, because it often lists the values that were found.
    """
    return NUMBER.sub("#", SHAPE.sub("(#)", DTYPE.sub("#", message.partition(";")[0])))


def classify_error(
    step: str,
    error: BaseException,
    dtype: torch.dtype | None = None,
    kind: StepKind = StepKind.USE,
) -> Failure:
    """Return the failure for an exception that was raised in a step.

    An exception is an open refusal if it is a NotImplementedError of the subject itself, or a
    RuntimeError of torch about an operation that cannot be differentiated or pickled. An error of a
    kernel that lacks a dtype is a refusal only if this is `dtype`, the dtype of the tensors passed
    to the subject; for any other dtype, the subject called the kernel wrongly.
    """
    if isinstance(error, Failure):
        return error
    if _is_refusal(error, dtype):
        message = read_message(error)
        text = f": {message}" if message else ""
        described = f"{step} raised {read_type(error)}{text}"
        return Unsupported(described, generalise_message(message))
    return Raised(step, error, kind)


def _is_refusal(error: BaseException, dtype: torch.dtype | None) -> bool:
    if not isinstance(error, RuntimeError):
        return False
    text = read_message(error)
    if lacking := KERNEL_REFUSAL.search(text):
        return dtype is not None and lacking[1] == SCALAR_TYPES.get(dtype)
    if isinstance(error, NotImplementedError):
        return not any(words in text for words in TORCH_FAULTS)
    return any(words in text for words in TORCH_REFUSALS)


class Stage(IntEnum):
    """The stages through which a subject passes, in order."""

    BUILDING = auto()
    LOADING = auto()
    PREPARING = auto()
    CALLING = auto()
    RETURNING = auto()


def find_stage(failure: Failure) -> Stage:
    """Return the stage in which a failure stopped the subject.

    In `RETURNING`, the last stage, the call returns a result that does not have the documented
    form.
    """
    if isinstance(failure, Malformed):
        return Stage.RETURNING
    if isinstance(failure, Unloadable):
        return Stage.LOADING
    step = failure.step if isinstance(failure, Raised) else ""
    is_converted = isinstance(failure, Raised) and failure.kind is StepKind.CONVERSION
    if step == CONSTRUCTOR or is_converted:
        return Stage.BUILDING
    if step in (READING_WEIGHTS, LOADING_WEIGHTS):
        return Stage.LOADING
    return Stage.CALLING if step == CALL else Stage.PREPARING
