"""Dropout masks read off what a layer returned, under the laws of values that are made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.axes import Distribution
from rnnspec.cases.axes.distribution import CODE_BIAS, READABLE_BIAS, code_weights
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.expected import Expected

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
KEPT = 0.1
"""A factor above this is no zero: 1 / (1 - p) is at least 1, and wrong scales down to 1 - p = 0.3 are told from it too."""
STEEPEST = float(np.tanh(4.5))
"""Outputs above this would not tell what produced them; the law `solvable` stays below 3.9 for p up to 0.7."""


@dataclass(frozen=True)
class DecodedMask:
    """The dropout of one boundary as one call shows it, shaped (T, N, D * H).

    factors      what the layer above the boundary read, in units of what the layer below returned: 0 or 1 / (1 - p)
    known        where the factors could be read; never at padding
    path         whether the boundaries above let a unit through to the output
    unexplained  where the output is none that any factors can give
    """

    factors: Array
    known: Flags
    path: Flags
    unexplained: Flags

    @property
    def kept(self) -> Flags:
        """Where the boundary kept a value, as far as that is known."""
        return self.known & (np.abs(self.factors) > KEPT)

    @property
    def dropped(self) -> Flags:
        """Where the boundary dropped a value, as far as that is known."""
        return self.known & ~self.kept

    @property
    def scale(self) -> float | None:
        """The factor of what was kept, by its median; None where nothing was."""
        return float(np.median(self.factors[self.kept])) if self.kept.any() else None


def decode_mask(case: Case, values: Values, output: Array) -> DecodedMask:
    """The dropout that an output (T, N, D * H) of a case under the law `readable` or `solvable` shows.

    Raises KeyError for another law.
    """
    with np.errstate(all="ignore"):
        return READERS[case.distribution](case, values, output)


def expect_under_mask(case: Case, values: Values, reading: DecodedMask) -> Expected:
    """What must come out where exactly the values that were read as dropped are dropped, and the others scaled by 1 / (1 - p)."""
    scale = 1.0 / (1.0 - case.config.dropout)
    masks = {
        layer: np.full(reading.kept.shape, scale) for layer in range(case.config.num_layers - 1)
    }
    masks[max(masks)] = scale * reading.path
    masks[case.boundary] = scale * reading.kept
    return Expected(case, values, masks)


def list_decided_gradients(case: Case, names: Iterable[str]) -> list[str]:
    """The gradients of the output that the masks read under the law `readable` decide, by name.

    Below the boundary all weights are zero, so that nothing arrives there; what the boundary's own layer read is not known. Where
    boundaries lie above, a value that does not reach the output may have been dropped at any of them, and the states are not known.
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
    """(T, N): the steps that belong to a sequence."""
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    return np.arange(case.steps)[:, None] < lengths


def _readable(case: Case, values: Values, output: Array) -> DecodedMask:
    """Take the activations off; the bits of what the layer above the boundary wrote into every unit are its inputs."""
    del values
    width, above = output.shape[-1], case.config.num_layers - 1 - case.boundary
    written = np.array(output)
    for _ in range(above):
        written = _inverse(case, written)
    path = written > CODE_BIAS / 2
    constant = np.tanh(READABLE_BIAS) if case.config.nonlinearity == "tanh" else READABLE_BIAS
    code = (np.max(written, axis=-1) - CODE_BIAS) / (constant * code_weights(width)[-1])
    number = np.rint(np.where(np.isfinite(code), code, -1.0))
    fits = (np.abs(code - number) < 0.25) & (number >= 0) & (number < 2.0**width)
    reached = find_valid_steps(case) & path.any(axis=-1)
    bits = (np.where(fits, number, 0.0).astype(np.int64)[..., None] >> np.arange(width)[::-1]) & 1
    unexplained = np.isnan(written).any(axis=-1) | (reached & ~fits)
    return DecodedMask(
        factors=bits / (1.0 - case.config.dropout),
        known=_to_units(reached & fits, width),
        path=path | (above == 1),
        unexplained=_to_units(unexplained & find_valid_steps(case), width),
    )


def _solvable(case: Case, values: Values, output: Array) -> DecodedMask:
    """Solve for what the second layer read, and divide by what the first returned."""
    width = output.shape[-1]
    given = _inverse(case, output) - _recurrent_share(case, values, output)
    square = np.concatenate(
        [
            values.weights[name]
            for name in ("weight_ih_l1", "weight_ih_l1_reverse")
            if name in values.weights
        ]
    )
    usable = find_valid_steps(case) & np.isfinite(given).all(axis=-1)
    if case.config.nonlinearity == "tanh":
        usable &= (np.abs(output) < STEEPEST).all(axis=-1)
    found = np.linalg.solve(
        square, np.where(usable[..., None], given, 0.0).reshape(-1, width).T
    ).T.reshape(output.shape)
    factors = np.where(find_valid_steps(case)[..., None], found / _first_layer(case, values), 0.0)
    return DecodedMask(
        factors,
        _to_units(usable, width),
        np.ones(output.shape, dtype=bool),
        _to_units(find_valid_steps(case) & ~usable, width),
    )


READERS: dict[Distribution, Callable[[Case, Values, Array], DecodedMask]] = {
    Distribution.READABLE: _readable,
    Distribution.SOLVABLE: _solvable,
}


def _to_units(flags: Flags, width: int) -> Flags:
    return np.broadcast_to(flags[..., None], (*flags.shape, width))


def _inverse(case: Case, values: Array) -> Array:
    return np.arctanh(values) if case.config.nonlinearity == "tanh" else values


def _first_layer(case: Case, values: Values) -> Array:
    """What the first of two layers returns, by the reference; nothing is dropped before it."""
    config = replace(case.config, num_layers=1)
    lengths = np.array(case.lengths or (case.steps,) * case.batch)
    weights = {name: array for name, array in values.weights.items() if "_l0" in name}
    return oracle.run_layers(
        oracle.Problem(config, weights, values.input, values.h_0[: config.num_directions], lengths)
    ).output


def _recurrent_share(case: Case, values: Values, output: Array) -> Array:
    """What the second layer added to W_ih x: its biases, and W_hh times its own state one step before."""
    hidden, shares = case.config.hidden_size, []
    for direction, suffix in enumerate(("l1", "l1_reverse")[: case.config.num_directions]):
        own = output[..., direction * hidden : (direction + 1) * hidden]
        first = values.h_0[case.config.num_directions + direction]
        before = (
            _after_next(case, own, first) if direction else np.concatenate([first[None], own[:-1]])
        )
        share = before @ values.weights[f"weight_hh_{suffix}"].T
        for kind in ("bias_ih", "bias_hh") if case.config.bias else ():
            share = share + values.weights[f"{kind}_{suffix}"]
        shares.append(share)
    return np.concatenate(shares, axis=-1)


def _after_next(case: Case, own: Array, first: Array) -> Array:
    """The state before each step of the backward direction: that of the next step, or the initial one at a sequence's end."""
    following = np.concatenate([own[1:], first[None]])
    within = np.concatenate([find_valid_steps(case)[1:], np.zeros((1, case.batch), dtype=bool)])
    return np.where(within[..., None], following, first)
