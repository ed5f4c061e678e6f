"""Checks of how calls of the candidate affect each other, its arguments and everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product

import torch
from torch import Tensor, nn

from rnnspec.comparing.conditions import REDRAWN
from rnnspec.comparing.differences import find_difference
from rnnspec.comparing.evaluation import (
    ExpectedResults,
    Pair,
    PairCase,
    ResultTensors,
    are_equal,
    convert,
    convert_module,
    copy_values,
    is_real,
    is_same,
    map_tensors,
)
from rnnspec.comparing.explanation import Cause, ExplainedCause
from rnnspec.comparing.modes import count_required, is_random
from rnnspec.comparing.names import Names, name_inputs
from rnnspec.comparing.sizes import Arguments
from rnnspec.comparing.weights import Moved
from rnnspec.models.steps import suppress_failures
from rnnspec.subjects.devices import find_streams, use_other_stream
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.subjects.settings import list_changed_settings, read_settings
from rnnspec.text import join_words

WORK = 4096
"""The width of the matrices that are multiplied before the inputs of a late call are written."""
MANY_CALLS = 16
"""Number of calls in a row; harnesses warm up with three to ten."""


@dataclass
class RepeatedCalls:
    """The two modules of a case, which are called several times.

    `expected` belongs to the first call. The other calls have the same tolerances.
    """

    pair: Pair
    case: PairCase
    given: Arguments
    expected: ExpectedResults

    @cached_property
    def candidate(self) -> nn.Module:
        """The candidate that all calls of the session use."""
        return self.pair.build_candidate(self.case)

    @cached_property
    def reference(self) -> nn.Module:
        """The reference that all calls of the session use, in float64."""
        return convert_module(self.pair.build_reference(self.case))

    def draw_others(self, seed: int) -> Arguments:
        """Return other arguments of the same sizes."""
        return self.pair.make_given(replace(self.case, seed=self.case.seed + seed))

    def call_candidate(self, given: Arguments, *, copies: bool = True) -> ResultTensors:
        """Return the results of the candidate. Raises Raised."""
        side = self.pair.recipe.candidate
        return self.pair.call(side, self.candidate, given, self.case, copies=copies)

    def call_reference(self, given: Arguments) -> ResultTensors:
        """Return the results of the reference in float64."""
        return self.pair.call_exactly(self.reference, given.map(convert), self.case)

    def differ(self, exact: ResultTensors, got: ResultTensors) -> bool:
        """Return whether results are wrong."""
        return find_difference(replace(self.expected, results=exact), got) is not None

    def is_first_wrong(self, first: ResultTensors) -> bool:
        """Return whether the result of a first call is wrong; other checks report that."""
        return self.differ(self.call_reference(self.given), first)


Check = Callable[[RepeatedCalls], Iterator[ExplainedCause]]


def check_calls(pair: Pair, case: PairCase) -> Iterator[ExplainedCause]:
    """Yield the faults of consecutive calls of the candidate.

    The case has inputs that were not used before, which a candidate may have stored.
    """
    given = pair.make_given(case)
    expected = pair.compute_expected(case, given)
    for check in CHECKS:
        try:
            for found in check(RepeatedCalls(pair, case, given, expected)):
                yield found
                if found.cause in (Cause.EARLIER_CALL, Cause.SAME_ADDRESS, Cause.RANDOM):
                    return
        except Ended:
            raise
        except Failure:  # the comparison of values finds an error of a single call
            continue


def _check_settings(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if the candidate changes global settings."""
    before = read_settings()
    session.call_candidate(session.given)
    changed = list_changed_settings(before, read_settings())
    if changed:
        listed = join_words(f"{name}{change}" for name, change in changed)
        text = f"building and calling it changes global settings: {listed}"
        yield ExplainedCause(Cause.SETTINGS, text)


