"""Measure the errors of two layers on the same cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rnnspec.cases.axes import Distribution, DType, Feature, InitialState, Mode
from rnnspec.cases.case import Case
from rnnspec.engine.capabilities import build_base_case
from rnnspec.measuring.accuracy import Accuracy, ErrorPair, Group
from rnnspec.measuring.errors import Collection, ErrorScope, Quantity, list_parts, measure_units
from rnnspec.measuring.exact import choose_numbers, compute_results
from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.subject import TorchSubject

Size = tuple[int, int]
"""The number of features and the number of units."""


@dataclass(frozen=True)
class Plan:
    """The plan of a measurement. Use the sizes, dtypes and steps with which you will run the layer.

    sizes   the features and units of each group of cases
    dtypes  the dtypes to use with each size
    steps   the time steps of a case; a cell uses one
    batch   the samples of a case
    cases   the number of cases of each size and dtype
    seed    the seed of all random numbers
    """

    sizes: Sequence[Size]
    dtypes: Sequence[DType]
    steps: int
    batch: int
    cases: int
    seed: int

    def list_cases(self, base: Case, size: Size, dtype: DType) -> Iterator[Case]:
        """Yield the cases of a group: a new layer of this size, in train mode.

        The mode is train because cuDNN has no backward pass in eval mode.
        """
        for number in range(self.cases):
            yield base.replace(
                input_size=size[0],
                hidden_size=size[1],
                steps=1 if base.config.kind_data.is_cell else self.steps,
                batch=self.batch,
                dtype=dtype,
                distribution=Distribution.NEW,
                mode=Mode.TRAIN,
                seed=(self.seed + number) % 2**32,
            )


def measure_accuracy(
    subject: TorchSubject,
    other: TorchSubject,
    plan: Plan,
    watch: Callable[[int, int], object] = lambda done, total: None,
) -> Accuracy:
    """Measure both subjects on the cases of a plan.

    If you pass `watch`, it is called with the number of finished cases and the number of all cases.
    If a subject cannot compute a case, its errors are left out, with a note. Dropout is not
    measured.
    """
    base = build_base_case(subject).replace(dropout=0.0)
    if all(each.offers(Feature.STATE) for each in (subject, other)):
        base = base.replace(initial_state=InitialState.GIVEN)
    groups, notes = [], dict[str, None]()
    total, done = len(plan.sizes) * len(plan.dtypes) * plan.cases, 0
    for size in plan.sizes:
        for dtype in plan.dtypes:
            own, others = Collection(), Collection()
            for case in plan.list_cases(base, size, dtype):
                watch(done, total)
                for each, found in ((subject, own), (other, others)):
                    try:
                        _measure_case(each, case, found)
                    except Failure as failure:
                        notes[f"{each.target.label}, {dtype}: {failure}"] = None
                done += 1
            pairs = _pair(own, others)
            if pairs:
                groups.append(Group(str(case.config), str(dtype), case.steps, case.batch, pairs))
    watch(done, total)
    return Accuracy(subject.target.label, other.target.label, groups, tuple(notes))


def _pair(own: Collection, others: Collection) -> tuple[ErrorPair, ...]:
    found, compared = own.summarise(), others.summarise()
    return tuple(
        ErrorPair(quantity, found.get(quantity), compared.get(quantity))
        for quantity in dict.fromkeys((*found, *compared))
    )


def _measure_case(subject: TorchSubject, case: Case, found: Collection) -> None:
    """Add the errors of a subject in a case. Raises Failure if it cannot compute the case."""
    observation = Observation(subject, case)
    with observation.surroundings():
        _measure_results(observation, found)
        if case.dtype is not DType.FLOAT64:
            _measure_gradients(observation, found)


def _measure_results(observation: Observation, found: Collection) -> None:
    problem, case = observation.expected.problem, observation.case
    numbers = choose_numbers(case.dtype)
    if numbers is None:
        raise Failure("this machine has no numbers that are precise enough to measure it")
    got = {name: observation.get_result(name) for name in observation.result_names}
    whole = compute_results(problem, numbers)
    for name, result in got.items():
        _add(found, observation, Quantity(name, ErrorScope.CALL), result, whole[name])
    if case.config.num_layers == 1 and "output" in got:
        steps = compute_results(problem, numbers, got["output"])
        for name, result in got.items():
            _add(found, observation, Quantity(name, ErrorScope.STEP), result, steps[name])


def _measure_gradients(observation: Observation, found: Collection) -> None:
    expected = observation.expected.gradients
    for name, gradient in observation.gradients.items():
        quantity = Quantity(name, ErrorScope.CALL, is_gradient=True)
        _add(found, observation, quantity, gradient, expected[name])


def _add(
    found: Collection, observation: Observation, quantity: Quantity, got: Any, expected: Any
) -> None:
    """Add the errors of a quantity and of its parts."""
    case = observation.case
    smallest = torch.finfo(case.dtype.torch_dtype).tiny
    errors = measure_units(got, expected, case.dtype, smallest)
    found.add(quantity, errors, case)
    gates, is_gradient = case.config.kind_data.gates, quantity.is_gradient
    for part, start, stop in list_parts(quantity.name, errors, gates, is_gradient=is_gradient):
        named = Quantity(quantity.name, quantity.scope, part, is_gradient)
        found.add(named, errors[start:stop], case, start)
