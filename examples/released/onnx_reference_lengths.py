"""ONNX's reference ignores `sequence_lens`, so padding changes the final state."""

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node("RNN", ["X", "W", "R", "", "lens"], ["", "Y_h"], hidden_size=1)
types = {"X": TensorProto.FLOAT, "W": TensorProto.FLOAT, "R": TensorProto.FLOAT}
given = [helper.make_tensor_value_info(name, types[name], None) for name in types]
given.append(helper.make_tensor_value_info("lens", TensorProto.INT32, None))
made = [helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, None)]
model = helper.make_model(helper.make_graph([node], "rnn", given, made))

x = np.ones((2, 1, 1), np.float32)
one = np.ones((1, 1, 1), np.float32)
lens = np.array([1], np.int32)
(h_n,) = ReferenceEvaluator(model).run(None, {"X": x, "W": one, "R": one, "lens": lens})
print(f"got {h_n.item():.4f}, expected tanh(1) = {np.tanh(1):.4f}")
