"""Register XLA as a device that computes each operator at once.

XLA compiles a graph for each new shape, which takes seconds; operators alone are compiled once.

    PJRT_DEVICE=CPU rnnspec check torch.nn:RNN --device xla --import examples.xla_eager
"""

import torch_xla

torch_xla.experimental.eager_mode(True)
