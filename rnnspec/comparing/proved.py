"""The proved bound on rounding errors, for references of a documented layer and linear layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnnspec import oracle
from rnnspec.comparing.evaluation import (
    Pair,
    PairCase,
    Precision,
    ResultTensors,
    convert,
    convert_module,
    is_real,
    map_tensors,
)
from rnnspec.comparing.sizes import Arguments
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import state_size
from rnnspec.models.steps import suppress_failures
from rnnspec.subjects.documented import find_documented_kind, load_documented

ROUNDING = oracle.ROUNDINGS["float32"]
MOST_PROVED = 16
"""The largest size for which bounds are computed, which takes a hundredth of a second."""
# The bound holds for exact results. Those of the reference in float64 are off by the same sums with
# roundings that are 2**29 times as small.
ALLOWED = 1 + 2.0**-20
"""The distance allowed from the results of the reference in float64, as a multiple of the bound."""


class Proof(NamedTuple):
    """The exact results of a case, and the largest errors that rounding can explain, by number."""

    exact: ResultTensors
    bounds: ResultTensors


def find_proof(pair: Pair, case: PairCase) -> Proof | None:
    """Return the proved bounds of a case, or None if there are none.

    There are some if the reference calls one layer of torch.nn with the arguments of its own call,
    and returns numbers of its results, or of linear layers that read such numbers. Products must
    not be rounded to TF32.
    """
    is_small = max(case.sizes.values(), default=0) <= MOST_PROVED
    proof = None
    if is_small and pair.precision is Precision.IEEE and not case.training:
        with suppress_failures():
            proof = _bound_errors(pair, case)
    return proof


def _bound_errors(pair: Pair, case: PairCase) -> Proof | None:
    given, module = pair.make_given(case).map(convert), convert_module(pair.build_reference(case))
    watch = _Watch(module)
    exact = pair.call_exactly(module, given, case)
    watch.begin_marking()
    marked = pair.call_exactly(module, given, case)
    values, errors = watch.compute_errors(pair.recipe.write_flags(given, torch.float64))
    places = {name: _read_marks(each, values, exact[name]) for name, each in marked.items()}
    bounds = {name: errors[each] for name, each in places.items() if each is not None}
    is_known = all(bool(each.isfinite().any()) for each in bounds.values())
    if not bounds or not is_known or len(bounds) < len(places):
        return None
    pair.proved.append(case)
    return Proof(exact, {name: ALLOWED * each for name, each in bounds.items()})


@dataclass
class _Watch:
    """The calls of recurrent and linear layers of a module, and where their numbers go.

    In a second call, each number that these layers return is replaced by its index among all, so
    that whatever reads it shows where it is from.
    """

    module: nn.Module
    calls: list[tuple[nn.Module, Arguments, tuple[Tensor, ...]]] = field(default_factory=list)
    marked: list[Tensor] = field(default_factory=list)
    is_marking: bool = False
    first: int = 0

    def __post_init__(self) -> None:
        for each in self.module.modules():
            if isinstance(each, nn.RNNBase | nn.Linear):
                each.register_forward_hook(self._note, with_kwargs=True)

    def begin_marking(self) -> None:
        """Return marks from now on."""
        self.is_marking = True

    def _note(self, layer: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        parts = tuple(_list_parts(output))
        if not self.is_marking:
            self.calls.append((layer, Arguments(args, kwargs), parts))
            return None
        self.marked.append(args[0])
        marks = []
        for each in parts:
            mark = torch.arange(self.first, self.first + each.numel(), dtype=torch.float64)
            marks.append(mark.view(each.shape))
            self.first += each.numel()
        remaining = iter(marks)
        return map_tensors(output, lambda _: next(remaining))

    def compute_errors(self, given: Arguments) -> tuple[Tensor, Tensor]:
        """Return all numbers that the layers have returned, and the bounds on their errors.

        A bound is infinite if it is not known.
        """
        values, errors = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
        for (layer, got, parts), read in zip(self.calls, self.marked, strict=True):
            found: tuple[Tensor, ...] | None
            if isinstance(layer, nn.Linear):
                places = _read_marks(read, values, got.positional[0])
                found = None if places is None else (_bound_linear(layer, got, errors[places]),)
            else:
                found = _bound_layer(layer, got, given)
            if found is None:
                found = tuple(torch.full_like(each, torch.inf) for each in parts)
            values = torch.cat([values, *(each.flatten() for each in parts)])
            errors = torch.cat([errors, *(each.flatten() for each in found)])
        return values, errors


def _list_parts(output: Any) -> Iterator[Tensor]:
    for each in output if isinstance(output, tuple) else (output,):
        yield from _list_parts(each) if isinstance(each, tuple) else (each,)


def _read_marks(marked: Tensor, values: Tensor, actual: Tensor) -> Tensor | None:
    """Return the indices that a marked tensor has, or None if its numbers are not values there."""
    places = marked.long()
    is_index = bool(((places == marked) & (places >= 0) & (places < len(values))).all())
    return places if is_index and torch.equal(values[places], actual) else None


def _bound_linear(layer: nn.Linear, got: Arguments, errors: Tensor) -> Tensor:
    weight, terms = layer.weight.detach().abs(), layer.in_features + 1
    total = (got.positional[0].abs() + errors) @ weight.T
    if layer.bias is not None:
        total = total + layer.bias.detach().abs()
    relative, least = ROUNDING.gamma(terms), (terms + 1) * ROUNDING.eta
    found: Tensor = errors @ weight.T + relative * total + least
    return found


def _bound_layer(layer: nn.Module, got: Arguments, given: Arguments) -> tuple[Tensor, ...] | None:
    """Return the bounds of a layer's results, or None if it gets other numbers than the model."""
    kind = find_documented_kind(type(layer))
    names = dict(zip(("input", "hx"), got.positional, strict=False)) | dict(got.named)
    x, states = names["input"], list(_list_parts(names.get("hx")))
    known = [each for each in given.list_values() if is_real(each)]
    read = [x, *(each for each in states if is_real(each) and bool(each.any()))]
    if (
        kind is None
        or load_documented(kind) is not type(layer)
        or not is_real(x)
        or x.dim() != 3
        or not all(any(torch.equal(each, other) for other in known) for each in read)
    ):
        return None
    config = Config(kind=kind.name, **_read_arguments(layer, kind.arguments))
    steps = x.transpose(0, 1) if config.batch_first else x
    rows = config.num_layers * config.num_directions
    initial = {
        f"{letter}_0": np.zeros((rows, steps.shape[1], state_size(config, letter)))
        for letter in kind.states
    }
    given_states = (each.numpy() for each in states if is_real(each))
    problem = oracle.Problem(
        config,
        {name: each.detach().numpy() for name, each in layer.named_parameters()},
        np.ascontiguousarray(steps.numpy()),
        initial | dict(zip(initial, given_states, strict=False)),
        np.full(steps.shape[1], len(steps), dtype=np.int64),
    )
    bound = oracle.compute_bound(problem, oracle.run_layers(problem), ROUNDING)
    output, *finals = (torch.from_numpy(np.array(each)) for each in bound.results.values())
    return (output.transpose(0, 1) if config.batch_first else output, *finals)


def _read_arguments(layer: Any, names: Mapping[str, Any] | tuple[str, ...]) -> dict[str, Any]:
    return {name: 0.0 if name == "dropout" else getattr(layer, name) for name in names}
