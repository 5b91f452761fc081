"""Image quality: filters, the model, samplers, the ablation. ``python -m benchmarks.quality``."""
