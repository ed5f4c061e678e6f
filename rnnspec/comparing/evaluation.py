"""Call the two modules on the same case, and compute how far their results may be apart."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from rnnspec.comparing.conditions import AS_BUILT, NumberCondition
from rnnspec.comparing.recipe import Recipe, Side
from rnnspec.comparing.sizes import Arguments, Growth, Sizes
from rnnspec.comparing.weights import BY_SIZES, Move, Moved, list_tensors
from rnnspec.models.copying import move_model
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.steps import take_step
from rnnspec.subjects.precision import forbid_cudnn
from rnnspec.subjects.steps import CALL, announce_case
from rnnspec.text import TextEnum

ResultTensors = dict[str, Tensor]
"""The tensors that a call returns, each by its place in the returned value, such as "output[0]"."""
# A correct module may add in another order than the reference, in more parts or in fewer, and round
# its weights' products elsewhere. In the 21 right candidates of the tests, the error was at most
# 4.5 times what the reference's own rounding and one rounding in each weight and input give; in
# candidates that compute in 16 bits, it was more than 7000 times that.
SLACK = 32.0
"""The tolerance as a multiple of the measured error of the reference."""
# A single draw may not change a result that has few numbers.
DRAWS = 3
"""How often roundings are drawn to measure their effect."""


class Precision(TextEnum):
    """The format to which the operands of float32 products are rounded."""

    IEEE = "ieee"
    TF32 = "tf32"


UNITS = {Precision.IEEE: 2.0**-24, Precision.TF32: 2.0**-11}
"""The largest relative error of a rounding, by format."""


@dataclass(frozen=True)
class PairCase:
    """A call of both modules: its sizes, the condition of weights and inputs, and a seed.

    `count` is how many of the arguments are given; the others keep their defaults.
    """

    sizes: Sizes
    condition: NumberCondition = AS_BUILT
    seed: int = 0
    count: int | None = None
    training: bool = False


class InFloat64(TorchFunctionMode):
    """Converts every float32 tensor that a function of torch returns to float64.

    Random numbers are drawn in float32 first, so that they are the same as in any other call.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and convert its result."""
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype is torch.float32:
            return result.double()
        return result


def convert_module(module: nn.Module) -> nn.Module:
    """Return a module with all of its floating-point tensors in float64."""
    return change_attributes(module.double(), convert)


def move_module(module: nn.Module, device: str) -> nn.Module:
    """Return a module on a device, with the tensors that are plain attributes."""
    if device == "cpu":
        return module
    return change_attributes(move_model(module, device), partial(move, device=device))


def change_attributes(module: nn.Module, change: Callable[[Any], Any]) -> nn.Module:
    """Return a module with changed plain attributes, some of which may be tensors."""
    for each in module.modules():
        for name, value in list(vars(each).items()):
            if not name.startswith("_"):
                vars(each)[name] = change(value)
    return module


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a value with the tensors in it, or in its tuples and lists, changed."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(map_tensors(each, change) for each in value)
    return value


def move(value: Any, device: str) -> Any:
    """Return a value with the tensors in it on a device."""
    return map_tensors(value, lambda each: each.to(device))


def convert(value: Any) -> Any:
    """Return a value with the float32 tensors in it in float64."""
    return map_tensors(value, lambda each: each.double() if each.dtype is torch.float32 else each)


def is_real(value: object) -> bool:
    """Return whether a value is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()


def copy_values(value: Any) -> Any:
    """Return an argument with copies of the tensors in it."""
    return map_tensors(value, lambda each: each.detach().clone())


def list_results(value: Any, place: str = "output") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that a call returns, each with its place."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, PackedSequence):
        yield f"{place}.data", value.data
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from list_results(each, f"{place}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, each in enumerate(value):
            yield from list_results(each, f"{place}[{index}]")
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from list_results(getattr(value, each.name), f"{place}.{each.name}")


def are_equal(one: ResultTensors, other: ResultTensors) -> bool:
    """Return whether results have the same numbers in the same places."""
    return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)