def _check_random(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if only the candidate's results change from call to call."""
    pair, case = session.pair, session.case
    if is_random(pair, pair.recipe.candidate, case) and not is_random(
        pair, pair.recipe.reference, case
    ):
        text = "the results change with the state of the random number generator"
        yield ExplainedCause(Cause.RANDOM, text)


def _check_arguments(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if a call writes to arguments that the reference leaves unchanged."""
    mine, theirs = session.given.map(copy_values), session.given.map(copy_values).map(convert)
    session.call_candidate(mine, copies=False)
    session.pair.call_exactly(session.reference, theirs, session.case, copies=False)
    written = [
        name
        for name, value, after, other in zip(
            name_inputs(session.pair, session.case),
            *(each.list_values() for each in (session.given, mine, theirs)),
            strict=False,
        )
        if isinstance(value, Tensor)
        and not is_same(value, after)
        and is_same(convert(value), other)
    ]
    if written:
        yield ExplainedCause(Cause.OVERWRITES_INPUT, f"a call writes to {join_words(written)}")


def _check_second_call(
    session: RepeatedCalls, which: str, draw: Callable[[RepeatedCalls], Arguments | None]
) -> Iterator[ExplainedCause]:
    """Yield a cause if a second call depends on the first, unlike with the reference."""
    second = draw(session)
    if second is None:
        return
    # All tensors are kept until the end, so that none gets the address of another.
    given = session.given.map(copy_values), second.map(copy_values)
    first = session.call_candidate(given[0], copies=False)
    kept = {name: each.clone() for name, each in first.items()}
    if session.is_first_wrong(first):
        return
    got, wanted = session.call_candidate(given[1], copies=False), session.call_reference(second)
    if session.differ(wanted, got):
        if are_equal(got, kept):
            text = f"a call with {which} returns the result of the call before"
            yield ExplainedCause(Cause.EARLIER_CALL, text)
        elif not are_equal(got, replace(session).call_candidate(second)):
            text = f"the result of a call with {which} depends on the call before"
            yield ExplainedCause(Cause.KEPT_STATE, text)
        elif not are_equal(wanted, replace(session).call_reference(second)):
            text = f"a call with {which} does not continue from the state of the call before"
            yield ExplainedCause(Cause.KEEPS_NO_STATE, text)
    elif not are_equal(first, kept):
        text = "a call overwrites the result that the call before has returned"
        yield ExplainedCause(Cause.OVERWRITES_RESULT, text)


def _check_many_calls(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if a later call is wrong, such as a call after a benchmark has warmed up."""
    before: ResultTensors = {}
    for number in range(1, MANY_CALLS + 1):
        given = session.draw_others(40 + number)
        got, wanted = session.call_candidate(given), session.call_reference(given)
        if session.differ(wanted, got):
            if number > 2:  # other checks find faults of the first two
                is_same = are_equal(got, before)
                cause = Cause.EARLIER_CALL if is_same else Cause.KEPT_STATE
                yield ExplainedCause(
                    cause, f"call {number} returns a wrong result, unlike the first"
                )
            return
        before = {name: each.clone() for name, each in got.items()}


def _check_same_address(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if new contents of the same tensors are not read."""
    given, other = session.given.map(copy_values), session.draw_others(31)
    first = {k: v.clone() for k, v in session.call_candidate(given, copies=False).items()}
    if session.is_first_wrong(first):
        return
    for value, new in zip(given.list_values(), other.list_values(), strict=True):
        if isinstance(value, Tensor):
            value.copy_(new)
    got, wanted = session.call_candidate(given, copies=False), session.call_reference(other)
    if session.differ(wanted, got) and are_equal(got, first):
        text = "a call with the same tensors and other numbers in them returns the earlier result"
        yield ExplainedCause(Cause.SAME_ADDRESS, text)


def _check_new_weights(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if a call after earlier calls does not use the weights that were loaded."""
    pair = session.pair
    if not pair.move.is_complete or not _is_repeatable(session):
        return
    case = replace(session.case, condition=REDRAWN)
    pair.load(case, session.candidate, pair.build_reference(case))
    if _uses_old_weights(session, case):
        text = "the next call does not use all weights that are loaded after a call"
        yield ExplainedCause(Cause.STALE_WEIGHTS, text)


def _check_changed_weights(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if a call does not use weights that an optimizer has changed in place."""
    pair = session.pair
    if pair.move.how is not Moved.NAMES or not _is_repeatable(session):
        return
    case = replace(session.case, condition=REDRAWN)
    others = dict(pair.build_candidate(case).named_parameters())
    with torch.no_grad():
        for name, each in session.candidate.named_parameters():
            each.copy_(others[name])
    if _uses_old_weights(session, case):
        text = "the next call does not use all weights that are changed in place"
        yield ExplainedCause(Cause.STALE_WEIGHTS, text)


def _is_repeatable(session: RepeatedCalls) -> bool:
    """Return whether the first two calls of the candidate have the same, right results.

    Only the weights can then change the result of a third call.
    """
    first = session.call_candidate(session.given)
    if session.is_first_wrong(first):
        return False
    return not session.differ(first, session.call_candidate(session.given))


def _uses_old_weights(session: RepeatedCalls, case: PairCase) -> bool:
    """Return whether the candidate is wrong after it got the weights of a case, although a new
    candidate with these weights is right.

    Its result need not equal the first one, since some of its weights may be up to date.
    """
    exact = session.pair.compute_exactly(case, session.given)
    if not session.differ(exact, session.call_candidate(session.given)):
        return False
    return not session.differ(exact, replace(session, case=case).call_candidate(session.given))


def _check_other_sizes(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if a call depends on an earlier call with other sizes, or raises after it."""
    if session.is_first_wrong(session.call_candidate(session.given)):
        return
    pair = session.pair
    for name in pair.free:
        session = replace(session)
        sizes = {**session.case.sizes, name: session.case.sizes[name] + 1}
        other = replace(session.case, sizes=sizes)
        between = pair.make_given(other)
        try:
            session.call_reference(session.given)
            session.call_reference(between)
            wanted = session.call_reference(session.given)
        except Failure:  # a reference may keep a state of one size
            return
        session.call_candidate(session.given)
        try:
            session.call_candidate(between)
            got = session.call_candidate(session.given)
        except Ended:
            raise
        except Failure as error:
            with suppress_failures():
                pair.call(pair.recipe.candidate, pair.build_candidate(other), between, other)
                yield ExplainedCause(Cause.RAISES, f"a call with another {name} raises {error}")
            return
        if session.differ(wanted, got):
            text = f"a result depends on an earlier call with another {name}"
            yield ExplainedCause(Cause.KEPT_STATE, text)
            return


def _check_memory_layout(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if inputs in an unusual memory layout are read wrongly."""
    for change, which in LAYOUTS.items():
        given = session.given.map(change)
        exact = session.call_reference(given)
        if session.differ(exact, session.call_candidate(given, copies=False)):
            usual = given.map(copy_contiguously)
            if not session.differ(exact, session.call_candidate(usual)):
                text = f"inputs {which} are read wrongly"
                yield ExplainedCause(Cause.MEMORY_LAYOUT, text)
            return


def _check_nan(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if NaN in a sample reaches other samples, which the reference keeps apart.

    Steps are not compared: a product with a triangular matrix spreads NaN to earlier steps, and is
    right for all numbers.
    """
    pair, case = session.pair, session.case
    if session.is_first_wrong(session.call_candidate(session.given)):
        return
    names = Names(pair, case)
    for index, name in product(range(len(session.given.list_values())), pair.free):
        dimension = names.find_dimension(index, name)
        value = session.given.list_values()[index]
        if dimension is None or not is_real(value) or value.shape[dimension] < 3:
            continue
        tried = [_put_nan(session.given, index, dimension, place) for place in (0, -1)]
        exact = [session.call_reference(each) for each in tried]
        # Of steps, NaN in the first reaches others, or NaN in the last does.
        if not all(map(partial(_keeps_apart, names, name), exact, (0, -1))):
            continue
        for given, right in zip(tried, exact, strict=True):
            got = session.call_candidate(given)
            spread = (each.isfinite() & ~got[key].isfinite() for key, each in right.items())
            if any(bool(each.any()) for each in spread):
                text = f"NaN in one index of {name} in {names.inputs[index]} reaches other indices"
                yield ExplainedCause(Cause.SPREADS_NAN, text)
                return


def _put_nan(given: Arguments, index: int, dimension: int, place: int) -> Arguments:
    values = [copy_values(each) for each in given.list_values()]
    values[index].select(dimension, place).fill_(torch.nan)
    return given.replace_values(values)


def _keeps_apart(names: Names, name: str, results: ResultTensors, place: int) -> bool:
    """Return whether all numbers are finite at other indices of a size, which all results have."""
    for key, each in results.items():
        dimension = names.find_dimension(key, name)
        if dimension is None:
            return False
        is_whole = each.isfinite().transpose(0, dimension).flatten(1).all(1)
        is_whole[place] = True
        if not bool(is_whole.all()):
            return False
    return True


def _check_stream(session: RepeatedCalls) -> Iterator[ExplainedCause]:
    """Yield a cause if a call on another stream of the device does not wait for its inputs.

    The inputs are written on that stream after so much work that a call that does not wait reads
    zeros.
    """
    device = session.pair.device
    if find_streams(device) is None or session.is_first_wrong(
        session.call_candidate(session.given)
    ):
        return
    given = session.given.map(copy_values)
    late = given.map(lambda each: torch.zeros_like(each) if is_real(each) else each)
    with use_other_stream(device):
        work = torch.ones(WORK, WORK, device=device)
        for _ in range(50):
            work = work @ work / WORK
        for each, value in zip(late.list_values(), given.list_values(), strict=True):
            if is_real(each):
                each.copy_(value)
        got = session.call_candidate(late, copies=False)
    if session.is_first_wrong(got):
        text = "a call on another stream does not wait for its inputs, or its results are not there"
        yield ExplainedCause(Cause.OTHER_STREAM, text)


def _draw_others(session: RepeatedCalls) -> Arguments:
    return session.draw_others(17)


def _draw_fewer(session: RepeatedCalls) -> Arguments | None:
    """Return other arguments, without the optional arguments."""
    count = count_required(session.pair, session.case)
    return None if count is None else Arguments(session.draw_others(23).positional[:count])


def _draw_zeros(session: RepeatedCalls) -> Arguments | None:
    """Return other arguments, with zeros for all but the first, as initial states may be."""
    first, *others = session.draw_others(29).list_values()
    zeros = [torch.zeros_like(each) if is_real(each) else each for each in others]
    return session.given.replace_values([first, *zeros]) if others else None


def _permute_given(session: RepeatedCalls) -> Arguments:
    return session.given.map(_permute)


CHECKS: tuple[Check, ...] = (
    _check_settings,
    _check_random,
    _check_arguments,
    partial(_check_second_call, which="other inputs of the same sizes", draw=_draw_others),
    partial(
        _check_second_call,
        which="inputs that have the same sum and the same ends",
        draw=_permute_given,
    ),
    partial(_check_second_call, which="fewer arguments", draw=_draw_fewer),
    partial(_check_second_call, which="initial states of zeros", draw=_draw_zeros),
    _check_many_calls,
    _check_same_address,
    _check_new_weights,
    _check_changed_weights,
    _check_other_sizes,
    _check_memory_layout,
    _check_nan,
    _check_stream,
)


def _permute(value: object) -> object:
    """Return a tensor with its numbers in another order, except the first and last third.

    A candidate may recognise inputs by their first sample, step or number.
    """
    if not isinstance(value, Tensor) or value.numel() < 4 or not value.is_floating_point():
        return copy_values(value)
    first, middle, last = value.flatten().tensor_split(3)
    return torch.cat((first, middle.flip(0), last)).reshape(value.shape)


def copy_contiguously(value: object) -> object:
    """Return an argument whose tensors lie in memory as usual."""
    return map_tensors(value, lambda each: each.clone(memory_format=torch.contiguous_format))


def _expand(value: object) -> object:
    """Return a tensor that repeats its first index of the first dimension, without a copy."""
    if not isinstance(value, Tensor) or value.dim() < 2 or not value.is_floating_point():
        return copy_values(value)
    return value[:1].expand(value.shape)


def _turn(value: object) -> object:
    """Return a tensor with the same numbers and the axes in reverse order in memory."""
    if not isinstance(value, Tensor) or value.dim() < 2:
        return copy_values(value)
    axes = list(range(value.dim()))[::-1]
    return value.permute(axes).contiguous().permute(axes)


def _put_into_larger(value: object) -> object:
    """Return a tensor with the same numbers that is the middle of a larger tensor."""
    if not isinstance(value, Tensor):
        return value
    larger = torch.zeros([size + 2 for size in value.shape], dtype=value.dtype, device=value.device)
    for dimension, size in enumerate(value.shape):
        larger = larger.narrow(dimension, 1, size)
    return larger.copy_(value)


LAYOUTS: dict[Callable[[object], object], str] = {
    _turn: "whose axes are in another order in memory",
    _put_into_larger: "that are parts of larger tensors",
    _expand: "that expand() has made from one index",
}
"""Functions that change where numbers lie in memory, each with a description."""
