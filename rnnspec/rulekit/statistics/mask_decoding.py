"""Decode dropout masks from an output, for the distributions that make this possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from rnnspec import oracle
from rnnspec.cases.axes import Distribution
from rnnspec.cases.axes.distribution import CODE_BIAS, OWN_CODE, READABLE_BIAS, code_weights
from rnnspec.cases.case import Case
from rnnspec.cases.gates import UNHELD_GATE, can_hold_gates, read_ungated
from rnnspec.cases.states import name_initial, split_states
from rnnspec.cases.values import Values
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.contract.shapes import SUFFIXES
from rnnspec.observe.expected import Expected
from rnnspec.oracle import Array
from rnnspec.oracle.layers import Flags

MIN_KEPT_FACTOR = 0.1
"""A value was kept if its factor is larger than this.

The correct factor 1 / (1 - p) is at least 1, and wrong factors, such as 1 - p = 0.3, are larger
too.
"""
MAX_OFF = 0.25
"""A code is read as the nearest number if rounding has moved it by less than this."""
NEARLY_OFF = 0.01
"""The same limit for values that were scaled by another factor than 1 / (1 - p)."""
MAX_INVERTED_OUTPUT = float(np.tanh(4.5))
"""Above this, arctanh of an output is not accurate enough.

With `solvable`, the argument of tanh stays below 3.9.
"""


@dataclass(frozen=True)
class DecodedMask:
    """The dropout in a call at a boundary between layers. All arrays are (T, N, D * H_out).

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
    """Return the dropout that an output (T, N, D * H_out) shows.

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

    Up to the boundary all weights are zero, so no gradient arrives below it, and the input of the
    layer just below it is not known. If there are boundaries above, a value that does not reach the
    output may have been dropped at any of them, so the values between them are not known. If each
    unit encodes only a single unit of the layer below, the input of the layer above the boundary is
    not known either.
    """
    last, above = case.config.num_layers - 1, case.boundary + 1
    unknown = {f"weight_ih_l{case.boundary}"} if case.boundary else set()
    unknown |= {f"weight_hh_l{above}"} if above < last else set()
    if above < last and not case.encoding.is_whole:
        unknown |= {f"weight_ih_l{above}", f"weight_hr_l{above}"}
    unknown |= {
        f"{part}_l{layer}"
        for layer in range(above + 1, last)
        for part in ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
    }
    return [name for name in names if name.removesuffix("_reverse") not in unknown]


def find_valid_steps(case: Case) -> Flags:
    """Return flags (T, N) of the steps that belong to a sequence and are not padding."""
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    return np.arange(case.steps)[:, None] < lengths


def _decode_readable(case: Case, values: Values, output: Array) -> DecodedMask:
    """Invert the nonlinearities, and read the bits that the layer above the boundary wrote.

    Each of its units holds either a number whose bits show which units of the layer below were
    kept, or a single bit for its own unit.
    """
    del values
    width, above = output.shape[-1], case.config.num_layers - 1 - case.boundary
    written = np.array(output)
    for _ in range(above):
        written = _invert_nonlinearity(case, written)
    kept_above = written > CODE_BIAS / 2
    constant, is_whole = _apply_nonlinearity(case, READABLE_BIAS), case.encoding.is_whole
    units, unit = (width, code_weights(width)[-1]) if is_whole else (1, OWN_CODE)
    code = (np.max(written, axis=-1, keepdims=True) if is_whole else written) - CODE_BIAS
    code = code / (constant * unit)
    reached = kept_above.any(axis=-1, keepdims=True) if is_whole else kept_above
    reached = reached & find_valid_steps(case)[..., None]
    right = case.config.dropout_scale
    scale = _find_scale(case, code[reached], units) if above == 1 else right
    number, off = _round_codes(code * right / scale, units)
    fits = off < _most_off(case, number)
    bits = (np.where(fits, number, 0.0).astype(np.int64) >> np.arange(units)[::-1]) & 1
    unexplained = np.isnan(written).any(axis=-1, keepdims=True) & find_valid_steps(case)[..., None]
    return DecodedMask(
        factors=bits.astype(np.float64) * scale,
        known=np.broadcast_to(reached & fits, output.shape),
        kept_above=kept_above | (above == 1),
        unexplained=np.broadcast_to(unexplained | (reached & ~fits), output.shape),
    )


def _most_off(case: Case, number: Array) -> Array:
    """Return the largest allowed distance of a code from its number.

    In 16 bits, the errors of a code are relative to the written value, and dropped units make it
    smaller. A layer may round p to the dtype, which moves the scale by up to 1 / (1 - p) roundings.
    """
    if not case.dtype.is_half:
        return np.full(number.shape, MAX_OFF)
    constant = OWN_CODE * _apply_nonlinearity(case, READABLE_BIAS)
    share = (CODE_BIAS + constant * number) / (CODE_BIAS + constant)
    return MAX_OFF * share + case.config.dropout_scale * case.dtype.roundoff * number


def _find_scale(case: Case, codes: Array, width: int) -> float:
    """Return the scale of the values that were kept.

    It is 1 / (1 - p), unless only a usual mistake in the scale turns the codes into a mask.
    """
    right = case.config.dropout_scale
    number, off = _round_codes(codes, width)
    if (off < _most_off(case, number)).all():
        return right
    for scale in (1.0, 1.0 - case.config.dropout):
        if (_round_codes(codes * right / scale, width)[1] < NEARLY_OFF).all():
            return scale
    return right


