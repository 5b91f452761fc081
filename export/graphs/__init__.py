"""ONNX graphs of the folded networks, written and checked."""
