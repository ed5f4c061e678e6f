"""Turn cuDNN off on import, so that CUDA runs PyTorch's own kernels: `--import` this module."""

import torch

torch.backends.cudnn.enabled = False
