"""ONNX Runtime ends the process if an LSTM or a GRU is given a batch without a sequence."""

import subprocess
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def run(kind: str, gates: int) -> None:
    node = helper.make_node(kind, ["X", "W", "R"], ["Y"], hidden_size=1)
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XWR"]
    made = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "g", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    weights = np.ones((1, gates, 1), np.float32)
    x = np.ones((1, 0, 1), np.float32)
    session.run(None, {"X": x, "W": weights, "R": weights})


if len(sys.argv) > 1:
    run(sys.argv[1], int(sys.argv[2]))
else:
    for kind, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        done = subprocess.run([sys.executable, __file__, kind, str(gates)], capture_output=True)
        print(kind, f"ended with status {done.returncode}, expected 0")
