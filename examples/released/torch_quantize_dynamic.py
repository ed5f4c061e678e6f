"""quantize_dynamic leaves nn.RNN as it is, and a GRU without biases stops it."""

import warnings

import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

warnings.simplefilter("ignore")
(rnn,) = quantize_dynamic(nn.Sequential(nn.RNN(1, 1)), {nn.RNN}, torch.qint8)
print("nn.RNN becomes", type(rnn).__module__, type(rnn).__name__)
try:
    quantize_dynamic(nn.Sequential(nn.GRU(1, 1, bias=False)), {nn.GRU}, torch.qint8)
except AssertionError as error:
    print("nn.GRU(bias=False): AssertionError:", error)
(gru,) = quantize_dynamic(nn.Sequential(nn.GRU(1, 1)), {nn.GRU}, torch.qint8)
try:
    gru(torch.ones(1, 1))
except RuntimeError as error:
    print("one sequence without a batch: RuntimeError:", error)
