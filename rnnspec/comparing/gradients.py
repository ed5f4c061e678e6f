"""Compare the gradients of inputs and parameters."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rnnspec.comparing.differences import are_near, find_wrong
from rnnspec.comparing.evaluation import (
    SLACK,
    UNITS,
    InFloat64,
    Pair,
    PairCase,
    Precision,
    add_noise,
    convert,
    convert_module,
    copy_values,
    is_real,
    make_noise,
)
from rnnspec.comparing.explanation import Cause, ExplainedCause, RemarkKey
from rnnspec.comparing.names import name_inputs
from rnnspec.comparing.recipe import Side
from rnnspec.comparing.sizes import Arguments
from rnnspec.comparing.weights import Move, Moved, list_tensors
from rnnspec.models.steps import describe_error, find_gradients
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.text import join_words

# A candidate may clip gradients. A power of two changes no rounding.
LARGE = 2.0**10
"""The size of the gradients of results."""
Gradients = dict[str, Tensor | None]


def compare_gradients(pair: Pair, case: PairCase) -> Iterator[ExplainedCause]:
    """Yield a cause if the candidate's gradients differ from the reference's, at most one."""
    given = pair.make_given(case)
    single = _differentiate_reference(pair, case, given, wide=False)
    if not any(each is not None for each in single.values()):
        return
    try:
        module = pair.build_candidate(case)
        got = _differentiate(pair, case, given, pair.recipe.candidate, module)
    except Ended:
        raise
    except Failure as error:
        yield ExplainedCause(Cause.GRADIENT, f"the backward pass raises {describe_error(error)}")
        return
    if not got:
        yield ExplainedCause(RemarkKey.NO_GRADIENTS, "its results have no gradients")
        return
    written = [name for name, each in module.named_parameters() if each.grad is not None]
    if written:
        text = f"torch.autograd.grad changes the .grad of {_list_names(pair, case, written)}"
        yield ExplainedCause(Cause.GRADIENT, text)
        return
    yield from _compare_numbers(pair, case, given, single, got)


def _compare_numbers(
    pair: Pair, case: PairCase, given: Arguments, single: Gradients, got: Gradients
) -> Iterator[ExplainedCause]:
    """Yield a cause if gradients are missing or have wrong numbers.

    `single` are the gradients of the reference in float32, and `got` those of the candidate.
    """
    theirs = {name: each for name, each in _rename(pair, case, single).items() if each is not None}
    ours = {name: each for name, each in got.items() if name in theirs and each is not None}
    if are_near(theirs, ours):
        return
    exact = _differentiate_reference(pair, case, given, wide=True)
    others = [single] + [
        _differentiate_reference(pair, case, given, wide=True, draw=draw)
        for draw in range(pair.draws)
    ]
    expected = _rename(pair, case, exact)
    errors = [_rename(pair, case, other) for other in others]
    missing = [
        name
        for name, each in expected.items()
        if each is not None and bool(each.any()) and got.get(name) is None
    ]
    if missing:
        text = f"no gradient reaches {_list_names(pair, case, missing)}"
        yield ExplainedCause(Cause.GRADIENT, text)
        return
    for name, each in expected.items():
        mine = got.get(name)
        if each is not None and mine is not None:
            tolerance = _choose_tolerance(each, [other[name] for other in errors])
            text = _describe_wrong(_list_names(pair, case, [name]), each, mine, tolerance)
            if text:
                yield ExplainedCause(Cause.GRADIENT, text, tolerance=tolerance)
                return


def _describe_wrong(label: str, exact: Tensor, got: Tensor, tolerance: float) -> str:
    """Return a description of a wrong gradient, or an empty text if it is right."""
    wrong = find_wrong(exact, got, tolerance)
    if not bool(wrong.any()):
        return ""
    gap = float((got.double() - exact).abs().nan_to_num(torch.inf).max())
    times = gap / tolerance if tolerance else torch.inf
    return (
        f"the gradient of {label} is wrong ({times:.2g} times the tolerance, "
        f"{int(wrong.sum())} of {wrong.numel()} numbers)"
    )


def _choose_tolerance(exact: Tensor, others: list[Tensor | None]) -> float:
    gaps = [(other.double() - exact).abs() for other in others if other is not None]
    largest = max((float(gap.nan_to_num().max()) for gap in gaps if gap.numel()), default=0.0)
    least = UNITS[Precision.IEEE] * float(exact.abs().nan_to_num().max()) if exact.numel() else 0.0
    return SLACK * max(largest, least)


def _list_names(pair: Pair, case: PairCase, names: list[str]) -> str:
    inputs = name_inputs(pair, case)
    shown = [inputs[int(name)] if name.isdigit() else name for name in names]
    return join_words(shown[:4]) if len(shown) <= 4 else f"{join_words(shown[:4])}, and others"


def _differentiate_reference(
    pair: Pair, case: PairCase, given: Arguments, *, wide: bool, draw: int | None = None
) -> Gradients:
    """Return the reference's gradients, in float64 if `wide`, with roundings that are drawn."""
    side, module = pair.recipe.reference, pair.build_reference(case)
    if not wide:
        return _differentiate(pair, case, given, side, module)
    module, given = convert_module(module), given.map(convert)
    if draw is not None:
        module, given = add_noise(module, given, make_noise(UNITS[pair.precision], draw))
    with InFloat64():
        return _differentiate(pair, case, given, side, module)


