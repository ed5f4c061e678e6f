"""Compare an adapter with the reference: within rounding, and exactly on exact cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnspec import oracle
from rnnspec.adapters.adapter import Adapter
from rnnspec.adapters.declaration import Declaration
from rnnspec.adapters.layer import AdaptedLayer
from rnnspec.cases.axes import Distribution, DType, InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.states import split_states
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.inference.trial import BUILDING, Trial, draw_numbers
from rnnspec.oracle import Array
from rnnspec.subjects.failures import Failure, Malformed, Unsupported
from rnnspec.subjects.refusals import is_refused
from rnnspec.subjects.subject import observe_step

Verified = tuple[Declaration, dict[str, str]]
"""A declaration, and its differences from the reference, by the layer that was built."""
STEPS, BATCH = 6, 3
EXACT_LIMITS = {"float64": 2.0**53, "float32": 2.0**24}
"""Integers up to this size are exact."""
EXTENT = ("num_layers", "bidirectional")
CHANGES: dict[str, dict[str, Any]] = {
    "num_layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "bias": {"bias": False},
    "dropout": {"num_layers": 2, "dropout": 0.5},
    "nonlinearity": {"nonlinearity": "relu"},
}
"""Values of the documented arguments for trying whether a layer accepts them."""
ELSEWHERE: dict[str, tuple[dict[str, Any], ...]] = {
    "num_layers": ({"num_layers": 3}, {"num_layers": 2, "bidirectional": True}),
    "bidirectional": ({"bidirectional": True, "num_layers": 2},),
}
"""Further values for trying an argument that was refused; if they work, it is not lacking."""
ONE_LAYER, NO_STATE = "one layer", "without a state"
COMPARING = "the call with which the adapter is compared"


def compare(
    adapter: Adapter,
    config: Config,
    dtype: torch.dtype,
    *,
    exact: bool = False,
    gives_state: bool = True,
    seed: int = 1,
) -> Mismatch | None:
    """Return how an adapted layer differs from the reference, or None if they are equal.

    With `exact`, use numbers for which no sum rounds; if none does, the results must be equal.
    If you set `gives_state`, a state is passed if the layer takes any. Final states that the layer
    does not return are not compared. Raises Failure if the layer cannot be called.
    """
    # The default seed is not the seed of the search (0), so that the comparison uses new numbers.
    numbers = _draw_exact(config, seed) if exact else draw_numbers(config, seed)
    takes_state = gives_state and adapter.takes_state
    letters = config.kind_data.states
    # Round them, so that a layer in float32 gets the same numbers as the reference.
    numbers = {each: array.astype(np.float32).astype(float) for each, array in numbers.items()}
    if not takes_state:
        numbers |= {letter: np.zeros_like(numbers[letter]) for letter in letters}
    with observe_step(BUILDING):
        layer = adapter(**config.arguments).to(dtype).eval()
    with observe_step(COMPARING):
        found = _run(layer, config, numbers, takes_state)
    for letter in letters:
        if letter not in adapter.returned_states:
            del found[config.kind_data.name_final(letter)]
    problem = oracle.Problem(
        config,
        {name: numbers[name] for name in layer.state_dict()},
        numbers["x"],
        {f"{letter}_0": numbers[letter] for letter in letters},
        np.full(numbers["x"].shape[1], len(numbers["x"]), dtype=np.int64),
    )
    trace = oracle.run_layers(problem)
    name = str(dtype).removeprefix("torch.")
    bound = oracle.compute_bound(problem, trace, oracle.ROUNDINGS[name])
    is_exact = exact and oracle.is_exact(problem, trace, EXACT_LIMITS[name])
    return _describe_first(found, trace.results, {} if is_exact else bound.results)


def _describe_first(
    found: Mapping[str, Array], expected: Mapping[str, Array], bounds: Mapping[str, Array]
) -> Mismatch | None:
    """Return the first result that exceeds its bound, or None if there is none.

    A result without a bound must be exact.
    """
    for result, array in found.items():
        right = expected[result]
        if array.shape != right.shape:
            return Mismatch(f"{result} has shape {array.shape}, expected {right.shape}")
        off = np.abs(array - right)
        if (off > bounds.get(result, np.zeros(()))).any():
            place = tuple(map(int, np.unravel_index(np.argmax(off), off.shape)))
            text = (
                f"{result}{list(place)} is {array[place]:.6g}, "
                f"expected {right[place]:.6g} (off by {off[place]:.2g})"
            )
            is_small = (off <= oracle.SMALL_ERROR * np.maximum(1.0, np.abs(right))).all()
            return Mismatch(text, is_small=bool(is_small))
    return None


@dataclass(frozen=True)
class Mismatch:
    """How an adapted layer differs from the reference, or why it could not be compared.

    text      the difference in words
    failure   the failure that stopped the layer before the comparison
    is_small  whether the numbers are nearly right, so that no other declaration would improve them
    """

    text: str
    failure: Failure | None = None
    is_small: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether the layer failed before the comparison."""
        return self.failure is not None

    @property
    def is_malformed(self) -> bool:
        """Whether the layer failed because its results have another form."""
        return isinstance(self.failure, Malformed)


def find_difference(
    adapter: Adapter, config: Config, dtype: torch.dtype, *, gives_state: bool = True
) -> Mismatch | None:
    """Return how an adapted layer differs from the reference, or None if they are equal.

    If you set `gives_state`, a state is passed if the layer takes any.
    """
    try:
        return compare(adapter, config, dtype, gives_state=gives_state) or compare(
            adapter, config, dtype, exact=True, gives_state=gives_state
        )
    except Failure as failure:
        return Mismatch(str(failure), failure)