def is_same(one: object, other: object) -> bool:
    """Return whether two tensors have the same numbers; NaN is the same as NaN."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return one is other
    return bool(((one == other) | ((one != one) & (other != other))).all())


@dataclass
class ExpectedResults:
    """The expected results of a case, in float64, and their tolerances.

    `single` has the results of the reference in float32.

    The tolerance of each result is `SLACK` times the larger of two errors that were measured on the
    same case: the error of the reference in float32, and the effect of a relative change of one
    rounding in each weight and each input.
    """

    results: ResultTensors
    tolerances: dict[str, float]
    single: ResultTensors


class OutOfTime(BaseException):
    """The time that a user gave for the whole comparison is over; no handler of errors takes it."""


@dataclass
class Pair:
    """The two modules, as a case needs them: how they are built, and how weights are moved.

    change        changes the weights of the reference further
    zeroed        the positions of inputs that are zeros
    free          the names of the sizes that no parameter has, such as that of the batch
    draws         how often roundings are drawn
    moves         the moves that were found so far, by the sizes that parameters have
    counts        how many parameters the reference has, by sizes
    operations    how many functions of torch a case calls
    proved        the cases so far that had proved bounds
    deadline      the time at which no further call begins
    """

    recipe: Recipe
    move: Move = field(default_factory=lambda: Move(Moved.SEED, {}))
    precision: Precision = Precision.IEEE
    change: Callable[[nn.Module], None] | None = None
    zeroed: frozenset[int] = frozenset()
    free: tuple[str, ...] = ()
    draws: int = DRAWS
    device: str = "cpu"
    moves: dict[tuple[Any, ...], Move] = field(default_factory=dict)
    counts: dict[tuple[tuple[str, int], ...], int] = field(default_factory=dict)
    operations: Growth = field(default_factory=Growth)
    proved: list[PairCase] = field(default_factory=list)
    deadline: float = math.inf

    def make_given(self, case: PairCase) -> Arguments:
        """Return the arguments of the call of a case."""
        given = self.recipe.make_inputs(case.sizes, case.seed)
        values = [case.condition.prepare_input(each) for each in given.list_values()]
        values = [
            torch.zeros_like(each) if index in self.zeroed else each
            for index, each in enumerate(values)
        ]
        made = given.replace_values([move(each, self.device) for each in values])
        return made if case.count is None else Arguments(made.positional[: case.count])

    def build(self, side: Side, case: PairCase) -> nn.Module:
        """Return a new module of a side for a case. Raises Raised."""
        is_candidate = side is self.recipe.candidate
        return self.build_candidate(case) if is_candidate else self.build_reference(case)

    def build_reference(self, case: PairCase) -> nn.Module:
        """Return a new reference for a case, in float32."""
        return move_module(self._build_on_cpu(case), self.device)

    def _build_on_cpu(self, case: PairCase) -> nn.Module:
        module = self.recipe.build(self.recipe.reference, case.sizes, case.seed)
        case.condition.prepare_weights(module)
        if self.change is not None:
            self.change(module)
        return module.train(case.training)

    def build_both(self, case: PairCase) -> tuple[nn.Module, nn.Module]:
        """Return a new reference, and a new candidate with its weights. Raises Raised."""
        reference = self._build_on_cpu(case)
        candidate = self.recipe.build(self.recipe.candidate, case.sizes, case.seed)
        self.load(case, candidate, reference)
        modules = (reference, candidate.train(case.training))
        moved = [move_module(each, self.device) for each in modules]
        return moved[0], moved[1]

    def changes_weights(self, case: PairCase) -> bool:
        """Return whether `change` changes any weight of the reference."""
        before = replace(self, change=None).build_reference(case).parameters()
        after = self.build_reference(case).parameters()
        pairs = zip(before, after, strict=True)
        return any(not torch.equal(one, other) for one, other in pairs)

    def build_candidate(self, case: PairCase) -> nn.Module:
        """Return a new candidate for a case. Raises Raised."""
        return self.build_both(case)[1]

    def load(self, case: PairCase, candidate: nn.Module, reference: nn.Module) -> None:
        """Copy the weights of a case from the reference to a candidate. Raises Raised."""
        move = self.move
        if move.is_complete:
            move = self.find_move(case.sizes, reference, candidate)
        if move.is_complete:
            move.apply(reference, candidate)
        else:
            case.condition.prepare_weights(candidate)

    def find_move(self, sizes: Sizes, reference: nn.Module, candidate: nn.Module) -> Move:
        """Return how weights are moved between two modules, found once for each set of shapes.

        Both are built in float64 for that, because random numbers in float64 differ from each
        other.
        """
        if self.move.how not in BY_SIZES:
            return self.move
        tensors = (list_tensors(each).values() for each in (reference, candidate))
        key = (self.move.how, *(each.shape for both in tensors for each in both))
        if key not in self.moves:
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)
            try:
                sides = (self.recipe.reference, self.recipe.candidate)
                reference, candidate = (self.recipe.build(each, sizes, 0) for each in sides)
            finally:
                torch.set_default_dtype(before)
            found = BY_SIZES[self.move.how](reference, candidate)
            self.moves[key] = found or Move(Moved.SEED)
        return self.moves[key]

    def call(
        self,
        side: Side,
        module: nn.Module,
        given: Arguments,
        case: PairCase,
        *,
        copies: bool = True,
    ) -> ResultTensors:
        """Call a module of a side with arguments, or copies of them. Raises Raised.

        Announces the case to the worker first, since the call may end it. Raises OutOfTime.
        """
        self._announce(side, case)
        copied = given.map(copy_values) if copies else given
        with (
            self.recipe.use_sizes(case.sizes),
            torch.no_grad(),
            fork_random_numbers(case.seed),
            take_step(CALL),
        ):
            results = dict(list_results(self._call(module, copied)))
            return {name: each.cpu() for name, each in results.items()}

    def call_for_gradients(
        self, side: Side, module: nn.Module, given: Arguments, case: PairCase
    ) -> ResultTensors:
        """Return the results of a call that can be differentiated. Raises Raised."""
        self._announce(side, case)
        with (
            self.recipe.use_sizes(case.sizes),
            torch.enable_grad(),
            forbid_cudnn(),
            fork_random_numbers(case.seed),
            take_step(CALL),
        ):
            return dict(list_results(self._call(module, given)))

    def _call(self, module: nn.Module, given: Arguments) -> Any:
        tensors = (*given.list_values(), *module.parameters())
        dtype = next((each.dtype for each in tensors if is_real(each)), torch.float32)
        return self.recipe.call(module, self.recipe.write_flags(given, dtype))

    def _announce(self, side: Side, case: PairCase) -> None:
        if time.monotonic() > self.deadline:
            raise OutOfTime
        listed = (*case.sizes.items(), case.condition.describe(), case.seed, case.count)
        announce_case(f"{side.target.label} {listed}")

    def call_reference(self, case: PairCase, given: Arguments) -> ResultTensors:
        """Return the results of a new reference in float32. Raises Raised."""
        return self.call(self.recipe.reference, self.build_reference(case), given, case)

    def compute_exactly(
        self, case: PairCase, given: Arguments, change: Callable[[Tensor], Tensor] | None = None
    ) -> ResultTensors:
        """Return the results of a new reference in float64.

        `change` returns other numbers for each of its tensors and inputs.
        """
        module, wide = convert_module(self.build_reference(case)), given.map(convert)
        if change is not None:
            module, wide = add_noise(module, wide, change)
        return self.call_exactly(module, wide, case)

    def call_exactly(
        self, module: nn.Module, given: Arguments, case: PairCase, *, copies: bool = True
    ) -> ResultTensors:
        """Return the results of a reference that is in float64. Raises Raised."""
        with InFloat64():
            return self.call(self.recipe.reference, module, given, case, copies=copies)

    def compute_expected(
        self,
        case: PairCase,
        given: Arguments,
        draws: int | None = None,
        single: ResultTensors | None = None,
    ) -> ExpectedResults:
        """Return the expected results of a case, and their tolerances.

        Roundings are drawn `draws` times, which is usually the number of the pair. `single` are the
        results of the reference in float32, if they are known.
        """
        draws = self.draws if draws is None else draws
        exact = self.compute_exactly(case, given)
        single = self.call_reference(case, given) if single is None else single
        unit = UNITS[self.precision]
        moved = [self.compute_exactly(case, given, make_noise(unit, draw)) for draw in range(draws)]
        tolerances = {}
        for name, each in exact.items():
            errors = [_measure_largest(other[name].double() - each) for other in (single, *moved)]
            least = UNITS[Precision.IEEE] * _measure_largest(each)
            tolerances[name] = SLACK * max(*errors, least)
        return ExpectedResults(exact, tolerances, single)


def make_noise(unit: float, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Return a function that changes each number by at most one rounding, up or down."""
    generator = torch.Generator().manual_seed(seed)

    def change(value: Tensor) -> Tensor:
        drawn = torch.randint(2, value.shape, generator=generator) * 2 - 1
        return value * (1 + unit * drawn.to(value))

    return change


def add_noise(
    module: nn.Module, given: Arguments, change: Callable[[Tensor], Tensor]
) -> tuple[nn.Module, Arguments]:
    """Return a module and arguments whose floating-point tensors are changed by a function."""
    with torch.no_grad():
        for each in filter(is_real, list_tensors(module).values()):
            each.copy_(change(each))
    return module, given.map(lambda each: change(each) if is_real(each) else each)


def _measure_largest(value: Tensor) -> float:
    finite = value.detach()[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
