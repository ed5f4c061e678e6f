"""Compare an adapter with the reference: within rounding, and exactly on exact cases."""

from __future__ import annotations

from collections.abc import Callable
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
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.inference.trial import Array, Trial, draw_numbers
from rnnspec.subjects.failures import Failure, Malformed
from rnnspec.subjects.subject import observe_step

Verified = tuple[Declaration, dict[str, str]]
"""A declaration, and how what it declares differs from the reference, by what was built."""
STEPS, BATCH = 6, 3
EXACT_LIMITS = {"float64": 2.0**53, "float32": 2.0**24}
"""The size up to which integers are exact."""
EXTENT = ("num_layers", "bidirectional")
CHANGES: dict[str, dict[str, Any]] = {
    "num_layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "bias": {"bias": False},
    "dropout": {"num_layers": 2, "dropout": 0.5},
    "nonlinearity": {"nonlinearity": "relu"},
}
"""With which arguments it is tried whether a constructor takes a documented one."""
COMPARING = "the call with which the adapter is compared"


def compare(
    adapter: Adapter, config: Config, dtype: torch.dtype, *, exact: bool = False, seed: int = 1
) -> Difference | None:
    """Return how an adapted layer differs from the reference, or None if it does not.

    With `exact`, the numbers are drawn so that no sum rounds, and if none does, the results must be
    equal. A layer without initial states gets none, and final states that it does not return are
    not compared. Raises Failure if the layer cannot be called.
    """
    numbers = _draw_exact(config, seed) if exact else draw_numbers(config, seed)
    letters = config.kind_data.states
    # Rounded, so that a layer in float32 gets the same numbers as the reference.
    numbers = {each: array.astype(np.float32).astype(float) for each, array in numbers.items()}
    if not adapter.takes_state:
        numbers |= {letter: np.zeros_like(numbers[letter]) for letter in letters}
    with observe_step(COMPARING):
        layer = adapter(**config.arguments).to(dtype).eval()
        found = _run(layer, config, numbers, adapter.takes_state)
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
    for result in found:
        expected = trace.results[result]
        if found[result].shape != expected.shape:
            shapes = f"{found[result].shape}, expected {expected.shape}"
            return Difference(f"{result} has shape {shapes}", is_stopped=False)
        off = np.abs(found[result] - expected)
        if (off > (0.0 if is_exact else bound.results[result])).any():
            place = tuple(map(int, np.unravel_index(np.argmax(off), off.shape)))
            text = (
                f"{result}{list(place)} is {found[result][place]:.6g}, "
                f"expected {expected[place]:.6g} (off by {off[place]:.2g})"
            )
            is_small = (off <= oracle.SMALL_ERROR * np.maximum(1.0, np.abs(expected))).all()
            return Difference(text, is_stopped=False, is_small=bool(is_small))
    return None


@dataclass(frozen=True)
class Difference:
    """How an adapted layer differs from the reference, or what stops it.

    text          what is different
    is_stopped    whether nothing could be compared
    is_malformed  whether that is because results of another form were returned
    is_small      whether the numbers are nearly right, as no other declaration would make them
    """

    text: str
    is_stopped: bool
    is_malformed: bool = False
    is_small: bool = False


def find_difference(adapter: Adapter, config: Config, dtype: torch.dtype) -> Difference | None:
    """Return how an adapted layer differs from the reference, or None if it does not."""
    try:
        return compare(adapter, config, dtype) or compare(adapter, config, dtype, exact=True)
    except Failure as failure:
        return Difference(str(failure), True, isinstance(failure, Malformed))


def _draw_exact(config: Config, seed: int) -> dict[str, Array]:
    """Return numbers with which no sum of a layer rounds."""
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
    """Return a configuration with the arguments that an adapter does not leave to choose."""
    return replace(config, **dict(adapter.fixed))


def verify_declaration(
    declaration: Declaration, factory: Callable[..., nn.Module], trial: Trial
) -> Verified:
    """Return the declaration without what cannot be built, and how the rest differs."""
    verified, deviations = _verify_each(declaration, declaration.make(factory), trial)
    if not deviations and all(_offers(verified, name) for name in EXTENT):
        return _order_rows(verified, factory, trial)
    return verified, deviations


def _verify_each(declaration: Declaration, adapter: Adapter, trial: Trial) -> Verified:
    config = with_fixed(trial.config, adapter)
    deviations = {}
    if found := find_difference(adapter, config, trial.dtype):
        deviations["one layer"] = found.text
    lacks = dict(declaration.lacks)
    for name in EXTENT:
        if not _offers(declaration, name):
            continue
        found = find_difference(adapter, replace(config, **CHANGES[name]), trial.dtype)
        if found and found.is_stopped:
            lacks[name] = found.text
        elif found:
            deviations[name] = found.text
    return replace(declaration, lacks=lacks), deviations


def _order_rows(
    declaration: Declaration, factory: Callable[..., nn.Module], trial: Trial
) -> Verified:
    """Return the declaration with the parameters of deep and bidirectional layers in their order.

    A list of them may have a layer after the other, or a direction after the other. If neither
    explains such a layer, it is told how that differs.
    """
    changes = {**CHANGES["num_layers"], **CHANGES["bidirectional"]}
    by_direction = {
        name.replace("{row}", "{by_direction}"): text for name, text in declaration.weights.items()
    }
    said = ""
    for found in (declaration, replace(declaration, weights=by_direction)):
        adapter = found.make(factory)
        config = replace(with_fixed(trial.config, adapter), **changes)
        difference = find_difference(adapter, config, trial.dtype)
        if difference is None:
            return found, {}
        said = said or difference.text
    return declaration, {" and ".join(EXTENT): said}


def _offers(declaration: Declaration, name: str) -> bool:
    return name in declaration.arguments and name not in declaration.lacks
