"""Build the layer once, to find out its kind, and whether it accepts sizes by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from rnnspec.adapters.adapter import Adapter
from rnnspec.cases.axes.constructor_style import SIZES
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.errors import SelectionError, TargetError
from rnnspec.options import AUTOMATIC, check_choice
from rnnspec.subjects.documented import is_derived, list_documented
from rnnspec.subjects.failures import Failure, Raised
from rnnspec.subjects.kind import (
    TRIED_SIZES,
    find_layers_inside,
    find_missing_pair,
    find_missing_state,
    has_documented_parameters,
    is_called_as,
    recognise_kind,
    refuse_instance,
)
from rnnspec.subjects.subject import Capabilities, TorchSubject, observe_step
from rnnspec.subjects.target import Target
from rnnspec.text import join_words

PAGES = tuple(kind.page for kind in KINDS.values())
"""The documentation pages whose contracts can be checked."""


def check_kind(kind: str) -> None:
    """Raise SelectionError if the kind does not exist, with a suggestion."""
    check_choice("kind", kind, (AUTOMATIC, *KINDS))


def build_subject(
    target: Target, device: str, asked: str, fixed: Mapping[str, Any]
) -> TorchSubject:
    """Return the subject with its kind, and with the way that it accepts sizes.

    `asked` is the kind that the user chose, or `auto`. Raises TargetError if the target does not
    build a module from two sizes, or if the module is no recurrent layer. Raises SelectionError if
    the layer is of another kind, or if the documentation rules out the value of an argument.
    """
    refuse_instance(target)
    subject = TorchSubject(target, device, fixed=fixed)
    if isinstance(target.factory, Adapter):
        lacking = Capabilities(unsupported=target.factory.unsupported)
        subject = replace(subject, capabilities=lacking)
    given = ", ".join(
        [*map(str, TRIED_SIZES), *(f"{name}={value!r}" for name, value in fixed.items())]
    )
    try:
        with observe_step(f"building it with ({given})"):
            made = target.factory(*TRIED_SIZES, **fixed)
    except Failure as failure:
        made = _build_by_keyword(subject)
        if made is None:
            raise TargetError(_describe_refusal(target, failure)) from failure
        # A rule about positional arguments reports this as a fault, so do not refuse the target
        # here.
        capabilities = replace(subject.capabilities, keyword_only=True)
        subject = replace(subject, capabilities=capabilities)
    if not isinstance(made, torch.nn.Module):
        raise TargetError(
            f"{target.label}: building it returned {made!r}; expected a torch.nn.Module."
        )
    kind = _decide_kind(target, made, asked, fixed)
    is_known = is_derived(type(made), KINDS[kind]) or has_documented_parameters(made, kind, fixed)
    return replace(subject, kind=kind, remark="" if is_known else _suggest_adapter(target))


def _suggest_adapter(target: Target) -> str:
    """Suggest an adapter for a layer with other parameter names."""
    return (
        f"the parameters are not the documented ones. If that is meant, `rnnspec adapt "
        f"{target.label} --write adapters.py` finds out which is which and writes an adapter, with "
        "which the layer can be checked"
    )


def _describe_refusal(target: Target, failure: Failure) -> str:
    """Explain how to check a target that does not accept the arguments of a layer."""
    if _is_other_of_torch(target.factory):
        return (
            f"{target.label} builds no recurrent layer: {failure}. The contracts are those of "
            f"{join_words(PAGES)}"
        )
    text = f"{target.label}: {failure}"
    is_torch = getattr(target.factory, "__module__", "").startswith("torch.")
    is_refused = isinstance(failure, Raised) and isinstance(failure.error, TypeError)
    if is_torch or not is_refused:
        return text
    return (
        f"{text}. rnnspec builds a layer from input_size and hidden_size; pass its other arguments "
        "with --arg. To check a model that contains a layer, use `rnnspec check-model "
        f"{target.label}`"
    )


def _is_other_of_torch(factory: object) -> bool:
    """Return whether a target is a module of torch, but not a recurrent layer."""
    if not (isinstance(factory, type) and issubclass(factory, torch.nn.Module)):
        return False
    is_documented = issubclass(factory, list_documented())
    return factory.__module__.startswith("torch.nn.modules") and not is_documented


def _suggest_other_command(target: Target, made: torch.nn.Module) -> str:
    """Suggest how to check an object that is no recurrent layer: as a model, or with an adapter."""
    inside, has_more = find_layers_inside(made)
    model = f"`rnnspec check-model {target.label}`"
    if inside and has_more:
        return f"It contains nn.{inside[0]}; a model is checked by {model}."
    adapter = f"`rnnspec adapt {target.label}` looks for an adapter"
    return (
        f"If it computes the same in another form, {adapter}; a model that contains a layer is "
        f"checked by {model}."
    )


def _build_by_keyword(subject: TorchSubject) -> object | None:
    """Build the layer with its sizes as keyword arguments. Return None if this fails as well."""
    try:
        with observe_step("building it by keyword"):
            sizes = dict(zip(("input_size", "hidden_size"), TRIED_SIZES, strict=True))
            made: object = subject.target.factory(**sizes, **subject.fixed)
    except Failure:
        return None
    return made


def _decide_kind(
    target: Target, made: torch.nn.Module, asked: str, fixed: Mapping[str, Any]
) -> str:
    """Return the kind that the user chose, or the kind recognised from the layer.

    Raises TargetError and SelectionError, see `build_subject`.
    """
    found = recognise_kind(made, fixed)
    assumed = UNGATED.name if asked == AUTOMATIC else asked
    _check_arguments(found or assumed, fixed)
    if found is None:
        kind = KINDS[assumed]
        missing = find_missing_state(made, kind) if kind.is_cell else find_missing_pair(made)
        if missing:
            raise TargetError(
                f"{target.label} builds no recurrent layer: its parameters are not those of "
                f"{join_words(PAGES, 'or')}, and {missing}. {_suggest_other_command(target, made)}"
            )
        return assumed
    if asked in (AUTOMATIC, found):
        return found
    is_twin = KINDS[asked].layer == KINDS[found].layer
    if is_twin and is_called_as(made, KINDS[asked]):
        return asked
    raise SelectionError(
        f"{asked}: {target.label} builds a {KINDS[found].noun} like {KINDS[found].page}. "
        f"Check it with --kind {found}, or leave out --kind.",
        "kind",
    )


def _check_arguments(kind: str, fixed: Mapping[str, Any]) -> None:
    """Raise SelectionError if the documentation rules out the value of a documented argument."""
    documented = [name for name in KINDS[kind].arguments if name not in SIZES]
    if "proj_size" in documented and fixed.get("proj_size"):
        raise SelectionError(
            "cannot fix proj_size: it must be smaller than hidden_size, which each case draws. "
            "Leave it out: many cases have a projection then",
            "arguments",
        )
    try:
        Config(1, 1, kind=kind, **{name: fixed[name] for name in documented if name in fixed})
    except (TypeError, ValueError) as error:
        raise SelectionError(f"cannot be passed: {error}", "arguments") from error
