"""Keras multiplies matrices of float64 on torch, and takes tanh on JAX, in float32."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_ENABLE_X64", "1")

import keras
import numpy as np

a = keras.ops.convert_to_tensor(np.ones((2, 2)))
print(
    keras.backend.backend(), "matmul", keras.ops.matmul(a, a).dtype, "tanh", keras.ops.tanh(a).dtype
)
layer = keras.layers.SimpleRNN(1, dtype="float64", kernel_initializer="ones")
x = np.full((1, 1, 1), 1 / 3)
try:
    got = float(layer(x)[0, 0])
    print(f"SimpleRNN in float64: {got:.12f}, expected tanh(1/3) = {np.tanh(1 / 3):.12f}")
except TypeError as error:
    print("SimpleRNN in float64 raises TypeError:", str(error).strip().splitlines()[2])
