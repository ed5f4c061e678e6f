"""The likely cause of a difference, from the inputs and parameters that change the results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.comparing.differences import DifferenceKind, find_wrong
from rnnspec.comparing.evaluation import DRAWS, ResultTensors, add_noise, is_real, make_noise
from rnnspec.comparing.explanation import Cause, ExplainedCause
from rnnspec.comparing.names import name_inputs
from rnnspec.comparing.patterns import find_pattern
from rnnspec.comparing.probing import InputPlace, ReachProber
from rnnspec.comparing.sizes import Arguments
from rnnspec.comparing.weights import list_tensors
from rnnspec.text import join_words

REDUCED = {"16 bits (float16) or TF32": 2.0**-11, "bfloat16": 2.0**-8}
"""The largest relative error of a rounding to fewer bits than float32 has."""


# In wrong candidates that round, the errors were between a third and three times the
# effect of rounding weights and inputs: states are rounded too, or the weights alone.
LEAST_LIKE, MOST_LIKE = 0.125, 4.0
"""Errors from rounding are between these multiples of the effect of rounding weights and inputs."""
# Large beside the roundings of float32 and small beside those of fewer bits.
NUDGE = 2.0**-14
"""The relative change of weights and inputs by which to see whether results follow in steps."""
LEAST_APART = 0.25
"""Results follow in steps if their change differs from the right change by this share of it."""

OF_FORM = {
    DifferenceKind.RAISES: Cause.RAISES,
    DifferenceKind.REFUSES: Cause.RAISES,
    DifferenceKind.FORM: Cause.FORM,
    DifferenceKind.SHAPE: Cause.SHAPE,
    DifferenceKind.DTYPE: Cause.DTYPE,
}


def explain_values(prober: ReachProber, before: ReachProber) -> ExplainedCause:
    """Return the likely cause of wrong numbers in the case of a prober.

    `before` has the case in which the difference was found first, with more numbers.
    """
    unread = next(_find_unread(prober), None)
    if unread is not None and next(_find_unread(before), None) == unread:
        return unread
    # With one sample, a candidate that drops the last of an odd number reads nothing.
    searches = (find_pattern, _find_parameter) if unread is None else ()
    for search in searches:
        for found in search(prober):
            return found
    for search in (_find_exchanged_inputs, _find_gate_order, find_pattern, _find_rounding):
        for found in search(before):
            return found
    return unread or ExplainedCause(Cause.OTHER_VALUES, "it computes other values")


def _find_unread(prober: ReachProber) -> Iterator[ExplainedCause]:
    """Yield a cause for the inputs that change only the reference's results."""
    names = name_inputs(prober.pair, prober.case)
    unread: list[int] = []
    read: list[int] = []
    for index in prober.list_read():
        changed = prober.find_changed(InputPlace(index))
        if any(map(_any, changed.theirs.values())):
            (read if any(map(_any, changed.mine.values())) else unread).append(index)
    if unread and not read:
        yield ExplainedCause(Cause.READS_NOTHING, "the results do not depend on any input")
    elif unread:
        listed = join_words(names[index] for index in unread)
        text = f"the results do not depend on {listed}"
        yield ExplainedCause(Cause.IGNORES_INPUT, text, frozenset(unread))


def _any(value: Tensor) -> bool:
    return bool(value.any())


def _find_parameter(prober: ReachProber) -> Iterator[ExplainedCause]:
    """Yield a cause for parameters of the reference that change only the reference's results."""
    pair, case = prober.pair, prober.case
    if not pair.move.is_complete:
        return
    names = dict(pair.build_reference(case).named_parameters())
    for name in names:
        changed = replace(pair, change=_Shift(name))
        exact = changed.compute_exactly(case, prober.given)
        gaps = {key: (exact[key] - each).abs() for key, each in prober.expected.results.items()}
        moves = any(_any(gap > prober.expected.tolerances[key]) for key, gap in gaps.items())
        module = changed.build_candidate(case)
        after = pair.call(pair.recipe.candidate, module, prober.given, case)
        if moves and all(torch.equal(after[key], each) for key, each in prober.got.items()):
            yield ExplainedCause(
                Cause.IGNORES_PARAMETER, f"the results do not depend on the parameter {name}"
            )
            return


@dataclass(frozen=True)
class _Shift:
    """Adds random numbers to a tensor of a module."""

    name: str

    def __call__(self, module: nn.Module) -> None:
        value = list_tensors(module)[self.name]
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            value += torch.randn(value.shape, generator=generator).to(value)


