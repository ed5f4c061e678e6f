"""torch.export cannot leave the length of sequences open for a recurrent layer."""

import torch
from torch import nn
from torch.export import Dim, export

for axis, name in ((1, "batch"), (0, "length")):
    try:
        export(nn.RNN(1, 1), (torch.ones(3, 2, 1),), dynamic_shapes=({axis: Dim(name)},))
        print(name, "can be left open")
    except Exception as error:
        print(name, "cannot:", type(error).__name__, str(error).splitlines()[0][:60])
