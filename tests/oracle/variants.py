"""Other valid implementations, as plain loops over time.

They differ in the order of summation and of other operations, the precision, and the formulas of
tanh and of the sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnnspec.oracle import Array, Problem
from rnnspec.oracle.layers import Flags

Part = tuple[list[Array], list[Array]]
"""The terms of a sum, and its biases."""


@dataclass(frozen=True)
class Arithmetic:
    """How an implementation computes.

    checked_by  the name of the rounding whose bound applies
    operand    significand bits of the operands of a product
    partial    significand bits of products and partial sums
    stored     significand bits of stored values
    order      the order of summation, and of the operations after the sums
    tanh       the formula of tanh, and that of the sigmoid with the same name
    stores     True if the parts of a sum are also rounded to `stored` bits
    """

    checked_by: str
    operand: int
    partial: int
    stored: int
    order: str = "forwards"
    tanh: str = "library"
    stores: bool = False


def bits(values: Array, precision: int) -> Array:
    """Round to nearest with `precision` significand bits; the exponent is not limited."""
    mantissa, exponent = np.frexp(values)
    rounded: Array = np.ldexp(np.rint(np.ldexp(mantissa, precision)), exponent - precision)
    return rounded


def _call_library_tanh(x: Array, p: int) -> Array:
    return bits(np.tanh(x), p)


def _compute_tanh_by_ratio(x: Array, p: int) -> Array:
    e = bits(np.exp(-2.0 * np.abs(x)), p)
    return np.copysign(bits(bits(1.0 - e, p) / bits(1.0 + e, p), p), x)


def _compute_tanh_by_sigmoid(x: Array, p: int) -> Array:
    inner = bits(1.0 + bits(np.exp(-2.0 * x), p), p)
    return bits(2.0 * bits(1.0 / inner, p) - 1.0, p)


def _compute_tanh_by_quotient(x: Array, p: int) -> Array:
    x = np.clip(x, -40.0, 40.0)
    up, down = bits(np.exp(x), p), bits(np.exp(-x), p)
    return bits(bits(up - down, p) / bits(up + down, p), p)


TANH: dict[str, Callable[[Array, int], Array]] = {
    "library": _call_library_tanh,
    "ratio": _compute_tanh_by_ratio,
    "sigmoid": _compute_tanh_by_sigmoid,
    "quotient": _compute_tanh_by_quotient,
}


def _call_library_sigmoid(x: Array, p: int) -> Array:
    return bits(1.0 / (1.0 + np.exp(-x)), p)


def _compute_sigmoid_by_tanh(x: Array, p: int) -> Array:
    return bits(0.5 * bits(1.0 + _compute_tanh_by_ratio(0.5 * x, p), p), p)


def _compute_sigmoid_by_reciprocal(x: Array, p: int) -> Array:
    return bits(1.0 / bits(1.0 + bits(np.exp(-x), p), p), p)


def _compute_sigmoid_by_quotient(x: Array, p: int) -> Array:
    e = bits(np.exp(np.minimum(x, 40.0)), p)
    return bits(e / bits(1.0 + e, p), p)


SIGMOID: dict[str, Callable[[Array, int], Array]] = {
    "library": _call_library_sigmoid,
    "ratio": _compute_sigmoid_by_tanh,
    "sigmoid": _compute_sigmoid_by_reciprocal,
    "quotient": _compute_sigmoid_by_quotient,
}

VARIANTS: dict[str, Arithmetic] = {
    "float32 forwards": Arithmetic("float32", 24, 24, 24),
    "float32 backwards": Arithmetic("float32", 24, 24, 24, order="backwards"),
    "float32 pairwise": Arithmetic("float32", 24, 24, 24, order="pairwise"),
    "float32 shuffled": Arithmetic("float32", 24, 24, 24, order="shuffled"),
    "float32 (1 - e) / (1 + e)": Arithmetic("float32", 24, 24, 24, tanh="ratio"),
    "float32 2 sigmoid(2 x) - 1": Arithmetic("float32", 24, 24, 24, tanh="sigmoid"),
    "float32 sinh / cosh": Arithmetic("float32", 24, 24, 24, tanh="quotient"),
    "float32 in double": Arithmetic("float32", 53, 53, 24),
    "tf32": Arithmetic("tf32", 11, 24, 24, order="pairwise"),
    "tf32 one bit less": Arithmetic("tf32", 10, 23, 24),
    "bfloat16 stored at every step": Arithmetic(
        "bfloat16 with float32 sums", 8, 24, 8, stores=True
    ),
    "bfloat16 stored at every step, sigmoid": Arithmetic(
        "bfloat16 with float32 sums", 8, 24, 8, tanh="sigmoid", stores=True
    ),
    "bfloat16 stored at every step, sinh / cosh": Arithmetic(
        "bfloat16 with float32 sums", 8, 24, 8, tanh="quotient", stores=True
    ),
    "bfloat16 in float32": Arithmetic("bfloat16 with float32 sums", 24, 24, 24),
    "float16 stored at every step": Arithmetic(
        "float16 with float32 sums", 11, 24, 11, tanh="ratio", stores=True
    ),
    "float16 stored at every step, quotient": Arithmetic(
        "float16 with float32 sums", 11, 24, 11, tanh="quotient", stores=True
    ),
    **{
        f"{dtype} added in {dtype}, {order}": Arithmetic(dtype, size, size, size, order=order)
        for dtype, size in (("bfloat16", 8), ("float16", 11))
        for order in ("forwards", "backwards", "pairwise", "shuffled")
    },
    "bfloat16 added in bfloat16, in parts": Arithmetic("bfloat16", 8, 8, 8, stores=True),
}
"""The valid implementations, by name."""


def evaluate(problem: Problem, way: Arithmetic, rng: np.random.Generator) -> dict[str, Array]:
    """Return the results of a problem by name, computed this way."""
    config, letters = problem.config, problem.config.kind_data.states
    steps, batch, _ = problem.input.shape
    inside: Flags = np.arange(steps)[:, None] < problem.lengths
    values = problem.input
    finals: dict[str, list[Array]] = {letter: [] for letter in letters}
    with np.errstate(over="ignore"):
        for layer in range(config.num_layers):
            halves = []
            for direction in range(config.num_directions):
                row = layer * config.num_directions + direction
                states = [problem.initial[f"{letter}_0"][row] for letter in letters]
                half = np.zeros((steps, batch, config.output_size))
                for t in reversed(range(steps)) if direction else range(steps):
                    fresh = _run_step(problem, layer, direction, values[t], states, way, rng)
                    states = [
                        np.where(inside[t, :, None], new, old)
                        for new, old in zip(fresh, states, strict=True)
                    ]
                    half[t] = np.where(inside[t, :, None], fresh[0], 0.0)
                for letter, state in zip(letters, states, strict=True):
                    finals[letter].append(state)
                halves.append(half)
            values = np.concatenate(halves, axis=-1)
            if layer in problem.masks:
                values = bits(values * bits(problem.masks[layer], way.stored), way.stored)
    return {"output": values, **{f"{each}_n": np.stack(rows) for each, rows in finals.items()}}


def _run_step(
    problem: Problem,
    layer: int,
    direction: int,
    read: Array,
    states: list[Array],
    way: Arithmetic,
    rng: np.random.Generator,
) -> list[Array]:
    name = f"l{layer}" + ("_reverse" if direction else "")
    parts = []
    for part, values in (("ih", read), ("hh", states[0])):
        weight = problem.weights[f"weight_{part}_{name}"]
        bias = (
            [np.broadcast_to(problem.weights[f"bias_{part}_{name}"], (len(values), len(weight)))]
            if problem.config.bias
            else []
        )
        parts.append((_multiply_terms(weight, values, way), bias))
    if problem.config.kind == "gru":
        return [_run_gru(parts, states[0], way, rng)]
    total = _sum_parts(parts, way, rng)
    if problem.config.kind == "rnn":
        active = problem.config.nonlinearity == "tanh"
        return [
            bits(
                TANH[way.tanh](total, way.stored) if active else np.maximum(total, 0.0), way.stored
            )
        ]
    shown, memory = _run_lstm(total, states[1], way)
    if problem.config.proj_size:
        terms = _multiply_terms(problem.weights[f"weight_hr_{name}"], shown, way)
        shown = bits(_sum_terms(terms, way, rng), way.stored)
    return [shown, memory]


def _run_gru(parts: list[Part], state: Array, way: Arithmetic, rng: np.random.Generator) -> Array:
    def rounded(values: Array) -> Array:
        return bits(values, way.stored)

    hidden = state.shape[-1]
    gates = [_select_columns(parts, slice(at * hidden, (at + 1) * hidden)) for at in range(3)]
    r, z = (SIGMOID[way.tanh](_sum_parts(gate, way, rng), way.stored) for gate in gates[:2])
    given, kept = (rounded(_sum_parts([part], way, rng)) for part in gates[2])
    n = TANH[way.tanh](rounded(given + rounded(r * kept)), way.stored)
    return mix_in_order(z, n, state, way)


def mix_in_order(z: Array, n: Array, state: Array, way: Arithmetic) -> Array:
    """Return (1 - z) n + z h, with operations in an order of this way."""

    def rounded(values: Array) -> Array:
        return bits(values, way.stored)

    if way.order == "forwards":
        return rounded(rounded(rounded(1.0 - z) * n) + rounded(z * state))
    if way.order == "backwards":
        return rounded(n + rounded(z * rounded(state - n)))
    if way.order == "pairwise":
        return rounded(rounded(n - rounded(z * n)) + rounded(z * state))
    return rounded(state + rounded(rounded(1.0 - z) * rounded(n - state)))


def _run_lstm(total: Array, memory: Array, way: Arithmetic) -> tuple[Array, Array]:
    def rounded(values: Array) -> Array:
        return bits(values, way.stored)

    i, f, g, o = (
        (TANH if gate == 2 else SIGMOID)[way.tanh](each, way.stored)
        for gate, each in enumerate(np.split(total, 4, axis=-1))
    )
    memory = rounded(rounded(f * memory) + rounded(i * g))
    return rounded(o * TANH[way.tanh](memory, way.stored)), memory


def _select_columns(parts: list[Part], columns: slice) -> list[Part]:
    return [
        ([each[..., columns] for each in terms], [each[..., columns] for each in bias])
        for terms, bias in parts
    ]


def _multiply_terms(weight: Array, values: Array, way: Arithmetic) -> list[Array]:
    weight, values = bits(weight, way.operand), bits(values, way.operand)
    return [
        bits(values[:, index, None] * weight[:, index], way.partial)
        for index in range(weight.shape[1])
    ]


def _sum_parts(parts: list[Part], way: Arithmetic, rng: np.random.Generator) -> Array:
    if way.stores:
        return _sum_and_store(parts, way, rng)
    biases = [each for _, bias in parts for each in bias]
    return _sum_terms(biases + [each for terms, _ in parts for each in terms], way, rng)


def _sum_and_store(parts: list[Part], way: Arithmetic, rng: np.random.Generator) -> Array:
    totals = []
    for terms, bias in parts:
        total = bits(_sum_terms(terms, way, rng), way.stored)
        totals.append(bits(total + bias[0], way.stored) if bias else total)
    return bits(totals[0] + totals[1], way.stored) if len(totals) > 1 else totals[0]


def _sum_terms(terms: list[Array], way: Arithmetic, rng: np.random.Generator) -> Array:
    if way.order == "pairwise" and len(terms) > 1:
        half = len(terms) // 2
        return bits(
            _sum_terms(terms[:half], way, rng) + _sum_terms(terms[half:], way, rng), way.partial
        )
    order = rng.permutation(len(terms)) if way.order == "shuffled" else np.arange(len(terms))
    total = np.zeros_like(terms[0])
    for index in order[::-1] if way.order == "backwards" else order:
        total = bits(total + terms[index], way.partial)
    return total
