"""Building engines: precision in the ONNX graph, then a plan of TensorRT."""
