"""TensorRT and TensorRT for RTX: running what was built."""
