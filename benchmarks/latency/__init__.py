"""Latency on a CPU or a GPU, with baselines and bars. ``python -m benchmarks.latency``."""
