"""Find out what a subject offers, by trying each optional feature once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.cases.axes import (
    ConstructorStyle,
    DType,
    Feature,
    InitialState,
    Layout,
    Mode,
    ModuleUses,
)
from rnnspec.cases.case import Case
from rnnspec.cases.plan import list_missing_features
from rnnspec.contract.config import OPTIONAL, Config
from rnnspec.contract.kinds import KINDS, Nonlinearity
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.observe.observation import Observation
from rnnspec.subjects.capabilities import Capabilities
from rnnspec.subjects.failures import Failure, Raised, Unsupported
from rnnspec.subjects.steps import CONSTRUCTOR, TRYING, announce_step
from rnnspec.subjects.subject import TorchSubject
from rnnspec.text import read_message

Attempt = Callable[[Observation], Any]
PLAIN = Case(config=Config(2, 3), steps=2, batch=2)
KEYWORDS = {Feature.DTYPE: ("dtype", "device")}
"""The keywords of the constructor for features that have another name than their keyword."""
UNKNOWN_KEYWORD = re.compile(
    r"unexpected keyword argument '(\w+)'|'(\w+)' is an invalid keyword argument"
)
"""The message of a TypeError about a keyword that the called function does not take."""


def _call(observation: Observation) -> Any:
    return observation.call


def _differentiate(observation: Observation) -> Any:
    return observation.gradients


ATTEMPTS: dict[Feature, tuple[dict[str, Any], Attempt]] = {
    Feature.FLOAT64: ({"dtype": DType.FLOAT64}, _call),
    Feature.FLOAT32: ({"dtype": DType.FLOAT32}, _call),
    Feature.BFLOAT16: ({"dtype": DType.BFLOAT16}, _call),
    Feature.FLOAT16: ({"dtype": DType.FLOAT16}, _call),
    Feature.NONLINEARITY: ({"nonlinearity": Nonlinearity.RELU.value}, _call),
    Feature.NUM_LAYERS: ({"num_layers": 2}, _call),
    Feature.BIDIRECTIONAL: ({"bidirectional": True}, _call),
    Feature.BATCH_FIRST: ({"batch_first": True}, _call),
    Feature.BIAS: ({"bias": False}, _call),
    Feature.PROJECTION: ({"proj_size": 2}, _call),
    Feature.DROPOUT: ({"num_layers": 2, "dropout": 0.5, "mode": Mode.TRAIN}, _call),
    Feature.UNBATCHED: ({"layout": Layout.UNBATCHED, "batch": 1}, _call),
    Feature.PACKED: ({"layout": Layout.PACKED}, _call),
    Feature.STATE: ({"initial_state": InitialState.GIVEN}, _call),
    Feature.DTYPE: ({"constructor_style": ConstructorStyle.TYPED}, _call),
    Feature.PICKLE: ({"prior_use": ModuleUses.PICKLED}, _call),
    Feature.FUNCTIONAL: ({"prior_use": ModuleUses.FUNCTIONAL}, _call),
    Feature.GRADIENTS: ({"mode": Mode.TRAIN}, _differentiate),
}
"""How each feature is tried: the changes to a plain case, and what is then computed."""
TOGETHER = (
    (
        Feature.FLOAT64,
        Feature.NONLINEARITY,
        Feature.NUM_LAYERS,
        Feature.BIDIRECTIONAL,
        Feature.BATCH_FIRST,
        Feature.BIAS,
        Feature.PROJECTION,
        Feature.DROPOUT,
        Feature.PACKED,
        Feature.STATE,
        Feature.DTYPE,
    ),
    (Feature.FLOAT32, Feature.UNBATCHED, Feature.PICKLE),
    (Feature.BFLOAT16, Feature.FUNCTIONAL),
)
"""Features that are tried in one call first; each is tried alone only if that call fails."""


def probe_capabilities(
    subject: TorchSubject, excluded: Mapping[Feature, str] | None = None
) -> Capabilities:
    """Return what a subject offers.

    Only an open refusal makes a feature unsupported: NotImplementedError, or Python's TypeError
    about a keyword that the constructor does not take. `excluded` holds the features that the user
    excludes, with reasons. A plain batched call must be supported: if no dtype is, all refusals are
    ignored.
    """
    excluded = excluded or {}
    offered = replace(
        subject.capabilities, unsupported={**subject.capabilities.unsupported, **excluded}
    )
    known = _list_features(subject.kind)
    groups = [[each for each in group if each in known] for group in TOGETHER]
    shown = {
        feature
        for group in groups
        if _work_together(replace(subject, capabilities=offered), group)
        for feature in group
    }
    for feature in known:
        changes, attempt = ATTEMPTS[feature]
        if feature not in shown and offered.offers(feature):
            tried = replace(subject, capabilities=offered)
            reason = _find_refusal(tried, feature, changes, attempt)
            if reason is not None:
                offered = offered.without(feature, reason)
        if not any(offered.offers(dtype.needs) for dtype in DType):
            offered = replace(offered, unsupported=dict(excluded))
            break
    return replace(offered, is_complete=True)


def _list_features(kind: str) -> list[Feature]:
    """Return the features that can be tried of a kind: not the arguments that it does not have."""
    lacking = [name for name in OPTIONAL if name not in KINDS[kind].arguments]
    missing = list_missing_features(kind)
    return [each for each in ATTEMPTS if each.text not in lacking and each not in missing]


def build_base_case(subject: TorchSubject) -> Case:
    """Return a plain batched case with the user's arguments, in the first dtype that is offered."""
    dtype = next((each for each in DType if subject.offers(each.needs)), DType.FLOAT64)
    documented = PLAIN.replace(kind=subject.kind).config.arguments
    own = {name: value for name, value in subject.fixed.items() if name in documented}
    return PLAIN.replace(dtype=dtype, kind=subject.kind, **own)


