"""Compiles a bundle with TensorRT or TensorRT for RTX, verifies it, and installs the engine."""
