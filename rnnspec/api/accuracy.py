"""Measure the accuracy of a layer: `rnnspec.accuracy`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from rnnspec.adapters.adapter import Adapter
from rnnspec.api.building import build_subject, check_kind
from rnnspec.api.layer import LayerTarget
from rnnspec.cases.axes import DType
from rnnspec.contract.kinds import KINDS
from rnnspec.engine.capabilities import probe_capabilities
from rnnspec.errors import SelectionError
from rnnspec.isolation.standing import TaskWatcher
from rnnspec.measuring.accuracy import Accuracy
from rnnspec.measuring.exact import choose_numbers
from rnnspec.measuring.measure import Plan, Size, measure_accuracy
from rnnspec.options import AccuracyOptions, check_choice, check_integer, show_options
from rnnspec.report.environment import describe_environment
from rnnspec.subjects.devices import check_device, keep_random_numbers
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target, resolve_target
from rnnspec.subjects.threads import use_one_thread

SIZES: tuple[Size, ...] = ((16, 16), (128, 256), (512, 512))
DTYPES = (DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16)
SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)")


@show_options(AccuracyOptions)
def accuracy(target: LayerTarget, *, watch: TaskWatcher | None = None, **options: Any) -> Accuracy:
    """Measure the errors of your layer and of a second layer on the same cases.

    The second layer is torch's own unless you set `against`. Use the same targets as for `check`;
    the options are the fields of `rnnspec.AccuracyOptions`. If you pass `watch`, it is called with
    the number of measured cases and the number of all cases. The result contains the errors by
    size, dtype and output; use it as text (`format_text`), plain data (`as_dict`) or a picture
    (`draw_svg`). Nothing is printed. Both layers run in this process. Raises CannotCheck
    (TargetError, SelectionError, DeviceError) if nothing can be measured, and TypeError for an
    unknown option.
    """
    chosen = AccuracyOptions.from_keywords("accuracy", options)
    return run_accuracy(target, chosen, watch=watch)


@use_one_thread()
def run_accuracy(
    target: LayerTarget | Target, options: AccuracyOptions, *, watch: TaskWatcher | None = None
) -> Accuracy:
    """Measure a layer in this process, see `accuracy`."""
    plan = read_plan(options)
    check_device(options.device)
    with keep_random_numbers():
        subject = _prepare(resolve_target(target), options, options.kind, options.arguments)
        other = _prepare(_find_other(subject, options), options, options.kind, {})
        if other.kind != subject.kind:
            raise SelectionError(
                f"is a {other.kind}, and the target is a {subject.kind}.", "against"
            )
        found = measure_accuracy(subject, other, plan, watch or (lambda done, total: None))
    environment = describe_environment(options.device)
    return replace(found, seed=options.seed, environment=environment)


def read_plan(options: AccuracyOptions) -> Plan:
    """Return the plan of a measurement. Raises SelectionError for a value that does not exist."""
    check_kind(options.kind)
    for name in ("steps", "batch", "cases"):
        check_integer(name, getattr(options, name), 1)
    check_integer("seed", options.seed)
    sizes = tuple(map(_read_size, options.size)) or SIZES
    dtypes = tuple(map(_read_dtype, options.dtype)) or DTYPES
    return Plan(sizes, dtypes, options.steps, options.batch, options.cases, options.seed)


def _read_size(text: str) -> Size:
    found = SIZE.fullmatch(text)
    if found is None:
        raise SelectionError(
            f"{text!r}: write the number of features and of units, e.g. 128x256.", "size"
        )
    features, units = map(int, found.groups())
    return features, units


def _read_dtype(text: str) -> DType:
    known = {each.text: each for each in DType}
    check_choice("dtype", text, known)
    if choose_numbers(known[text]) is None:
        raise SelectionError(f"{text}: this machine has no numbers that are wider.", "dtype")
    return known[text]


def _prepare(target: Target, options: AccuracyOptions, kind: str, fixed: Any) -> TorchSubject:
    """Build a subject and probe its capabilities. Raises CannotCheck."""
    given = dict(target.factory.fixed) if isinstance(target.factory, Adapter) else {}
    subject = build_subject(target, options.device, kind, {**given, **fixed})
    return replace(subject, capabilities=probe_capabilities(subject, {}))


def _find_other(subject: TorchSubject, options: AccuracyOptions) -> Target:
    """Return the layer to compare with: the chosen target, or torch's own layer."""
    if options.against is not None:
        return resolve_target(options.against)
    kind = KINDS[subject.kind]
    if not kind.documented:
        raise SelectionError("is needed: torch has no layer of this kind.", "against")
    return resolve_target(kind.documented)
