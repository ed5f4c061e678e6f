"""The checks as Python calls."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from rnnspec.cases.axes import AXIS
from rnnspec.cases.plan import PROFILES
from rnnspec.contract import fingerprints
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.capabilities import parse_features, probe_capabilities
from rnnspec.engine.outcome import Progress
from rnnspec.engine.shares import OtherProcesses, run_share, run_shared
from rnnspec.engine.suite import Suite
from rnnspec.errors import DeviceError, SelectionError, TargetError, suggest
from rnnspec.report.build import report_of
from rnnspec.report.data import Report, list_scored_levels
from rnnspec.rules.catalogue import select_in_force, select_layer_rules
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.subject import TorchSubject, observing
from rnnspec.subjects.target import resolve_target
from rnnspec.suites.layer import LayerSuite

DTYPES = ("float64", "float32", "bfloat16", "float16")


def check(
    target: str | Callable[..., Any],
    *,
    kind: str = "rnn",
    profile: str = "default",
    seed: int = 0,
    device: str = "cpu",
    rules: Sequence[str] | None = None,
    cases: int | None = None,
    dtype: str | None = None,
    arithmetic: str | None = None,
    strict: bool = False,
    first: bool = False,
    arguments: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    watch: Watcher | None = None,
    others: OtherProcesses | None = None,
) -> Report:
    """Judge an implementation of a recurrent layer against the documented contract; prints nothing.

    `target` is a class, a factory, or a string 'package.module:attribute' or 'path/to/file.py:attribute'. `rules` are glob patterns
    of rule ids, `arguments` further constructor arguments, `without` features that are not to be judged, `watch` is called with the
    number of cases done and of all, `others` are processes that judge their shares of the cases. Raises CannotCheck (TargetError,
    SelectionError, DeviceError) where nothing can be judged.
    """
    campaign = prepare_suite(
        target,
        kind=kind,
        profile=profile,
        seed=seed,
        device=device,
        rules=rules,
        cases=cases,
        dtype=dtype,
        arithmetic=arithmetic,
        arguments=arguments,
        without=without,
    )
    begun = time.perf_counter()
    with _own_random_numbers():
        progress = run_shared(
            campaign, others, until=list_scored_levels(strict) if first else (), watch=watch
        )
        notes = (*changed_wording(), *(others.lost if others else ()))
        return report_of(
            campaign, progress, strict=strict, duration_s=time.perf_counter() - begun, notes=notes
        )


def run_share_undisturbed(suite: Suite, number: int = 0, parts: int = 1) -> Progress:
    """Run a campaign, or one of several shares of it, and leave the caller's random number generators as they were."""
    with _own_random_numbers():
        return run_share(suite, number, parts)


def changed_wording() -> tuple[str, ...]:
    """One line for each passage of the installed documentation that differs from the one the clauses were written from."""
    page = torch.nn.RNN.__doc__ or ""
    changed = fingerprints.compare_fingerprints(page, "nn.RNN")
    return tuple(
        f"the passage {name!r} of the nn.RNN page is {how} since torch {fingerprints.find_stored_release()}"
        for name, how in changed.items()
    )


def prepare_suite(
    target: str | Callable[..., Any],
    *,
    kind: str = "rnn",
    profile: str = "default",
    seed: int = 0,
    device: str = "cpu",
    rules: Sequence[str] | None = None,
    cases: int | None = None,
    dtype: str | None = None,
    arithmetic: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
) -> LayerSuite:
    """The campaign that `check` runs, with the subject found, tried and its refusals noted; raises CannotCheck."""
    _known("kind", kind, KINDS)
    _known("profile", profile, PROFILES)
    if dtype is not None:
        _known("dtype", dtype, DTYPES)
    if arithmetic is not None:
        _known("arithmetic", arithmetic, AXIS["arithmetic"].values)
    if cases is not None:
        check_integer("cases", cases, 1)
    check_integer("seed", seed)
    chosen = select_layer_rules(rules)
    check_device(device)
    excluded = parse_features(
        (without,) if isinstance(without, str) else tuple(without)
    ) | _without_tf32(device, arithmetic)
    fixed = dict(arguments or {})
    subject = TorchSubject(resolve_target(target), str(device), kind, fixed)
    with _own_random_numbers():
        _usable(subject)
        _possible(fixed)
        probe_capabilities(subject, excluded)
    pinned = _pinned(fixed, {"dtype": dtype, "arithmetic": arithmetic})
    return LayerSuite(
        subject, select_in_force(chosen, torch.__version__), PROFILES[profile], seed, pinned, cases
    )