def _work_together(subject: TorchSubject, features: Sequence[Feature]) -> bool:
    """Return whether one call that needs all of these features comes to its end.

    Arguments that the user has fixed change what is tried, so that it says nothing about features.
    """
    if subject.fixed or not all(map(subject.offers, features)):
        return False
    changes = {name: value for feature in features for name, value in ATTEMPTS[feature][0].items()}
    try:
        with announce_step(f"{TRYING} {len(features)} features at once"):
            _call(Observation(subject, build_base_case(subject).replace(**changes)))
    except Failure:
        return False
    return True


def _find_refusal(
    subject: TorchSubject, feature: Feature, changes: dict[str, Any], attempt: Attempt
) -> str | None:
    """Return the reason if the subject refuses a feature openly, or None."""
    lacking = {each.text for each in subject.capabilities.unsupported}
    given = {
        name: value
        for name, value in changes.items()
        if name == feature.text or name not in (*lacking, *subject.fixed)
    }
    try:
        with announce_step(f"{TRYING} {feature}"):
            attempt(Observation(subject, build_base_case(subject).replace(**given)))
    except Unsupported as refusal:
        return str(refusal)
    except Raised as raised:
        return _find_refused_keyword(subject, feature, raised)
    except Failure:
        return None
    return None


def _find_refused_keyword(subject: TorchSubject, feature: Feature, raised: Raised) -> str | None:
    """Return the reason if the constructor does not take the keyword of a feature, or None.

    It must raise the TypeError that Python raises about an unexpected keyword of that name. If its
    signature names the keyword, the error comes from what it calls, and is a fault.
    """
    unknown = UNKNOWN_KEYWORD.search(read_message(raised.error))
    if raised.step != CONSTRUCTOR or not isinstance(raised.error, TypeError) or not unknown:
        return None
    keyword = unknown[1] or unknown[2]
    is_own = keyword in KEYWORDS.get(feature, (feature.text,))
    named = _list_parameters(subject.target.factory)
    return str(raised) if is_own and keyword not in named else None


def _list_parameters(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters of a factory, as far as Python can tell.

    A class that takes further keywords may pass them on to the constructor of its base.
    """
    bases = factory.__mro__ if isinstance(factory, type) else ()
    constructors = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    names: list[str] = []
    for called in constructors or [factory]:
        try:
            parameters = inspect.signature(called).parameters
        except (TypeError, ValueError):
            break
        names.extend(parameters)
        if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            break
    return tuple(names)


def parse_features(names: Sequence[str]) -> dict[Feature, str]:
    """Return the features with these names, each with the reason that the user excludes it.

    Raises SelectionError if a feature does not exist.
    """
    known = {feature.text: feature for feature in Feature}
    for name in names:
        if name not in known:
            listed = ", ".join(known)
            raise SelectionError(
                f"{name!r}: no such feature.{suggest_similar(name, known)} "
                f"The features are {listed}.",
                "without",
            )
    return {known[name]: f"excluded by --without {name}" for name in names}
