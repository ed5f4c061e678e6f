"""Autocast changes the dtype of an RNN and an LSTM, but not of a GRU or of packed sequences."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

x = torch.ones(2, 2, 1)
packed = pack_padded_sequence(x, torch.tensor([2, 1]))
with torch.autocast("cpu", torch.bfloat16):
    for layer in (nn.RNN(1, 1), nn.GRU(1, 1), nn.LSTM(1, 1)):
        print(type(layer).__name__, layer(x)[0].dtype, "packed", layer(packed)[0].data.dtype)
    output, (h_n, c_n) = nn.LSTM(1, 2, proj_size=1)(x)
    print("LSTM with a projection", output.dtype, h_n.dtype, c_n.dtype)
