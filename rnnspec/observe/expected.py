"""The results that the contract requires for a case, with bounds on their rounding errors."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from copy import copy
from typing import Any, TypeVar

import numpy as np

from rnnspec import oracle
from rnnspec.cases.axes import DType, Float32Precision
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_final, name_initial
from rnnspec.cases.values import Values
from rnnspec.observe.part import copy_parts, part
from rnnspec.oracle import Array

Found = TypeVar("Found")
MOST_NUMBERS = 20_000
"""Bounds of problems with more numbers are not cached."""
MOST_KEPT = 512
"""Number of cached bounds; the least recently used bound is dropped first."""


class KeptBounds:
    """Caches values computed for small problems."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def find(
        self,
        name: Hashable,
        problem: oracle.Problem,
        more: Iterable[Any],
        make: Callable[[], Found],
    ) -> Found:
        """Return the value that `make` computes from a problem and further arrays, cached if small.

        `name` identifies the computation.
        """
        arrays = [*_list_arrays(problem), *more]
        if sum(array.size for array in arrays) > MOST_NUMBERS:
            return make()
        key = (name, problem.config, _digest(arrays))
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        found: Found = self._kept[key]
        return found

    def __len__(self) -> int:
        """Return the number of cached bounds."""
        return len(self._kept)


def _list_arrays(problem: oracle.Problem) -> list[Any]:
    named: tuple[Mapping[Any, Any], ...] = (problem.weights, problem.initial, problem.masks)
    arrays = [array for each in named for _, array in sorted(each.items())]
    return [problem.input, problem.lengths, *arrays]


def _digest(arrays: Iterable[Any]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.digest()


BOUNDS = KeptBounds()
"""The bounds computed in this process."""


EXACT_LIMITS = {
    **{dtype.text: dtype.integers for dtype in DType},
    Float32Precision.TF32.text: 2.0**11,
}
"""The size up to which integers are exact, by the name of the rounding model."""


class Expected:
    """The expected results and gradients of a case and their bounds, each computed on first use.

    `masks` holds the dropout multipliers of each layer, (T, N, D * H_out). `rounding` names the
    rounding model; unless you pass it, the case decides.
    """

    def __init__(
        self,
        case: Case,
        values: Values,
        masks: dict[int, Array] | None = None,
        rounding: str | None = None,
    ) -> None:
        lengths = np.array(case.lengths or (case.steps,) * case.batch, dtype=np.int64)
        self.case = case
        self.values = values
        self.problem = oracle.Problem(
            case.config,
            values.weights,
            values.input,
            name_initial(case.config, values.initial),
            lengths,
            _fill_masks(case, masks),
        )
        self.rounding = oracle.ROUNDINGS[rounding or case.rounding]
        drawn = {"output": values.d_output, **name_final(case.config, values.d_final)}
        self.cotangents = {name: drawn[name] for name in case.config.kind_data.results}

    def restrict_to(self, results: tuple[str, ...]) -> Expected:
        """Return a copy with gradients of the results that you name only.

        The cotangents of other results are zero. The forward pass is not repeated.
        """
        restricted = copy(self)
        restricted.cotangents = {
            name: array if name in results else np.zeros_like(array)
            for name, array in self.cotangents.items()
        }
        copy_parts(self, restricted, "trace")
        return restricted

    def round_as(self, rounding: oracle.Rounding) -> Expected:
        """Return a copy with the bounds of a layer that rounds in another way."""
        rounded = copy(self)
        rounded.rounding = rounding
        copy_parts(self, rounded, "trace")
        return rounded

    @part
    def trace(self) -> oracle.Trace:
        """The forward pass of the oracle."""
        return oracle.run_layers(self.problem)

    @property
    def output(self) -> Array:
        """The expected output (T, N, D * H_out), zero beyond the end of each sequence."""
        return self.trace.output

    @property
    def results(self) -> Mapping[str, Array]:
        """The expected results by name: output, and the final states."""
        return self.trace.results

    @property
    def final(self) -> Array:
        """The expected final states, concatenated along the last axis (D * num_layers, N, S)."""
        return self._join_states(self.trace.results)

    @property
    def final_bound(self) -> Array:
        """Bounds on the errors of the final states, concatenated along the last axis."""
        return self._join_states(self.bound.results)

    def _join_states(self, results: Mapping[str, Array]) -> Array:
        names = self.case.config.kind_data.final
        return np.concatenate([results[name] for name in names], axis=-1)

    @part
    def bound(self) -> oracle.Bound:
        """Bounds on the errors of the results."""
        return self._bound_results(self.rounding)

    @part
    def float32_sums_bound(self) -> oracle.Bound:
        """Bounds on the errors of the results if a layer in a 16-bit dtype adds in float32."""
        rounding = oracle.FLOAT32_SUMS[self.case.rounding]
        return self._bound_results(rounding)

    def _bound_results(self, rounding: oracle.Rounding) -> oracle.Bound:
        return BOUNDS.find(
            ("results", rounding),
            self.problem,
            (),
            lambda: oracle.compute_bound(self.problem, self.trace, rounding),
        )

    @part
    def is_exact(self) -> bool:
        """Whether every sum is exact in the dtype of the case.

        If so, every correct implementation returns the same bits.
        """
        is_exact = self.case.distribution.is_exact and oracle.is_exact(
            self.problem, self.trace, EXACT_LIMITS[self.rounding.name]
        )
        can_overflow = self.case.dtype is DType.FLOAT16
        return is_exact and not (can_overflow and self._may_overflow())

    def _may_overflow(self) -> bool:
        """Return whether a sum may exceed the largest number; if so, its bound is infinite."""
        return not all(np.isfinite(each).all() for each in self.bound.results.values())

    @part
    def has_exact_gradients(self) -> bool:
        """Whether every gradient is exact in the dtype of the case."""
        limit = EXACT_LIMITS[self.rounding.name]
        return self.is_exact and oracle.is_exact_gradient(
            self.problem, self.trace, self.cotangents, limit
        )

    @part
    def gradients(self) -> dict[str, Array]:
        """The gradients of the sum of all results, weighted with their cotangents, by name.

        There is a gradient for the input, the initial states and every parameter.
        """
        return oracle.compute_gradients(self.problem, self.trace, self.cotangents)

    @part
    def gradient_bound(self) -> dict[str, Array]:
        """Bounds on the errors of the gradients, by name."""
        return self._bound_gradients(self.rounding)

    @part
    def float32_sums_gradient_bound(self) -> dict[str, Array]:
        """Bounds on the errors of the gradients if a layer in a 16-bit dtype adds in float32."""
        rounding = oracle.FLOAT32_SUMS[self.case.rounding]
        return self._bound_gradients(rounding)

    def _bound_gradients(self, rounding: oracle.Rounding) -> dict[str, Array]:
        return BOUNDS.find(
            ("gradients", rounding),
            self.problem,
            self.cotangents.values(),
            lambda: oracle.compute_gradient_bound(
                self.problem, self.trace, self.cotangents, rounding
            ),
        )


def _fill_masks(case: Case, masks: dict[int, Array] | None) -> dict[int, Array]:
    """Return the given masks, or masks of zeros if every value is dropped."""
    if masks is not None or not case.has_active_dropout or case.config.dropout < 1:
        return masks or {}
    shape = (case.steps, case.batch, case.config.num_directions * case.config.output_size)
    return {layer: np.zeros(shape) for layer in range(case.config.num_layers - 1)}
