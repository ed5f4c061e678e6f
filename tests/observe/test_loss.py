"""A loss has given gradients, and costs no import of SymPy."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rnnspec.observe.loss import make_loss

DIFFERENTIATED = """
import sys
import torch
from rnnspec.observe.loss import make_loss

x = torch.ones(3, requires_grad=True)
make_loss([x * 2], [torch.ones(3)]).backward()
assert x.grad.tolist() == [2.0] * 3
assert "sympy" not in sys.modules
"""


class Notes(torch.autograd.Function):
    """Returns its argument; keeps the gradient that comes back."""

    came: torch.Tensor

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        Notes.came = gradient
        return gradient


def test_gradients_are_those_of_autograd() -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    results = [x.tanh(), (x * x).sum(0)]
    cotangents = [torch.randn(4, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)]
    (found,) = torch.autograd.grad(make_loss(results, cotangents), x, retain_graph=True)
    (expected,) = torch.autograd.grad(results, x, cotangents)
    assert torch.equal(found, expected)


def test_second_derivatives_are_those_of_autograd() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, dtype=torch.float64)
    (first,) = torch.autograd.grad(make_loss([x**3], [weights]), x, create_graph=True)
    (second,) = torch.autograd.grad(make_loss([first], [torch.ones_like(x)]), x)
    torch.testing.assert_close(second, 6 * x.detach() * weights)


def test_a_cotangent_keeps_its_memory_layout() -> None:
    given = torch.randn(3, 8).t()[::2]
    result = Notes.apply(torch.zeros(4, 3, requires_grad=True))
    torch.autograd.backward(make_loss([result], [given]))
    assert Notes.came.stride() == given.stride()
    assert Notes.came.data_ptr() == given.data_ptr()


@pytest.mark.slow
def test_sympy_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", DIFFERENTIATED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
