"""The likely cause of a difference, from what the two modules depend on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations, permutations

import torch
from torch import Tensor, nn

from rnnspec.comparing.differences import Difference, Kind, find_wrong
from rnnspec.comparing.evaluation import DRAWS, Case, Pair, Results, make_noise
from rnnspec.comparing.probing import Place, Prober, list_indices
from rnnspec.comparing.recipe import Sizes
from rnnspec.comparing.weights import list_tensors
from rnnspec.text import join_words

REDUCED = {"16 bits (float16) or TF32": 2.0**-11, "bfloat16": 2.0**-8}
"""The largest relative error of one rounding in fewer bits than float32 has."""


# In wrong candidates that round, the errors were between a third and three times those that
# rounding weights and inputs causes: states are rounded too, or the weights alone.
LEAST_LIKE, MOST_LIKE = 0.125, 4.0
"""So many times the effect of rounding weights and inputs the errors are if they are its effect."""


class Cause(Enum):
    """What a candidate does instead, as far as it can be seen from outside."""

    RAISES = "raises"
    FORM = "other-form"
    SHAPE = "other-shape"
    DTYPE = "other-dtype"
    READS_NOTHING = "reads-no-input"
    IGNORES_INPUT = "ignores-an-input"
    ONE_FOR_ALL = "one-result-for-all"
    FORGETS = "forgets"
    IGNORES_INDICES = "ignores-indices"
    MIXES = "mixes"
    IGNORES_PARAMETER = "ignores-a-parameter"
    FEWER_BITS = "fewer-bits"
    OTHER_VALUES = "other-values"
    EARLIER_CALL = "result-of-an-earlier-call"
    SAME_ADDRESS = "knows-the-address"
    KEPT_STATE = "keeps-a-state"
    OVERWRITES_RESULT = "overwrites-its-result"
    OVERWRITES_INPUT = "overwrites-an-input"
    RANDOM = "random"
    NOT_RANDOM = "not-random"
    STALE_WEIGHTS = "weights-of-the-constructor"
    GRADIENT = "gradient"
    SETTINGS = "settings"
    CALLS_REFERENCE = "calls-the-reference"
    SOME_SIZES = "some-sizes"
    TRAINING = "training-mode"
    DEFAULTS = "default-arguments"
    MEMORY_LAYOUT = "memory-layout"
    EXCHANGED_INPUTS = "exchanged-inputs"
    GATE_ORDER = "gate-order"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Explanation:
    """A cause, what it is in this case, and the positions of the inputs that are not read."""

    cause: Cause
    text: str
    unread: frozenset[int] = frozenset()


OF_FORM = {
    Kind.RAISES: Cause.RAISES,
    Kind.FORM: Cause.FORM,
    Kind.SHAPE: Cause.SHAPE,
    Kind.DTYPE: Cause.DTYPE,
}


def explain_form(difference: Difference) -> Explanation:
    """Return the cause of a difference that is not one of numbers."""
    return Explanation(OF_FORM[difference.kind], difference.text)


def explain_values(prober: Prober, before: Prober) -> Explanation:
    """Return the likely cause of other numbers in the case of a prober.

    `before` has the case in which the difference was found first, with more numbers.
    """
    for search in (_find_unread, _find_pattern, _find_parameter):
        for found in search(prober):
            return found
    searches = (_find_exchanged_inputs, _find_gate_order, _find_pattern, _find_rounding)
    for search in searches:
        for found in search(before):
            return found
    return Explanation(Cause.OTHER_VALUES, "the values are others")


class Names:
    """The names of the inputs, and of the dimensions of inputs and results, in a case."""

    def __init__(self, pair: Pair, case: Case) -> None:
        self.inputs = name_inputs(pair, case)
        self._pair, self._case = pair, case
        shapes = self._list_shapes(case.sizes)
        self._dimensions: dict[tuple[int | str, int], str] = {}
        for name, size in case.sizes.items():
            with_more = self._list_shapes({**case.sizes, name: size + 1})
            for key, shape in shapes.items():
                others = with_more.get(key, ())
                for place, (one, other) in enumerate(zip(shape, others, strict=False)):
                    if one != other:
                        self._dimensions.setdefault((key, place), name)

    def _list_shapes(self, sizes: Sizes) -> dict[int | str, tuple[int, ...]]:
        case = replace(self._case, sizes=sizes)
        found: dict[int | str, tuple[int, ...]] = {}
        try:
            given = self._pair.make_given(case)
            module = self._pair.build_reference(case)
            results = self._pair.call(self._pair.recipe.reference, module, given, case)
        except Exception:  # the reference may refuse these sizes
            return {}
        for index, each in enumerate(given.list_values()):
            if isinstance(each, Tensor):
                found[index] = tuple(each.shape)
        return {**found, **{name: tuple(each.shape) for name, each in results.items()}}

    def find_name(self, owner: int | str, dimension: int) -> str:
        """Return the name of the size that a dimension of an input or a result has."""
        return self._dimensions.get((owner, dimension), "")

    def find_dimension(self, owner: int | str, name: str) -> int | None:
        """Return the dimension of an input or a result that has a size of this name."""
        found = (place for (key, place), each in self._dimensions.items() if key == owner)
        return next((place for place in found if self.find_name(owner, place) == name), None)


def name_inputs(pair: Pair, case: Case) -> list[str]:
    """Return the names of the arguments of a call."""
    given = pair.make_given(case)
    factory = pair.recipe.reference.target.factory
    forward = getattr(factory, "forward", None)
    try:
        names = list(inspect.signature(forward).parameters)[1:] if forward else []
    except (TypeError, ValueError):
        names = []
    count = len(given.positional)
    names = [*names[:count], *(f"argument {i}" for i in range(len(names), count))]
    return [*names, *given.named]


def _find_unread(prober: Prober) -> Iterator[Explanation]:
    """Yield the inputs that change the reference's results and not the candidate's."""
    names = name_inputs(prober.pair, prober.case)
    unread: list[int] = []
    read: list[int] = []
    for index in prober.list_read():
        changed = prober.find_changed(Place(index))
        if any(map(_any, changed.theirs.values())):
            (read if any(map(_any, changed.mine.values())) else unread).append(index)
    if unread and not read:
        yield Explanation(Cause.READS_NOTHING, "the results do not depend on any input")
    elif unread:
        listed = join_words(names[index] for index in unread)
        text = f"the results do not depend on {listed}"
        yield Explanation(Cause.IGNORES_INPUT, text, frozenset(unread))


def _any(value: Tensor) -> bool:
    return bool(value.any())


def _find_pattern(prober: Prober) -> Iterator[Explanation]:
    """Yield which indices of an input reach which indices of a result, where that is wrong."""
    names = Names(prober.pair, prober.case)
    for index in prober.list_read():
        value = prober.given.list_values()[index]
        for dimension, size in enumerate(value.shape):
            if size > 1:
                reach = _measure_reach(prober, names, index, dimension)
                yield from _describe_reach(reach)


@dataclass
class Reach:
    """Which indices of a dimension of an input reach a result.

    name      the name of the dimension, and `input` that of the input
    indices   the indices that were changed
    size      how many there are
    theirs    for each of them, the indices of the same dimension of the result that the reference
              changes by more than the tolerance, or whether it changes at all if it has no such
              dimension (P, Q)
    possible  the same by anything
    mine      the same for the candidate
    """

    input: str
    name: str
    result: str
    indices: list[int]
    size: int
    theirs: Tensor
    possible: Tensor
    mine: Tensor

    @property
    def is_square(self) -> bool:
        """Whether the result has the dimension too."""
        return self.theirs.shape[1] == self.size and self.size > 1


def _measure_reach(prober: Prober, names: Names, index: int, dimension: int) -> list[Reach]:
    size = prober.given.list_values()[index].shape[dimension]
    indices = list_indices(size)
    name = names.find_name(index, dimension)
    changed = [prober.find_changed(Place(index, dimension, each)) for each in indices]
    found = []
    for result in prober.expected.results:
        along = names.find_dimension(result, name) if name else None
        sides = (
            torch.stack(
                [_reduce(side[result], along) for side in (each.theirs, each.possible, each.mine)]
            )
            for each in changed
        )
        theirs, possible, mine = torch.stack(list(sides), 1)
        label = name or f"dimension {dimension}"
        found.append(
            Reach(names.inputs[index], label, result, indices, size, theirs, possible, mine)
        )
    return found


def _reduce(changed: Tensor, along: int | None) -> Tensor:
    """Return where anything changed, along one dimension."""
    if along is None:
        return changed.any().reshape(1)
    return changed.movedim(along, 0).flatten(1).any(1) if changed.dim() > 1 else changed


def _describe_reach(reaches: list[Reach]) -> Iterator[Explanation]:
    for reach in reaches:
        missing = reach.theirs & ~reach.mine
        extra = reach.mine & ~reach.possible
        if reach.is_square and bool(extra.any()):
            yield from _describe_mixing(reach, extra)
        if bool(missing.any()):
            yield _describe_missing(reach, missing)


def _describe_mixing(reach: Reach, extra: Tensor) -> Iterator[Explanation]:
    """Yield that a result depends on indices that it must not depend on."""
    others = reach.mine.clone()
    first = others[0]
    is_first_only = bool(first.all()) and not bool(others[1:].any())
    if is_first_only:
        yield Explanation(
            Cause.ONE_FOR_ALL, f"every index along {reach.name} gets the result of the first"
        )
        return
    row, column = (int(each) for each in extra.nonzero()[0])
    yield Explanation(
        Cause.MIXES,
        f"{reach.result} at index {column} of {reach.name} depends on {reach.input} at index "
        f"{reach.indices[row]}, which the reference does not",
    )


def _describe_missing(reach: Reach, missing: Tensor) -> Explanation:
    """Return which indices a result does not depend on."""
    column = int(missing.sum(0).argmax())
    lost = [reach.indices[row] for row in missing[:, column].nonzero().flatten().tolist()]
    seen = [reach.indices[row] for row in reach.mine[:, column].nonzero().flatten().tolist()]
    end = f" at index {column}" if reach.is_square else ""
    subject = f"{reach.result}{end}"
    if seen and lost and max(lost) < min(seen):
        span = (column if reach.is_square else reach.size - 1) - min(seen) + 1
        return Explanation(
            Cause.FORGETS,
            f"{subject} depends on the last {span} of {reach.size} indices of {reach.input} along "
            f"{reach.name} only"
            if not reach.is_square
            else f"{subject} does not depend on {reach.input} before index {min(seen)} along "
            f"{reach.name}: it sees the last {span}",
        )
    listed = _shorten(lost)
    return Explanation(
        Cause.IGNORES_INDICES,
        f"{subject} does not depend on {reach.input} at {listed} of {reach.size} along "
        f"{reach.name}",
    )


def _shorten(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"index {indices[0]}"
    if indices == list(range(indices[0], indices[-1] + 1)):
        return f"indices {indices[0]} to {indices[-1]}"
    shown = indices[:6]
    return f"indices {', '.join(map(str, shown))}{' ...' if len(indices) > len(shown) else ''}"


def _find_parameter(prober: Prober) -> Iterator[Explanation]:
    """Yield the parameters of the reference that change its results and not the candidate's."""
    pair, case = prober.pair, prober.case
    if not pair.move.is_complete:
        return
    before = prober.call_candidate(prober.given)
    names = dict(pair.build_reference(case).named_parameters())
    for name in names:
        changed = replace(pair, change=_Shift(name))
        exact = changed.compute_exactly(case, prober.given)
        gaps = {key: (exact[key] - each).abs() for key, each in prober.expected.results.items()}
        moves = any(_any(gap > prober.expected.tolerances[key]) for key, gap in gaps.items())
        module = changed.build_candidate(case)
        after = pair.call(pair.recipe.candidate, module, prober.given, case)
        if moves and all(torch.equal(after[key], each) for key, each in before.items()):
            yield Explanation(
                Cause.IGNORES_PARAMETER, f"the results do not depend on the parameter {name}"
            )
            return


