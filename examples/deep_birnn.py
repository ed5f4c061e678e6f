"""DeepBiRNN: both read-outs of a stacked bidirectional RNN.

The read-out map shows what the prediction from the last step does not see.
"""

from __future__ import annotations

from functools import partial

import torch

from rnnspec.models import DeepBiRNN, format_readout_map, list_advice, measure_readout

VOCAB_SIZE, EMBEDDING_DIM, HIDDEN_SIZE, OUTPUT_SIZE, NUM_LAYERS = 100, 50, 20, 1, 2
build = partial(DeepBiRNN, VOCAB_SIZE, EMBEDDING_DIM, HIDDEN_SIZE, OUTPUT_SIZE, NUM_LAYERS)
INPUTS = [[1, 2, 3, 4], [4, 3, 2, 1]]


def main() -> None:
    """Compare the two read-outs.

    Prints their shapes, the map of the tutorial's read-out, and the number of pieces of advice that
    the other read-out still gets.
    """
    torch.manual_seed(0)
    tokens = torch.tensor(INPUTS)
    print("every step:", tuple(build(output_all_timesteps=True)(tokens).shape))
    print("last step: ", tuple(build()(tokens).shape))
    print()
    print(format_readout_map(measure_readout(build())))
    remedied = measure_readout(build(readout="final-states"))
    print(f'with readout="final-states": {len(list_advice(remedied))} pieces of advice')


if __name__ == "__main__":
    main()
