"""ONNX Runtime turns NaN into 0 if an LSTM or a GRU has biases, or if an RNN uses Relu."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def run(kind: str, gates: int, **attributes: object) -> float:
    node = helper.make_node(kind, ["X", "W", "R", "B"], ["Y"], hidden_size=1, **attributes)
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XWRB"]
    made = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "g", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    weights = np.ones((1, gates, 1), np.float32)
    biases = np.ones((1, 2 * gates), np.float32)
    x = np.full((1, 1, 1), np.nan, np.float32)
    given_arrays = {"X": x, "W": weights, "R": weights, "B": biases}
    return float(session.run(None, given_arrays)[0].item())


for kind, gates in (("GRU", 3), ("LSTM", 4)):
    print(kind, run(kind, gates), "expected nan")
print("RNN, Relu", run("RNN", 1, activations=["Relu"]), "expected nan")
