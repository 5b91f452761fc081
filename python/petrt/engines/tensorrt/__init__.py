"""The TensorRT and TensorRT for RTX engines, which run plans built by ``petrt build-engine``."""
