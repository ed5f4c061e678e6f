"""Split the output and h_n of a bidirectional RNN by layer and direction."""

from __future__ import annotations

import torch

from rnnspec.models import BiRNN, trace_origins


def one_layer() -> None:
    """Run one layer on two samples; the halves of the output are the two directions."""
    torch.manual_seed(0)
    parts = BiRNN(input_size=3, hidden_size=4)(torch.randn(2, 5, 3))
    print("one layer")
    print("  output          ", tuple(parts.output.shape))
    print("  h_n             ", tuple(parts.h_n.shape))
    print("  forward output  ", tuple(parts.forward_output.shape))
    print("  backward output ", tuple(parts.backward_output.shape))
    forward, backward = parts.forward_states[-1], parts.backward_states[-1]
    print(
        "  the forward state equals the forward output at the last step:",
        torch.equal(forward, parts.forward_output[:, -1]),
    )
    print(
        "  the backward state equals the backward output at step 0:",
        torch.equal(backward, parts.backward_output[:, 0]),
    )


def two_layers() -> None:
    """Run two layers on one sample; name each entry of h_n by measuring what it depends on."""
    torch.manual_seed(0)
    model = BiRNN(input_size=3, hidden_size=4, num_layers=2)
    parts = model(torch.randn(1, 5, 3))
    print("two layers")
    print("  output          ", tuple(parts.output.shape))
    print("  h_n             ", tuple(parts.h_n.shape))
    for origin in trace_origins(model.rnn):
        print(f"  {origin}")
    for layer in range(2):
        both = torch.cat([parts.forward_states[layer], parts.backward_states[layer]], dim=1)
        print(f"  layer {layer + 1}, both directions", tuple(both.shape))


if __name__ == "__main__":
    one_layer()
    two_layers()
