"""The state of a GRU in ONNX Runtime leaves [-1, 1], which a mean of tanh and such cannot."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

node = helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=1, linear_before_reset=1)
given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XWRB"]
made = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
graph = helper.make_graph([node], "g", given, made)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString())
weights = np.array([-64.0, 64.0, -64.0], np.float32).reshape(1, 3, 1)
nothing = np.zeros((1, 3, 1), np.float32)
biases = np.zeros((1, 6), np.float32)
x = np.ones((1, 1, 1), np.float32)
(output,) = session.run(None, {"X": x, "W": weights, "R": nothing, "B": biases})
print(f"got {output.item():.9f}, expected tanh(-64) = {np.tanh(-64.0):.9f}")
