"""The dropout that one call shows, and what it must be like: at work, of one scale, and enough to explain everything returned."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rnnspec.judging.masks import Reading, explained, inside, read
from rnnspec.judging.random_proofs import MOMENTS, widely
from rnnspec.judging.violation import ROUNDOFF, VISIBLE, agree, distance, violated
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation


@lru_cache(maxsize=1)
def reading(seen: Observation) -> Reading:
    """The dropout that the judged call shows; several rules ask for it."""
    return read(seen.case, seen.values, seen.output)


@lru_cache(maxsize=1)
def explanation(seen: Observation) -> Expected:
    """What must come out with exactly this dropout."""
    return explained(seen.case, seen.values, reading(seen))


def must_be_at_work(seen: Observation) -> None:
    """Raise Violation where the output is that of a layer without dropout; no mask can give it, since 1 / (1 - p) is not 1."""
    expected = seen.expected.output
    near = VISIBLE * ROUNDOFF[seen.case.dtype] * np.maximum(1.0, np.abs(expected))
    if (distance(seen.output, expected) <= near).all():
        told = "the output is what it would be without dropout: nothing is dropped and nothing scaled between the layers"
        raise violated(told, widely(seen.case, MOMENTS))


def is_scaled(seen: Observation) -> bool:
    """Whether the common factor of what was kept is the right one but for rounding; also where nothing tells it."""
    scale = reading(seen).scale
    return scale is None or abs(scale * (1.0 - seen.case.config.dropout) - 1.0) < 1e-2


def must_be_explained(seen: Observation) -> None:
    """Raise Violation where some value was neither dropped nor multiplied by what the others were."""
    shown = reading(seen)
    common = shown.scale or 1.0
    wrong = shown.unexplained | (shown.kept & ~(np.abs(shown.factors - common) < 0.05 * common))
    if not wrong.any():
        return
    step, sample, unit = np.argwhere(wrong)[0]
    told = f"{seen.output[step, sample, unit]:.6g} at step {step} of sample {sample}"
    count = f"{wrong.sum()} of {inside(seen.case).sum() * wrong.shape[-1]}"
    raise violated(f"no mask between the layers explains the output: {told} ({count})", widely(seen.case, MOMENTS))


def must_agree(seen: Observation) -> None:
    """Raise Violation where the reference under the mask that was read gives another output or, where it tells, other states."""
    expected, proof = explanation(seen), widely(seen.case, MOMENTS)
    agree(seen, "output", seen.output, expected.output, lambda: expected.bound.output, proof)
    if seen.case.values == "solvable":
        agree(seen, "h_n", seen.h_n, expected.h_n, lambda: expected.bound.h_n, proof)
