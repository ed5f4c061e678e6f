"""The reference models: shapes, devices, dtypes, and both read-outs."""

from __future__ import annotations

import pytest
import torch

from rnnspec.models import RNN1, RNN2, BiRNN, DeepBiRNN, trace_origins

TOKENS = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]])


def test_shapes_of_the_tutorial() -> None:
    assert RNN1(10, 4, 10, 1)(TOKENS).shape == (2, 1)
    assert RNN2(10, 4, 10, 1)(TOKENS).shape == (2, 4, 1)
    assert DeepBiRNN(100, 50, 20, 1, 2)(TOKENS).shape == (2, 1)
    assert DeepBiRNN(100, 50, 20, 1, 2, output_all_timesteps=True)(TOKENS).shape == (2, 4, 1)
    assert DeepBiRNN(100, 50, 20, 1, 2, readout="final-states")(TOKENS).shape == (2, 1)


def test_one_layer_split_by_direction() -> None:
    parts = BiRNN(3, 4)(torch.randn(2, 5, 3))
    assert parts.output.shape == (2, 5, 8)
    assert parts.h_n.shape == (2, 2, 4)
    assert torch.equal(
        torch.cat([parts.forward_output, parts.backward_output], dim=-1), parts.output
    )
    assert torch.equal(parts.forward_states[-1], parts.forward_output[:, -1])
    assert torch.equal(parts.backward_states[-1], parts.backward_output[:, 0])


def test_two_layers_split_by_direction() -> None:
    parts = BiRNN(3, 4, num_layers=2)(torch.randn(1, 5, 3))
    assert parts.output.shape == (1, 5, 8)
    assert parts.h_n.shape == (4, 1, 4)
    assert torch.equal(parts.forward_states, parts.h_n[[0, 2]])
    assert torch.equal(parts.backward_states, parts.h_n[[1, 3]])


def test_without_a_batch() -> None:
    parts = BiRNN(3, 4, num_layers=2)(torch.randn(5, 3))
    assert parts.backward_output.shape == (5, 4)
    assert parts.forward_states.shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_prediction_has_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    assert RNN1(10, 4, 10, 1, dtype=dtype)(TOKENS).dtype == dtype
    assert RNN2(10, 4, 10, 1, dtype=dtype)(TOKENS).dtype == dtype
    assert DeepBiRNN(10, 4, 10, 1, 2, dtype=dtype)(TOKENS).dtype == dtype


def test_the_state_is_on_the_device_of_the_input() -> None:
    assert RNN1(10, 4, 10, 1, device="meta")(TOKENS.to("meta")).device.type == "meta"
    assert (
        BiRNN(3, 4, device="meta")(torch.zeros(2, 5, 3, device="meta")).output.device.type == "meta"
    )


def test_both_readouts_agree_at_the_last_step() -> None:
    model = DeepBiRNN(10, 4, 6, 2, 2)
    every = DeepBiRNN(10, 4, 6, 2, 2, output_all_timesteps=True)
    every.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(TOKENS), every(TOKENS)[:, -1])


def test_an_id_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(IndexError):
        RNN1(10, 4, 10, 1)(torch.tensor([[10]]))


def test_a_misspelt_readout_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match="final-state'"):
        DeepBiRNN(10, 4, 6, 2, 2, readout="final-state")
    with pytest.raises(ValueError, match="output_all_timesteps"):
        DeepBiRNN(10, 4, 6, 2, 2, output_all_timesteps=True, readout="final-states")


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_entry_of_h_n_has_the_documented_origin(
    kind: type[torch.nn.RNN], layers: int
) -> None:
    found = trace_origins(kind(3, 4, layers, bidirectional=True))
    expected = [
        (2 * layer + d, layer, ("forward", "backward")[d])
        for layer in range(layers)
        for d in (0, 1)
    ]
    assert [tuple(origin) for origin in found] == expected


def test_h_n_ordered_by_direction_is_detected() -> None:
    class ByDirection(torch.nn.RNN):
        def forward(  # type: ignore[override]
            self, input: torch.Tensor, hx: torch.Tensor | None = None
        ) -> tuple[torch.Tensor, torch.Tensor]:
            output, h_n = super().forward(input, hx)
            return output, torch.cat([h_n[0::2], h_n[1::2]])

    assert [str(origin) for origin in trace_origins(ByDirection(3, 4, 2, bidirectional=True))] == [
        "h_n[0] is layer 1, forward",
        "h_n[1] is layer 2, forward",
        "h_n[2] is layer 1, backward",
        "h_n[3] is layer 2, backward",
    ]


def test_an_entry_of_no_single_origin_is_refused() -> None:
    class Summed(torch.nn.RNN):
        def forward(  # type: ignore[override]
            self, input: torch.Tensor, hx: torch.Tensor | None = None
        ) -> tuple[torch.Tensor, torch.Tensor]:
            output, h_n = super().forward(input, hx)
            return output, h_n.sum(0, keepdim=True)

    with pytest.raises(ValueError, match=r"h_n\[0\] depends on"):
        trace_origins(Summed(3, 4, bidirectional=True))