def _agrees(
    prober: ReachProber, exact: ResultTensors, got: ResultTensors, factor: float = 1.0
) -> bool:
    """Return whether a candidate's results equal these, within a multiple of the tolerances."""
    tolerances = prober.expected.tolerances
    return all(
        not _any(find_wrong(each, got[name], factor * tolerances[name]))
        for name, each in exact.items()
    )


def _find_exchanged_inputs(prober: ReachProber) -> Iterator[ExplainedCause]:
    """Yield a cause if two inputs of the same shape are exchanged."""
    values = prober.given.list_values()
    names = name_inputs(prober.pair, prober.case)
    for one, other in combinations(prober.list_read(), 2):
        if values[one].shape == values[other].shape:
            swapped = list(values)
            swapped[one], swapped[other] = values[other], values[one]
            if _agrees(
                prober, prober.call_reference(prober.given.replace_values(swapped)), prober.got
            ):
                text = f"{names[one]} and {names[other]} are exchanged"
                yield ExplainedCause(Cause.EXCHANGED_INPUTS, text)


def _find_gate_order(prober: ReachProber) -> Iterator[ExplainedCause]:
    """Yield a cause if the gates of torch's recurrent layers are in another order."""
    for count in (3, 4):
        usual = tuple(range(count))
        for order in permutations(usual):
            if order != usual and prober.pair.move.is_complete:
                changed = replace(prober.pair, change=_Reorder(order))
                if changed.changes_weights(prober.case) and _agrees(
                    prober, changed.compute_exactly(prober.case, prober.given), prober.got
                ):
                    shown = ", ".join(map(str, order))
                    text = f"the gates are in another order: {shown} instead of {usual}"
                    yield ExplainedCause(Cause.GATE_ORDER, text)
                    return


@dataclass(frozen=True)
class _Reorder:
    """Puts the gates of recurrent layers of torch.nn with as many gates into another order."""

    order: tuple[int, ...]

    def __call__(self, module: nn.Module) -> None:
        for layer in module.modules():
            if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
                for name, value in layer.named_parameters():
                    is_gated = value.shape[0] == len(self.order) * layer.hidden_size
                    if is_gated and not name.startswith("weight_hr"):
                        with torch.no_grad():
                            parts = value.clone().chunk(len(self.order))
                            value.copy_(torch.cat([parts[index] for index in self.order]))


def _find_rounding(prober: ReachProber) -> Iterator[ExplainedCause]:
    """Yield a cause if products are rounded to fewer bits, and that accounts for the difference."""
    exact = prober.expected.results
    if not _is_staircase(prober):
        return
    for text, unit in REDUCED.items():
        moved = [
            prober.pair.compute_exactly(prober.case, prober.given, make_noise(unit, draw))
            for draw in range(DRAWS)
        ]
        error = _measure_gap(prober.got, exact)
        effect = max(_measure_gap(other, exact) for other in moved)
        if effect and LEAST_LIKE <= error / effect <= MOST_LIKE:
            text = f"its errors are as large as if numbers were rounded to {text}"
            yield ExplainedCause(Cause.FEWER_BITS, text)
            return


def _is_staircase(prober: ReachProber) -> bool:
    """Return whether results follow small changes of weights and inputs in steps.

    The results of a rough approximation follow them smoothly, however large its errors are.
    """
    pair, case = prober.pair, prober.case
    given = prober.given.map(_nudge)
    changed = replace(pair, change=_nudge_weights) if pair.move.is_complete else pair
    exact = changed.compute_exactly(case, given)
    module = changed.build_candidate(case)
    got = pair.call(pair.recipe.candidate, module, given, case)
    true = [exact[name] - each for name, each in prober.expected.results.items()]
    mine = [got[name].double() - prober.got[name].double() for name in exact]
    size = sum(float(each.square().sum()) for each in true)
    apart = sum(float((a - b).square().sum()) for a, b in zip(true, mine, strict=True))
    return apart > LEAST_APART**2 * size


def _nudge(value: Any) -> Any:
    return make_noise(NUDGE)(value) if is_real(value) else value


def _nudge_weights(module: nn.Module) -> None:
    add_noise(module, Arguments(), make_noise(NUDGE, 1))


def _measure_gap(got: ResultTensors, exact: ResultTensors) -> float:
    """Return the largest difference, relative to the largest number of its tensor."""
    return max(
        float((got[name].double() - each).abs().max() / (each.abs().max() + 1e-300))
        for name, each in exact.items()
    )
