"""Recognise problems with one result in every arithmetic, because no sum rounds in any order."""

from __future__ import annotations

import numpy as np

from rnnspec.contract.kinds import Nonlinearity
from rnnspec.oracle.backward import LayerAdjoint, gathered, layer_adjoints, outer
from rnnspec.oracle.problem import Array, LayerTrace, Problem, Trace

SATURATED = 32.0
"""From this magnitude on, |tanh| is 1 in every dtype up to float64, however it is computed."""


def is_exact(problem: Problem, trace: Trace, limit: float) -> bool:
    """Return whether no sum of the forward pass rounds, in whatever order it is computed.

    A sum does not round if all partial sums are multiples of one power of two and less than `limit`
    times that power. For example, all intermediates may be integers of magnitude below `limit`. The
    limit is 2**53 for float64, 2**24 for float32, 2**11 for float16 and TF32, and 2**8 for
    bfloat16. In addition, tanh must only be applied to 0 and to arguments that saturate it, and the
    nonzero values of masks must be powers of two.
    """
    if not all(_has_only_powers_of_two(mask) for mask in problem.masks.values()):
        return False
    with np.errstate(all="ignore"):
        return all(
            _has_exact_preactivations(layer, trace, limit)
            and _has_exact_activations(problem, layer, trace)
            for layer in trace.layers
        )


def is_exact_gradient(
    problem: Problem, trace: Trace, d_output: Array, d_h_n: Array, limit: float
) -> bool:
    """Return whether no sum of the backward pass rounds either.

    The result is always False for tanh: if tanh is saturated, its slope depends on the formula.
    """
    if problem.config.nonlinearity != Nonlinearity.RELU or not is_exact(problem, trace, limit):
        return False
    adjoints = layer_adjoints(problem, trace, d_output, d_h_n)
    with np.errstate(all="ignore"):
        return all(
            _has_exact_adjoint(layer, adjoint, d_h_n, limit)
            for layer, adjoint in zip(trace.layers, adjoints, strict=True)
        )


def _has_exact_preactivations(layer: LayerTrace, trace: Trace, limit: float) -> bool:
    weights, before = layer.weights, np.where(trace.alive, layer.states[:, :-1], 0.0)
    magnitude = (
        np.abs(layer.read) @ np.abs(weights.ih.swapaxes(1, 2))[:, None]
        + np.abs(before) @ np.abs(weights.hh.swapaxes(1, 2))[:, None]
    )
    magnitude += np.abs(weights.biases).sum(axis=1)[:, None, None]
    return _has_exact_sums(
        [(weights.ih, layer.read), (weights.hh, before), (weights.biases,)],
        np.where(trace.alive, magnitude, 0.0),
        limit,
    )


def _has_exact_activations(problem: Problem, layer: LayerTrace, trace: Trace) -> bool:
    if problem.config.nonlinearity == Nonlinearity.RELU:
        return True
    size = np.abs(layer.sums)
    return bool((((size == 0.0) | (size >= SATURATED)) | ~trace.alive).all())


def _has_exact_adjoint(
    layer: LayerTrace, adjoint: LayerAdjoint, d_h_n: Array, limit: float
) -> bool:
    weights, sums, size = layer.weights, adjoint.sums, np.abs(adjoint.sums)
    state = (
        size @ np.abs(weights.hh)[:, None]
        + np.abs(adjoint.outputs)
        + np.abs(d_h_n).max(initial=0.0)
    )
    before = layer.states[:, :-1]
    return (
        _has_exact_sums([(weights.hh, sums), (adjoint.outputs,), (d_h_n,)], state, limit)
        and _has_exact_sums([(weights.ih, sums)], gathered(size, np.abs(weights.ih)), limit)
        and _has_exact_sums([(sums, layer.read)], outer(size, np.abs(layer.read)), limit)
        and _has_exact_sums([(sums, before)], outer(size, np.abs(before)), limit)
        and _has_exact_sums([(sums,)], size.sum(axis=(1, 2)), limit)
    )


def _has_exact_sums(products: list[tuple[Array, ...]], magnitude: Array, limit: float) -> bool:
    """Return whether sums of these products, up to this magnitude, are exact.

    They are exact if they are multiples of one power of two and less than `limit` times that power.
    The same must hold for the operands.
    """
    operands = [operand for product in products for operand in product]
    if not all(np.abs(operand).max(initial=0.0) < limit * unit(operand) for operand in operands):
        return False
    common = min(float(np.prod([unit(operand) for operand in product])) for product in products)
    return bool((magnitude < limit * common).all())


def unit(values: Array) -> float:
    """Return the largest power of two that divides every value.

    The result is inf if all values are zero, and NaN if a value is not finite.
    """
    if not np.isfinite(values).all():
        return float("nan")
    mantissa, exponent = np.frexp(values[values != 0.0])
    whole = (mantissa * 2.0**53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min(initial=np.inf))


def _has_only_powers_of_two(mask: Array) -> bool:
    mantissa, _ = np.frexp(mask)
    return bool(((mantissa == 0.5) | (mask == 0.0)).all())
