"""Compare two layers: in cases of a check, and in random uses.

Two layers agree if everything that a user can see of them is equal: results, gradients, the
state_dict, attributes, and whether an exception is raised. Numbers may differ by rounding.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from random import Random
from types import ModuleType
from typing import Any

import torch
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from torch import Tensor

from rnnspec.cases.axes import GradMode
from rnnspec.cases.case import Case
from rnnspec.cases.drawing import draw_cases, leave_hypothesis_alone, make_settings
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.observe.observation import Observation
from rnnspec.selftest.uses import Factory, Use, observe_use, uses
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.steps import is_from_user
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target

EXPONENT = 0.6
"""Numbers agree if they differ by at most eps ** 0.6, relative to the largest of a tensor or to 1.

That is 4e-10 for float64 and 7e-5 for float32. Layers that sum in another order differ by at most
about 1,000 eps, which is 2e-13 in float64; a layer that computes in float32 internally differs by
1e-8.
"""


@dataclass(frozen=True)
class NamedLayer:
    """One of two layers to compare: the factory, and the module that defines it.

    The two modules may have the same name. While a layer is used, `sys.modules` holds its own
    module.
    """

    factory: Factory
    name: str = ""
    module: ModuleType | None = None

    @contextmanager
    def take_its_place(self) -> Iterator[None]:
        """Return a context that puts the module of this layer into `sys.modules` under its name."""
        before = sys.modules.get(self.name)
        if self.module is not None:
            sys.modules[self.name] = self.module
        try:
            yield
        finally:
            if before is not None:
                sys.modules[self.name] = before
            elif self.module is not None:
                del sys.modules[self.name]

    def observe(self, use: Use) -> Iterator[list[Any]]:
        """Yield everything that a user can see after each action of a use."""
        seen = observe_use(self.factory, use)
        while True:
            with self.take_its_place():
                each = next(seen, None)
            if each is None:
                return
            yield each


def are_alike(one: Any, other: Any, eps: float | None = None) -> bool:
    """Return whether two observations are the same apart from rounding.

    `eps` is the distance from 1 to the next number; by default, it follows from the dtype of a
    tensor.
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return _are_close(one, other, eps)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(are_alike(*pair, eps) for pair in pairs)
    return type(one) is type(other) and bool(one == other or one != one)


def _are_close(one: Tensor, other: Tensor, eps: float | None) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if torch.equal(one, other) or not one.is_floating_point():
        return torch.equal(one, other)
    left, right = one.double(), other.double()
    is_finite = left.isfinite()
    special, others = left[~is_finite], right[~is_finite]
    if not torch.equal(special.nan_to_num(7.5), others.nan_to_num(7.5)):
        return False
    left, right = left[is_finite], right[is_finite]
    size = max(1.0, float(left.abs().max())) if len(left) else 1.0
    allowed = (eps or torch.finfo(one.dtype).eps) ** EXPONENT * size
    return bool(((left - right).abs() <= allowed).all())


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings(), restore_settings():
        warnings.simplefilter("ignore")
        yield


def observe_case(side: NamedLayer, case: Case) -> list[Any]:
    """Return the results of a case, and its gradients if there are any, as arrays."""
    target = Target(side.factory, "the layer", "Layer", ())
    with side.take_its_place():
        observation = Observation(TorchSubject(target, kind=case.config.kind), case)
        try:
            with observation.surroundings():
                results = [*observation.results.values()]
                if case.grad_mode is GradMode.GRAD:
                    results += observation.gradients.values()
                return [torch.from_numpy(each) for each in results]
        except Exception as error:
            if is_from_user(error):
                raise
            return ["raises"]


def differ_in_case(one: NamedLayer, other: NamedLayer, case: Case) -> bool:
    """Return whether two layers behave differently in a case."""
    eps = torch.finfo(case.dtype.torch_dtype).eps
    with _quietly():
        return not are_alike(observe_case(one, case), observe_case(other, case), eps)


def draw_other_cases(kind: str, seed: int) -> Iterator[Case]:
    """Yield the cases of default runs with seeds other than `seed`, without end."""
    for other in count(seed + 1):
        rows = plan_rows(PROFILES["default"], other, Scope(kind=kind))
        yield from (case for _, case in draw_cases(rows, other))


def simplify(case: Case, differs: Callable[[Case], bool]) -> Case:
    """Return the simplest case that distinguishes two layers, changing field by field."""
    space = LayerCaseSpace(Scope(kind=case.config.kind))
    simpler = (
        changed
        for name in space.fields
        for value in space.list_simpler(case, name)
        if (changed := space.change_field(case, name, value)) not in (None, case)
    )
    found = next((each for each in simpler if each is not None and differs(each)), None)
    return case if found is None else simplify(found, differs)


def find_difference(
    one: NamedLayer, other: NamedLayer, kind: str, *, number: int, seed: int, smallest: bool = True
) -> Use | Case | None:
    """Return the smallest use found that distinguishes two layers, or None if all uses agree.

    Half of the uses are cases of a check, but with another seed. At most `number` uses are drawn,
    always the same for a seed. Unless you set `smallest`, the first difference is returned.
    """

    def differ(case: Case) -> bool:
        return differ_in_case(one, other, case)

    cases = islice(draw_other_cases(kind, seed), number // 2)
    found = next(filter(differ, cases), None)
    if found is not None:
        return simplify(found, differ) if smallest else found
    phases = (Phase.generate, *([Phase.shrink] if smallest else []))
    return _find_sequence(one, other, uses(kind), number - number // 2, seed, phases)


def _find_sequence(
    one: NamedLayer,
    other: NamedLayer,
    strategy: st.SearchStrategy[Use],
    number: int,
    seed: int,
    phases: tuple[Phase, ...],
) -> Use | None:
    """Return a sequence of actions that distinguishes two layers, or None if all agree."""

    def differ(use: Use) -> bool:
        with _quietly():
            pairs = zip(one.observe(use), other.observe(use), strict=True)
            return not all(are_alike(left, right) for left, right in pairs)

    if not number:
        return None
    chosen = settings(make_settings(number), phases=phases)
    with leave_hypothesis_alone():
        try:
            return find(strategy, differ, settings=chosen, random=Random(seed))
        except NoSuchExample:
            return None
