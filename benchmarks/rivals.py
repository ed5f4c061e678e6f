"""Two usual tests of a recurrent layer, with which the benchmark on detection compares rnnspec.

One is the Hypothesis test of a careful engineer; the other has the samples of PyTorch's generic
module tests. Each takes the class of a layer and raises an exception if it finds a fault. Both are
new code, written in the way in which such tests are usually written.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

CONFIGS = st.fixed_dictionaries(
    {
        "input_size": st.integers(1, 8),
        "hidden_size": st.integers(1, 8),
        "num_layers": st.integers(1, 3),
        "nonlinearity": st.sampled_from(["tanh", "relu"]),
        "bias": st.booleans(),
        "batch_first": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5]),
        "bidirectional": st.booleans(),
    }
)
SITUATIONS = (
    CONFIGS,
    st.integers(1, 8),
    st.integers(1, 5),
    st.sampled_from(["batched", "unbatched", "packed"]),
    st.booleans(),
    st.integers(0, 2**31),
)


def run_usual_test(layer: type[nn.Module], examples: int, number: int = 0) -> None:
    """Compare a layer with torch.nn.RNN on random configurations and inputs.

    Both have the same weights and run in eval mode; outputs, states and gradients are compared.
    """

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(*SITUATIONS)
    def test(
        config: dict[str, Any], steps: int, batch: int, layout: str, with_state: bool, random: int
    ) -> None:
        torch.manual_seed(random)
        reference, candidate = nn.RNN(**config).double().eval(), layer(**config).double().eval()
        candidate.load_state_dict(reference.state_dict())
        shape = (batch, steps) if config["batch_first"] else (steps, batch)
        x = torch.randn(
            *((steps,) if layout == "unbatched" else shape),
            config["input_size"],
            dtype=torch.float64,
        )
        rows = config["num_layers"] * (2 if config["bidirectional"] else 1)
        h_0 = torch.randn(
            rows,
            *(() if layout == "unbatched" else (batch,)),
            config["hidden_size"],
            dtype=torch.float64,
        )
        lengths = torch.randint(1, steps + 1, (batch,))
        found = [
            compute_results(
                module, x, h_0 if with_state else None, lengths if layout == "packed" else None
            )
            for module in (candidate, reference)
        ]
        assert_close(*found)

    test()


def compute_results(
    module: nn.Module, x: torch.Tensor, h_0: torch.Tensor | None, lengths: torch.Tensor | None
) -> list[torch.Tensor]:
    """Return output, h_n, and the gradients of input, initial state and all parameters."""
    leaves = [
        x.clone().requires_grad_(),
        *([h_0.clone().requires_grad_()] if h_0 is not None else []),
    ]
    first: Any = leaves[0]
    if lengths is not None:
        first = pack_padded_sequence(
            first, lengths, batch_first=bool(module.batch_first), enforce_sorted=False
        )
    output, h_n = module(first, *leaves[1:])
    output = output if lengths is None else output.data
    wanted = [*leaves, *module.parameters()]
    gradients = torch.autograd.grad((output**2).sum() + (h_n**3).sum(), wanted, allow_unused=True)
    return [
        output,
        h_n,
        *(
            torch.zeros_like(leaf) if grad is None else grad
            for leaf, grad in zip(wanted, gradients, strict=True)
        ),
    ]


def run_generic_samples(layer: type[nn.Module]) -> None:
    """Check what PyTorch's generic module tests check.

    They use two layers of size 2 and sequences of three steps, with every combination of the flags.
    """
    for nonlinearity, bias, batch_first, bidirectional, with_state in itertools.product(
        ("relu", "tanh"), *[(False, True)] * 4
    ):
        torch.manual_seed(0)
        module = layer(
            2,
            2,
            2,
            nonlinearity=nonlinearity,
            bias=bias,
            batch_first=batch_first,
            bidirectional=bidirectional,
        ).double()
        x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
        h_0 = torch.randn(4 if bidirectional else 2, 2, dtype=torch.float64, requires_grad=True)
        given = [x, h_0] if with_state else [x]
        check_batch_of_one(module, given, 0 if batch_first else 1)
        check_module(module, given)


def check_batch_of_one(module: nn.Module, given: list[torch.Tensor], axis: int) -> None:
    """Compare an unbatched call with a call on a batch of one."""
    output, h_n = module(*given)
    batched_output, batched_h_n = module(
        given[0].unsqueeze(axis), *(state.unsqueeze(1) for state in given[1:])
    )
    assert_close(output, batched_output.squeeze(axis))
    assert_close(h_n, batched_h_n.squeeze(1))


def check_module(module: nn.Module, given: list[torch.Tensor]) -> None:
    """Check copies, pickles, strides, and first and second derivatives.

    Copies, unpickled layers and strided inputs must give the same results; derivatives are compared
    with finite differences, and the inputs must be unchanged.
    """
    before, frozen = module(*given), [tensor.detach().clone() for tensor in given]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_close(twin(*given), before)
    strided = [torch.stack([tensor, tensor], dim=-1)[..., 0] for tensor in given]
    assert_close(module(*strided), before)
    assert repr(module)
    assert gradcheck(module, given)
    assert gradgradcheck(module, given)
    assert_close([tensor.detach() for tensor in given], frozen)
