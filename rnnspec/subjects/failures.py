"""Why something could not be observed.

Failure
+-- Refused     the subject refuses a feature openly; what needs it is not applicable
+-- Raised      the subject raised anything else
+-- Malformed   the subject returned something that has not the documented form
+-- Unloadable  the subject's parameters cannot take the documented weights
"""

from __future__ import annotations


class Failure(Exception):
    """Something could not be observed because of what the subject did."""


class Unsupported(Failure):
    """The subject refuses openly: NotImplementedError, or TypeError for a constructor's keyword."""


class Raised(Failure):
    """The subject raised an exception that is no open refusal."""

    def __init__(self, step: str, error: BaseException) -> None:
        text = " ".join(str(error).split())
        super().__init__(
            f"{step} raised {type(error).__name__}: {text[:200]}{'...' if len(text) > 200 else ''}"
        )
        self.step = step
        self.error = error


class Malformed(Failure):
    """The subject returned something that has not the documented form."""


class Unloadable(Failure):
    """The subject's parameters cannot take the documented weights."""


TORCH_REFUSES = (
    "not implemented for",
    "which does not have a __getstate__ method defined",
    "cudnn RNN backward can only be called in training mode",
    "rnn: hx is not contiguous",
)
"""How torch itself words that a dtype has no kernel, that a compiled module cannot be pickled, and what cuDNN does not offer.

Its second derivatives raise NotImplementedError.
"""


def classify_error(step: str, error: BaseException) -> Failure:
    """The failure that an exception of the subject stands for.

    NotImplementedError is an open refusal, and so is torch's own RuntimeError for what it does not offer.
    """
    if isinstance(error, Failure):
        return error
    torchs_own = isinstance(error, RuntimeError) and any(
        words in str(error) for words in TORCH_REFUSES
    )
    if isinstance(error, NotImplementedError) or torchs_own:
        return Unsupported(
            f"{step} raised {type(error).__name__}: {error}"
            if str(error)
            else f"{step} raised {type(error).__name__}"
        )
    return Raised(step, error)
