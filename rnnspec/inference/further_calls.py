"""Try an adapted layer beyond its results: random numbers, training mode and gradients."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch

from rnnspec.adapters.adapter import DRAWS, Adapter
from rnnspec.adapters.layer import AdaptedLayer
from rnnspec.contract.config import Config
from rnnspec.contract.features import Feature
from rnnspec.inference.remarks import Remark, Tone
from rnnspec.inference.trial import BATCH, STEPS
from rnnspec.subjects.devices import keep_random_numbers
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.subject import observe_step

TRAINING_CALL = "a call in training mode"
BACKWARD = "a backward pass"
DRAWN = "a call draws random numbers without dropout"
OTHER_MODE = (
    "without dropout, a call in training mode returns other numbers than in evaluation mode"
)
NO_GRADIENT = (
    "no gradient reaches {}: either the layer is wrong, or declare "
    'lacks={{"state-gradients": "it has no gradient of h_0"}}'
)


def examine_further(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    """Yield what is wrong with further calls of an adapter whose results are right."""
    yield from _examine_generators(adapter, config, dtype)
    try:
        yield from _examine_training(adapter, config, dtype)
    except Failure as failure:
        yield Remark("training", Tone.WRONG, str(failure))
    offers_gradients = Feature.GRADIENTS not in adapter.unsupported
    if adapter.passes_states and offers_gradients:  # a module has the gradients that torch makes
        yield from _examine_gradients(adapter, config, dtype)


def _examine_generators(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    layer, x = _build(adapter, config, dtype).eval(), _make_input(config, dtype)
    with keep_random_numbers():
        # A layer may draw from any of these, so compare torch, random and NumPy.
        before = _read_generators()
        try:
            with observe_step("a call"), torch.no_grad():
                layer(x)
        except Failure as failure:
            yield Remark("state", Tone.WRONG, str(failure))
            return
        drawn = _read_generators() != before
    if drawn:
        text = f"{DRAWN}: {adapter.hints.get(DRAWS, 'draw none')}"
        yield Remark("random", Tone.WRONG, text, may_be_layer=True)


def _read_generators() -> tuple[Any, ...]:
    _, key, *rest = cast(tuple[Any, ...], np.random.get_state())
    return torch.get_rng_state().tolist(), random.getstate(), key.tolist(), *rest


def _examine_training(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    layer, x = _build(adapter, config, dtype), _make_input(config, dtype)
    with keep_random_numbers(), observe_step(TRAINING_CALL), torch.no_grad():
        in_training, in_evaluation = layer.train()(x)[0], layer.eval()(x)[0]
    if not torch.allclose(in_training, in_evaluation):
        yield Remark("training", Tone.WRONG, OTHER_MODE, may_be_layer=True)


def _examine_gradients(adapter: Adapter, config: Config, dtype: torch.dtype) -> Iterator[Remark]:
    layer, x = _build(adapter, config, dtype).eval(), _make_input(config, dtype)
    kind, lacking = config.kind_data, adapter.unsupported
    given: dict[str, torch.Tensor] = {}
    if Feature.STATE not in lacking:
        rows = config.num_layers * config.num_directions
        for name in kind.initial:
            given[name] = x.new_full((rows, BATCH, config.hidden_size), 0.5)
    leaves = [each.requires_grad_() for each in (x, *given.values())]
    try:
        with observe_step(BACKWARD), torch.enable_grad():
            states = tuple(given.values())
            returned = layer(x, states[0] if len(states) == 1 else states or None)
            found = torch.autograd.grad(returned[0].sum(), leaves, allow_unused=True)
    except Failure as failure:
        yield Remark("gradients", Tone.WRONG, str(failure))
        return
    named = zip(given, found[1:], strict=True)
    without = [name for name, gradient in named if gradient is None or not gradient.any()]
    if without and Feature.STATE_GRADIENTS not in lacking:
        text = NO_GRADIENT.format(" or ".join(without))
        yield Remark("gradients", Tone.WRONG, text, may_be_layer=True)


def _build(adapter: Adapter, config: Config, dtype: torch.dtype) -> AdaptedLayer:
    with keep_random_numbers(), observe_step("building it"):
        torch.manual_seed(0)
        return adapter(**config.arguments).to(dtype)


def _make_input(config: Config, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, STEPS) if config.batch_first else (STEPS, BATCH)
    return torch.rand(*shape, config.input_size, generator=generator, dtype=torch.float64).to(dtype)
