"""Which features a subject refuses openly, found by trying each once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnspec.cases.axes import FEATURES
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.errors import SelectionError, suggest
from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Failure, Raised, Unsupported
from rnnspec.subjects.subject import Subject

Trial = Callable[[Observation], Any]
PLAIN = Case(config=Config(2, 3), steps=2, batch=2)
DTYPES = ("float64", "float32", "bfloat16", "float16")
CONSTRUCTOR_WORDS = {"dtype": ("dtype", "device")}


def _call(observation: Observation) -> Any:
    return observation.call


def _gradients(observation: Observation) -> Any:
    return observation.gradients


TRIALS: dict[str, tuple[dict[str, Any], Trial]] = {
    "float64": ({"dtype": "float64"}, _call),
    "float32": ({"dtype": "float32"}, _call),
    "bfloat16": ({"dtype": "bfloat16"}, _call),
    "float16": ({"dtype": "float16"}, _call),
    "nonlinearity": ({"nonlinearity": "relu"}, _call),
    "num_layers": ({"num_layers": 2}, _call),
    "bidirectional": ({"bidirectional": True}, _call),
    "batch_first": ({"batch_first": True}, _call),
    "bias": ({"bias": False}, _call),
    "dropout": ({"num_layers": 2, "dropout": 0.5, "mode": "train"}, _call),
    "unbatched": ({"layout": "unbatched", "batch": 1}, _call),
    "packed": ({"layout": "packed"}, _call),
    "state": ({"state": "given"}, _call),
    "dtype": ({"build": "typed"}, _call),
    "pickle": ({"history": "pickled"}, _call),
    "functional": ({"history": "functional"}, _call),
    "gradients": ({"mode": "train"}, _gradients),
}


def probe_capabilities(subject: Subject, without: dict[str, str] | None = None) -> dict[str, str]:
    """The features that the subject refuses, each with the reason; `without` holds those that the user excluded.

    Only an open refusal counts: NotImplementedError, or TypeError that names the keyword. The plain batched call cannot be refused.
    """
    refused = subject.refused
    refused.update(without or {})
    for feature, (changes, trial) in TRIALS.items():
        if feature not in refused:
            reason = _refusal(subject, feature, changes, trial)
            if reason is not None:
                refused[feature] = reason
        if all(dtype in refused for dtype in DTYPES):
            _nothing_works(refused, without or {})
            break
    subject.settled = True
    return refused


def _nothing_works(refused: dict[str, str], without: dict[str, str]) -> None:
    """Where the plain call is refused in every dtype nothing is a refusal of one feature."""
    for feature in set(refused) - set(without):
        del refused[feature]


def build_base_case(subject: Subject) -> Case:
    """The plain batched case with the user's own arguments, in the first dtype that the subject does not refuse."""
    dtype = next((name for name in DTYPES if name not in subject.refused), DTYPES[0])
    own = {name: value for name, value in subject.fixed.items() if name in PLAIN.config.arguments}
    return PLAIN.replace(dtype=dtype, **own)


def _refusal(subject: Subject, feature: str, changes: dict[str, Any], trial: Trial) -> str | None:
    taken = {
        name: value
        for name, value in changes.items()
        if name == feature or name not in (*subject.refused, *subject.fixed)
    }
    case = build_base_case(subject).replace(**taken)
    try:
        trial(Observation(subject, case))
    except Unsupported as refused:
        return str(refused)
    except Raised as raised:
        return _refused_keyword(feature, raised)
    except Failure:
        return None
    return None


def _refused_keyword(feature: str, raised: Raised) -> str | None:
    """The reason where the constructor raised TypeError that names the feature's keyword."""
    words = CONSTRUCTOR_WORDS.get(feature, (feature,))
    named = any(word in str(raised.error) for word in words)
    return (
        str(raised)
        if raised.step == "the constructor" and isinstance(raised.error, TypeError) and named
        else None
    )


def parse_features(names: tuple[str, ...]) -> dict[str, str]:
    """The features that a user excludes, with that as the reason; raises SelectionError for one that does not exist."""
    for name in names:
        if name not in FEATURES:
            raise SelectionError(
                f"--without {name!r}: no such feature.{suggest(name, FEATURES)} There are {', '.join(FEATURES)}."
            )
    return {name: f"excluded by --without {name}" for name in names}
