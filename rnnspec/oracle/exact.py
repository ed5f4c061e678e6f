"""Recognition of problems with a single result in every arithmetic, because no sum rounds."""

from __future__ import annotations

import numpy as np

from rnnspec.oracle.backward import Cotangents, gathered, layer_adjoints, outer
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.cells import Cell
from rnnspec.oracle.exact_values import has_exact_sums
from rnnspec.oracle.layers import Array, LayerAdjoint, LayerTrace
from rnnspec.oracle.problem import Problem, Trace


def is_exact(problem: Problem, trace: Trace, limit: float) -> bool:
    """Return whether no sum of the forward pass rounds, in any order of its terms.

    A sum does not round if all partial sums are multiples of a power of two and less than `limit`
    times that power. For example, all intermediates may be integers of magnitude below `limit`. The
    limit is 2**53 for float64, 2**24 for float32, 2**11 for float16 and TF32, and 2**8 for
    bfloat16. In addition, tanh and sigmoid must only be applied to 0 and to arguments that saturate
    them, and the nonzero values of masks must be powers of two.
    """
    cell = cell_of(problem.config)
    if not all(_has_only_powers_of_two(mask) for mask in problem.masks.values()):
        return False
    # A value that is not finite is not exact: every comparison with NaN is False.
    with np.errstate(all="ignore"):
        return all(
            _has_exact_preactivations(cell, layer, trace, limit)
            and cell.is_exact(layer, trace.alive, limit)
            and _has_exact_projection(layer, trace, limit)
            for layer in trace.layers
        )


def is_exact_gradient(problem: Problem, trace: Trace, cotangents: Cotangents, limit: float) -> bool:
    """Return whether no sum of the backward pass rounds either.

    The result is always False for tanh and for cells with gates: if an activation is saturated, its
    slope depends on the formula.
    """
    if not cell_of(problem.config).has_exact_slopes() or not is_exact(problem, trace, limit):
        return False
    adjoints = layer_adjoints(problem, trace, cotangents)
    d_h_n = cotangents[problem.config.kind_data.final[0]]
    with np.errstate(all="ignore"):
        return all(
            _has_exact_adjoint(layer, adjoint, d_h_n, limit)
            for layer, adjoint in zip(trace.layers, adjoints, strict=True)
        )


def _has_exact_preactivations(cell: Cell, layer: LayerTrace, trace: Trace, limit: float) -> bool:
    # Sums at padding are computed, but no result depends on them.
    weights, before = layer.weights, np.where(trace.alive, layer.states[:, :-1], 0.0)
    magnitude = (
        np.abs(layer.read) @ np.abs(weights.ih.swapaxes(1, 2))[:, None]
        + np.abs(before) @ np.abs(weights.hh.swapaxes(1, 2))[:, None]
    )
    magnitude += np.abs(weights.biases).sum(axis=1)[:, None, None]
    magnitude = np.where(trace.alive, magnitude, 0.0)
    size = magnitude.shape[-1] // cell.blocks
    blocks = [slice(block * size, (block + 1) * size) for block in range(cell.blocks)]
    # Each block is a sum of its own, so the gates need no common power of two.
    return all(
        has_exact_sums(
            [
                (weights.ih[:, rows], layer.read),
                (weights.hh[:, rows], before),
                (weights.biases[..., rows],),
            ],
            magnitude[..., rows],
            limit,
        )
        for rows in blocks
    )


def _has_exact_projection(layer: LayerTrace, trace: Trace, limit: float) -> bool:
    if layer.weights.hr is None:
        return True
    weights, fresh = layer.weights.hr, np.where(trace.alive, layer.fresh, 0.0)
    magnitude = np.abs(fresh) @ np.abs(weights.swapaxes(1, 2))[:, None]
    return has_exact_sums([(weights, fresh)], magnitude, limit)


def _has_exact_adjoint(
    layer: LayerTrace, adjoint: LayerAdjoint, d_h_n: Array, limit: float
) -> bool:
    weights, sums, size = layer.weights, adjoint.sums, np.abs(adjoint.sums)
    # d_h_n is added at the last step of a sequence, which differs between sequences.
    state = (
        size @ np.abs(weights.hh)[:, None]
        + np.abs(adjoint.outputs)
        + np.abs(d_h_n).max(initial=0.0)
    )
    before = layer.states[:, :-1]
    return (
        has_exact_sums([(weights.hh, sums), (adjoint.outputs,), (d_h_n,)], state, limit)
        and has_exact_sums([(weights.ih, sums)], gathered(size, np.abs(weights.ih)), limit)
        and has_exact_sums([(sums, layer.read)], outer(size, np.abs(layer.read)), limit)
        and has_exact_sums([(sums, before)], outer(size, np.abs(before)), limit)
        and has_exact_sums([(sums,)], size.sum(axis=(1, 2)), limit)
    )


def _has_only_powers_of_two(mask: Array) -> bool:
    mantissa, _ = np.frexp(mask)
    return bool(((mantissa == 0.5) | (mask == 0.0)).all())
