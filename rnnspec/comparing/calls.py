"""Checks of how calls of the candidate affect each other, its arguments and everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspec.comparing.differences import find_difference
from rnnspec.comparing.evaluation import (
    Case,
    Expected,
    InFloat64,
    Pair,
    Results,
    convert,
    convert_module,
    copy_values,
)
from rnnspec.comparing.explanation import Cause, Explanation
from rnnspec.comparing.names import name_inputs
from rnnspec.comparing.sizes import Given
from rnnspec.models.steps import suppress_failures
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.text import join_words


@dataclass
class Session:
    """The two modules of a case, which are called several times.

    `expected` is that of the first call, whose tolerances stand for those of the others.
    """

    pair: Pair
    case: Case
    given: Given
    expected: Expected

    def __post_init__(self) -> None:
        self.candidate = self.pair.build_candidate(self.case)
        self.reference = convert_module(self.pair.build_reference(self.case))

    def call_candidate(self, given: Given, *, copies: bool = True) -> Results:
        """Return what the candidate returns. Raises Raised."""
        side = self.pair.recipe.candidate
        return self.pair.call(side, self.candidate, given, self.case, copies=copies)

    def call_reference(self, given: Given) -> Results:
        """Return what the reference returns in float64."""
        if self.pair.is_stateless and given is self.given:
            return self.expected.results
        wide = given.replace_values([convert(each) for each in given.list_values()])
        with InFloat64():
            return self.pair.call(self.pair.recipe.reference, self.reference, wide, self.case)

    def is_wrong_alone(self) -> bool:
        """Return whether the first call of another candidate is wrong already."""
        fresh = Session(self.pair, self.case, self.given, self.expected)
        return self.differ(fresh.call_reference(self.given), fresh.call_candidate(self.given))

    def differ(self, exact: Results, got: Results) -> bool:
        """Return whether results are not those expected."""
        expected = replace(self.expected, results=exact)
        return find_difference(expected, got) is not None


Check = Callable[[Session], Iterator[Explanation]]


def check_calls(pair: Pair, case: Case) -> Iterator[Explanation]:
    """Yield what is wrong with calls of the candidate one after the other, one fault each.

    The case has inputs that were not used before, which a candidate may have stored.
    """
    given = pair.make_given(case)
    expected = pair.compute_expected(case, given)
    for check in CHECKS:
        try:
            for found in check(Session(pair, case, given, expected)):
                yield found
                if found.cause in (Cause.EARLIER_CALL, Cause.SAME_ADDRESS, Cause.RANDOM):
                    return
        except Ended:
            raise
        except Failure:  # what a single call raises is found by the comparison of values
            continue


def _check_random(session: Session) -> Iterator[Explanation]:
    """Yield that the results change from call to call, while those of the reference do not."""
    other = replace(session.case, seed=session.case.seed + 1)
    pair, given = session.pair, session.given

    def find_gap(side_name: str) -> bool:
        results = []
        for case in (session.case, other):
            is_mine = side_name == "candidate"
            module = (pair.build_candidate if is_mine else pair.build_reference)(session.case)
            side = pair.recipe.candidate if is_mine else pair.recipe.reference
            results.append(pair.call(side, module, given, case))
        return not _are_equal(*results)

    if find_gap("candidate") and not find_gap("reference"):
        text = "the results change with the state of the random number generator"
        yield Explanation(Cause.RANDOM, text)


def _check_arguments(session: Session) -> Iterator[Explanation]:
    """Yield to which of its arguments a call writes."""
    names = name_inputs(session.pair, session.case)
    mine = session.given.replace_values([copy_values(each) for each in session.given.list_values()])
    theirs = [convert(copy_values(each)) for each in session.given.list_values()]
    session.call_candidate(mine, copies=False)
    with InFloat64():
        session.pair.call(
            session.pair.recipe.reference,
            session.reference,
            session.given.replace_values(theirs),
            session.case,
            copies=False,
        )
    written = [
        names[index]
        for index, (value, after, other) in enumerate(
            zip(session.given.list_values(), mine.list_values(), theirs, strict=True)
        )
        if isinstance(value, Tensor)
        and not _is_same(value, after)
        and _is_same(convert(value), other)
    ]
    if written:
        yield Explanation(Cause.OVERWRITES_INPUT, f"a call writes to {join_words(written)}")


def _check_second_call(session: Session) -> Iterator[Explanation]:
    """Yield that a second call with other inputs depends on the first."""
    second = session.pair.make_given(replace(session.case, seed=session.case.seed + 17))
    yield from _compare_second(session, second, "other inputs of the same sizes")


def _check_recognised(session: Session) -> Iterator[Explanation]:
    """Yield that a second call is taken for the first, whose sums and ends are the same."""
    second = session.given.replace_values(list(map(_permute, session.given.list_values())))
    yield from _compare_second(session, second, "inputs that have the same sum and the same ends")


def _compare_second(session: Session, second: Given, which: str) -> Iterator[Explanation]:
    # All tensors are kept until the end, so that none gets the address of another one.
    given = [
        each.replace_values(list(map(copy_values, each.list_values())))
        for each in (session.given, second)
    ]
    first = session.call_candidate(given[0], copies=False)
    kept = {name: each.clone() for name, each in first.items()}
    exact = session.call_reference(session.given)
    if session.differ(exact, first):
        return
    got, wanted = session.call_candidate(given[1], copies=False), session.call_reference(second)
    if session.differ(wanted, got):
        if _are_equal(got, kept):
            text = f"a call with {which} returns the result of the call before"
            yield Explanation(Cause.EARLIER_CALL, text)
        else:
            text = f"the result of a call with {which} depends on the call before"
            yield Explanation(Cause.KEPT_STATE, text)
    elif not _are_equal(first, kept):
        text = "a call overwrites the result that the call before has returned"
        yield Explanation(Cause.OVERWRITES_RESULT, text)


def _check_same_address(session: Session) -> Iterator[Explanation]:
    """Yield that new contents of the same tensors are not read."""
    values = [copy_values(each) for each in session.given.list_values()]
    given = session.given.replace_values(values)
    first = {k: v.clone() for k, v in session.call_candidate(given, copies=False).items()}
    exact = session.call_reference(session.given)
    if session.differ(exact, first):
        return
    other = session.pair.make_given(replace(session.case, seed=session.case.seed + 31))
    for value, new in zip(values, other.list_values(), strict=True):
        if isinstance(value, Tensor):
            value.copy_(new)
    got, wanted = session.call_candidate(given, copies=False), session.call_reference(other)
    if session.differ(wanted, got) and _are_equal(got, first):
        text = "a call with the same tensors and other numbers in them returns the earlier result"
        yield Explanation(Cause.SAME_ADDRESS, text)


def _check_other_sizes(session: Session) -> Iterator[Explanation]:
    """Yield that a call depends on an earlier one with other sizes, or raises after it."""
    if session.is_wrong_alone():
        return
    for name in session.pair.free:
        sizes = {**session.case.sizes, name: session.case.sizes[name] + 1}
        between = session.pair.make_given(replace(session.case, sizes=sizes))
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
            fresh = session.pair.build_candidate(replace(session.case, sizes=sizes))
            with suppress_failures():
                side = session.pair.recipe.candidate
                session.pair.call(side, fresh, between, session.case)
                yield Explanation(Cause.RAISES, f"a call with another {name} raises {error}")
            return
        if session.differ(wanted, got):
            text = f"a result depends on an earlier call with another {name}"
            yield Explanation(Cause.KEPT_STATE, text)
            return


def _check_memory_layout(session: Session) -> Iterator[Explanation]:
    """Yield that inputs whose axes lie in memory in another order are read wrongly."""
    values = [_turn(each) for each in session.given.list_values()]
    got = session.call_candidate(session.given.replace_values(values), copies=False)
    exact = session.call_reference(session.given)
    if session.differ(exact, got) and not session.differ(
        exact, session.call_candidate(session.given)
    ):
        text = "inputs whose axes are in another order in memory are read wrongly"
        yield Explanation(Cause.MEMORY_LAYOUT, text)


CHECKS: tuple[Check, ...] = (
    _check_random,
    _check_arguments,
    _check_second_call,
    _check_recognised,
    _check_same_address,
    _check_other_sizes,
    _check_memory_layout,
)


def _permute(value: object) -> object:
    """Return a tensor with its numbers in another order, except the first and the last."""
    if not isinstance(value, Tensor) or value.numel() < 4 or not value.is_floating_point():
        return copy_values(value)
    flat = value.flatten()
    order = torch.arange(1, len(flat) - 1).flip(0)
    return torch.cat((flat[:1], flat[order], flat[-1:])).reshape(value.shape)


def _turn(value: object) -> object:
    """Return a tensor with the same numbers, whose axes lie in memory in reverse order."""
    if not isinstance(value, Tensor) or value.dim() < 2:
        return copy_values(value)
    axes = list(range(value.dim()))[::-1]
    return value.permute(axes).contiguous().permute(axes)


def _are_equal(one: Results, other: Results) -> bool:
    return one.keys() == other.keys() and all(_is_same(one[name], other[name]) for name in one)


def _is_same(one: object, other: object) -> bool:
    """Return whether two tensors have the same numbers; NaN is the same as NaN."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return one is other
    return bool(((one == other) | ((one != one) & (other != other))).all())