@dataclass(frozen=True)
class _Shift:
    """Adds random numbers to one tensor of a module."""

    name: str

    def __call__(self, module: nn.Module) -> None:
        value = list_tensors(module)[self.name]
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            value += torch.randn(value.shape, generator=generator).to(value)


def _agrees(prober: Prober, exact: Results, got: Results, factor: float = 1.0) -> bool:
    """Return whether a candidate's results are these, within some times the tolerances."""
    tolerances = prober.expected.tolerances
    return all(
        not _any(find_wrong(each, got[name], factor * tolerances[name]))
        for name, each in exact.items()
    )


def _find_exchanged_inputs(prober: Prober) -> Iterator[Explanation]:
    """Yield that two inputs of one shape are exchanged."""
    values = prober.given.list_values()
    names = name_inputs(prober.pair, prober.case)
    got = prober.call_candidate(prober.given)
    for one, other in combinations(prober.list_read(), 2):
        if values[one].shape == values[other].shape:
            swapped = list(values)
            swapped[one], swapped[other] = values[other], values[one]
            if _agrees(prober, prober.call_reference(prober.given.replace_values(swapped)), got):
                text = f"{names[one]} and {names[other]} are exchanged"
                yield Explanation(Cause.EXCHANGED_INPUTS, text)


def _find_gate_order(prober: Prober) -> Iterator[Explanation]:
    """Yield that the gates of the recurrent layers of torch.nn are in another order."""
    got = prober.call_candidate(prober.given)
    for count in (3, 4):
        usual = tuple(range(count))
        for order in permutations(usual):
            if order != usual and prober.pair.move.is_complete:
                changed = replace(prober.pair, change=_Reorder(order))
                if changed.changes_weights(prober.case) and _agrees(
                    prober, changed.compute_exactly(prober.case, prober.given), got
                ):
                    shown = ", ".join(map(str, order))
                    text = f"the gates are in another order: {shown} instead of {usual}"
                    yield Explanation(Cause.GATE_ORDER, text)
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


def _find_rounding(prober: Prober) -> Iterator[Explanation]:
    """Yield that products are rounded to fewer bits, if that accounts for the difference."""
    got = prober.call_candidate(prober.given)
    exact = prober.expected.results
    for text, unit in REDUCED.items():
        moved = [
            prober.pair.compute_exactly(prober.case, prober.given, make_noise(unit, draw))
            for draw in range(DRAWS)
        ]
        error = _measure_gap(got, exact)
        effect = max(_measure_gap(other, exact) for other in moved)
        if effect and LEAST_LIKE <= error / effect <= MOST_LIKE:
            text = f"its errors are as large as those of numbers rounded to {text}"
            yield Explanation(Cause.FEWER_BITS, text)
            return


def _measure_gap(got: Results, exact: Results) -> float:
    """Return the largest difference, relative to the largest number of its tensor."""
    return max(
        float((got[name].double() - each).abs().max() / (each.abs().max() + 1e-300))
        for name, each in exact.items()
    )
