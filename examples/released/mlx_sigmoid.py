"""MLX takes the sigmoid of float64 in float32 on a CPU, so its GRU and LSTM are not in float64."""

import math

import mlx.core as mx

mx.set_default_device(mx.cpu)
x = mx.array([0.3], dtype=mx.float64)
for name, expected in (("sigmoid", 1 / (1 + math.exp(-0.3))), ("tanh", math.tanh(0.3))):
    found = getattr(mx, name)(x)
    print(f"{name} in {found.dtype}: {found.item():.12f}, expected {expected:.12f}")