def find_difference_in_any(adapter: Adapter, config: Config, dtype: torch.dtype) -> Mismatch | None:
    """Return how an adapted layer differs with a state or, if the state is optional, without it."""
    found = find_difference(adapter, config, dtype)
    if found is not None or not adapter.takes_state:
        return found
    found = find_difference(adapter, config, dtype, gives_state=False)
    return None if found is None else replace(found, text=f"{NO_STATE}, {found.text}")


def _draw_exact(config: Config, seed: int) -> dict[str, Array]:
    """Return numbers for which no sum of a layer rounds."""
    case = Case(
        config=config,
        steps=STEPS,
        batch=BATCH,
        dtype=DType.FLOAT32,
        distribution=_choose_exact(config),
        initial_state=InitialState.GIVEN,
        seed=seed,
    )
    values = draw_values(case)
    states = split_states(config, values.initial)
    return {**values.weights, "x": values.input, **states}


def _choose_exact(config: Config) -> Distribution:
    is_linear = config.nonlinearity == Nonlinearity.RELU.value
    return Distribution.INTEGER if is_linear else Distribution.TERNARY


def _run(
    layer: AdaptedLayer, config: Config, numbers: dict[str, Array], takes_state: bool
) -> dict[str, Array]:
    like = next(layer.parameters())
    tensors = {name: torch.tensor(array).to(like.dtype) for name, array in numbers.items()}
    letters = config.kind_data.states
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(tensors[name])
        x = tensors["x"].transpose(0, 1) if config.batch_first else tensors["x"]
        states = tuple(tensors[letter] for letter in letters)
        hx = None if not takes_state else states[0] if len(states) == 1 else states
        output, finals = layer(x, hx)
    output = output.transpose(0, 1) if config.batch_first else output
    ends = (finals,) if len(letters) == 1 else finals
    named = dict(zip(config.kind_data.final, ends, strict=True))
    return {
        name: np.asarray(each.double().numpy())
        for name, each in {"output": output, **named}.items()
    }


def with_fixed(config: Config, adapter: Adapter) -> Config:
    """Return a configuration with the arguments that an adapter fixes."""
    return replace(config, **dict(adapter.fixed))


def verify_declaration(
    declaration: Declaration, factory: Callable[..., nn.Module], trial: Trial
) -> Verified:
    """Return the declaration with unsupported arguments in `lacks`, and other differences."""
    verified, deviations = _verify_each(declaration, declaration.make(factory), trial)
    if not deviations and all(_offers(verified, name) for name in EXTENT):
        return _order_rows(verified, factory, trial)
    return verified, deviations


def _verify_each(declaration: Declaration, adapter: Adapter, trial: Trial) -> Verified:
    config = with_fixed(trial.config, adapter)
    deviations = {}
    if found := find_difference(adapter, config, trial.dtype):
        deviations[ONE_LAYER] = found.text
    elif found := find_difference(adapter, config, trial.dtype, gives_state=False):
        deviations[NO_STATE] = found.text
    # A layer that fails without a state would fail with every argument: report that once.
    find = find_difference if NO_STATE in deviations else find_difference_in_any
    lacks = dict(declaration.lacks)
    for name, changes in CHANGES.items():
        # Dropout cannot be tried without two layers.
        others = changes.keys() - {name}
        if not _offers(declaration, name) or others & {*lacks, *deviations}:
            continue
        found = find(adapter, replace(config, **changes), trial.dtype)
        if found and _is_lacking(found, name, declaration, adapter, trial):
            lacks[name] = found.text
        elif found and isinstance(found.failure, Unsupported):
            continue  # the check skips such cases
        elif found and (found.is_stopped or name in EXTENT or ONE_LAYER not in deviations):
            deviations[name] = found.text
    return replace(declaration, lacks=lacks), deviations


def _is_lacking(
    found: Mismatch, name: str, declaration: Declaration, adapter: Adapter, trial: Trial
) -> bool:
    """Return whether a layer refuses an argument openly, and with all other arguments."""
    own = declaration.arguments[name]
    if found.failure is None or not is_refused(found.failure, Feature.parse(name), own):
        return False
    config = with_fixed(trial.config, adapter)
    return all(
        (other := find_difference(adapter, replace(config, **changes), trial.dtype)) is not None
        and other.is_stopped
        for changes in ELSEWHERE.get(name, ())
        if all(_offers(declaration, each) for each in changes)
    )


def _order_rows(
    declaration: Declaration, factory: Callable[..., nn.Module], trial: Trial
) -> Verified:
    """Return the declaration with the right order of rows in deep bidirectional layers.

    Parameters in a list may be ordered by layer or by direction. If neither order explains the
    layer, return its difference for the first.
    """
    changes = {**CHANGES["num_layers"], **CHANGES["bidirectional"]}
    by_direction = {
        name.replace("{row}", "{by_direction}"): text for name, text in declaration.weights.items()
    }
    said = ""
    for found in (declaration, replace(declaration, weights=by_direction)):
        adapter = found.make(factory)
        config = replace(with_fixed(trial.config, adapter), **changes)
        difference = find_difference_in_any(adapter, config, trial.dtype)
        if difference is None or isinstance(difference.failure, Unsupported):
            return found, {}
        said = said or difference.text
    return declaration, {" and ".join(EXTENT): said}


def _offers(declaration: Declaration, name: str) -> bool:
    return name in declaration.arguments and name not in declaration.lacks
