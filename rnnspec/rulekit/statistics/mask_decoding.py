"""Decode dropout masks from an output, for the distributions of numbers that are made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.axes import Distribution
from rnnspec.cases.axes.distribution import CODE_BIAS, READABLE_BIAS, code_weights
from rnnspec.cases.case import Case
from rnnspec.cases.gates import read_ungated
from rnnspec.cases.states import name_initial, split_states
from rnnspec.cases.values import Values
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.observe.expected import Expected

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
MIN_KEPT_FACTOR = 0.1
"""A larger factor means that a value was kept.

The correct factor 1 / (1 - p) is at least 1, and wrong ones, such as 1 - p = 0.3, are larger too.
"""
MAX_OFF = 0.25
"""A number is read from a code that rounding has moved by less than this."""
NEARLY_OFF = 0.01
"""The same, but if the values were scaled by something else than 1 / (1 - p)."""
MAX_INVERTED_OUTPUT = float(np.tanh(4.5))
"""Above this, arctanh of an output is not accurate enough.

With `solvable`, what tanh is applied to stays below 3.9.
"""


@dataclass(frozen=True)
class DecodedMask:
    """The dropout at one boundary between layers in one call. All arrays have shape (T, N, D * H).

    factors      input of the layer above the boundary divided by the output of the layer below:
                 0 or 1 / (1 - p) if dropout is correct
    known        whether the factor could be decoded; never at padding
    kept_above   whether every boundary above kept the unit, so that it reaches the output
    unexplained  whether the output cannot come from any factors
    """

    factors: Array
    known: Flags
    kept_above: Flags
    unexplained: Flags

    @property
    def kept(self) -> Flags:
        """Whether a value is known to have been kept."""
        return self.known & (np.abs(self.factors) > MIN_KEPT_FACTOR)

    @property
    def dropped(self) -> Flags:
        """Whether a value is known to have been dropped."""
        return self.known & ~self.kept

    @property
    def scale(self) -> float | None:
        """The median factor of the values that were kept, or None if there are none."""
        return float(np.median(self.factors[self.kept])) if self.kept.any() else None


def decode_mask(case: Case, values: Values, output: Array) -> DecodedMask:
    """Return the dropout that an output (T, N, D * H) shows.

    Raises KeyError unless the distribution of the case is `readable` or `solvable`.
    """
    with np.errstate(all="ignore"):
        return DECODERS[case.distribution](case, values, output)


def expect_under_mask(case: Case, values: Values, mask: DecodedMask) -> Expected:
    """Return the expected results under a mask, with the other values scaled by 1 / (1 - p)."""
    scale = case.config.dropout_scale
    masks = {layer: np.full(mask.kept.shape, scale) for layer in range(case.config.num_layers - 1)}
    masks[max(masks)] = scale * mask.kept_above
    masks[case.boundary] = scale * mask.kept
    return Expected(case, values, masks)


def list_decided_gradients(case: Case, names: Iterable[str]) -> list[str]:
    """Return the names of the gradients of the output that a mask decoded with `readable` decides.

    Up to the boundary all weights are zero, so no gradient arrives below it, and what the layer
    just below it reads is not known. If there are boundaries above, a value that does not reach the
    output may have been dropped at any of them, so what happens between them is not known.
    """
    last, above = case.config.num_layers - 1, case.boundary + 1
    unknown = {f"weight_ih_l{case.boundary}"} if case.boundary else set()
    unknown |= {f"weight_hh_l{above}"} if above < last else set()
    unknown |= {
        f"{part}_l{layer}"
        for layer in range(above + 1, last)
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    return [name for name in names if name.removesuffix("_reverse") not in unknown]


def find_valid_steps(case: Case) -> Flags:
    """Return flags (T, N) of the steps that belong to a sequence and are not padding."""
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    return np.arange(case.steps)[:, None] < lengths


def _decode_readable(case: Case, values: Values, output: Array) -> DecodedMask:
    """Invert the nonlinearities, and read the bits that the layer above the boundary wrote.

    Each of its units holds one number, whose bits say which units of the layer below were kept.
    """
    del values
    width, above = output.shape[-1], case.config.num_layers - 1 - case.boundary
    written = np.array(output)
    for _ in range(above):
        written = _invert_nonlinearity(case, written)
    kept_above = written > CODE_BIAS / 2
    constant = _apply_nonlinearity(case, READABLE_BIAS)
    code = (np.max(written, axis=-1) - CODE_BIAS) / (constant * code_weights(width)[-1])
    reached = find_valid_steps(case) & kept_above.any(axis=-1)
    right = case.config.dropout_scale
    scale = _find_scale(case, code[reached], width) if above == 1 else right
    number, off = _round_codes(code * right / scale, width)
    fits = off < MAX_OFF
    bits = (np.where(fits, number, 0.0).astype(np.int64)[..., None] >> np.arange(width)[::-1]) & 1
    unexplained = np.isnan(written).any(axis=-1) | (reached & ~fits)
    return DecodedMask(
        factors=bits.astype(np.float64) * scale,
        known=_repeat_over_units(reached & fits, width),
        kept_above=kept_above | (above == 1),
        unexplained=_repeat_over_units(unexplained & find_valid_steps(case), width),
    )


def _find_scale(case: Case, codes: Array, width: int) -> float:
    """Return by how much the values that were kept were multiplied.

    That is 1 / (1 - p), unless the codes are those of a mask only with one of the usual mistakes.
    """
    right = case.config.dropout_scale
    if (_round_codes(codes, width)[1] < MAX_OFF).all():
        return right
    for scale in (1.0, 1.0 - case.config.dropout):
        if (_round_codes(codes * right / scale, width)[1] < NEARLY_OFF).all():
            return scale
    return right


def _round_codes(codes: Array, width: int) -> tuple[Array, Array]:
    """Return the nearest number of a mask of so many units, and the distance to it."""
    numbers = np.clip(np.rint(np.where(np.isfinite(codes), codes, 0.0)), 0.0, 2.0**width - 1.0)
    return numbers, np.abs(codes - numbers)


def _decode_solvable(case: Case, values: Values, output: Array) -> DecodedMask:
    """Solve for the input of the second layer, and divide it by the output of the first."""
    width, weights = output.shape[-1], read_ungated(case.config, values.weights)
    weighted = _invert_nonlinearity(case, output) - _compute_recurrent_part(case, values, output)
    square = np.concatenate(
        [weights[name] for name in ("weight_ih_l1", "weight_ih_l1_reverse") if name in weights]
    )
    valid = find_valid_steps(case)
    usable = valid & np.isfinite(weighted).all(axis=-1)
    if case.config.nonlinearity == Nonlinearity.TANH:
        usable &= (np.abs(output) < MAX_INVERTED_OUTPUT).all(axis=-1)
    rows = np.where(usable[..., None], weighted, 0.0).reshape(-1, width)
    solved = np.linalg.solve(square, rows.T).T.reshape(output.shape)
    factors = np.where(valid[..., None], solved / _compute_first_layer(case, values), 0.0)
    return DecodedMask(
        factors=factors,
        known=_repeat_over_units(usable, width),
        kept_above=np.ones(output.shape, dtype=bool),
        unexplained=_repeat_over_units(valid & ~usable, width),
    )


DECODERS: dict[Distribution, Callable[[Case, Values, Array], DecodedMask]] = {
    Distribution.READABLE: _decode_readable,
    Distribution.SOLVABLE: _decode_solvable,
}


def _repeat_over_units(flags: Flags, width: int) -> Flags:
    return np.broadcast_to(flags[..., None], (*flags.shape, width))


def _apply_nonlinearity(case: Case, total: float) -> float:
    """Return what a layer whose gates are held makes of a sum that is not negative."""
    if case.config.nonlinearity != Nonlinearity.TANH:
        return total
    for _ in range(case.config.kind_data.activations):
        total = float(np.tanh(total))
    return total


def _invert_nonlinearity(case: Case, output: Array) -> Array:
    """Return what the nonlinearity was applied to; for relu, that is a positive output itself."""
    if case.config.nonlinearity != Nonlinearity.TANH:
        return output
    for _ in range(case.config.kind_data.activations):
        output = np.arctanh(output)
    return output


def _compute_first_layer(case: Case, values: Values) -> Array:
    """Return the output of the first of two layers by the oracle; nothing is dropped before it."""
    config = replace(case.config, num_layers=1)
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    weights = {name: array for name, array in values.weights.items() if "_l0" in name}
    initial = name_initial(config, values.initial[: config.num_directions])
    return oracle.run_layers(oracle.Problem(config, weights, values.input, initial, lengths)).output


def _compute_recurrent_part(case: Case, values: Values, output: Array) -> Array:
    """Return what the second layer adds to W_ih x: its biases, and W_hh times its last state."""
    hidden, parts = case.config.hidden_size, []
    weights = read_ungated(case.config, values.weights)
    for direction, suffix in enumerate(("l1", "l1_reverse")[: case.config.num_directions]):
        own = output[..., direction * hidden : (direction + 1) * hidden]
        states = values.initial[case.config.num_directions + direction]
        initial = split_states(case.config, states)["h"]
        previous = (
            _shift_backward_states(case, own, initial)
            if direction
            else np.concatenate([initial[None], own[:-1]])
        )
        part = previous @ weights[f"weight_hh_{suffix}"].T
        for kind in ("bias_ih", "bias_hh") if case.config.bias else ():
            part = part + weights[f"{kind}_{suffix}"]
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def _shift_backward_states(case: Case, own: Array, initial: Array) -> Array:
    """Return the previous state at each step of the backward direction.

    It is the state at the next step of time, or the initial state at the end of a sequence.
    """
    following = np.concatenate([own[1:], initial[None]])
    is_within = np.concatenate([find_valid_steps(case)[1:], np.zeros((1, case.batch), dtype=bool)])
    return np.where(is_within[..., None], following, initial)
