"""Compare the two in training mode, and without the arguments that may be left out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace

import torch

from rnnspec.comparing.differences import REFUSALS, Kind, find_difference
from rnnspec.comparing.evaluation import Case, Pair, Results
from rnnspec.comparing.explanation import Cause, Explanation
from rnnspec.models.steps import find_cause, tell_error
from rnnspec.subjects.failures import Ended, Failure


def check_modes(pair: Pair, case: Case) -> Iterator[Explanation]:
    """Yield what differs in training mode, and with fewer arguments."""
    training = replace(case, training=True)
    if not is_random(pair, training, is_candidate=False):
        yield from _compare(pair, training, Cause.TRAINING, "in training mode")
    elif not is_random(pair, training, is_candidate=True):
        text = "in training mode, its results do not depend on random numbers, as with dropout"
        yield Explanation(Cause.NOT_RANDOM, text)
    count = count_required(pair, case)
    fewer = replace(case, count=count)
    if count is not None and not _depends_on_constructor(pair, fewer):
        text = f"if only {count} of the arguments {'is' if count == 1 else 'are'} given"
        yield from _compare(pair, fewer, Cause.DEFAULTS, text)


def count_required(pair: Pair, case: Case) -> int | None:
    """Return how many arguments the reference needs, or None if it needs all that are given."""
    forward = getattr(pair.recipe.reference.target.factory, "forward", None)
    given = pair.make_given(case)
    try:
        parameters = list(inspect.signature(forward).parameters.values())[1:] if forward else []
    except (TypeError, ValueError):
        return None
    needed = [
        each
        for each in parameters
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    is_fewer = bool(parameters) and 0 < len(needed) < len(given.positional)
    return len(needed) if is_fewer and not given.named else None


def _depends_on_constructor(pair: Pair, case: Case) -> bool:
    """Return whether results depend on numbers that a constructor draws and no one can load."""
    first = pair.build_reference(case)
    second = pair.recipe.build(pair.recipe.reference, case.sizes, case.seed + 1)
    second.load_state_dict(first.state_dict())
    given, side = pair.make_given(case), pair.recipe.reference
    try:
        one, other = (pair.call(side, each, given, case) for each in (first, second))
    except Failure:
        return True
    return any(not torch.equal(one[name], other[name]) for name in one)


def _compare(pair: Pair, case: Case, cause: Cause, when: str) -> Iterator[Explanation]:
    """Yield that the two differ in a case, unless the reference raises there."""
    try:
        expected = pair.compute_expected(case, pair.make_given(case))
    except Failure:
        return
    try:
        difference = find_difference(expected, _call_candidate(pair, case))
    except Ended:
        raise
    except Failure as error:
        is_refusal = isinstance(find_cause(error), (TypeError, *REFUSALS))
        text = f"{when}, it {tell_error(error)}"
        yield Explanation(cause, text, case=case, is_refusal=is_refusal)
        return
    if difference is not None:
        shown = "its results differ" if difference.kind is Kind.VALUES else difference.text
        yield Explanation(cause, f"{when}, {shown}", case=case)


def _call_candidate(pair: Pair, case: Case) -> Results:
    given = pair.make_given(case)
    return pair.call(pair.recipe.candidate, pair.build_candidate(case), given, case)


def is_random(pair: Pair, case: Case, *, is_candidate: bool) -> bool:
    """Return whether results depend on the state of the random number generator."""
    results = []
    given = pair.make_given(case)
    for seed in (case.seed, case.seed + 1):
        module = (pair.build_candidate if is_candidate else pair.build_reference)(case)
        side = pair.recipe.candidate if is_candidate else pair.recipe.reference
        try:
            results.append(pair.call(side, module, given, replace(case, seed=seed)))
        except Failure:
            return True
    first, second = results
    return any(not bool((first[name] == second[name]).all()) for name in first)
