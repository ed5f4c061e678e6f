"""ONNX's reference does not know the activation Relu of the node RNN, which the page lists."""

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node("RNN", ["X", "W", "R"], ["Y"], hidden_size=1, activations=["Relu"])
given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XWR"]
made = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
model = helper.make_model(helper.make_graph([node], "rnn", given, made))
one = np.ones((1, 1, 1), np.float32)
try:
    print(ReferenceEvaluator(model).run(None, dict.fromkeys("XWR", one)))
except RuntimeError as error:
    print(f"RuntimeError: {error}")