def _round_codes(codes: Array, width: int) -> tuple[Array, Array]:
    """Return the nearest number of a mask of `width` units, and the distance to it."""
    numbers = np.clip(np.rint(np.where(np.isfinite(codes), codes, 0.0)), 0.0, 2.0**width - 1.0)
    return numbers, np.abs(codes - numbers)


def _decode_solvable(case: Case, values: Values, output: Array) -> DecodedMask:
    """Solve for the input of the second layer, and divide it by the output of the first."""
    width, size = output.shape[-1], case.config.output_size
    weights = read_ungated(case.config, values.weights)
    activated = _undo_gates(case, values, output)
    weighted = _invert_activation(case, activated) - _compute_recurrent_part(case, values, output)
    stacked = [weights[f"weight_ih_l1{suffix}"][:size] for suffix in SUFFIXES[: width // size]]
    square = np.concatenate(stacked)
    valid = find_valid_steps(case)
    usable = valid & np.isfinite(weighted).all(axis=-1)
    if case.config.nonlinearity == Nonlinearity.TANH:
        usable &= (np.abs(activated) < MAX_INVERTED_OUTPUT).all(axis=-1)
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
    """Return the output for a nonnegative sum in a layer whose gates are held."""
    if case.config.nonlinearity != Nonlinearity.TANH:
        return total
    for _ in range(case.config.kind_data.activations):
        total = float(np.tanh(total))
    return total


def _invert_nonlinearity(case: Case, output: Array) -> Array:
    """Return the sums that give an output in a layer whose gates are held."""
    for _ in range(case.config.kind_data.activations):
        output = _invert_activation(case, output)
    return output


def _invert_activation(case: Case, activated: Array) -> Array:
    """Return the argument of the nonlinearity; for relu, a positive value is its own argument."""
    return np.arctanh(activated) if case.config.nonlinearity == Nonlinearity.TANH else activated


def _undo_gates(case: Case, values: Values, output: Array) -> Array:
    """Return the last activation of the second layer before its gates are applied.

    If the gates are not held, they are 1/2: a state is the mean of the previous state and of the
    returned activation, and an LSTM outputs half of tanh of its cell state.
    """
    kind = case.config.kind_data
    if can_hold_gates(case.config):
        for _ in range(kind.activations - 1):
            output = _invert_activation(case, output)
        return output
    letter = kind.states[-1]
    state = np.arctanh(output / UNHELD_GATE) if kind.memory_gate else output
    before = np.concatenate(_list_states_before(case, values, state, letter), axis=-1)
    return (state - UNHELD_GATE * before) / UNHELD_GATE


def _compute_first_layer(case: Case, values: Values) -> Array:
    """Return the output of the first of two layers by the oracle; nothing is dropped before it."""
    config = replace(case.config, num_layers=1)
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    weights = {name: array for name, array in values.weights.items() if "_l0" in name}
    initial = name_initial(config, values.initial[: config.num_directions])
    return oracle.run_layers(oracle.Problem(config, weights, values.input, initial, lengths)).output


def _compute_recurrent_part(case: Case, values: Values, output: Array) -> Array:
    """Return the terms that the second layer adds to W_ih x: its biases, and W_hh times its last
    state.

    Only the units that it returns are included. A gate that is not held halves the product that it
    multiplies.
    """
    size, parts, kind = case.config.output_size, [], case.config.kind_data
    weights = read_ungated(case.config, values.weights)
    is_halved = "reset" in kind.gates and not can_hold_gates(case.config)
    factor = UNHELD_GATE if is_halved else 1.0
    states = _list_states_before(case, values, output, "h")
    for suffix, before in zip(SUFFIXES, states, strict=False):
        part = factor * (before @ weights[f"weight_hh_l1{suffix}"][:size].T)
        for name in ("bias_ih", "bias_hh") if case.config.bias else ():
            part = part + weights[f"{name}_l1{suffix}"][:size]
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def _list_states_before(case: Case, values: Values, states: Array, letter: str) -> list[Array]:
    """Return the state, of the given letter, that each step of the second layer starts from.

    `states` (T, N, D * H_out) has the states after each step, of the units that the layer returns.
    The result has an array for each direction.
    """
    size, directions = case.config.output_size, case.config.num_directions
    found = []
    for direction in range(directions):
        own = states[..., direction * size : (direction + 1) * size]
        initial = split_states(case.config, values.initial[directions + direction])[letter]
        first = initial[..., :size]
        found.append(
            _shift_backward_states(case, own, first)
            if direction
            else np.concatenate([first[None], own[:-1]])
        )
    return found


def _shift_backward_states(case: Case, own: Array, initial: Array) -> Array:
    """Return the previous state at each step of the backward direction.

    It is the state at the next step of time, or the initial state at the end of a sequence.
    """
    following = np.concatenate([own[1:], initial[None]])
    is_within = np.concatenate([find_valid_steps(case)[1:], np.zeros((1, case.batch), dtype=bool)])
    return np.where(is_within[..., None], following, initial)
