"""Engines for GPUs: a bundle compiled by TensorRT or TensorRT for RTX, verified and installed."""
