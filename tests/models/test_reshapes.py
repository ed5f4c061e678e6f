"""Test notes on lines where view or reshape exchange sizes instead of dimensions."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from rnnspec.models import measure_readout
from rnnspec.models.mixing import exchanges_sizes


class Convolved(nn.Module):
    """A convolution over time in front of a layer; channels and steps are exchanged rightly."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 5, 3, padding=1)
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.fc = nn.Linear(6, 2)

    def put_steps_first(self, z: Tensor) -> Tensor:
        return z.transpose(1, 2).reshape(z.size(0), z.size(2), -1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.put_steps_first(self.conv(x.transpose(1, 2)))
        prediction: Tensor = self.fc(self.rnn(z)[1][-1])
        return prediction


class Reshaped(Convolved):
    """As many channels as there are steps in the map do not hide it."""

    def put_steps_first(self, z: Tensor) -> Tensor:
        return z.reshape(z.size(0), z.size(2), z.size(1))


class Viewed(Convolved):
    def put_steps_first(self, z: Tensor) -> Tensor:
        return z.contiguous().view(z.size(0), -1, 5)


@pytest.mark.parametrize(("model", "function"), [(Reshaped, "reshape"), (Viewed, "view")])
def test_the_line_is_named(model: type[nn.Module], function: str) -> None:
    (note,) = measure_readout(model()).notes
    assert f"return z.{function}(" in note or f".{function}(z.size(0), -1, 5)" in note
    assert "it exchanges two sizes, not two dimensions" in note


def test_a_right_model_has_no_note() -> None:
    assert measure_readout(Convolved()).notes == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((3, 8, 5), (3, 5, 8), True),
        ((3, 2, 4, 5), (3, 4, 5, 2), True),
        ((3, 8, 5), (3, 8, 5), False),
        ((3, 1, 8), (3, 8, 1), False),
        ((3, 8, 5), (3, 40), False),
        ((3, 8, 5), (8, 3, 5), False),
    ],
)
def test_an_exchange_is_distinguished_from_other_reshapes(
    before: tuple[int, ...], after: tuple[int, ...], expected: bool
) -> None:
    assert exchanges_sizes(before, after, batch=3) is expected
