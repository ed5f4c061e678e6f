"""The reasons why something could not be observed.

Failure
+-- Unsupported  the subject refuses a feature openly; rules that need it do not apply
+-- Raised       the subject raised another exception
+-- Malformed    the subject returned something of another form than the documented one
+-- Unloadable   the documented weights cannot be loaded into the subject
"""

from __future__ import annotations


class Failure(Exception):
    """Something could not be observed because of what the subject did."""


class Unsupported(Failure):
    """The subject refuses a feature openly, as `classify_error` defines it."""


class Raised(Failure):
    """The subject raised an exception in a step that is not an open refusal."""

    def __init__(self, step: str, error: BaseException) -> None:
        text = " ".join(str(error).split())
        shown = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."
        super().__init__(f"{step} raised {type(error).__name__}: {shown}")
        self.step = step
        self.error = error


class Malformed(Failure):
    """The subject returned something of another form than the documented one."""


class Unloadable(Failure):
    """The documented weights cannot be loaded into the subject."""


MAX_LENGTH = 200
"""Longer messages of exceptions are cut off."""
TORCH_REFUSALS = (
    "not implemented for",
    "which does not have a __getstate__ method defined",
    "cudnn RNN backward can only be called in training mode",
    "rnn: hx is not contiguous",
)
"""Parts of the messages of torch's own RuntimeErrors that are open refusals.

They say that a dtype has no kernel, that a compiled module cannot be pickled, and what cuDNN does
not support. (The second derivatives of cuDNN raise NotImplementedError.)
"""


def classify_error(step: str, error: BaseException) -> Failure:
    """Return the failure that an exception raised in a step means.

    NotImplementedError is an open refusal, and so is a RuntimeError by which torch itself says that
    something is not supported.
    """
    if isinstance(error, Failure):
        return error
    is_torch_refusal = isinstance(error, RuntimeError) and any(
        words in str(error) for words in TORCH_REFUSALS
    )
    if isinstance(error, NotImplementedError) or is_torch_refusal:
        text = f": {error}" if str(error) else ""
        return Unsupported(f"{step} raised {type(error).__name__}{text}")
    return Raised(step, error)
