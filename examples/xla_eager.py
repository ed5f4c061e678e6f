"""Register XLA as a device that computes each operator at once.

XLA compiles a graph for each new shape, which takes seconds; operators alone are compiled once.

    PJRT_DEVICE=CPU rnnspec check torch.nn:RNN --device xla --import examples.xla_eager
"""

import os

# Nearly all time goes into compiling. Without the compiler's optimisations, 20 shapes of a product
# with its gradients take 2.0 s of processor time instead of 4.8 s.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ.setdefault("XLA_FLAGS", FAST_COMPILATION)

import torch  # noqa: E402 (XLA reads its flags once)
import torch_xla  # noqa: E402

torch_xla.experimental.eager_mode(True)
# torch_xla replaces nn.GRU by a class of its own, which ends the process in this mode.
torch.nn.GRU = getattr(torch.nn.GRU, "_orig", None) or torch.nn.GRU  # type: ignore[misc]
