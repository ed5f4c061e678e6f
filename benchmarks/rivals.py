"""Provide two usual tests of a recurrent layer or cell, as rivals in the benchmark on detection.

The first is the Hypothesis test of a careful engineer; the second uses the samples of PyTorch's
generic module tests. Each takes the class of a layer or cell and raises an exception if it finds a
fault. Both are new code, written the way engineers usually write tests of layers. The module
imports nothing of the benchmarks, so that a copy of it runs alone.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from rnnspec.contract.kinds import UNGATED, Kind
from rnnspec.subjects.documented import require_documented

ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "input_size": st.integers(1, 8),
    "hidden_size": st.integers(1, 8),
    "num_layers": st.integers(1, 3),
    "nonlinearity": st.sampled_from(["tanh", "relu"]),
    "bias": st.booleans(),
    "batch_first": st.booleans(),
    "dropout": st.sampled_from([0.0, 0.5]),
    "bidirectional": st.booleans(),
    "proj_size": st.integers(0, 7),
}
LAYOUTS = ("batched", "unbatched", "packed")


def make_situations(kind: Kind) -> tuple[st.SearchStrategy[Any], ...]:
    """Return the strategies of the usual test: arguments, steps, batch, layout, state and seed."""
    configs = st.fixed_dictionaries({name: ARGUMENTS[name] for name in kind.arguments})
    if kind.has_projection:
        configs = configs.map(limit_projection)
    return (
        configs,
        st.integers(1, 8),
        st.integers(1, 5),
        st.sampled_from(LAYOUTS[:2] if kind.is_cell else LAYOUTS),
        st.booleans(),
        st.integers(0, 2**31),
    )


def limit_projection(config: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with a `proj_size` smaller than `hidden_size`, as required."""
    return {**config, "proj_size": config["proj_size"] % config["hidden_size"]}


def run_usual_test(
    layer: type[nn.Module], examples: int, number: int = 0, kind: Kind = UNGATED
) -> None:
    """Compare a layer with that of torch.nn on random configurations and inputs.

    Both have the same weights and run in eval mode; outputs, states and gradients are compared. A
    cell runs in a loop over the steps, and the states after each step are compared.
    """
    torchs_own = require_documented(kind)

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(*make_situations(kind))
    def test(
        config: dict[str, Any], steps: int, batch: int, layout: str, with_state: bool, random: int
    ) -> None:
        torch.manual_seed(random)
        reference, candidate = torchs_own(**config).double().eval(), layer(**config).double().eval()
        candidate.load_state_dict(reference.state_dict())
        shape = (batch, steps) if config.get("batch_first") else (steps, batch)
        samples = () if layout == "unbatched" else (batch,)
        x = torch.randn(
            *(shape if samples else (steps,)), config["input_size"], dtype=torch.float64
        )
        states = draw_states(kind, config, samples)
        lengths = torch.randint(1, steps + 1, (batch,))
        found = [
            compute_results(
                module,
                kind,
                [x, *(states if with_state else [])],
                lengths if layout == "packed" else None,
            )
            for module in (candidate, reference)
        ]
        assert_close(*found)

    test()


def draw_states(kind: Kind, config: dict[str, Any], samples: tuple[int, ...]) -> list[Tensor]:
    """Return random initial states; states of a layer have a row for each layer and direction."""
    directions = 2 if config.get("bidirectional") else 1
    rows = () if kind.is_cell else (config["num_layers"] * directions,)
    units = {"h": config.get("proj_size") or config["hidden_size"]}
    sizes = [units.get(letter, config["hidden_size"]) for letter in kind.states]
    return [torch.randn(*rows, *samples, size, dtype=torch.float64) for size in sizes]


