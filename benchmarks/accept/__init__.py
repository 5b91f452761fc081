"""Whether a model or an engine may replace another: ``python -m benchmarks.accept``."""
