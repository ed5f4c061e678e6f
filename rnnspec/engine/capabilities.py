"""Find out which features a subject offers, by trying each optional feature once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
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
from rnnspec.contract.features import OF_DEVICES
from rnnspec.contract.kinds import KINDS, Nonlinearity
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.observe.observation import Observation
from rnnspec.subjects.devices import is_cpu
from rnnspec.subjects.failures import Failure, Raised, Unsupported
from rnnspec.subjects.refusals import find_refused_keyword
from rnnspec.subjects.steps import StepKind, announce_step
from rnnspec.subjects.subject import Capabilities, Subject, TorchSubject

Attempt = Callable[[Observation], Any]
PLAIN = Case(config=Config(2, 3), steps=2, batch=2)


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
"""How each feature is tried: the changes to a plain case, and the values to compute."""
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
"""Features to try together in one call; each is tried alone only if that call fails."""
SITUATIONS = (Feature.FLOAT32, Feature.NUM_LAYERS, Feature.BIDIRECTIONAL, Feature.BATCH_FIRST)
"""A feature that is refused alone is tried again together with each of these."""


def probe_capabilities(
    subject: TorchSubject, excluded: Mapping[Feature, str] | None = None
) -> Capabilities:
    """Return the features that a subject offers.

    Only an open refusal makes a feature unsupported: NotImplementedError in all situations, or
    Python's TypeError about a keyword that the constructor does not accept. Use `excluded` for
    features that the user excludes, with reasons. A plain batched call must be supported: if no
    dtype is, all refusals are ignored.
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


def list_working(
    subject: TorchSubject, features: Sequence[Feature], lacking: Mapping[Feature, str]
) -> list[Feature]:
    """Return the features whose plain use succeeds on a subject without the lacking features.

    Features of the device count as working on a device that was tried and has them. Features that
    cannot be tried are left out.
    """
    offered = replace(
        subject.capabilities, unsupported={**subject.capabilities.unsupported, **lacking}
    )
    tried, known = replace(subject, capabilities=offered), _list_features(subject.kind)
    of_device = () if is_cpu(subject.device) else OF_DEVICES
    return [
        feature
        for feature in features
        if (works_in(tried, feature) if feature in known else feature in of_device)
    ]


def _list_features(kind: str) -> list[Feature]:
    """Return the features that can be tried with a kind, without those that the kind lacks."""
    lacking = [name for name in OPTIONAL if name not in KINDS[kind].arguments]
    missing = list_missing_features(kind)
    return [each for each in ATTEMPTS if each.text not in lacking and each not in missing]


def build_base_case(subject: Subject) -> Case:
    """Return a plain batched case with the user's arguments, in the first dtype that is offered."""
    dtype = next((each for each in DType if subject.offers(each.needs)), DType.FLOAT64)
    documented = PLAIN.replace(kind=subject.kind).config.arguments
    own = {name: value for name, value in subject.fixed.items() if name in documented}
    return PLAIN.replace(dtype=dtype, kind=subject.kind, **own)


def _work_together(subject: TorchSubject, features: Sequence[Feature]) -> bool:
    """Return whether a call that needs all of these features succeeds.

    If the user has fixed arguments, return False, because the call would not show what the features
    do.
    """
    if subject.fixed or not all(map(subject.offers, features)):
        return False
    changes = {name: value for feature in features for name, value in ATTEMPTS[feature][0].items()}
    try:
        with announce_step(f"trying {len(features)} features at once", StepKind.TRIAL):
            _call(Observation(subject, build_base_case(subject).replace(**changes)))
    except Failure:
        return False
    return True


def _find_refusal(
    subject: TorchSubject, feature: Feature, changes: dict[str, Any], attempt: Attempt
) -> str | None:
    """Return the reason if the subject refuses a feature openly, or None.

    A feature that works in another situation is supported; each refused
    case is then skipped.
    """
    try:
        _try(subject, feature, changes, attempt)
    except Unsupported as refusal:
        works = any(
            works_in(subject, feature, situation)
            for situation in _list_situations(subject, feature)
        )
        return None if works else str(refusal)
    except Raised as raised:
        return find_refused_keyword(subject.target.factory, feature, raised)
    except Failure:
        return None
    return None


def works_in(
    subject: Subject, feature: Feature, situation: Mapping[str, Any] = MappingProxyType({})
) -> bool:
    """Return whether a plain use of a feature succeeds, with some changes to the case."""
    changes, attempt = ATTEMPTS[feature]
    try:
        _try(subject, feature, {**situation, **changes}, attempt)
    except Failure:
        return False
    return True


def _try(subject: Subject, feature: Feature, changes: Mapping[str, Any], attempt: Attempt) -> None:
    """Use a feature in the plain case with some changes. Raises Failure."""
    lacking = {each.text for each in subject.capabilities.unsupported}
    given = {
        name: value
        for name, value in changes.items()
        if name == feature.text or name not in (*lacking, *subject.fixed)
    }
    with announce_step(f"trying {feature}", StepKind.TRIAL):
        attempt(Observation(subject, build_base_case(subject).replace(**given)))


def _list_situations(subject: TorchSubject, feature: Feature) -> Iterator[dict[str, Any]]:
    """Yield other situations where a refused feature may work.

    A dtype has none: if a plain call refuses it, every call does.
    """
    if any(feature is dtype.needs for dtype in DType):
        return
    own, known = ATTEMPTS[feature][0], _list_features(subject.kind)
    for other in SITUATIONS:
        changes = {name: value for name, value in ATTEMPTS[other][0].items() if name not in own}
        if other in known and subject.offers(other) and changes:
            yield changes


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