def compute_results(
    module: nn.Module, kind: Kind, inputs: Sequence[Tensor], lengths: Tensor | None
) -> list[Tensor]:
    """Return the results, and the gradients of input, initial states and all parameters."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    first: Any = leaves[0]
    if lengths is not None:
        first = pack_padded_sequence(
            first, lengths, batch_first=bool(module.batch_first), enforce_sorted=False
        )
    run = run_loop if kind.is_cell else call_module
    results = run(module, kind, first, leaves[1:])
    if lengths is not None:
        results[0] = results[0].data
    loss = (results[0] ** 2).sum() + sum((state**3).sum() for state in results[1:])
    wanted = [*leaves, *module.parameters()]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [
        *results,
        *(
            torch.zeros_like(leaf) if grad is None else grad
            for leaf, grad in zip(wanted, gradients, strict=True)
        ),
    ]


def run_loop(cell: nn.Module, kind: Kind, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """Return the states of a cell after each step of x."""
    results: list[Tensor] = []
    for step in x:
        states = call_module(cell, kind, step, states)
        results += states
    return results


def call_module(module: nn.Module, kind: Kind, x: Any, states: Sequence[Tensor]) -> list[Any]:
    """Call a layer or cell with the given states, if any, and return its results in one list."""
    several = len(kind.states) > 1
    found = module(x, *([tuple(states)] if several and states else states))
    if kind.is_cell and not several:
        return [found]
    first, second = found
    if kind.is_cell or not several:
        return [first, second]
    h_n, c_n = second
    return [first, h_n, c_n]


@dataclass(frozen=True)
class Sample:
    """A layer or cell of PyTorch's generic module tests, and an input without a batch dimension.

    Sizes are passed by position, and flags by name. A cell has no steps.
    """

    sizes: tuple[int, ...]
    flags: dict[str, Any]
    steps: int | None
    with_state: bool

    @property
    def config(self) -> dict[str, Any]:
        """All arguments by name."""
        names = ("input_size", "hidden_size", "num_layers")
        return {**dict(zip(names, self.sizes, strict=False)), **self.flags}


def list_samples(kind: Kind) -> Iterator[Sample]:
    """Yield the samples of a kind, with every combination of the flags of a layer.

    RNNs have two units. So have GRUs, but three with a state, and LSTMs always have three; LSTMs
    without a state run two steps, and all others three. Cells always have a state.
    """
    if kind.is_cell:
        cells: list[dict[str, Any]] = [{}, {"bias": True}]
        if kind.nonlinearities:
            cells.append({"nonlinearity": "relu"})
        for flags in cells:
            yield Sample((5, 10), flags, None, True)
        return
    values: dict[str, Sequence[Any]] = {
        "nonlinearity": ("relu", "tanh"),
        **dict.fromkeys(("bias", "batch_first", "bidirectional"), (False, True)),
        "proj_size": (0, 2),
    }
    names = [name for name in values if name in kind.arguments]
    for *chosen, with_state in itertools.product(*map(values.__getitem__, names), (False, True)):
        hidden = 3 if kind.has_projection or (kind.is_gated and with_state) else 2
        steps = 2 if kind.has_projection and not with_state else 3
        yield Sample((2, hidden, 2), dict(zip(names, chosen, strict=True)), steps, with_state)


def run_generic_samples(layer: type[nn.Module], kind: Kind = UNGATED) -> None:
    """Repeat the checks of PyTorch's generic module tests on their samples of valid calls."""
    for sample in list_samples(kind):
        torch.manual_seed(0)
        module = layer(*sample.sizes, **sample.flags).double()
        steps = () if sample.steps is None else (sample.steps,)
        x = torch.randn(*steps, sample.sizes[0], dtype=torch.float64)
        states = draw_states(kind, sample.config, ()) if sample.with_state else []
        inputs = [tensor.requires_grad_() for tensor in (x, *states)]
        check_batch_of_one(module, inputs, 0 if sample.flags.get("batch_first") else 1, kind)
        check_module(module, inputs, kind)


def check_batch_of_one(
    module: nn.Module, inputs: Sequence[Tensor], axis: int, kind: Kind = UNGATED
) -> None:
    """Compare an unbatched call with a call on a batch of one; `axis` is the batch of x."""
    x, *states = inputs
    axes = [0, 0] if kind.is_cell else [axis, 1]
    found = call_module(module, kind, x, states)
    batched = call_module(
        module, kind, x.unsqueeze(axes[0]), [each.unsqueeze(axes[1]) for each in states]
    )
    for number, (alone, one) in enumerate(zip(found, batched, strict=True)):
        assert_close(alone, one.squeeze(axes[min(number, 1)]))


def check_module(module: nn.Module, inputs: Sequence[Tensor], kind: Kind = UNGATED) -> None:
    """Check copies, pickles, strides, and first and second derivatives.

    Copies, unpickled layers and strided inputs must give the same results; derivatives are compared
    with finite differences, and the inputs must be unchanged.
    """

    def run(*tensors: Tensor, changed: nn.Module = module) -> tuple[Tensor, ...]:
        return tuple(call_module(changed, kind, tensors[0], tensors[1:]))

    before, frozen = run(*inputs), [tensor.detach().clone() for tensor in inputs]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_close(run(*inputs, changed=twin), before)
    strided = [torch.stack([tensor, tensor], dim=-1)[..., 0] for tensor in inputs]
    assert_close(run(*strided), before)
    assert repr(module)
    assert gradcheck(run, inputs)
    assert gradgradcheck(run, inputs)
    assert_close([tensor.detach() for tensor in inputs], frozen)