def _known(option: str, value: str, known: Any) -> None:
    if value not in known:
        raise SelectionError(
            f"--{option} {value!r}: one of {', '.join(known)} is needed.{suggest(str(value), known)}"
        )


def check_integer(option: str, value: object, least: int | None = None) -> None:
    """Raise SelectionError where a value is no integer, or smaller than allowed."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise SelectionError(f"--{option} must be an integer, got {value!r}")
    if least is not None and value < least:
        raise SelectionError(f"--{option} must be at least {least}, got {value}")


def check_device(device: str) -> None:
    """Raise DeviceError where torch does not know the device, has none here, or keeps no values there."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DeviceError(
            f"--device {device}: torch {torch.__version__} cannot use it ({first}); nothing was checked."
        ) from error


def _usable(subject: TorchSubject) -> None:
    """Raise TargetError where the target does not even build a module from two sizes, by position or by name; note which."""
    if isinstance(subject.target.factory, torch.nn.Module):
        raise TargetError(
            f"{subject.target.label} is a layer already; its class or a factory is needed, which builds a new one."
        )
    given = ", ".join(["2, 3", *(f"{name}={value!r}" for name, value in subject.fixed.items())])
    try:
        with observing(f"building it with ({given})"):
            made = subject.target.factory(2, 3, **subject.fixed)
    except Failure as failure:
        made = _built_by_name(subject)
        if made is None:
            raise TargetError(f"{subject.target.label}: {failure}") from failure
    if not isinstance(made, torch.nn.Module):
        raise TargetError(
            f"{subject.target.label}: building it returned {made!r}; a torch.nn.Module is needed."
        )


def _built_by_name(subject: TorchSubject) -> object | None:
    """What the target builds where even the sizes are given by keyword; the rule of positional arguments tells the fault."""
    try:
        with observing("building it by keyword"):
            made: object = subject.target.factory(input_size=2, hidden_size=3, **subject.fixed)
    except Failure:
        return None
    subject.by_name = True
    return made


PINNED_ARGUMENTS = ("nonlinearity", "num_layers", "bidirectional", "batch_first", "bias")
SIZES = ("input_size", "hidden_size")


def _possible(fixed: Mapping[str, Any]) -> None:
    """Raise SelectionError where the user's arguments are none of the documented ones, whatever the target makes of them."""
    known = {
        name: value
        for name, value in fixed.items()
        if name in Config(1, 1).arguments and name not in SIZES
    }
    try:
        Config(1, 1, **known)
    except (TypeError, ValueError) as error:
        raise SelectionError(f"--arg: {error}") from error


def _pinned(
    fixed: Mapping[str, Any], chosen: Mapping[str, str | None]
) -> tuple[tuple[str, Any], ...]:
    """The axes that the user's constructor arguments and options settle; TF32 settles the dtype too."""
    found = {name: fixed[name] for name in PINNED_ARGUMENTS if name in fixed}
    if "dropout" in fixed:
        found["dropout"] = {0.0: "none", 1.0: "all"}.get(float(fixed["dropout"]), "some")
    found |= {name: value for name, value in chosen.items() if value is not None}
    return tuple(
        {**found, "dtype": "float32"}.items() if chosen["arithmetic"] == "tf32" else found.items()
    )


def _without_tf32(device: str, arithmetic: str | None) -> dict[str, str]:
    """TF32 is judged on CUDA, and where the user asks for it."""
    if torch.device(device).type == "cuda" or arithmetic == "tf32":
        return {}
    return {
        "tf32": f"{device} has no TF32; --arithmetic tf32 judges by its rounding model all the same"
    }


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Leave the caller's random number generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