def _differentiate(
    pair: Pair, case: PairCase, given: Arguments, side: Side, module: nn.Module
) -> Gradients:
    """Return the gradients of a sum of the results, by parameter, and by position of the input.

    They are empty if no result has a gradient.
    """
    leaves = {
        str(index): each.clone().requires_grad_() if is_real(each) else copy_values(each)
        for index, each in enumerate(given.list_values())
    }
    # A module may write into an argument, which a leaf refuses.
    passed = [each.clone() if is_real(each) else each for each in leaves.values()]
    called = given.replace_values(passed)
    results = pair.call_for_gradients(side, module, called, case)
    with torch.enable_grad():
        total = _add_up(results)
        if total is None:
            return {}
        sources = {name: each for name, each in leaves.items() if is_real(each)}
        sources |= {name: each for name, each in module.named_parameters() if each.requires_grad}
        found = find_gradients(total, list(sources.values()))
    return {
        name: None if each is None else each.cpu()
        for name, each in zip(sources, found, strict=True)
    }


def _add_up(results: dict[str, Tensor]) -> Tensor | None:
    generator = torch.Generator().manual_seed(2)
    total = None
    for each in results.values():
        if is_real(each):
            drawn = torch.rand(each.shape, generator=generator, dtype=torch.float64)
            weights = LARGE * (drawn + 0.5)
            if each.requires_grad:
                part = (each * weights.to(each)).sum()
                total = part if total is None else total + part
    return total


def _rename(pair: Pair, case: PairCase, gradients: Gradients) -> Gradients:
    """Return the reference's gradients by the names of the candidate's parameters."""
    inputs = {name: each for name, each in gradients.items() if name.isdigit()}
    own = {name: each for name, each in gradients.items() if not name.isdigit()}
    how = pair.move.how
    if how is Moved.NAMES:
        return gradients
    reference, candidate = pair.build_both(case)
    move = pair.find_move(case.sizes, reference, candidate)
    if how is Moved.ORDER:
        shapes = {name: each.shape for name, each in candidate.named_parameters()}
        for name, partner in move.partners.items():
            found = own.get(partner)
            is_same = found is None or found.shape == shapes[name]
            inputs[name] = found if is_same or found is None else found.T
    elif how is Moved.VALUES:
        inputs |= _gather(reference, candidate, move, own)
    return inputs


def _gather(
    reference: nn.Module, candidate: nn.Module, move: Move, own: Gradients
) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradient of each parameter of the candidate, put together from the reference's."""
    parts = []
    for name, value in list_tensors(reference).items():
        if value.is_floating_point():
            found = own.get(name)
            parts.append(torch.zeros(value.numel()) if found is None else found.flatten())
    numbers = torch.cat([each.double() for each in parts])
    for name, value in candidate.named_parameters():
        if name in move.sources and value.requires_grad:
            yield name, numbers[move.sources[name][0]].reshape(value.shape)
